"""Fluxes of models in one band, and what is said of their neighbours and residuals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.measurement.band_fit import fit_band
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.galaxy_fluxes import model_chi2, model_fluxes, neighbour_fraction
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.structure import Structure
from tests.scenes.tilted import make_tilted, psf_at

SIGMA = 2.0
PAIR = [(140.7, 95.2), (144.0, 96.9)]
ALONE = (60.3, 40.8)
RADIUS, CIRCLE = np.array([1.0, 5.0, 20.0]), np.array([1.0, 1.5, 3.0])
ONE = ErrorInflation(psf=1.2, gaap=np.ones(1), radius=RADIUS, circle=CIRCLE, samples=99)


def fitted(places, fluxes, *, covariance=None, shapes=None):
    """The fit of one band with models of given discs at the places of sources."""
    cube = make_tilted([(*p, f) for p, f in zip(places, fluxes, strict=True)], sigma=SIGMA, shapes=shapes)
    x, y = np.array(places).T
    profiles = make_profiles(x=x, y=y, covariance=covariance, psf_size=cube.psf_size)
    return profiles, fit_band(cube, 0, profiles, find_overlaps(profiles))


def test_light_of_neighbours():
    """Two Gaussians d apart overlap by rho = exp(-d P^-1 d / 4): at one, b rho / (a + b rho) is not its own."""
    a, b = 500.0, 900.0
    _, fit = fitted([*PAIR, ALONE], [a, b, 700.0])
    xx, yy, xy = psf_at(x=PAIR[0][0], y=PAIR[0][1])
    dx, dy = PAIR[1][0] - PAIR[0][0], PAIR[1][1] - PAIR[0][1]
    rho = np.exp(-0.25 * (yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / (xx * yy - xy**2))
    assert rho > 0.2
    expected = [b * rho / (a + b * rho), a * rho / (b + a * rho), 0]
    np.testing.assert_allclose(neighbour_fraction(fit), expected, atol=0.01)


def test_chi2_is_that_of_the_pixels():
    """A residual of three sigma in every pixel has a chi^2 of nine; without data there is none."""
    _, fit = fitted([ALONE, PAIR[0]], [500.0, 600.0])
    off = replace(fit, residual=np.full(fit.residual.shape, 3 * SIGMA, np.float32))
    np.testing.assert_allclose(model_chi2(off), 9, rtol=1e-5)
    nothing = replace(off, usable=np.zeros_like(fit.usable))
    assert np.isnan(model_chi2(nothing)).all()


def test_fluxes_of_points_without_a_structure_are_point_fluxes():
    """What was not fitted keeps the flux and error of the point source."""
    profiles, fit = fitted([ALONE, PAIR[0]], [500.0, 600.0])
    given = {"point": np.array([1.0, 2.0]), "point_error": np.array([0.25, 0.5])}
    found = model_fluxes(profiles, fit, Structure.none(2), ONE, **given)
    np.testing.assert_array_equal(found.flux, [1, 2])
    np.testing.assert_array_equal(found.error, [0.25, 0.5])


def test_a_small_structure_changes_the_flux_of_a_point():
    """A Gaussian galaxy subtracted as a point gets the flux of its structure: total where the point's is too low."""
    shape = (3.0, 2.0, 0.5)
    profiles, fit = fitted([ALONE], [800.0], shapes=[shape])
    # A disc of this covariance is as wide as that Gaussian at small frequencies: sum of w v of a disc is 1.065.
    disc = {"disc": np.array([shape]) / 1.065, "chi2_over_point": np.array([9.0])}
    structure = replace(Structure.none(1), **disc, flux_error=np.array([0.03]))
    found = model_fluxes(profiles, fit, structure, ONE, point=np.array([500.0]), point_error=np.array([5.0]))
    assert fit.forced.flux[0] < 0.9 * 800
    assert found.flux[0] == pytest.approx(800, rel=0.03)
    assert found.error[0] > 0.03 * found.flux[0]


def test_errors_are_those_of_the_area_of_the_model():
    """The error of a wide disc is inflated by the circle of its area; that of the shape is added in quadrature."""
    shape = np.array([[16.0, 16.0, 0.0]])
    profiles, fit = fitted([ALONE], [800.0], covariance=shape)
    structure = replace(Structure.none(1), disc=shape, flux_error=np.zeros(1), chi2_over_point=np.array([9.0]))
    point = {"point": np.ones(1), "point_error": np.ones(1)}
    plain = model_fluxes(profiles, fit, structure, ONE, **point)
    areas = np.array([1 / fit.forced.power[0], 4 * np.pi * fit.sigma**2])
    of_model, of_psf = np.interp(np.sqrt(areas / np.pi), RADIUS, CIRCLE)
    assert of_model > 1.15 * of_psf
    assert plain.error[0] == pytest.approx(1.2 * of_model / of_psf * fit.forced.error[0], rel=1e-6)
    more = model_fluxes(profiles, fit, replace(structure, flux_error=np.array([0.1])), ONE, **point)
    assert more.error[0] == pytest.approx(np.hypot(plain.error[0], 0.1 * plain.flux[0]), rel=1e-6)
