"""Saturated stars: fluxes from their wings, and neighbours that do not feel their cores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.measurement.band_fit import fit_band
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.measurement.profiles import make_profiles
from dmu4.patches.cube import FLAG_BIT, PatchCube
from tests.scenes.galaxies import BANDS, PIXEL_SCALE, Galaxies, make_galaxies, make_patch, psf_of

STAR, FLUX, LEVEL = (101.3, 83.6), 1.2e6, 3000.0
"""Position of the star in pixels, its flux in all bands and the value at which pixels saturate, nJy."""

BAND = BANDS.index("i")


@pytest.fixture(scope="module")
def scene() -> tuple[PatchCube, Galaxies]:
    """Four galaxies of 100 sigma, 4 to 12 arcsec from a star that is saturated in i, and is masked there."""
    rng = np.random.default_rng(8)
    galaxies = make_galaxies(rng, side=2, fraction=0.4, signal_to_noise=(80.0, 140.0), bulge_size=0.6)
    cube = make_patch(galaxies, rng)
    for number in range(len(BANDS)):
        column, row = (round(v) for v in STAR)
        place = {"nx": 121, "ny": 121, "scale": PIXEL_SCALE, "offset": (STAR[0] - column, STAR[1] - row)}
        stamp = (FLUX * psf_of(number)).drawImage(**place, method="no_pixel", dtype=float).array
        part = np.s_[row - 60 : row + 61, column - 60 : column + 61]
        cube.image[..., number][part] += stamp
    image, flags = cube.image[..., BAND], cube.flags[..., BAND]
    flags[image > LEVEL] |= FLAG_BIT["SAT"]
    image[image > LEVEL] = LEVEL
    return cube, galaxies


def measured(cube: PatchCube, galaxies: Galaxies):
    """Measurements of the star and the galaxies, in this order."""
    x, y = (np.append(star, of_galaxies) for star, of_galaxies in zip(STAR, (galaxies.x, galaxies.y), strict=True))
    reference = np.full(len(x), BAND)
    return measure(cube, x=np.rint(x), y=np.rint(y), reference=reference, settings=MeasurementSettings(threads=1))


def test_the_flux_of_a_saturated_star_is_that_of_its_wings(scene) -> None:
    """It is true to 1%, flagged, and nothing is left around the core."""
    cube, galaxies = scene
    saturated = cube.flags[..., BAND] & FLAG_BIT["SAT"] != 0
    assert saturated.sum() > 60
    found = measured(cube, galaxies)
    one = found.bands["i"]
    assert one.psf.value[0] == pytest.approx(FLUX, rel=0.01)
    assert one.psf.flag[0]
    assert not one.psf.flag[1:].any()
    assert not found.bands["g"].psf.flag.any()
    x, y = np.array([STAR]).T
    points = make_profiles(x=x, y=y, covariance=None, psf_size=cube.psf_size)
    residual = fit_band(cube, BAND, points, find_overlaps(points)).residual
    assert (residual[saturated] == 0).all()
    rows, columns = np.indices(residual.shape)
    near = (np.hypot(columns - STAR[0], rows - STAR[1]) < 12) & ~saturated
    assert np.abs(residual[near]).max() < 0.01 * LEVEL


def test_neighbours_of_saturated_stars_have_true_fluxes(scene) -> None:
    """Model fluxes of galaxies are true to one error; with a core that is not masked one is wrong by three."""
    cube, galaxies = scene
    found = measured(cube, galaxies).bands["i"].cmodel
    pulls = (found.value[1:] - galaxies.flux[:, BAND]) / found.error[1:]
    assert np.abs(pulls).max() < 1
    unmasked = measured(replace(cube, flags=np.zeros_like(cube.flags)), galaxies).bands["i"].cmodel
    assert np.abs((unmasked.value[1:] - galaxies.flux[:, BAND]) / found.error[1:]).max() > 3
