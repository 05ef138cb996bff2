"""Maps of the sky: counts, depths and areas of images whose truth is known."""

from __future__ import annotations

import healsparse
import hpgeom
import numpy as np
import pytest
from astropy.table import Table
from mocpy import MOC

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu0.sky.skymap import RingsSkyMap
from dmu1.inventory import empty_inventory
from dmu1.sky_maps import band_maps, band_moc, map_nside, moc_area, patches_moc, point_source_depth, write_maps

SIDE = 0.19
"""Side of the images, deg: a full detector."""


def images(*west: float) -> Table:
    """Square images on the equator that start at given right ascensions."""
    rows = []
    for ra in west:
        row = {
            "nx": 2048,
            "ny": 2048,
            "pixel_scale": 0.334,
            "seeing": 0.8,
            "band": "vj",
            "magzpt": 23.7,
            "exptime": 10.0,
        }
        corners = [(ra + SIDE, 0.0), (ra, 0.0), (ra, SIDE), (ra + SIDE, SIDE)]
        row |= {f"ra{k}": corner[0] for k, corner in enumerate(corners)}
        row |= {f"dec{k}": corner[1] for k, corner in enumerate(corners)} | {"sky_noise": 5.0}
        rows.append(row)
    return Table(rows)


def value_at(sparse: healsparse.HealSparseMap, ra: float, dec: float) -> float:
    """The map at a position."""
    return sparse.get_values_pos(ra, dec, lonlat=True)


def test_counts_depths_and_seeing():
    """One image has its own depth; two overlapping give a count of two and 0.376 mag more depth; nothing beside."""
    table = images(10.0, 10.1)
    table["seeing"] = [0.8, 1.0]
    maps = band_maps(table, np.array([21.0, 21.0]), nside=8192)
    assert [value_at(maps.exposures, ra, 0.1) for ra in (10.05, 10.15, 10.25, 10.5)] == [1, 2, 1, 0]
    assert value_at(maps.depth, 10.05, 0.1) == pytest.approx(21.0, abs=1e-5)
    assert value_at(maps.depth, 10.15, 0.1) == pytest.approx(21.0 + 1.25 * np.log10(2), abs=1e-5)
    assert value_at(maps.seeing, 10.15, 0.1) == pytest.approx(0.9, abs=1e-5)
    assert value_at(maps.depth, 10.5, 0.1) == hpgeom.UNSEEN


def test_unknown_depth_stays_unknown():
    """Images whose depth the headers do not tell give a map of NaN, with counts all the same."""
    maps = band_maps(images(10.0), np.array([np.nan]), nside=8192)
    assert np.isnan(value_at(maps.depth, 10.1, 0.1))
    assert value_at(maps.exposures, 10.1, 0.1) == 1


def test_area_of_a_moc():
    """The MOC of one image has its area to 3 per cent, that of two that overlap is counted once."""
    assert moc_area(band_moc(band_maps(images(10.0), np.array([21.0]), nside=8192))) == pytest.approx(SIDE**2, rel=0.03)
    both = band_moc(band_maps(images(10.0, 10.0), np.array([21.0, 21.0]), nside=8192))
    assert moc_area(both) == pytest.approx(SIDE**2, rel=0.03)
    patch = RingsSkyMap(name="r").tract(8524).patch("4,4")
    assert moc_area(patches_moc([patch], nside=8192)) == pytest.approx((4200 * 0.168 / 3600) ** 2, rel=0.03)


def test_resolution_follows_the_images():
    """The side of an image is at least twenty map pixels, for full and small detectors."""
    table = images(10.0)
    for size in (2048, 384):
        table["nx"], table["ny"] = size, size
        pixel = np.degrees(np.sqrt(hpgeom.nside_to_pixel_area(map_nside(table), degrees=False))) * 3600
        assert size * 0.334 / 40 <= pixel <= size * 0.334 / 20
    assert map_nside(empty_inventory()) == 8192


def test_depth_of_a_star():
    """A Gaussian star with the flux of the depth has a signal five times the noise under optimal weights."""
    table = images(10.0)
    table["extinction"], table["airmass"] = 0.05, 1.4
    depth = point_source_depth(table, magnitudes="AB")[0]
    counts = 10 ** (-0.4 * (depth - 23.7))  # MAGZPT is that of one count
    y, x = np.mgrid[-40:41, -40:41]
    sigma = 0.8 / 0.334 / SIGMA_TO_FWHM
    psf = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    assert counts * np.sqrt(np.sum(psf**2)) / 5.0 == pytest.approx(5.0, rel=0.01)
    vega = depth + 2.5 * np.log10(table["exptime"][0]) - 0.05 * 0.4 + 0.916
    assert point_source_depth(table, magnitudes="Vega")[0] == pytest.approx(vega)


def test_maps_round_trip(tmp_path):
    """Written maps and MOC read back as they were, and nothing is left beside them; so do empty ones."""
    for name, table in (("vj", images(10.0, 10.1)), ("vh", images(10.0)[:0])):
        maps = band_maps(table, np.full(len(table), 21.0), nside=8192)
        paths = write_maps(tmp_path, name, maps)
        assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.glob(f"{name}*"))
        back = healsparse.HealSparseMap.read(str(tmp_path / f"{name}_exposures.hsp"))
        assert np.array_equal(back.valid_pixels, maps.exposures.valid_pixels)
        assert back.dtype == np.int32
        moc = MOC.load(str(tmp_path / f"{name}.moc.fits"), format="fits")
        assert moc_area(moc) == pytest.approx(moc_area(band_moc(maps)))
    assert not list(tmp_path.glob(".*"))
