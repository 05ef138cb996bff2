"""Compare the type errors of each file with a baseline that may only shrink: ``make types``.

``type_errors.json`` counts the existing mypy errors per file. A file with more errors than its count fails the check;
one with fewer is named, so that the smaller count is recorded.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

BASELINE = Path(__file__).with_name("type_errors.json")
_ERROR = re.compile(r"^(?P<file>[^:]+\.py):\d+(?::\d+)?: error: ")


def mypy_errors() -> list[str]:
    """The lines in which mypy reports an error, for the files named in pyproject.toml.

    Raises
    ------
    RuntimeError
        If mypy itself failed.
    """
    run = subprocess.run([sys.executable, "-m", "mypy"], capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1):
        raise RuntimeError(f"mypy failed with code {run.returncode}:\n{run.stdout}{run.stderr}")
    return [line for line in run.stdout.splitlines() if _ERROR.match(line)]


def count_by_file(lines: list[str]) -> dict[str, int]:
    """Number of errors per file, in the order of the names.

    Parameters
    ----------
    lines
        Errors in the format of mypy: ``path:line: error: text  [code]``.
    """
    counts = Counter(match["file"] for line in lines if (match := _ERROR.match(line)))
    return dict(sorted(counts.items()))


def compare(found: dict[str, int], baseline: dict[str, int]) -> tuple[list[str], list[str]]:
    """The files that have more errors than the baseline allows, and those that have fewer.

    Parameters
    ----------
    found, baseline
        Number of errors per file; files that are not listed have none.
    """
    names = sorted(found.keys() | baseline.keys())
    more = [name for name in names if found.get(name, 0) > baseline.get(name, 0)]
    fewer = [name for name in names if found.get(name, 0) < baseline.get(name, 0)]
    return more, fewer


def report(lines: list[str], baseline: dict[str, int]) -> list[str]:
    """The deviations from the baseline as readable lines; empty if every file agrees with it."""
    found = count_by_file(lines)
    more, fewer = compare(found, baseline)
    said = []
    for name in more:
        said.append(f"{name}: {found[name]} type errors, {baseline.get(name, 0)} in the baseline")
        said += [f"  {line}" for line in lines if (match := _ERROR.match(line)) and match["file"] == name]
    for name in fewer:
        said.append(f"{name}: {found.get(name, 0)} type errors, fewer than the {baseline[name]} of the baseline")
    if more:
        said.append("Mend the new errors. A file that was renamed: make types UPDATE=1.")
    elif fewer:
        said.append(f"The baseline can shrink: make types UPDATE=1, and commit {BASELINE.name}.")
    return said


def write_baseline(found: dict[str, int], path: Path) -> None:
    """Write a baseline that has no more errors in total than the one that it replaces.

    Raises
    ------
    ValueError
        If the new baseline would be larger.
    """
    if path.exists():
        before, after = sum(json.loads(path.read_text()).values()), sum(found.values())
        if after > before:
            raise ValueError(f"{path.name} may only shrink: it counts {before} errors, and there are {after} now.")
    path.write_text(json.dumps(found, indent=1) + "\n")


def main() -> int:
    """Exit code 0 if no file has more errors than in the baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the smaller counts down")
    update = parser.parse_args().update
    lines = mypy_errors()
    if update:
        try:
            write_baseline(count_by_file(lines), BASELINE)
        except ValueError as error:
            print("\n".join([*report(lines, json.loads(BASELINE.read_text())), str(error)]), file=sys.stderr)
            return 1
    baseline = json.loads(BASELINE.read_text())
    said, found = report(lines, baseline), count_by_file(lines)
    print("\n".join(said), file=sys.stderr, end="\n" if said else "")
    failed = bool(compare(found, baseline)[0])
    print("mypy: new errors" if failed else f"mypy: {len(lines)} known errors in {len(found)} files")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
