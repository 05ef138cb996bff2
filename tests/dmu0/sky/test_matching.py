"""Matching on the sphere: pairs, poles, right ascension zero, chance matches and proper motion."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time

from dmu0.sky.matching import false_match_rate, match, offset_positions, propagate


def scattered(rng, ra, dec, sigma):
    """Positions moved by a Gaussian of some arcsec on each axis, anywhere on the sphere."""
    east, north = rng.normal(0, sigma * 1000, (2, len(ra)))
    return propagate(ra, dec, east, north, years=1.0)


def test_offset_positions() -> None:
    """An offset has the distance and the position angle asked for."""
    start = SkyCoord(10 * u.deg, 60 * u.deg)
    end = SkyCoord(*offset_positions(np.array([10.0]), np.array([60.0]), distance=30, angle=50), unit="deg")
    assert start.separation(end).arcsec[0] == pytest.approx(30, abs=1e-5)
    assert start.position_angle(end).deg[0] == pytest.approx(50, abs=1e-4)


@pytest.mark.parametrize(
    ("ra_range", "dec_range"),
    [
        ((30, 32), (-6, -4)),
        ((359, 361), (-1, 1)),
        ((0, 360), (89.9, 90)),
        ((0, 360), (-90, -89.5)),
        ((0, 360), (-90, 90)),
    ],
    ids=["field", "ra zero", "north pole", "south pole", "whole sky"],
)
def test_agrees_with_astropy(rng, ra_range, dec_range) -> None:
    """Mutual nearest pairs are those that astropy's two one-way matches have in common, everywhere on the sky."""
    low, high = np.sin(np.radians(dec_range))
    ra = rng.uniform(*ra_range, 3000) % 360
    dec = np.degrees(np.arcsin(rng.uniform(low, high, 3000)))
    ra2, dec2 = scattered(rng, ra[:2500], dec[:2500], 0.5)
    first, second = SkyCoord(ra, dec, unit="deg"), SkyCoord(ra2, dec2, unit="deg")
    forward, separation, _ = first.match_to_catalog_sky(second)
    backward, _, _ = second.match_to_catalog_sky(first)
    mutual = (backward[forward] == np.arange(3000)) & (separation.arcsec <= 1.2)
    found = match(ra, dec, ra2, dec2, radius=1.2)
    assert np.array_equal(found.first, np.flatnonzero(mutual))
    assert np.array_equal(found.second, forward[mutual])
    assert found.separation == pytest.approx(separation.arcsec[mutual], abs=1e-6)


def test_strip_with_ragged_ends(rng) -> None:
    """Sources beyond either end of the second catalogue's strip match what is within the radius, across zero too."""
    ra2 = (rng.uniform(350, 370, 2000)) % 360
    dec2 = rng.uniform(10, 10.2, 2000)
    ra, dec = np.concatenate([ra2, (ra2 + 40) % 360]), np.concatenate([dec2 + 0.3 / 3600, dec2])
    found = match(ra, dec, ra2, dec2, radius=1)
    assert np.array_equal(found.first, np.arange(2000))
    assert np.array_equal(found.second, np.arange(2000))


def test_each_source_once(rng) -> None:
    """However crowded, no source is in two pairs, and an identical catalogue matches itself one to one."""
    ra, dec = rng.uniform(10, 10.01, 500), rng.uniform(0, 0.01, 500)
    found = match(ra, dec, ra[::-1], dec[::-1], radius=5)
    assert np.array_equal(found.first, np.arange(500))
    assert np.array_equal(found.second, np.arange(500)[::-1])
    assert found.separation.max() == 0
    assert found.candidates.max() > 1


def test_many_to_one() -> None:
    """Of two sources near one counterpart only the nearest gets it."""
    found = match(
        np.array([10.0, 10.0]), np.array([0.0, 0.5 / 3600]), np.array([10.0]), np.array([0.1 / 3600]), radius=1
    )
    assert found.first.tolist() == [0]
    assert found.second.tolist() == [0]
    assert found.separation[0] == pytest.approx(0.1, abs=1e-9)


def test_missing_positions_never_match(rng) -> None:
    """Rows that are not finite are passed over, and empty catalogues give no pairs."""
    ra, dec = rng.uniform(0, 1, 100), rng.uniform(0, 1, 100)
    broken = ra.copy()
    broken[::2] = np.nan
    assert np.array_equal(match(broken, dec, ra, dec, radius=1).first, np.arange(1, 100, 2))
    assert np.array_equal(match(ra, dec, broken, dec, radius=1).first, np.arange(1, 100, 2))
    assert len(match(ra, dec, np.full(3, np.nan), np.full(3, np.nan), radius=1)) == 0
    assert len(match([], [], ra, dec, radius=1)) == 0


def test_wrong_arguments() -> None:
    """A radius or a declination that cannot be is refused with its value."""
    with pytest.raises(ValueError, match=r"\(0, 3600\] arcsec; got -1"):
        match([0.0], [0.0], [0.0], [0.0], radius=-1)
    with pytest.raises(ValueError, match="beyond a pole"):
        match([0.0], [95.0], [0.0], [0.0], radius=1)
    with pytest.raises(ValueError, match="twice the radius"):
        false_match_rate([0.0], [0.0], [0.0], [0.0], radius=20)


def test_false_match_rate(rng) -> None:
    """In a crowded field the measured rate of chance pairs is right to a tenth of it and four standard errors."""
    n, genuine = 40_000, 10_000
    ra, dec = rng.uniform(0, 0.3, n), rng.uniform(0, 0.3, n)
    ra2, dec2 = rng.uniform(0, 0.3, n), rng.uniform(0, 0.3, n)
    ra2[:genuine], dec2[:genuine] = scattered(rng, ra[:genuine], dec[:genuine], 0.1)
    found = match(ra, dec, ra2, dec2, radius=1)
    wrong = np.mean(found.first != found.second)
    measured = false_match_rate(ra, dec, ra2, dec2, radius=1)
    noise = 4 * np.hypot(measured.rate_err, np.sqrt(wrong / len(found)))
    assert 0.1 < wrong < 0.3
    assert measured.rate == pytest.approx(wrong, abs=noise + 0.1 * wrong)


def test_propagation_agrees_with_astropy(rng) -> None:
    """Proper motion over 16 years is that of astropy's space motion to 0.01 mas, at high declination too."""
    ra, dec = rng.uniform(0, 360, 200), rng.uniform(-89, 89, 200)
    pm_ra, pm_dec = rng.normal(0, 300, (2, 200))
    stars = SkyCoord(
        ra * u.deg, dec * u.deg, pm_ra_cosdec=pm_ra * u.mas / u.yr, pm_dec=pm_dec * u.mas / u.yr,
        distance=100 * u.pc, radial_velocity=0 * u.km / u.s, obstime=Time(2000, format="jyear", scale="tai"),
    )  # fmt: skip
    expected = stars.apply_space_motion(Time(2016, format="jyear", scale="tai"))
    moved = SkyCoord(*propagate(ra, dec, pm_ra, pm_dec, years=16.0), unit="deg")
    assert moved.separation(SkyCoord(expected.ra, expected.dec)).to_value("mas").max() < 0.01


def test_unknown_motion_stays() -> None:
    """A star of unknown motion stays where it is."""
    ra, dec = propagate(np.array([12.0]), np.array([-30.0]), np.array([np.nan]), np.array([np.nan]), years=10.0)
    assert (ra[0], dec[0]) == pytest.approx((12.0, -30.0), abs=1e-12)
