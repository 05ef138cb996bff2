"""Circles and ellipses: areas, sums, coverage, and that bands share nothing but geometry."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.apertures import circles, ellipses, sum_apertures
from dmu4.measurement.model_light import sum_in_circles, sum_stamps
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.stamps import Kernels, render
from tests.scenes.patches import psf_stamp

RADII = np.array([3, 6, 12.5])


def sums(image, *, good=None, x=40.3, y=35.8, conics=None):
    """Sums of a one-band image in the circles of `RADII` at one place."""
    good = np.ones_like(image, bool) if good is None else good
    conics = circles(RADII, length=1) if conics is None else conics
    cube = (image[..., None], np.ones_like(image)[..., None], good[..., None])
    return sum_apertures(*cube, x=np.array([x]), y=np.array([y]), conics=conics)


def test_area_of_circles():
    """A constant image sums to the area of each circle to 1e-3, wherever the centre is in its pixel."""
    for x, y in ((40.0, 35.0), (40.5, 35.5), (40.3, 35.8)):
        result = sums(np.full((80, 90), 2.0), x=x, y=y)
        np.testing.assert_allclose(result.flux[0, :, 0], 2 * np.pi * RADII**2, rtol=1e-3)
        np.testing.assert_allclose(result.variance[0, :, 0], np.pi * RADII**2, rtol=1e-3)
        np.testing.assert_allclose(result.filled, 1)


def test_area_of_tilted_ellipses():
    """A tilted ellipse has the area of its axes to 1e-3."""
    covariance = np.array([[20.0, 9.0, 6.0]])
    conics = ellipses(covariance, np.array([2.0]))
    area = np.pi * 4 * np.sqrt(20 * 9 - 36)
    assert sums(np.ones((80, 90)), conics=conics).flux[0, 0, 0] == pytest.approx(area, rel=1e-3)


def test_gaussian_in_circles():
    """The light of a Gaussian inside each circle is the analytic one to 0.6%, what the size of pixels allows."""
    y, x = np.mgrid[:80, :90]
    image = np.exp(-((x - 40.3) ** 2 + (y - 35.8) ** 2) / (2 * 16)) / (2 * np.pi * 16)
    expected = 1 - np.exp(-(RADII**2) / 32)
    np.testing.assert_allclose(sums(image).flux[0, :, 0], expected, rtol=6e-3)


def test_coverage_counts_bad_pixels_and_the_edge():
    """Half an aperture on bad pixels, or beyond the edge, is half filled; the variance counts good pixels only."""
    good = np.ones((80, 90), bool)
    good[:, :40] = False
    half = sums(np.ones((80, 90)), good=good, x=39.5, y=35)
    np.testing.assert_allclose(half.filled[0, :, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(half.variance[0, :, 0], np.pi * RADII**2 / 2, rtol=1e-3)
    np.testing.assert_allclose(sums(np.ones((80, 90)), x=-0.5, y=35).filled[0, :, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(sums(np.ones((80, 90)), x=-50, y=35).filled, 0)


def test_bands_do_not_mix(rng):
    """A cube of bands gives exactly what each band alone gives."""
    cube = rng.normal(size=(60, 60, 4))
    good = rng.uniform(size=cube.shape) > 0.1
    x, y = rng.uniform(10, 50, 20), rng.uniform(10, 50, 20)
    conics = circles(RADII, length=20)
    together = sum_apertures(cube, cube**2, good, x=x, y=y, conics=conics)
    for band in range(4):
        one = np.s_[..., band : band + 1]
        alone = sum_apertures(cube[one].copy(), cube[one] ** 2, good[one].copy(), x=x, y=y, conics=conics)
        np.testing.assert_array_equal(together.flux[one], alone.flux)
        np.testing.assert_array_equal(together.filled[one], alone.filled)


def test_stamps_sum_like_images():
    """A model's own light in its apertures is that of the same model drawn on an image."""
    profiles = make_profiles(x=np.array([40.3]), y=np.array([35.8]), covariance=None, psf_size=41)
    stamps = render(profiles, Kernels(psf_stamp(4.0)[None]), np.zeros(1, int))
    image = np.zeros((80, 90))
    side = stamps.size[0]
    y0, x0 = stamps.y0[0], stamps.x0[0]
    image[y0 : y0 + side, x0 : x0 + side] = stamps[0]
    conics = circles(RADII, length=1)
    own = sum_stamps(stamps, x=profiles.x, y=profiles.y, conics=conics)
    np.testing.assert_allclose(own[0], sums(image).flux[0, :, 0], rtol=1e-6)


def test_circles_on_models_are_those_around_their_centres(rng):
    """Rounding the centres of circles changes the light of inclined models by no more than the area of pixels does.

    The circle of 40 pixels holds the whole of the smaller stamps.
    """
    x, y = rng.uniform(60, 90, (2, 300))
    covariance = np.zeros((300, 3))
    covariance[::3], covariance[1::3] = (5.0, 2.0, 1.5), (90.0, 30.0, -20.0)
    profiles = make_profiles(x=x, y=y, covariance=covariance, psf_size=41)
    stamps = render(profiles, Kernels(psf_stamp(4.0)[None]), np.zeros(300, int))
    radii = np.array([3.0, 6.0, 17.0, 40.0])
    light = sum_in_circles(stamps, x=x, y=y, radii=radii)
    exact = sum_stamps(stamps, x=x, y=y, conics=circles(radii, length=300))
    assert len(np.unique(stamps.size)) == 2
    np.testing.assert_allclose(light[:, 0], exact[:, 0], rtol=3e-3)
    np.testing.assert_allclose(light[:, 1:], exact[:, 1:], rtol=3e-4)
    for number in np.flatnonzero(stamps.size < 50):
        np.testing.assert_allclose(light[number, 3], stamps[number].sum(), rtol=1e-6)


@pytest.mark.parametrize("radius", [12.0, 12.49, 12.5, 12.51, 25.000001])
def test_circles_about_the_middle_of_a_pixel_have_their_area(radius):
    """On the axes the edge of a circle is parallel to pixels, which it may touch: no division by zero."""
    image = np.ones((71, 73, 1))
    conics = circles(np.array([radius]), length=1)
    found = sum_apertures(image, image, image > 0, x=np.array([36.0]), y=np.array([35.0]), conics=conics)
    assert found.flux[0, 0, 0] == pytest.approx(np.pi * radius**2, rel=1e-3)
