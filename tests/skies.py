"""Make and judge the sample under other skies: ``make seeds SEEDS="777 778"``.

Limits that one sky keeps by chance, or by tuning, are kept by others only if the code is right. Each sky is released,
judged by ``tests/test_release.py`` as the sample is, and enters the means of what is judged, which have half the limit.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmu0.files.paths import PROJECT
from dmu0.surveys import load_survey
from dmu0.truth import read_truth
from dmu4.review.galaxy_truth import colour_offsets
from dmu5.checks import Check, read_checks
from dmu5.diagnostics import primary
from dmu5.steps import read_catalogue

SEED = re.compile(r"^(\s+seed:\s*)\d+\s*$", re.M)
NUMBER = re.compile(r"^([-+]?\d+\.?\d*)(%?)(?: \+- (\d+\.?\d*))?")
BESIDE = re.compile(r", (?:measured|depth) (\d+\.?\d*)")
SHARE = re.compile(r"^(\d+) of (\d+)$")
BOTH_SIDES = re.compile(r"^1 \+- (\d+\.?\d*)(%?)")
ONE_SIDE = re.compile(r"^<= (\d+\.?\d*)(%?)")
AT_LEAST = re.compile(r"^>= (\d+\.?\d*)%")


class Judged(NamedTuple):
    """The number behind a check.

    Attributes
    ----------
    deviation
        Value of a check with one limit, what is missing to 100% if this is the least; what differs from one, of one
        with limits on both sides.
    limit
        Largest size of the mean over skies: half that of one sky where deviations have signs.
    error
        Sampling error of the number, where the check gives it; otherwise 0.
    """

    deviation: float
    limit: float
    error: float = 0.0


def sky_of(seed: int, folder: Path) -> Path:
    """Write the survey file of the sample with another seed, if it is not there; returns its path."""
    text = load_survey("sample").path.read_text()
    if len(SEED.findall(text)) != 1:
        raise ValueError("sample.yaml does not have one line with a seed")
    text = SEED.sub(rf"\g<1>{seed}", text).replace("name: sample\n", f"name: sample_{seed}\n", 1)
    path = folder / f"sample_{seed}.yaml"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def judged(check: Check) -> Judged | None:
    """The number of a check and its limit for a mean over skies.

    None if the check gives no number, has no such limit, or is the worst of several numbers, which has no mean.
    """
    value, both, one = NUMBER.match(check.value), BOTH_SIDES.match(check.limit), ONE_SIDE.match(check.limit)
    least = AT_LEAST.match(check.limit)
    if value is None or not (both or one or least) or "worst of" in check.check:
        return None
    number, percent, error = float(value[1]), bool(value[2]), float(value[3] or 0)
    if least is not None:
        return Judged(100 - number, 100 - float(least[1]), error) if "%" in check.value else None
    if both is not None:
        return Judged(
            number if percent else number - 1, 0.5 * float(both[1]) / (1 if percent or not both[2] else 100), error
        )
    beside, share = BESIDE.search(check.value), SHARE.match(check.value)
    if beside is not None:
        number -= float(beside[1])
    elif share is not None and one[2]:
        number = 100 * number / max(float(share[2]), 1)
    return Judged(number, float(one[1]), error)


def means(skies: Iterable[Mapping[str, Judged]]) -> list[tuple[str, Judged, int]]:
    """Check, mean over the skies that have it with its limit and error, and their number."""
    found = defaultdict(list)
    for sky in skies:
        for name, one in sky.items():
            found[name].append(one)
    return [
        (
            name,
            Judged(
                float(np.mean([one.deviation for one in those])),
                those[0].limit,
                float(np.sqrt(np.sum([one.error**2 for one in those])) / len(those)),
            ),
            len(those),
        )
        for name, those in found.items()
    ]


COLOURS = (("g", "vk"), ("i", "vj"), ("r", "i"), ("vj", "vk"))
"""Colours of galaxies whose bias is judged."""

COLOUR_LIMIT = 0.005
"""Largest mean bias of a colour over skies, mag."""


def numbers_of(name: str) -> dict[str, Judged]:
    """Check -> its number, of all checks of a release that have one, and of the colours of its galaxies."""
    survey = load_survey(name)
    rows = (row for of_step in read_checks(survey.folders[5] / "checks").values() for row in of_step)
    found = {row.check: one for row in rows if (one := judged(row)) is not None}
    objects, truth = primary(read_catalogue(survey)), read_truth(survey)
    for kind in ("gaap0p7Flux", "gaap1p0Flux", "cModelFlux"):
        for row in colour_offsets(objects, truth, kind, COLOURS):
            what = f"{row['colour']} of galaxies, {kind}: bias"
            found[what] = Judged(float(row["median"]), COLOUR_LIMIT, float(row["sampling"]))
    return found


def main() -> int:
    """Release the skies, judge each, and print the means; the exit code says whether all is within its limits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", nargs="+", type=int)
    paths = [str(sky_of(seed, PROJECT / "dmu0" / "data")) for seed in parser.parse_args().seeds]
    failed = False
    for path in paths:
        failed |= (
            subprocess.run(["make", "--no-print-directory", "release", f"SURVEY={path}"], check=False).returncode != 0
        )
    names = " or ".join(Path(path).stem for path in paths)
    command = [sys.executable, "-m", "pytest", "-q", "-k", names, "tests/test_release.py"]
    judge = subprocess.run(command, env={**os.environ, "OTHER_SKIES": " ".join(paths)}, cwd=PROJECT, check=False)
    rows = means(numbers_of(path) for path in paths)
    for name, mean, count in sorted(rows, key=lambda row: -abs(row[1].deviation) / row[1].limit):
        # As everywhere, a limit contains two sampling errors of what it judges.
        beyond = abs(mean.deviation) > mean.limit + 2 * mean.error
        figures = f"mean {mean.deviation:+.3f} +- {mean.error:.3f} of {count} skies (limit {mean.limit:g})"
        print(f"{'beyond' if beyond else 'within'}  {name}: {figures}")
        failed |= beyond
    return int(failed or judge.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
