"""Transforms of profiles against their definition, and stamps that hold what they must."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from dmu0.galaxy_profiles import BULGE_FRACTION, BULGE_VARIANCE
from dmu4.measurement.profiles import (
    BULGE_SLOPE,
    BULGE_TABLE,
    DISC_SLOPE,
    DISC_TABLE,
    DISC_VARIANCES,
    DISC_WEIGHTS,
    look_up,
    make_profiles,
    phase_argument,
    points,
)
from dmu4.measurement.stamps import Kernels, render

TABLES = [
    (DISC_TABLE, DISC_SLOPE, DISC_WEIGHTS, DISC_VARIANCES),
    (BULGE_TABLE, BULGE_SLOPE, BULGE_FRACTION, BULGE_VARIANCE),
]


@pytest.mark.parametrize(("table", "slope", "weights", "variances"), TABLES)
def test_tables_are_the_transform_and_its_derivative(table, slope, weights, variances):
    """At arguments between the entries: sum of w exp(-q v) to 3e-5, and its derivative to 5e-5 of its largest value."""
    for q in (0.0, 0.00137, 0.0613, 0.5007, 3.3, 41.7, 900.3):
        assert look_up(table, q) == pytest.approx(np.sum(weights * np.exp(-q * variances)), abs=3e-5)
        expected = -np.sum(weights * variances * np.exp(-q * variances))
        assert look_up(slope, q) == pytest.approx(expected, abs=5e-5 * np.sum(weights * variances))


def test_the_argument_is_that_of_a_gaussian():
    """The transform of a Gaussian of covariance C is exp(-2 pi^2 k C k), also for a tilted one."""
    covariance, kx, ky = np.array([3.0, 1.5, -0.7]), 0.11, -0.23
    matrix = np.array([[3.0, -0.7], [-0.7, 1.5]])
    k = np.array([kx, ky])
    assert phase_argument(covariance, kx, ky) == pytest.approx(2 * np.pi**2 * k @ matrix @ k)


def test_a_bulge_has_the_light_of_de_vaucouleurs():
    """Within r of the half-light radius: what gammainc(8, 7.669 r^(1/4)) gives out to eight radii, to 1.5%."""
    shape = np.array([[36.0, 36.0, 0.0]])
    place = {"x": np.array([400.0]), "y": np.array([400.0]), "psf_size": 41}
    profiles = make_profiles(**place, covariance=0 * shape, bulge=shape, bulge_fraction=np.ones(1))
    nothing = np.zeros((1, 41, 41), np.float32)
    nothing[0, 20, 20] = 1
    stamp = render(profiles, Kernels(nothing), np.zeros(1, int))[0]
    dy, dx = np.indices(stamp.shape) - len(stamp) // 2
    assert profiles.size[0] >= 14 * 6
    assert stamp.sum() == pytest.approx(1, abs=1e-3)

    def light(r):
        return special.gammainc(8, 7.669 * r**0.25)

    for radius in (1.0, 2.0, 3.0):
        # Beyond some three radii the profile begins to end.
        inside = stamp[np.hypot(dx, dy) < 6 * radius].sum() / stamp[np.hypot(dx, dy) < 24].sum()
        assert inside == pytest.approx(light(radius) / light(4.0), abs=0.015)


def test_a_mixture_is_the_sum_of_its_parts():
    """A third of a bulge and two thirds of a disc, each tilted its own way, pixel by pixel."""
    disc, bulge = np.array([[9.0, 4.0, 1.5]]), np.array([[3.0, 6.0, -1.0]])
    place = {"x": np.array([60.3]), "y": np.array([58.8])}
    psf = np.zeros((1, 41, 41), np.float32)
    psf[0, 19:22, 18:23] = 1 / 15

    def stamp(fraction, d, b):
        one = points(**place, size=np.array([96]))
        one = type(one)(one.x, one.y, d, one.size, b, np.array([fraction]))
        return render(one, Kernels(psf), np.zeros(1, int))[0]

    mixed = stamp(1 / 3, disc, bulge)
    np.testing.assert_allclose(mixed, 2 / 3 * stamp(0.0, disc, bulge) + stamp(1.0, disc, bulge) / 3, atol=1e-8)
    np.testing.assert_allclose(stamp(0.0, disc, bulge), stamp(0.0, disc, 0 * bulge), atol=0)


def test_points_are_points_and_the_others_not():
    """A bulge alone is no point; subsets keep each field of each source."""
    shape = np.array([[0.0, 0, 0], [4, 3, 1], [0, 0, 0]])
    place = {"x": np.array([5.0, 6, 7]), "y": np.array([8.0, 9, 10]), "psf_size": 41}
    profiles = make_profiles(**place, covariance=shape, bulge=shape[[0, 2, 1]], bulge_fraction=np.array([0, 0, 1.0]))
    np.testing.assert_array_equal(profiles.is_point, [True, False, False])
    some = profiles.subset(np.array([2, 0]))
    np.testing.assert_array_equal(some.x, [7, 5])
    np.testing.assert_array_equal(some.bulge, shape[[1, 0]])
    np.testing.assert_array_equal(some.bulge_fraction, [1, 0])
    assert profiles.as_points().is_point.all()
