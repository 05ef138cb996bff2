"""Kron radii and shapes: those of known profiles."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.adaptive_moments import disc_covariance, measure_shapes, psf_moments
from dmu4.measurement.apertures import ellipses, sum_apertures
from dmu4.measurement.kron import LIMITS, kron_radii
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.stamps import Kernels, render
from tests.scenes.patches import Scene, add_gaussian, draw, psf_stamp

SHAPE = (160, 160)


def one_source(image, *, x, y, covariance, start):
    """Shape and Kron radius of the only source of an image."""
    profiles = make_profiles(x=np.array([x]), y=np.array([y]), covariance=covariance, psf_size=41)
    stamps = render(profiles, Kernels(psf_stamp(3.0)[None]), np.zeros(1, int))
    common = {"residual": image.astype(np.float32), "members": np.array([0])}
    shapes = measure_shapes(
        stamps,
        np.zeros(1),
        **common,
        variance=np.ones(SHAPE, np.float32),
        x=profiles.x,
        y=profiles.y,
        start=start,
        adapt=np.ones(1, bool),
        max_shift=3.0,
    )
    kron = kron_radii(stamps, np.zeros(1), **common, x=shapes.x, y=shapes.y, covariance=shapes.covariance)
    return shapes, kron


def test_moments_of_a_gaussian_are_exact():
    """A tilted Gaussian off the starting point has its centre to 0.002 px and its moments to 0.1%."""
    image = np.zeros(SHAPE)
    add_gaussian(image, x=80.4, y=79.7, xx=16, yy=9, xy=4, flux=1000)
    start = np.array([[5.0, 5.0, 0.0]])
    shapes, kron = one_source(image, x=81.0, y=79.0, covariance=np.array([[9.0, 9.0, 0]]), start=start)
    assert not shapes.failed[0]
    np.testing.assert_allclose([shapes.x[0], shapes.y[0]], [80.4, 79.7], atol=2e-3)
    np.testing.assert_allclose(shapes.covariance[0], [16, 9, 4], rtol=1e-3)
    assert kron[0] == pytest.approx(2.5 * np.sqrt(np.pi / 2), rel=0.01)


def test_kron_flux_of_a_gaussian():
    """The Kron ellipse of a Gaussian holds 99% of its light."""
    image = np.zeros(SHAPE)
    add_gaussian(image, x=80.4, y=79.7, xx=16, yy=9, xy=4, flux=1000)
    start = np.array([[5.0, 5.0, 0.0]])
    shapes, kron = one_source(image, x=80.0, y=80.0, covariance=np.array([[9.0, 9.0, 0]]), start=start)
    cube = (image[..., None], np.ones((*SHAPE, 1)), np.ones((*SHAPE, 1), bool))
    sums = sum_apertures(*cube, x=shapes.x, y=shapes.y, conics=ellipses(shapes.covariance, kron))
    assert sums.flux[0, 0, 0] == pytest.approx(992, abs=4)


def test_without_light_the_radius_is_that_of_a_gaussian():
    """A hole has no first moment: the radius is 2.5 times that of a Gaussian, sqrt(pi / 2) sigma."""
    hole = np.full(SHAPE, -1.0)
    _, kron = one_source(hole, x=80.0, y=80.0, covariance=None, start=np.array([[5.0, 4.0, 1.0]]))
    assert kron[0] == pytest.approx(2.5 * np.sqrt(np.pi / 2))


def test_nothing_but_noise_keeps_its_limits(rng):
    """Without a source the radius stays within its limits, and the shape is the starting one or flagged as failed."""
    start = np.array([[5.0, 5.0, 0.0]])
    shapes, kron = one_source(rng.normal(size=SHAPE), x=80.0, y=80.0, covariance=None, start=start)
    assert LIMITS[0] <= kron[0] <= LIMITS[1]
    assert np.isfinite(shapes.x[0])
    assert np.isfinite(shapes.covariance).all()


def test_a_disc_comes_back_from_its_moments():
    """A rendered disc, measured and taken through `disc_covariance`, has its size to 10% and its axis ratio to 0.1."""
    truth = np.array([[25.0, 9.0, 0.0]])
    psf = psf_stamp(3.0)[None]
    profiles = make_profiles(x=np.array([80.0]), y=np.array([80.0]), covariance=truth, psf_size=41)
    stamps = render(profiles, Kernels(psf), np.zeros(1, int))
    image = np.zeros((200, 200))
    half = stamps.size[0] // 2
    image[80 - half : 80 + half, 80 - half : 80 + half] = 1000 * stamps[0]
    start = psf_moments(psf)
    shapes, _ = one_source(image[:160, :160], x=80.0, y=80.0, covariance=truth, start=start)
    back = disc_covariance(shapes.covariance, start)[0]
    assert back[0] * back[1] == pytest.approx(225, rel=0.4)
    assert np.sqrt(back[1] / back[0]) == pytest.approx(0.6, abs=0.1)


def test_a_point_has_no_disc():
    """A star's moments are the PSF's, and give no disc."""
    scene = Scene(x=np.array([80.2]), y=np.array([80.1]), covariance=np.zeros((1, 3)), flux=np.array([[1000.0]]))
    start = psf_moments(psf_stamp(3.0)[None])
    image = draw(scene, band=0, variance=3.0, shape=SHAPE)
    shapes, _ = one_source(image, x=80.0, y=80.0, covariance=None, start=start)
    np.testing.assert_allclose(shapes.covariance, start, rtol=0.01, atol=1e-3)
    np.testing.assert_allclose(disc_covariance(start * [0.99, 0.99, 1], start), 0, atol=1e-9)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 7.5), (0.0, 8.0), (3.0, 3.0)])
def test_radii_of_power_laws_within_their_limits(slope, expected):
    """Light as r^-1 out to 6 sigma has a first moment of 3, a radius of 7.5; level and steep light are limited."""
    xx, yy, xy = 25.0, 16.0, 6.0
    rows, columns = np.indices(SHAPE)
    dx, dy = columns - 80.4, rows - 79.7
    radius = np.sqrt((yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / (xx * yy - xy**2))
    profiles = make_profiles(
        x=np.array([80.4]), y=np.array([79.7]), covariance=np.array([[200.0, 200.0, 0]]), psf_size=41
    )
    stamps = render(profiles, Kernels(psf_stamp(3.0)[None]), np.zeros(1, int))
    found = kron_radii(
        stamps,
        np.zeros(1),
        residual=(radius**-slope).astype(np.float32),
        members=np.array([0]),
        x=profiles.x,
        y=profiles.y,
        covariance=np.array([[xx, yy, xy]]),
    )
    assert found[0] == pytest.approx(expected, rel=0.02)
