"""The error of the mean zero point of detectors that share the sky."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu4.review.visit_truth import mean_zero_point_error

SIDE = 0.2
"""Side of a detector in deg."""


def detectors(places: list[tuple[float, float]], errors: list[float]) -> Table:
    """Square detectors at places (deg east along the sky, deg north of -60) around RA 0."""
    east, north = np.array(places).T
    dec = -60.0 + north
    rows = Table({"ra": east / np.cos(np.radians(dec)) % 360, "dec": dec, "zero_point_err": errors})
    for k, (x, y) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        rows[f"ra{k}"] = (east + x * SIDE / 2) / np.cos(np.radians(dec)) % 360
        rows[f"dec{k}"] = dec + y * SIDE / 2
    return rows


def test_detectors_apart_are_independent() -> None:
    """Three detectors without common sky: the root of the sum of squares, over three; one without an error is none."""
    apart = detectors([(-0.25, 0.0), (0.0, 0.0), (0.25, 0.0), (0.5, 0.0)], [0.01, 0.02, 0.02, np.nan])
    assert mean_zero_point_error(apart) == pytest.approx(0.03 / 3, rel=1e-3)


def test_detectors_on_the_same_stars_share_their_error() -> None:
    """Four detectors at one place are no better than one; a quarter of common sky correlates by a quarter."""
    assert mean_zero_point_error(detectors([(0.01, 0.0)] * 4, [0.015] * 4)) == pytest.approx(0.015)
    part = detectors([(-0.05, 0.0), (0.05, SIDE / 2)], [0.01, 0.03])
    expected = np.sqrt(0.01**2 + 0.03**2 + 2 * 0.25 * 0.01 * 0.03) / 2
    assert mean_zero_point_error(part) == pytest.approx(expected, rel=0.01)


def test_without_any_error_it_is_unknown() -> None:
    """Zero points from headers have no error."""
    assert np.isnan(mean_zero_point_error(detectors([(0.0, 0.0)], [np.nan])))
