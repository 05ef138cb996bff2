"""Completeness and purity against a known sky."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table, vstack

from dmu5.selection_function import (
    Curve,
    completeness_curve,
    depth_map,
    expected_completeness,
    purity_curve,
)

EDGES = np.arange(18, 27.5, 0.5)


def test_completeness_falls_at_the_limit(truth: Table, objects: Table) -> None:
    """Bright sources are all found, those beyond the limit of every band are not."""
    curve = completeness_curve(truth, objects, "i", edges=EDGES, kind="star")
    assert curve.fraction[:10].min() > 0.9
    assert curve.total.sum() == 500


def test_false_objects_lower_the_purity(truth: Table, objects: Table, rng: np.random.Generator) -> None:
    """As many false objects as real ones between 20 and 21: half are real there, all elsewhere."""
    here = (np.asarray(objects["vk_psfFlux"]) > 14454) & (np.asarray(objects["vk_psfFlux"]) < 36308)
    false = objects[here].copy()
    false["coord_dec"] += 0.3
    curve = purity_curve(truth, vstack([objects, false]), "vk", edges=EDGES)
    inside = (curve.middle > 20) & (curve.middle < 21)
    assert curve.fraction[inside] == pytest.approx(0.5, abs=0.05)
    assert np.nanmin(curve.fraction[~inside]) > 0.9


def test_expected_completeness(objects: Table) -> None:
    """Half at the 5-sigma depth, nearly all one magnitude brighter, nothing without a depth."""
    chance = expected_completeness(objects, "g", np.array([24.0, 25.65, 28.0]))
    assert chance[0] > 0.999
    assert chance[1] == pytest.approx(0.5, abs=0.01)
    assert chance[2] < 0.01
    objects["g_usable"] = False
    assert np.isnan(expected_completeness(objects, "g", np.array([24.0]))).all()


def test_limit_of_a_curve() -> None:
    """The magnitude where a curve falls through a half is interpolated; empty bins are skipped."""
    curve = Curve(np.arange(20.0, 26), np.array([10, 10, 0, 10, 10]), np.array([10, 8, 0, 4, 0]))
    assert curve.limit(0.5) == pytest.approx(21.5 + 2 * 0.75)
    assert np.isnan(curve.fraction[2])
    assert (curve.error[[0, 1]] > 0).all()
    assert np.isnan(curve.limit(1.5))
    noisy = Curve(np.arange(20.0, 26), np.array([6, 100, 100, 100, 100]), np.array([2, 90, 88, 30, 5]))
    bright = 180 / 206
    assert noisy.limit(0.5) == pytest.approx(22.5 + (bright - 0.5) / (bright - 0.3))


def test_depth_map(objects: Table) -> None:
    """The map has the depth of the objects in each cell, and NaN in cells without any."""
    objects["g_depth5"][np.asarray(objects["coord_ra"]) > 150] += 0.3
    depth, extent = depth_map(objects, "g", cells=4)
    assert np.nanmedian(depth[:, 3] - depth[:, 0]) == pytest.approx(0.3, abs=1e-3)
    assert extent[0] < 150 < extent[1]
    empty, _ = depth_map(objects[:0], "g", cells=4)
    assert np.isnan(empty).all()
