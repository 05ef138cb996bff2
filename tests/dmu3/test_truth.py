"""Fluxes beside the truth: which stars count, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu3.truth import compare_fluxes

DEC = -63.0
EAST = 1 / np.cos(np.radians(DEC)) / 3600
"""An arcsecond to the east, in degrees of right ascension."""


def test_which_stars_count_and_what_is_said() -> None:
    """Of eight true sources: three stars of 3, 4 and 14% too bright; a galaxy, a faint, a blended, a missed, a NaN."""
    ra = 359.999 + 20 * EAST * np.arange(9)
    truth = Table({"id": np.arange(9), "ra": ra % 360, "dec": np.full(9, DEC)})
    truth["type"] = ["star", "star", "star", "galaxy", "star", "star", "star", "star", "star"]
    truth["flux_vk"] = [1000.0, 2000, 500, 1000, 199, 1000, 1000, 1000, 100]
    # The last, a tenth as bright as the sixth, is 1 arcsec beside it.
    truth["ra"][8] = truth["ra"][5] + EAST
    measured = np.array([1030.0, 2080, 570, 1500, 210, 1300, 900, np.nan, 100])
    seen = np.array([7, 2, 0, 3, 1, 4, 5])
    found = compare_fluxes(
        truth,
        np.asarray(truth["ra"])[seen] + 0.2 * EAST,
        np.asarray(truth["dec"])[seen] - 0.1 / 3600,
        measured[seen],
        np.full(7, 10.0),
        "vk",
    )
    assert found.band == "vk"
    order = np.argsort(found.true)
    assert found.true[order].tolist() == [500, 1000, 2000]
    assert found.ratio[order] == pytest.approx([1.14, 1.03, 1.04])
    assert found.pull[order] == pytest.approx([7, 3, 8])
    assert (len(found), found.bias) == (3, pytest.approx(0.04))
    # Quartiles of 1.03, 1.04 and 1.14 are 1.035 and 1.09, which is 1.349 sigma apart.
    assert found.scatter > 0
    none = compare_fluxes(truth, np.array([10.0]), np.array([0.0]), np.array([1.0]), np.array([1.0]), "vk")
    assert np.isnan(none.bias)
