"""What benchmarks print: each figure beside its limit, the versions of the peers, and whether all limits were kept."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version


@dataclass
class Verdicts:
    """The figures of one benchmark.

    Attributes
    ----------
    missed
        Names of the figures that are beyond their limits.
    """

    missed: list[str] = field(default_factory=list)

    def at_most(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Print a figure that may not exceed a limit."""
        self._say(name, value, limit, unit, "at most", value <= limit)

    def at_least(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Print a figure that may not fall below a limit."""
        self._say(name, value, limit, unit, "at least", value >= limit)

    def _say(self, name: str, value: float, limit: float, unit: str, relation: str, kept: bool) -> None:
        if not kept:
            self.missed.append(name)
        text = f"{name}: {value:.3g}{unit} ({relation} {limit:g}{unit})"
        print(text if kept else f"{text}  MISSED", flush=True)

    def end(self) -> int:
        """Print the limits that were missed; 1 if there are any."""
        if self.missed:
            print(f"{len(self.missed)} limit(s) missed: {'; '.join(self.missed)}", flush=True)
        return int(bool(self.missed))


def cpu(function: Callable[[], object], repeats: int = 3) -> tuple[float, object]:
    """Smallest CPU time of some calls in this process, in seconds, and the last result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def print_versions(*packages: str) -> None:
    """Print the versions of the packages that are compared with."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} absent")
    print(f"versions: {', '.join(found)}", flush=True)


def find_swarp() -> tuple[str, str] | None:
    """Name and version line of the SWarp program on this machine; None, said in a line, where it is absent."""
    name = next((name for name in ("SWarp", "swarp") if shutil.which(name)), None)
    if name is None:
        print("SWarp is not installed (Debian package swarp): the comparison with it is skipped.", flush=True)
        return None
    said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
    return name, (said.stdout + said.stderr).strip().split("\n")[0]
