"""Coverage maps: their area is that of the pixels with data, wherever the tract is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from mocpy import MOC

from dmu0.files.provenance import Provenance
from dmu1.sky_maps import moc_area
from dmu2.bright_stars import BrightStars
from dmu5.sky_coverage import count_pixels, covered_cells, halo_moc, map_order, write_mocs

SCALE = 0.2  # arcsec
ORDER = map_order(SCALE)


def scene(dec: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of 900 x 1300 pixels without data in a corner, in a bright star's disc and beyond an edge; its pixels'
    positions."""
    ny, nx = 900, 1300
    y, x = np.mgrid[:ny, :nx]
    good = ~((x < 300) & (y < 200)) & (np.hypot(x - 900, y - 500) > 120) & (x < 1240)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [359.99, dec]
    wcs.wcs.crpix = [650, 450]
    wcs.wcs.cdelt = [-SCALE / 3600, SCALE / 3600]
    ra, dec_of = wcs.wcs_pix2world(x.ravel(), y.ravel(), 0)
    return good, ra.reshape(good.shape), dec_of.reshape(good.shape)


def test_cells_are_as_wide_as_said() -> None:
    """The cell is at least twelve pixels wide, the next smaller one is not: 1.6 arcsec at 0.2 would be eight."""
    assert ORDER == 16
    assert map_order(0.168) == 16
    assert map_order(1.0) == 14  # 12.9 arcsec
    assert map_order(1.1) == 13


@pytest.mark.parametrize("dec", [-5.1, 0.0, 62.0])
def test_the_area_is_that_of_pixels_with_data(dec: float) -> None:
    """Within 1 per cent, from strips that are counted one by one; inside the hole there is none."""
    good, ra, dec_of = scene(dec)
    parts = [
        count_pixels(good[rows, ::3], ra[rows, ::3], dec_of[rows, ::3], order=ORDER)
        for rows in (slice(0, 500, 3), slice(501, 900, 3))  # as if two patches met: steps go on across the edge
    ]
    moc = covered_cells(parts, order=ORDER, pixel_scale=3 * SCALE)
    area = moc_area(moc) * 3600**2
    assert area == pytest.approx(good.sum() * SCALE**2, rel=0.01)
    hole, corner, sky = (500, 900), (100, 100), (700, 400)
    places = SkyCoord([ra[at] for at in (hole, corner, sky)], [dec_of[at] for at in (hole, corner, sky)], unit="deg")
    inside = moc.contains_skycoords(places)
    assert list(inside) == [False, False, True]


def test_no_pixels_no_area() -> None:
    """A band without data has an empty map."""
    good, ra, dec = scene(0.0)
    assert covered_cells([], order=ORDER, pixel_scale=1).empty()
    assert covered_cells([count_pixels(~good & good, ra, dec, order=ORDER)], order=ORDER, pixel_scale=1).empty()


def test_bands_have_their_own_maps(tmp_path: Path, provenance: Provenance) -> None:
    """The catalogue covers what any band covers; an empty band leaves no file, not even an old one."""
    cells = {"g": [4096, 4097], "vk": [4097, 4098, 4099], "vj": []}
    mocs = {
        band: MOC.from_healpix_cells(np.array(which, np.uint64), np.full(len(which), 14, np.uint8), max_depth=14)
        for band, which in cells.items()
    }
    (tmp_path / "vj.moc.fits").touch()
    halos = MOC.from_healpix_cells(np.array([4096, 4099, 7000], np.uint64), np.full(3, 14, np.uint8), max_depth=14)
    areas = write_mocs(mocs, tmp_path, halos=halos, provenance=provenance)
    cell = areas["g"] / 2
    expected = {"catalogue": 4 * cell, "bright_stars": 2 * cell, "g": 2 * cell, "vk": 3 * cell, "vj": 0}
    assert areas == pytest.approx(expected)
    assert not (tmp_path / "vj.moc.fits").exists()
    assert MOC.load(str(tmp_path / "vk.moc.fits")) == mocs["vk"]
    with fits.open(tmp_path / "g.moc.fits") as hdus:
        assert any(hdu.header.get("GITHASH") == provenance.commit for hdu in hdus)


def test_the_area_of_halos_is_that_of_circles() -> None:
    """Two circles that overlap count once; without stars there is none."""
    bright = BrightStars(np.array([10.0, 10.0, 11.0]), np.array([-5.0, -5.0, -5.0]), np.array([120.0, 60.0, 30.0]))
    area = halo_moc(bright).sky_fraction * 4 * np.pi * np.degrees(1) ** 2 * 3600**2
    assert area == pytest.approx(np.pi * (120**2 + 30**2), rel=0.01)
    many = BrightStars(np.arange(200) * 0.02, np.full(200, -30.0), np.full(200, 11.0))
    area = halo_moc(many).sky_fraction * 4 * np.pi * np.degrees(1) ** 2 * 3600**2
    assert area == pytest.approx(200 * np.pi * 11**2, rel=0.02)
    assert halo_moc(BrightStars.joined([])).empty()
