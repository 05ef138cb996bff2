"""Stamps of points and discs: where they are, how they are turned, and how large they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.measurement.profiles import make_profiles, points
from dmu4.measurement.stamps import Kernels, own_light, render
from tests.scenes.patches import add_gaussian
from tests.scenes.tilted import cell_psf, psf_moments_of


def on_image(stamps, number, shape):
    """One stamp where it belongs on an image [y, x]; none of it may lie beyond the edge."""
    image = np.zeros(shape)
    x0, y0, side = stamps.x0[number], stamps.y0[number], stamps.size[number]
    assert x0 >= 0
    assert y0 >= 0
    image[y0 : y0 + side, x0 : x0 + side] = stamps[number]
    return image


def second_moments(image, *, x, y):
    """Plain second moments xx, yy, xy of an image [y, x] about a position."""
    dy, dx = np.indices(image.shape) - np.array([y, x])[:, None, None]
    return np.array([(image * product).sum() for product in (dx * dx, dy * dy, dx * dy)]) / image.sum()


@pytest.mark.parametrize(("x", "y"), [(70.0, 50.0), (70.31, 49.84), (69.52, 50.49)])
def test_a_star_is_the_psf_of_its_cell_at_its_place(x, y):
    """A rendered star is the tilted Gaussian of its cell, sampled about its position, to 1e-3 of its peak."""
    psf = np.array([cell_psf(0, 0), cell_psf(2, 4)])
    profiles = make_profiles(x=np.array([x]), y=np.array([y]), covariance=None, psf_size=41)
    stamps = render(profiles, Kernels(psf), np.array([1]))
    xx, yy, xy = psf_moments_of(2, 4)
    truth = np.zeros((110, 140))
    add_gaussian(truth, x=x, y=y, xx=xx, yy=yy, xy=xy, flux=1.0)
    np.testing.assert_allclose(on_image(stamps, 0, truth.shape), truth, atol=1e-3 * truth.max())


@pytest.mark.parametrize("tilt", [36.0, -36.0])
def test_a_disc_lies_as_its_covariance_says(tilt):
    """Half the light of a disc lies inside its one-sigma ellipse, and its moments have the ellipse's sign of xy.

    An exponential disc of half-light radius r has <x^2> = 3 (r / 1.67835)^2 = 1.065 r^2, of which sums of Gaussians
    on a finite stamp have 4% less.
    """
    covariance = np.array([[144.0, 64.0, tilt]])
    place = points(x=np.array([150.3]), y=np.array([146.6]), size=np.array([288]))
    profiles = replace(place, covariance=covariance)
    nothing = np.zeros((1, 41, 41), np.float32)
    nothing[0, 20, 20] = 1
    stamps = render(profiles, Kernels(nothing), np.zeros(1, int))
    image = on_image(stamps, 0, (300, 310))
    assert image.sum() == pytest.approx(1, abs=2e-3)
    np.testing.assert_allclose(second_moments(image, x=150.3, y=146.6), 1.065 * covariance[0], rtol=0.06)
    dy, dx = np.indices(image.shape) - np.array([146.6, 150.3])[:, None, None]
    inside = (64 * dx**2 + 144 * dy**2 - 2 * tilt * dx * dy) / (144 * 64 - tilt**2) < 1
    assert image[inside].sum() == pytest.approx(0.5, abs=0.01)


def test_a_disc_is_convolved_with_the_psf():
    """Moments of a disc seen through a tilted PSF are those of the disc plus those of the PSF, each with its sign."""
    covariance, psf = np.array([[12.0, 7.0, -4.0]]), cell_psf(1, 0)[None]
    place = points(x=np.array([100.4]), y=np.array([90.7]), size=np.array([128]))
    profiles = replace(place, covariance=covariance)
    image = on_image(render(profiles, Kernels(psf), np.zeros(1, int)), 0, (180, 190))
    expected = 1.065 * covariance[0] + psf_moments_of(1, 0)
    np.testing.assert_allclose(second_moments(image, x=100.4, y=90.7), expected, rtol=0.05, atol=0.15)


def test_sizes_fit_the_discs_and_the_order_of_sources_is_kept():
    """A large galaxy gets a larger stamp; stamps of several sizes come back in the order of their sources."""
    covariance = np.array([[0, 0, 0], [60.0, 20.0, 9.0], [0, 0, 0], [30.0, 90.0, -9.0]])
    x, y = np.array([120.2, 130.9, 125.0, 118.4]), np.array([110.1, 115.5, 121.0, 119.7])
    profiles = make_profiles(x=x, y=y, covariance=covariance, psf_size=41)
    assert profiles.size[0] == profiles.size[2] == 48
    assert (profiles.size[[1, 3]] > 60).all()
    stamps = render(profiles, Kernels(cell_psf(0, 0)[None]), np.zeros(4, int))
    for number in range(4):
        image = on_image(stamps, number, (260, 260))
        rows, columns = np.indices(image.shape)
        centre = (image * columns).sum() / image.sum(), (image * rows).sum() / image.sum()
        np.testing.assert_allclose(centre, (x[number], y[number]), atol=0.02)


def test_own_light_is_the_residual_plus_the_own_model():
    """The stamp of a source on the edge is what the image holds there plus its model, and the model alone beyond."""
    profiles = make_profiles(x=np.array([3.2, 40.0]), y=np.array([37.7, 20.0]), covariance=None, psf_size=41)
    stamps = render(profiles, Kernels(cell_psf(0, 0)[None]), np.zeros(2, int))
    residual = np.arange(50.0 * 70).reshape(50, 70)
    corners = (stamps.offset, stamps.size, stamps.x0, stamps.y0)
    light, *first = own_light(stamps.pixels, *corners, np.array([100.0, 7.0]), residual, 0, 0)
    assert first == [stamps.x0[0], stamps.y0[0]]
    rest = light - 100 * stamps[0]
    below_x, below_y = -stamps.x0[0], stamps.y0[0]
    assert below_x > 0
    np.testing.assert_allclose(
        rest[: 50 - below_y, below_x:], residual[below_y:, : stamps.size[0] - below_x], atol=1e-4
    )
    np.testing.assert_allclose(rest[:, :below_x], 0, atol=1e-4)
    np.testing.assert_allclose(rest[50 - below_y :], 0, atol=1e-4)
    wider, *first = own_light(stamps.pixels, *corners, np.array([100.0, 7.0]), residual, 1, 58)
    border = (58 - stamps.size[1]) // 2
    assert first == [stamps.x0[1] - border, stamps.y0[1] - border]
    assert wider.shape == (58, 58)
    whole = np.zeros((50 + 2 * 58, 70 + 2 * 58))
    whole[58:-58, 58:-58] = residual
    whole[58 + stamps.y0[1] :, 58 + stamps.x0[1] :][: stamps.size[1], : stamps.size[1]] += 7 * stamps[1]
    expected = whole[58 + first[1] :, 58 + first[0] :][:58, :58]
    np.testing.assert_allclose(wider, expected, atol=1e-3)
