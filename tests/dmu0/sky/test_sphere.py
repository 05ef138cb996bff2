"""Positions across RA 0 and at the poles: means, offsets and planes against angles measured on the sphere."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from dmu0.sky.sphere import SkyPlane, mean_position, tangent_offsets, tangent_positions, unit_vectors, unwrapped

FIELDS = [(34.5, -5.0), (359.95, -5.0), (0.02, 60.0), (120.0, -89.0), (200.0, 89.97), (10.0, -90.0)]


def around(ra: float, dec: float, rng: np.random.Generator, *, reach: float = 0.2) -> SkyCoord:
    """Positions all round a point, as many on each side."""
    angle, distance = rng.uniform(0, 360, 100), reach * np.sqrt(rng.uniform(0, 1, 100))
    angle, distance = np.append(angle, angle + 180), np.append(distance, distance)
    return SkyCoord(ra, dec, unit="deg").directional_offset_by(angle * u.deg, distance * u.deg)


@pytest.mark.parametrize(("ra", "dec"), FIELDS)
def test_mean_is_the_middle(ra, dec, rng):
    """The mean of positions on both sides of a point is the point, to a milliarcsecond."""
    sky = around(ra, dec, rng)
    found = SkyCoord(*mean_position(sky.ra.deg, sky.dec.deg), unit="deg")
    assert found.separation(SkyCoord(ra, dec, unit="deg")).mas < 1
    assert 0 <= found.ra.deg < 360


def test_mean_of_nothing():
    """Without a position there is no mean; missing ones do not count."""
    assert np.isnan(mean_position(np.array([]), np.array([]))).all()
    assert mean_position(np.array([np.nan, 359.0, 1.0]), np.array([1.0, 2.0, 2.0])) == pytest.approx((0, 2), abs=1e-3)


@pytest.mark.parametrize(("ra", "dec"), FIELDS)
def test_tangent_plane(ra, dec, rng):
    """Offsets have the direction and the tangent of the distance on the sphere, and come back."""
    sky, centre = around(ra, dec, rng), SkyCoord(ra, dec, unit="deg")
    east, north = tangent_offsets(sky.ra.deg, sky.dec.deg, centre=(ra, dec))
    assert np.radians(np.hypot(east, north)) == pytest.approx(np.tan(centre.separation(sky).rad), rel=1e-9)
    assert np.exp(1j * np.arctan2(east, north)) == pytest.approx(np.exp(1j * centre.position_angle(sky).rad), abs=1e-7)
    back = SkyCoord(*tangent_positions(east, north, centre=(ra, dec)), unit="deg")
    assert back.separation(sky).mas.max() < 1e-3
    assert np.isnan(tangent_offsets(ra + 180, -dec, centre=(ra, dec))).all()


def test_unwrapped():
    """Only a jump is taken away; elsewhere not a bit changes."""
    ra = np.array([34.1, 34.7, 36.2])
    assert unwrapped(ra) is ra
    assert unwrapped(np.array([359.9, 0.1, 0.3])) - unwrapped(np.array([359.9, 0.1, 0.3]))[0] == pytest.approx(
        [0, 0.2, 0.4]
    )
    assert unwrapped(np.array([359.9, 0.1]), about=0) == pytest.approx([-0.1, 0.1])
    assert np.isnan(unwrapped(np.array([np.nan, 359.9, 0.1]))[0])


@pytest.mark.parametrize(("ra", "dec"), FIELDS)
def test_planes_of_maps(ra, dec, rng):
    """A field is as wide in its plane as on the sky, wherever it is, and places come back as positions."""
    sky = around(ra, dec, rng)
    plane = SkyPlane.around(sky.ra.deg, sky.dec.deg)
    assert plane.polar == (abs(dec) > 80)
    x, y = plane.place(sky.ra.deg, sky.dec.deg)
    stretch = 1 if plane.polar else np.cos(np.radians(dec))
    assert np.ptp(x) * stretch == pytest.approx(0.4, rel=0.1)
    assert np.ptp(y) == pytest.approx(0.4, rel=0.1)
    assert SkyCoord(*plane.sky(x, y), unit="deg").separation(sky).mas.max() < 1e-3


def test_unit_vectors():
    """RA 0, RA 90 and the pole are the axes."""
    assert unit_vectors(np.array([0, 90, 17]), np.array([0, 0, 90])) == pytest.approx(np.eye(3), abs=1e-15)
