"""The versions of the libraries used by a step, and their changes since."""

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
    """Versions of Python, of the direct dependencies of the project, and of the lock file.

    Returns
    -------
    dict
        Name -> version; libraries that are not installed are missing.
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
    """One line for each library whose version differs from that with which steps were run.

    Parameters
    ----------
    records
        Name of a step -> versions in its record; older records have none.
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
