"""Point-source fluxes and widths: formulas for Gaussians, errors that are the scatter."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.band_fit import fit_band
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.point_sources import classify, point_fluxes
from dmu4.measurement.profiles import make_profiles
from dmu4.patches.cube import psf_sigma
from tests.scenes.tilted import CELLS, SHAPE, cell_psf, make_tilted, psf_at

PLACES = [(40.3, 30.8), (255.4, 150.1), (140.7, 95.2)]


def fitted(cube, places=PLACES):
    """Profiles of points, and what they leave of the only band of a cube."""
    x, y = np.array(places).T
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=cube.psf_size)
    return profiles, fit_band(cube, 0, profiles, find_overlaps(profiles))


def test_stars_have_their_flux_and_no_width():
    """Stars in cells of three different PSFs have their flux to 0.1% and an excess below 0.002, in any order."""
    fluxes = np.array([500.0, 900.0, 300.0])
    profiles, fit = fitted(make_tilted([(*place, flux) for place, flux in zip(PLACES, fluxes, strict=True)]))
    point = point_fluxes(profiles, fit, np.array([2, 0]))
    np.testing.assert_allclose(point.flux, fluxes[[2, 0]], rtol=1e-3)
    np.testing.assert_allclose(point.excess, 0, atol=2e-3)


def test_errors_follow_the_area_of_the_psf():
    """The error of a flux is the noise of a pixel times the root of the noise-equivalent area 4 pi sqrt(det)."""
    profiles, fit = fitted(make_tilted([(*place, 500.0) for place in PLACES], sigma=2.0))
    point = point_fluxes(profiles, fit, np.arange(3))
    for number, (x, y) in enumerate(PLACES):
        xx, yy, xy = psf_at(x=x, y=y)
        area = 4 * np.pi * np.sqrt(xx * yy - xy**2)
        assert point.error[number] == pytest.approx(2.0 * np.sqrt(area), rel=2e-3)


def test_excess_is_the_squared_width_before_the_seeing():
    """A source widened by s^2 has an excess of s^2 over the squared width of the mean PSF, to 8% where s is small."""
    cube = make_tilted([(*place, 500.0) for place in PLACES], shapes=[(0.15, 0.15, 0.0)] * 3)
    profiles, fit = fitted(cube)
    stamps = [cell_psf(row, column) for row in range(CELLS[0]) for column in range(CELLS[1])]
    mean = psf_sigma(np.mean(stamps, axis=0))
    assert fit.sigma == pytest.approx(mean, rel=1e-5)
    np.testing.assert_allclose(point_fluxes(profiles, fit, np.arange(3)).excess, 0.15 / mean**2, rtol=0.08)


def test_excess_errors_are_the_scatter(rng):
    """The scatter of the excess of a star in white noise is the quoted error to 10%, and so is that of its flux."""
    excess, flux = [], []
    for _ in range(300):
        cube = make_tilted([(*PLACES[0], 400.0)], noise=rng.normal(0, 2.0, SHAPE), sigma=2.0)
        profiles, fit = fitted(cube, PLACES[:1])
        point = point_fluxes(profiles, fit, np.arange(1))
        excess.append((point.excess[0], point.excess_error[0]))
        flux.append((point.flux[0], point.error[0]))
    for values, errors in (np.array(excess).T, np.array(flux).T):
        assert np.std(values) == pytest.approx(np.median(errors), rel=0.10)


def test_morphology_needs_width_significance_and_signal():
    """Extended: wider than the limit and by twice the error; unsaid below the signal to noise."""
    excess, error = np.array([0.3, 0.3, 0.05, 0.3, np.nan]), np.array([0.1, 0.2, 0.001, 0.1, 0.1])
    signal = np.array([20.0, 20, 900, 4.9, 20])
    np.testing.assert_array_equal(classify(excess, error, signal, limit=0.1), [1, 0, 0, np.nan, np.nan])
