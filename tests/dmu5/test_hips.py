"""HiPS of pictures: every tile at its place on the sky, its properties, transparency, and several tracts in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs import WCS
from astropy_healpix import HEALPix
from PIL import Image

from dmu0.surveys import load_survey
from dmu5.hips import grey_picture, join_hips, tract_hips, with_alpha

WIDTH = 512
PROPERTIES = {"obs_title": "a star", "creator_did": "ivo://lsst-ir-fusion/P/toy/colour"}


def tangent(ra: float, dec: float, *, crpix: tuple[float, float]) -> WCS:
    """World coordinates of a tract, whose centre is far from the picture."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], crpix
    wcs.wcs.cdelt = [-0.168 / 3600, 0.168 / 3600]
    return wcs


def picture_of_a_star(x: int, y: int, *, shape: tuple[int, int] = (500, 700)) -> np.ndarray:
    """A star in orange on black, with a corner without data."""
    rows, columns = np.indices(shape)
    light = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    picture = (np.array([255, 128, 20]) * light[..., None]).astype(np.uint8)
    good = (rows > 100) | (columns > 200)
    return with_alpha(picture, good)


def position_of(tile: int, order: int, *, row: int, column: int) -> SkyCoord:
    """The position of a pixel of a tile, as it is seen: the first row above.

    A tile is a pixel of HEALPix at its order. Its pixels are those of nine orders deeper: of the two coordinates of the
    nested scheme, that of the even bits runs down the picture and that of the odd bits to its right.
    """
    number = 0
    for bit in range(9):
        number |= ((column >> bit) & 1) << (2 * bit + 1) | ((row >> bit) & 1) << (2 * bit)
    deep = HEALPix(nside=2 ** (order + 9), order="nested", frame=ICRS())
    return deep.healpix_to_skycoord(tile * 4**9 + number)


@pytest.mark.parametrize("dec", [-5.2, 61.0])
def test_a_star_is_in_its_tile_at_its_place(tmp_path: Path, dec: float) -> None:
    """The brightest pixel of the deepest tiles is where the star is, by HEALPix itself, to a pixel of 0.2 arcsec."""
    x, y = 430, 222
    wcs = tangent(35.0, dec, crpix=(1500.0, -900.0))
    folder = tract_hips(picture_of_a_star(x, y), wcs, tmp_path / "hips", PROPERTIES)
    order = 11
    brightest, found = 0, None
    for path in folder.glob(f"Norder{order}/Dir*/Npix*.png"):
        pixels = np.asarray(Image.open(path))
        assert pixels.shape == (WIDTH, WIDTH, 4)
        if (peak := int(pixels[..., 0].max())) > brightest:
            row, column = np.unravel_index(pixels[..., 0].argmax(), pixels.shape[:2])
            brightest, found = peak, (int(path.stem[4:]), int(row), int(column))
            colour = pixels[row, column]
    assert found is not None
    there = position_of(found[0], order, row=found[1], column=found[2])
    star = wcs.pixel_to_world(x, y)
    assert there.separation(star).arcsec < 0.25
    assert colour == pytest.approx([255, 128, 20, 255], abs=12)
    assert found[0] == HEALPix(nside=2**order, order="nested", frame=ICRS()).skycoord_to_healpix(star)


def test_properties_and_transparency(tmp_path: Path) -> None:
    """The file of properties has what viewers ask for; the corner without data is transparent, at every zoom a tile."""
    folder = tract_hips(picture_of_a_star(430, 222), tangent(35.0, -5.2, crpix=(350, 250)), tmp_path / "a", PROPERTIES)
    words = dict(line.split("=", 1) for line in (folder / "properties").read_text().splitlines() if "=" in line)
    words = {key.strip(): value.strip() for key, value in words.items()}
    assert words["hips_tile_format"] == "png"
    assert (words["hips_tile_width"], words["hips_frame"], words["hips_order"]) == ("512", "equatorial", "11")
    assert words["obs_title"] == "a star"
    assert words["creator_did"] == PROPERTIES["creator_did"]
    assert {path.name for path in folder.glob("Norder*")} == {f"Norder{order}" for order in range(12)}
    opaque = sum(float((np.asarray(Image.open(p))[..., 3] > 127).sum()) for p in folder.glob("Norder11/*/*.png"))
    side = np.degrees(np.sqrt(4 * np.pi / (12 * 4**11))) * 3600 / WIDTH  # arcsec
    area = (500 * 700 - 101 * 201) * 0.168**2
    assert opaque * side**2 == pytest.approx(area, rel=0.01)


def test_tracts_are_joined(tmp_path: Path) -> None:
    """Two pictures side by side are in one HiPS, with both stars; no page in it loads anything from elsewhere."""
    parts = []
    for number, crpix in enumerate(((350.0, 250.0), (-350.0, 250.0))):
        wcs = tangent(35.0, -5.2, crpix=crpix)
        parts.append(tract_hips(picture_of_a_star(430, 222), wcs, tmp_path / str(number), PROPERTIES))
    join_hips(parts, tmp_path / "both")
    assert not list((tmp_path / "both").rglob("*.html"))
    bright = [
        int((np.asarray(Image.open(path))[..., 0] > 200).sum()) for path in (tmp_path / "both").glob("Norder11/*/*.png")
    ]
    alone = sum(int((np.asarray(Image.open(p))[..., 0] > 200).sum()) for p in parts[0].glob("Norder11/*/*.png"))
    assert sum(bright) == pytest.approx(2 * alone, rel=0.1)


def test_grey_levels(rng: np.random.Generator) -> None:
    """Sky is dark, brighter sources are lighter, a thousand times the scatter is white; no data is transparent."""
    image = rng.normal(7.0, 2.0, (100, 130))
    image[50, 60:64] = 7.0 + 2.0 * np.array([10, 100, 1000, 1e6])
    image[:20] = np.nan
    picture = grey_picture(image)
    assert np.all(picture[:20, :, 3] == 0)
    assert np.all(picture[20:, :, 3] == 255)
    assert np.all(picture[..., 0] == picture[..., 2])
    levels = picture[50, 60:64, 0].astype(int)
    assert np.median(picture[20:45, :, 0]) < 30 < levels[0] < levels[1] < levels[2]
    assert levels[2:].tolist() == [255, 255]


@pytest.mark.release
def test_hips_of_the_sample() -> None:
    """The release has the picture and every band, listed as products, with the survey in their properties."""
    survey = load_survey("sample")
    root = survey.folders[5] / "hips"
    if not root.is_dir():
        pytest.skip("not released here: make release SURVEY=sample")
    assert {path.name for path in root.iterdir()} == {"colour", *survey.bands}
    for folder in root.iterdir():
        text = (folder / "properties").read_text()
        assert "ivo://lsst-ir-fusion/P/sample/" in text
        assert list(folder.glob("Norder11/*/*.png"))
