"""The versions of the libraries that a step ran with, and what of them has changed since."""

from __future__ import annotations

import hashlib
import platform
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from dmu0.files.paths import PROJECT

LOCK = "requirements.lock"


@cache
def library_versions() -> dict[str, str]:
    """Versions of Python, of the libraries that the project names, and of the lock with all that they need.

    Returns
    -------
    dict
        Name to version; a library that is not installed is not there.
    """
    found = {"python": platform.python_version()}
    project = PROJECT / "pyproject.toml"
    if project.is_file():
        for requirement in tomllib.loads(project.read_text())["project"]["dependencies"]:
            name = re.match(r"[\w.-]+", requirement)[0]
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    lock = PROJECT / LOCK
    if lock.is_file():
        found[LOCK] = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    return found


def changed_libraries(records: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each library whose version is no longer that with which steps ran.

    Parameters
    ----------
    records
        Name of a step to the versions that its record has; records of before versions were kept have none.
    """
    now = library_versions()
    changes: dict[str, list[str]] = {}
    for step, versions in records.items():
        for name, old in versions.items():
            new = now.get(name, "not installed")
            if new != old:
                changes.setdefault(f"{name} {old} -> {new}", []).append(step)
    return [f"{change} since {_steps(steps)} ran" for change, steps in sorted(changes.items())]


def _steps(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
