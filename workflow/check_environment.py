"""Check that the active environment has the packages in requirements.lock, and install missing ones.

Only the standard library is used, because it runs before anything is installed.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path


def direct_requirements(pyproject: Path) -> list[str]:
    """Names of the distributions required by the project, its tests and its documentation."""
    import tomllib  # Python >= 3.11

    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["test"] + extras["docs"]
    return [re.match(r"[\w.-]+", item)[0] for item in wanted]


def missing(names: list[str]) -> list[str]:
    """The distributions that are not installed."""
    from importlib.metadata import PackageNotFoundError, version  # not before Ctrl-C is provided for

    absent = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            absent.append(name)
    return absent


def main(lock: str) -> int:
    """Exit code 0 when the environment is complete, or was completed."""
    if sys.version_info < (3, 12):
        print(f"The active environment has Python {sys.version.split()[0]}; 3.12 or newer is needed.", file=sys.stderr)
        return 1
    absent = missing(direct_requirements(Path("pyproject.toml")))
    if absent:
        print(f"Installing from {lock} into {sys.prefix}: {', '.join(absent)} missing.")
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--requirement", lock], check=True)
    if missing(["lsst-ir-fusion"]):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", "."], check=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C just ends it
    raise SystemExit(main(sys.argv[1]))
