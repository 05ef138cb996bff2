"""Rendering: Gaussians, profiles and the PSF against their formulae."""

from __future__ import annotations

import numpy as np
import pytest

from dmu0.sample.psf import random_psf
from dmu0.sample.render import (
    BULGE_FRACTION,
    BULGE_VARIANCE,
    DISK_FRACTION,
    DISK_VARIANCE,
    PSF_FRACTION,
    PSF_SIGMA,
    add_gaussian,
    enclosed_fraction,
    noise_area,
    profile_covariance,
    render,
)


def _mixture(radius: np.ndarray, fraction: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return (fraction / (2 * np.pi * variance) * np.exp(-0.5 * radius[:, np.newaxis] ** 2 / variance)).sum(1)


def test_gaussian_is_its_formula() -> None:
    """The recurrence along rows equals the exponential, for an inclined ellipse off the pixel centres."""
    image = np.zeros((41, 45))
    add_gaussian(image, 21.3, 19.6, 100.0, 9.0, 3.0, 4.0, 1e-12)
    y, x = np.mgrid[:41, :45]
    offset = np.stack([x - 21.3, y - 19.6], axis=-1)
    exponent = np.einsum("...i,ij,...j", offset, np.linalg.inv([[9.0, 3.0], [3.0, 4.0]]), offset)
    expected = 100 / (2 * np.pi * np.sqrt(27)) * np.exp(-0.5 * exponent)
    drawn = image > 0
    np.testing.assert_allclose(image[drawn], expected[drawn], rtol=1e-9)
    assert expected[~drawn].max(initial=0) < 1e-6


def test_gaussian_outside_draws_nothing() -> None:
    """A source off the image leaves it as it is, and one across the edge draws its part."""
    image = np.zeros((10, 10))
    add_gaussian(image, -50.0, 5.0, 10.0, 2.0, 0.0, 2.0, 1e-6)
    assert not image.any()
    add_gaussian(image, -0.5, 5.0, 10.0, 2.0, 0.0, 2.0, 1e-9)
    assert image.sum() == pytest.approx(5, abs=0.01)


def test_psf_is_a_moffat() -> None:
    """Three Gaussians follow a Moffat profile of beta 3.5 within 0.3 % of its peak, with its FWHM within 0.3 %."""
    radius = np.linspace(0, 4, 400)
    width = 0.5 / np.sqrt(2 ** (1 / 3.5) - 1)
    moffat = 2.5 / (np.pi * width**2) * (1 + (radius / width) ** 2) ** -3.5
    psf = _mixture(radius, PSF_FRACTION, PSF_SIGMA**2)
    assert PSF_FRACTION.sum() == pytest.approx(1, abs=1e-7)
    assert np.abs(psf - moffat).max() < 0.003 * moffat[0]
    assert 2 * np.interp(-0.5 * psf[0], -psf, radius) == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize(
    ("fraction", "variance", "half_light"),
    [(DISK_FRACTION, DISK_VARIANCE, 0.986), (BULGE_FRACTION, BULGE_VARIANCE, 0.915)],
)
def test_profiles_have_their_half_light_radius(fraction, variance, half_light) -> None:
    """Half of the light is inside radius 1, less what the published profiles lose: they end at 4 and 8 radii."""
    radius = np.linspace(0.5, 1.5, 2001)
    inside = (fraction * -np.expm1(-0.5 * radius[:, np.newaxis] ** 2 / variance)).sum(1)
    assert np.interp(0.5, inside, radius) == pytest.approx(half_light, abs=0.002)


def test_disk_is_exponential() -> None:
    """The disk's profile is exp(-1.678 r) within 3 % from 0.1 to 2.6 half-light radii."""
    radius = np.linspace(0.1, 2.6, 50)
    profile = _mixture(radius, DISK_FRACTION, DISK_VARIANCE)
    exponential = np.exp(-1.67835 * radius) * 1.67835**2 / (2 * np.pi)
    assert np.abs(profile / exponential - 1).max() < 0.03


def test_fluxes_are_exact() -> None:
    """The pixels of a star and of a galaxy add up to their fluxes, at the sharpest PSF of the sample."""
    image = np.zeros((401, 401))
    psf = random_psf(np.random.default_rng(1), fwhm=2.05, variation=0.04).covariance(np.zeros(1), np.zeros(1))
    shape = profile_covariance(np.array([3.0]), np.array([0.4]), np.array([30.0]), np.eye(2))
    position = np.full(1, 200.37)
    render(image, position, position, np.full(1, 1e4), np.full(1, -1.0), shape, shape, psf, 1e-9)
    assert image.sum() == pytest.approx(1e4, rel=2e-4)
    image[:] = 0
    render(image, position, position, np.full(1, 1e4), np.full(1, 0.3), shape, shape, psf, 1e-9)
    assert image.sum() == pytest.approx(1e4, rel=2e-4)


def test_position_angle_is_east_of_north() -> None:
    """A galaxy at 90 deg is long in east-west, wherever east is in pixels; one at 45 deg goes from south-west to
    north-east."""
    matrix = np.diag([-1.0, 1.0]) / 0.2  # east to the left
    xx, xy, yy = profile_covariance(np.full(1, 1.0), np.full(1, 0.5), np.full(1, 90.0), matrix)[0]
    assert xx == pytest.approx(25)
    assert yy == pytest.approx(6.25)
    assert xy == pytest.approx(0, abs=1e-9)
    assert profile_covariance(np.full(1, 1.0), np.full(1, 0.5), np.full(1, 45.0), matrix)[0, 1] < 0


def test_growth_curve_and_noise_area() -> None:
    """The enclosed fraction and the noise area are those of a rendered PSF."""
    psf = random_psf(np.random.default_rng(1), fwhm=3.0, variation=0.0)
    stamp = psf.stamp(0.0, 0.0, size=81)
    y, x = np.mgrid[-40:41, -40:41]
    inside = stamp[np.hypot(x, y) < 8.5].sum()
    assert stamp.sum() == pytest.approx(1, abs=1e-9)
    assert enclosed_fraction(8.5, 3.0) == pytest.approx(inside, abs=0.005)
    assert noise_area(3.0) == pytest.approx(1 / (stamp**2).sum(), rel=0.01)


def test_psf_varies_smoothly() -> None:
    """Size and shape change over the field, by less than 15 % and 0.15, and the FWHM at the centre is the one asked."""
    psf = random_psf(np.random.default_rng(3), fwhm=2.4, variation=0.04)
    u = np.linspace(-1, 1, 21)
    assert psf.size(0.0, 0.0) == 2.4
    assert 0.001 < np.ptp(psf.size(u, u)) / 2.4 < 0.3
    e1, e2 = psf.shape(u, -u)
    assert np.hypot(e1, e2).max() < 0.3
    assert np.abs(np.diff(psf.size(u, u), 2)).max() < 0.01
