"""Galaxies beside brighter ones: disc and bulge of the brighter are subtracted before the fainter is fitted."""

from __future__ import annotations

import numpy as np
import pytest

from dmu0.robust_statistics import robust_scatter
from dmu4.measurement import object_shapes
from dmu4.measurement.iterations import ShapeSettings
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.patches.cube import PatchCube
from tests.scenes.galaxies import BANDS, SIGMA, Galaxies, make_galaxies, make_patch, with_neighbours

SIDE, DISTANCE = 6, 22


@pytest.fixture(scope="module", params=[3, 4])
def scene(request: pytest.FixtureRequest) -> tuple[Galaxies, PatchCube]:
    """Galaxies of 25 to 80 sigma, each 3.7 arcsec from one that is 50 times as bright."""
    rng = np.random.default_rng(request.param)
    galaxies = make_galaxies(rng, side=SIDE, fraction=0.3, signal_to_noise=(25, 80))
    both = with_neighbours(galaxies, rng, ratio=50, distance=DISTANCE)
    return both, make_patch(both, rng, side=SIDE, border=DISTANCE)


def ratios(scene: tuple[Galaxies, PatchCube], *, companions: bool = True) -> np.ndarray:
    """Model fluxes over the truth of all galaxies [N, band]; those with neighbours first, then the neighbours.

    Nothing that remains of the galaxies is taken for a companion.
    """
    galaxies, cube = scene
    place = {"x": np.rint(galaxies.x), "y": np.rint(galaxies.y)}
    reference = np.argmax(galaxies.flux / np.array(SIGMA), axis=1)
    found = measure(
        cube,
        **place,
        reference=reference,
        settings=MeasurementSettings(ShapeSettings(companions=companions), threads=1),
    )
    assert len(found.shapes.x) == len(galaxies.x)
    return np.column_stack([found.bands[band].cmodel.value for band in BANDS]) / galaxies.flux


def test_fluxes_beside_brighter_galaxies_are_not_biased(scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """True to 2% and two sampling errors in the median of each band; with single discs they are 10% too bright."""
    n, found = SIDE**2, ratios(scene)
    spread = 1.25 * robust_scatter(found[:n].ravel()) / np.sqrt(n)
    assert np.abs(np.median(found[:n], axis=0) - 1).max() < 0.02 + 2 * spread
    assert np.abs(np.median(found[n:], axis=0) - 1).max() < 0.01
    monkeypatch.setattr(object_shapes, "BRIGHT_GALAXY", np.inf)
    assert np.median(ratios(scene, companions=False)[:n], axis=0).min() > 1.1
