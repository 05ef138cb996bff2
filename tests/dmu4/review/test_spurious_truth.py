"""Spurious objects against the truth: counts by hand, moving stars, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu4.objects.columns import make_object_table
from dmu4.review.spurious_truth import SpuriousCounts, count_spurious, has_source, spurious_calibration

ARCSEC = 1 / 3600
DEC = -60.0
YEARS_LATER = 57000.0 + 4 * 365.25


@pytest.fixture
def truth():
    """Five sources 20 arcsec apart, of which the last moves 0.5 arcsec a year in right ascension."""
    return Table(
        {
            "ra": 35 + np.arange(5) * 20 * ARCSEC,
            "dec": np.full(5, DEC),
            "pm_ra": [0, 0, 0, 0, 500.0],
            "pm_dec": np.zeros(5),
        },
        meta={"epoch_mjd_tai": 57000.0},
    )


@pytest.fixture
def objects(truth):
    """Nine objects: four on sources, two beside one, one far from all, and the moving star as both surveys see it."""
    east = np.array([0.1, 0.2, -0.3, 0.1, 0.8, -0.95, 8.0, 0.0, 2.0])
    near = np.array([0, 1, 2, 3, 0, 1, 2, 4, 4])
    values = {
        "objectId": np.arange(1, 10),
        "detect_isPrimary": np.ones(9, bool),
        "coord_ra": np.asarray(truth["ra"])[near] + east * ARCSEC / np.cos(np.radians(DEC)),
        "coord_dec": np.full(9, DEC),
        "spuriousProbability": np.array([0.0, 0.1, 0.5, np.nan, 0.2, 0.49, 0.3, 0.1, 0.0]),
        "i_epoch": np.full(9, 57000.0),
        "vk_epoch": np.full(9, YEARS_LATER),
    }
    return make_object_table(values, ("i", "vk"), length=9)


def test_a_moving_star_is_at_several_places(objects, truth):
    """It is the source of an object at the epoch of each survey; without its motion only of one."""
    assert list(has_source(objects, truth)) == [True] * 4 + [False] * 3 + [True] * 2
    resting = truth["ra", "dec"]
    resting.meta = truth.meta
    assert list(has_source(objects, resting)) == [True] * 4 + [False] * 3 + [True, False]


def test_counts_by_hand(objects, truth):
    """One half is called spurious; what is not known is neither called so nor kept."""
    found = count_spurious(objects, truth, has_source(objects, truth))
    assert found == SpuriousCounts(all=9, real=6, kept=7, kept_real=4, beside=2, called=1, unknown=1)


def test_nothing_left(objects, truth):
    """If only real objects are kept, none is beside one; without objects all counts are zero."""
    assert count_spurious(objects[:2], truth, has_source(objects[:2], truth)) == SpuriousCounts(2, 2, 2, 2, 0, 0, 0)
    assert count_spurious(objects[:0], truth, has_source(objects[:0], truth)) == SpuriousCounts(0, 0, 0, 0, 0, 0, 0)


def test_calibration_counts_objects_without_a_source(objects, truth):
    """Of the objects of 0.3 to 0.7 two of three have no source, of those below 0.02 none; NaN is left out."""
    table = spurious_calibration(objects, has_source(objects, truth))
    assert table.colnames == ["from", "to", "objects", "probability", "spurious", "sampling"]
    rows = {row["from"]: row for row in table}
    assert (rows[0.3]["objects"], rows[0.0]["objects"]) == (3, 2)
    assert rows[0.3]["spurious"] == pytest.approx(2 / 3)
    assert rows[0.3]["probability"] == pytest.approx((0.5 + 0.49 + 0.3) / 3)
    assert rows[0.0]["spurious"] == 0
    assert sum(table["objects"]) == 8
