"""Checks of spurious objects: verdicts at their limits, with the sampling errors, and without objects."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu4.objects.columns import make_object_table
from dmu4.review.spurious_truth import SpuriousCounts
from dmu5.spurious_checks import judge_spurious, spurious_checks


def counts(kept_real: int, called: int) -> SpuriousCounts:
    """10,000 kept objects, some of which are real, and 9,800 real ones, some of which are called spurious."""
    return SpuriousCounts(10_200, 9800, 10_000, kept_real, 5, called, 3)


@pytest.mark.parametrize(
    ("kept_real", "called", "verdicts"),
    [
        (9990, 10, ["pass", "pass"]),
        (9885, 60, ["pass", "pass"]),
        (9870, 70, ["warn", "warn"]),
        (9640, 250, ["fail", "fail"]),
        (9990, 70, ["pass", "warn"]),
    ],
)
def test_verdicts(kept_real: int, called: int, verdicts: list[str]) -> None:
    """1% and 0.5% pass with two sampling errors more, 3% and 2% with them are no failures; none stops a release."""
    checks = spurious_checks(counts(kept_real, called))
    assert [check.verdict for check in checks] == verdicts
    assert not any(check.stops for check in checks)


def test_values_are_told() -> None:
    """Each value has its error, its number, and what it would be without the cut."""
    left, lost = spurious_checks(counts(9900, 49))
    assert left.value == "99.00 +- 0.10% of 10000, 96.08% of all 10200"
    assert lost.value == "0.50 +- 0.07% of 9800"
    assert (left.limit, lost.limit) == (">= 99%, fails < 97%", "<= 0.5%, fails > 2%")


def test_nothing_warns() -> None:
    """Without objects nothing is known."""
    checks = spurious_checks(SpuriousCounts(0, 0, 0, 0, 0, 0, 0))
    assert [(check.value, check.verdict) for check in checks] == [("there are none", "warn")] * 2


def test_a_catalogue_is_judged() -> None:
    """Of 400 sources 397 are kept, three called spurious, and twelve objects far from any are told."""
    truth = Table({"ra": 35 + np.arange(400) / 360, "dec": np.full(400, -5.0)})
    probability = np.concatenate([np.full(397, 0.001), np.full(3, 0.6), np.full(2, 0.3), np.full(10, 0.95)])
    values = {
        "objectId": np.arange(1, 413),
        "coord_ra": np.concatenate([truth["ra"], 35 + np.arange(12) / 360]),
        "coord_dec": np.where(np.arange(412) < 400, -5.0, -5.01),
        "spuriousProbability": probability,
    }
    checks, table = judge_spurious(make_object_table(values, ("i",), length=412), truth)
    assert [check.value.split(" ")[0] for check in checks] == ["99.50", "0.75"]
    assert [check.verdict for check in checks] == ["pass", "pass"]
    assert list(table["objects"]) == [397, 5, 10]
    assert list(table["spurious"]) == pytest.approx([0, 0.4, 1])
