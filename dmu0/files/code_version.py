"""The version of the code: the package's version, the git commit, and whether files were changed since."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dmu0.files.paths import PROJECT

PACKAGE = "lsst-ir-fusion"
"""Name of the package."""

UNKNOWN = "unknown"
"""Value of what cannot be determined."""


@dataclass(frozen=True)
class CodeVersion:
    """The version of the code that made a product.

    Attributes
    ----------
    version
        Version of the package.
    commit
        The 40 hexadecimal digits of the git commit; ``unknown`` outside a git checkout.
    modified
        ``yes`` if files that git tracks differ from the commit, otherwise ``no``; ``unknown`` without a commit.
        Untracked files, for example your own survey files, are ignored.
    """

    version: str
    commit: str = UNKNOWN
    modified: str = UNKNOWN

    def words(self) -> dict[str, str]:
        """Name -> value as recorded in products: the part of their provenance that is common to all surveys."""
        return {"software": f"{PACKAGE} {self.version}", "commit": self.commit, "modified": self.modified}

    def __str__(self) -> str:
        """Readable text such as ``lsst-ir-fusion 0.1.0, commit 0123456789ab, modified``."""
        commit = "no commit known" if self.commit == UNKNOWN else f"commit {self.commit[:12]}"
        return f"{PACKAGE} {self.version}, {commit}" + (", modified" if self.modified == "yes" else "")


@cache
def code_version() -> CodeVersion:
    """The version of the running code; git is called once per process."""
    return read_code_version(PROJECT)


def read_code_version(folder: Path) -> CodeVersion:
    """The version of the code in a folder.

    Parameters
    ----------
    folder
        Folder that contains dmu0 ... dmu5: a git checkout, an unpacked archive or a folder of installed packages.
    """
    version = _package_version(folder)
    found = _git(folder, "rev-parse", "--show-toplevel", "HEAD")
    # An archive that was unpacked somewhere below another git checkout must not be given that one's commit.
    if found is None or len(found) != 2 or Path(found[0]).resolve() != folder.resolve():
        return CodeVersion(version)
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return CodeVersion(version, found[1], UNKNOWN if changes is None else "yes" if changes else "no")


def _package_version(folder: Path) -> str:
    """The version in ``pyproject.toml``, or that of the installed package if that file is missing."""
    project = folder / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text())["project"]["version"])
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN


def _git(folder: Path, *arguments: str) -> list[str] | None:
    """The lines printed by git; None if git is missing or fails."""
    # Hooks set variables that make git look at another repository; status must not take the index's lock.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None
