"""Error inflation: positions of empty samples, areas, and which band is scaled by what."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.error_scale import ErrorInflation, empty_positions, measure_inflation, scale_to_empty
from tests.scenes.patches import psf_stamp

RADII = np.array([3.0, 6.0, 12.0])


def test_apertures_of_any_shape_count_by_their_area():
    """An ellipse is inflated like the circle of its area; beyond the circles the inflation stays level."""
    inflation = ErrorInflation(psf=1, gaap=np.ones(1), radius=RADII, circle=np.array([1.0, 2.0, 4.0]), samples=100)
    area = np.pi * np.array([3.0**2, 6.0**2, 9.0**2, 30.0**2])
    np.testing.assert_allclose(inflation.of_area(area), [1, 2, 3, 4])


def test_empty_positions_are_free_good_and_inside(rng):
    """Positions on an oblong image keep off its edge, off bad and off occupied pixels, and are the same every time."""
    good, occupied = np.ones((60, 200), bool), np.zeros((60, 200), bool)
    good[:, 150:], occupied[:30] = False, True
    x, y = empty_positions(good, occupied, margin=8, count=2000)
    assert len(x) > 200
    assert x.min() >= 8
    assert 130 < x.max() < 150
    assert y.min() >= 30
    assert 45 < y.max() < 52
    np.testing.assert_array_equal(x, empty_positions(good, occupied, margin=8, count=2000)[0])
    assert len(empty_positions(good, None, margin=31, count=10)[0]) == 0


def test_inflation_of_scaled_white_noise(rng):
    """White noise 1.5 times as large as the variance says inflates every kind of flux by 1.5, to 7%.

    In circles it is less by the root of sum w^2 / sum w, where w is the share of each pixel inside, since the error
    counts the variance of a pixel on the edge by its share, and its noise adds up by the square of that.
    """
    shape = (300, 420)
    noise = rng.normal(0, 3.0, shape).astype(np.float32)
    found = measure_inflation(
        noise,
        np.full(shape, 4, np.float32),
        np.ones(shape, bool),
        occupied=None,
        psf=psf_stamp(3.0)[None].astype(np.float32),
        cell_of=lambda x, y: np.zeros(len(x), int),
        radii=RADII,
        gaap_sigma=np.array([5.0]),
        count=1500,
    )
    assert found.psf == pytest.approx(1.5, rel=0.07)
    assert found.gaap[0] == pytest.approx(1.5, rel=0.07)
    fine = (np.arange(-150, 150) + 0.5) / 10
    for radius, inflation in zip(RADII, found.circle, strict=True):
        inside = np.hypot(*np.meshgrid(fine, fine)) < radius
        share = inside.reshape(30, 10, 30, 10).mean(axis=(1, 3))
        assert inflation == pytest.approx(1.5 * np.sqrt((share**2).sum() / share.sum()), rel=0.07)
    assert found.samples > 1000


def test_a_level_is_no_noise(rng):
    """A sky of half a sigma moves sums in circles by more than they scatter, and leaves the inflation as it is."""
    shape = (300, 420)
    noise = rng.normal(0, 2.0, shape).astype(np.float32)
    planes = (np.full(shape, 4, np.float32), np.ones(shape, bool))
    settings = {
        "occupied": None,
        "psf": psf_stamp(3.0)[None].astype(np.float32),
        "radii": RADII,
        "gaap_sigma": np.array([5.0]),
    }
    settings["cell_of"] = lambda x, y: np.zeros(len(x), int)
    flat, raised = (measure_inflation(noise + level, *planes, **settings) for level in (0, 1))
    np.testing.assert_allclose(raised.circle, flat.circle, rtol=0.02)
    assert (raised.psf, raised.gaap[0]) == pytest.approx((flat.psf, flat.gaap[0]), rel=0.02)


def rings(shape, *, x, y, inner, outer, times, rng):
    """White noise of scatter 1, some times as large in a ring about a position."""
    rows, columns = np.indices(shape)
    distance = np.hypot(columns - x, rows - y)
    return rng.normal(0, 1, shape) * np.where((distance > inner) & (distance < outer), times, 1)


def test_samples_keep_away_from_objects_and_further_from_bright_ones(rng):
    """What surrounds an object is not noise; around a bright one, and in its band alone, nor is what is further out."""
    shape, x, y = (300, 400), np.array([100.0, 300.0]), np.array([150.0, 140.0])
    near = rings(shape, x=100, y=150, inner=0, outer=20, times=10, rng=rng)
    far = rings(shape, x=300, y=140, inner=33, outer=87, times=2.5, rng=rng)
    residual = np.stack([near, far, far], axis=-1).astype(np.float32)
    planes = (residual, np.ones(residual.shape, np.float32), np.ones(residual.shape, bool))
    one = ErrorInflation(psf=1.0, gaap=np.array([2.0]), radius=RADII, circle=np.array([1.0, 1.0, 1.0]), samples=100)
    bright = np.array([[False, False, False], [False, True, False]])
    settings = {"x": x, "y": y, "clear": 33.0, "gaap_sigma": [np.array([4.5])] * 3, "bright": bright}
    scaled = scale_to_empty([one] * 3, *planes, **settings)
    # White noise in the smaller circles is less than their errors say, by the shares of the pixels on their edges.
    np.testing.assert_allclose([scaled[0].circle, scaled[1].circle], [[0.9, 0.96, 1], [0.9, 0.96, 1]], atol=0.07)
    assert scaled[2].circle[1] > 1.1 * scaled[1].circle[1]
    assert [found.psf for found in scaled] == [1, 1, 1]
    # A GAaP flux is as noisy as a circle of twice its sigma, here half-way between the two wider circles.
    assert scaled[2].gaap[0] == pytest.approx(2 * 0.5 * (scaled[2].circle[1] + scaled[2].circle[2]), rel=1e-6)
