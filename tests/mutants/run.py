"""Plant known mistakes in the code, one at a time, and see whether the tests notice: ``make mutants``.

Each entry of ``mutants.json`` has the text ``old``, which stands once in the modules, and ``new``, a realistic
mistake. The tests that mirror the module's folder are run first, then those of its stage; products of `make sample`
are not read. A mistake that nobody notices is a hole in the tests. The code is restored after each, whatever happens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.json")


def modules() -> list[Path]:
    """Every module of the project that is no test, relative to it."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split() if not name.startswith("tests/")]


def find_module(text: str) -> Path | None:
    """The one module in which a text stands exactly once and no other has it; None where that is not so."""
    counts = {path: (PROJECT / path).read_text().count(text) for path in modules()}
    holders = [path for path, count in counts.items() if count]
    return holders[0] if len(holders) == 1 and counts[holders[0]] == 1 else None


def folders_of_tests(module: Path) -> list[str]:
    """The folders of tests to run for a module, the nearest first."""
    mirrored = [Path("tests") / module.parent, Path("tests") / module.parts[0]]
    return list(dict.fromkeys(str(folder) for folder in mirrored if (PROJECT / folder).is_dir()))


def is_noticed(module: Path, jobs: str) -> bool:
    """Whether the tests of a module, or those of its stage, fail as the code stands."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--numprocesses", jobs, "--dist", "loadfile"]
    for folder in folders_of_tests(module):
        done = subprocess.run([*command, "-m", "not release", folder], cwd=PROJECT, capture_output=True, check=False)
        if done.returncode not in (0, 5):  # 5: no test in the folder
            return True
    return False


def plant(entry: dict[str, str], jobs: str) -> str:
    """Plant one mistake, run the tests, restore the code: ``noticed``, ``MISSED`` or ``gone``."""
    module = find_module(entry["old"])
    if module is None:
        return "gone"
    path = PROJECT / module
    whole = path.read_text()
    try:
        path.write_text(whole.replace(entry["old"], entry["new"]))
        return "noticed" if is_noticed(module, jobs) else "MISSED"
    finally:
        path.write_text(whole)


def main() -> int:
    """Plant all, or those named; 1 if one is missed or its text is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, nargs="*", default=[], help="numbers in the list, counted from 1")
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    changed = ["git", "status", "--porcelain", "--untracked-files=no"]
    if subprocess.run(changed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout:
        print("The tree has changes: commit or stash them first, because the code is rewritten.", file=sys.stderr)
        return 2
    counts = {"noticed": 0, "MISSED": 0, "gone": 0}
    for number, entry in enumerate(json.loads(LIST.read_text()), start=1):
        if options.only and number not in options.only:
            continue
        begin = time.monotonic()
        state = plant(entry, options.jobs)
        counts[state] += 1
        print(f"{number:3d} {state:8s}{time.monotonic() - begin:6.0f} s  {entry['title']}", flush=True)
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    return int(bool(counts["MISSED"] + counts["gone"]))


if __name__ == "__main__":
    sys.exit(main())
