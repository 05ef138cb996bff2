"""Halos of bright stars: magnitudes of stars of several catalogues, radii, objects inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from dmu0.sky.tract import sky_polygon
from dmu2.bright_stars import BrightStars, halo_radius, star_magnitudes
from dmu2.refcat import empty_shard, write_shards
from obs_vista.photometry import flux_of


def shard(**magnitudes: list[float]):
    """Stars with magnitudes in some of the original catalogues."""
    table = empty_shard(len(next(iter(magnitudes.values()))))
    for name, values in magnitudes.items():
        table[f"{name}_flux"] = flux_of(np.array(values)).astype(np.float32)
    return table


def test_radii_are_those_of_hsc() -> None:
    """200 arcsec x 10^0 + 12 x 10^0.45 at magnitude 7; 200 x 10^-2.25 + 12 at magnitude 16."""
    assert halo_radius(np.array([7.0, 16.0])) == pytest.approx([200 + 12 * 10**0.45, 200 * 10**-2.25 + 12])


def test_the_best_known_magnitude_counts() -> None:
    """Gaia's; else r, i or g of PanSTARRS unless the star saturates it; else J, half a magnitude redder."""
    nan = np.nan
    stars = shard(
        gaia_g=[15.0, nan, nan, nan, nan, nan],
        ps1_r=[14.0, 16.0, nan, 14.2, nan, nan],
        ps1_i=[13.0, 15.0, 15.5, 14.1, nan, nan],
        tmass_j=[14.0, 14.0, nan, 11.0, 9.0, nan],
    )
    np.testing.assert_allclose(star_magnitudes(stars), [15.0, 16.0, 15.5, 11.5, 9.5, nan], atol=1e-4)


def test_objects_in_halos(tmp_path: Path) -> None:
    """Distances in units of the radius, across zero hours too; galaxies and faint stars have no halo."""
    stars = shard(gaia_g=[12.0, 15.0, 12.0, 18.0])
    stars["id"] = np.arange(1, 5)
    stars["coord_ra"], stars["coord_dec"] = (
        np.radians([0.001, 359.99, 0.05, 0.08]),
        np.radians([-40.0, -40.0, -40, -40]),
    )
    stars["extended"] = [False, False, True, False]
    bright = BrightStars.of_catalogue(write_shards(stars, tmp_path).values())
    np.testing.assert_allclose(np.sort(bright.radius), np.sort(halo_radius(np.array([12.0, 15.0]))), rtol=1e-5)
    radius = halo_radius(12.0)
    east = 0.001 + np.array([0.3, 1.5, 2.1]) * radius / 3600 / np.cos(np.radians(40))
    ra = np.array([*east, 359.99, 0.05, 0.08])
    distance = bright.distances(ra, np.full(len(ra), -40.0))
    assert distance[:2] == pytest.approx([0.3, 1.5], abs=1e-3)
    assert np.isnan(distance[2])
    assert distance[3] == pytest.approx(0, abs=1e-3)
    assert np.isnan(distance[4:]).all()


def test_the_halo_that_matters_most_counts() -> None:
    """Not the nearest star: a faint one is two of its small radii away, a bright one half of its large radius."""
    bright = BrightStars(np.array([10.0, 10.0]), np.array([5.0, 5.02]), np.array([100.0, 10.0]))
    position = np.array([10.0]), np.array([5.0 + 52 / 3600])
    assert bright.distances(*position) == pytest.approx([0.52], abs=1e-4)


def test_stars_that_reach_a_part_of_the_sky() -> None:
    """A square of 0.2 deg at declination 60 across 0 h, whose circle has a radius of 0.1 deg times the root of two."""
    width = 0.1 / np.cos(np.radians(60))
    corners = [(-width, 59.9), (width, 59.9), (width, 60.1), (-width, 60.1)]
    region = sky_polygon([(ra % 360, dec) for ra, dec in corners])
    gap = 0.5 - 0.1 * np.sqrt(2)  # of stars half a degree from the centre, deg
    ra = np.array([0.0, 1.0, 359.0, 359.0, 0.0, 180.0])
    dec = np.array([60.0, 60.0, 60.0, 60.0, 59.5, -60.0])
    radius = 3600 * np.array([0.003, 1.02 * gap, 1.02 * gap, 0.98 * gap, 1.02 * gap, 10.0])
    near = BrightStars(ra, dec, radius).reaching(region)
    assert near.ra.tolist() == [0.0, 1.0, 359.0, 0.0]
    assert near.dec.tolist() == [60.0, 60.0, 60.0, 59.5]
    np.testing.assert_array_equal(near.radius, radius[[0, 1, 2, 4]])


def test_stars_as_a_table(tmp_path: Path) -> None:
    """Positions and radii have units and come back to the last bit; no stars are a table without rows."""
    stars = BrightStars(np.array([1 / 3, 359.9]), np.array([-np.pi, 0.1]), np.array([10.6, 1 / 7]))
    stars.to_table().write(tmp_path / "stars.parquet")
    table = Table.read(tmp_path / "stars.parquet")
    assert [str(table[name].unit) for name in ("ra", "dec", "radius")] == ["deg", "deg", "arcsec"]
    for one, other in zip(stars, BrightStars.from_table(table), strict=True):
        np.testing.assert_array_equal(one, other)
    nothing = BrightStars.joined([])
    assert len(nothing.to_table()) == 0
    assert len(BrightStars.joined([stars, nothing, stars]).dec) == 4
    assert BrightStars.joined([nothing, stars]).radius.tolist() == [10.6, 1 / 7]
    assert np.isnan(BrightStars.of_catalogue([]).distances(np.array([1.0]), np.array([2.0]))).all()
