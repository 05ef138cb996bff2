"""Inputs of the baseline: scales, weights, masks and grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from dmu0.sky.tract import tangent_wcs
from dmu3.inputs import (
    InputError,
    OpticalPixels,
    patch_detectors,
    place_on_grid,
    read_coadd,
    read_detector,
    without_outliers,
)
from dmu3.swarp import Coadd, InputImage
from dmu3.swarp_projection import wcs_header


def detector_header() -> fits.Header:
    """The cards of a VISTA extension that the scale and the position need."""
    header = wcs_header(tangent_wcs(ra=36.0, dec=-5.0, pixel_scale=0.34, x=20, y=15))
    header.update({"MAGZPT": 23.867, "EXPTIME": 10.0, "SKYNOISE": 8.0, "FILTER": "H"})
    return header


@pytest.mark.parametrize(("card", "value"), [("MAGZPT", 0.0), ("MAGZPT", None), ("EXPTIME", 0.0), ("SKYNOISE", "8,0")])
def test_impossible_cards_are_named(tmp_path: Path, card: str, value: float | str | None) -> None:
    """A missing or impossible card is named with its file and HDU."""
    header = detector_header()
    header[card] = value
    fits.writeto(tmp_path / "a.fit", np.ones((30, 40), np.float32), header)
    fits.writeto(tmp_path / "c.fit", np.ones((30, 40), np.int16))
    with pytest.raises(InputError, match=rf"a\.fit\[0\]: {card} is"):
        read_detector(tmp_path / "a.fit", 0, "vh", confidence=(tmp_path / "c.fit", 0))


def test_confidence_is_the_weight(tmp_path: Path) -> None:
    """The weight is the confidence over the noise squared, in nJy, and zero where confidence or pixels are missing."""
    image = np.full((30, 40), 5.0, np.float32)
    image[3, 4] = np.nan
    confidence = np.full((30, 40), 100, np.int16)
    confidence[:, 20:] = 50
    confidence[10] = 0
    header = detector_header()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, header)]).writeto(tmp_path / "a_st.fit")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(confidence)]).writeto(tmp_path / "a_st_conf.fit")
    result = read_detector(tmp_path / "a_st.fit", 1, "vh", confidence=(tmp_path / "a_st_conf.fit", 1))
    scale = 10 ** (0.4 * (31.4 - 23.867 - 1.385)) / 10  # MAGZPT is for one ADU per second, H is 1.385 mag from AB
    assert result.weight[0, 0] == pytest.approx((8.0 * scale) ** -2, rel=1e-5)
    assert result.weight[0, 30] == pytest.approx(0.5 * (8.0 * scale) ** -2, rel=1e-5)
    assert result.image[0, 0] == pytest.approx(5 * scale, rel=1e-5)
    assert (result.weight[10] == 0).all()
    assert result.weight[3, 4] == 0
    assert np.isfinite(result.image).all()


def test_confidence_of_another_size(tmp_path: Path) -> None:
    """A confidence map that does not fit is refused, with both names."""
    fits.writeto(tmp_path / "a.fit", np.ones((30, 40), np.float32), detector_header())
    fits.writeto(tmp_path / "c.fit", np.ones((30, 41), np.int16))
    with pytest.raises(InputError, match=r"a\.fit\[0\].*c\.fit"):
        read_detector(tmp_path / "a.fit", 0, "vh", confidence=(tmp_path / "c.fit", 0))


def test_rescaled_image_without_confidence(realdata: Path) -> None:
    """A real H image at zero point 30: its noise comes from its pixels, its position from the header's ZPN."""
    result = read_detector(realdata / "vista_video_h" / "image_1.fits", 1, "vh", confidence=None, magnitudes="AB")
    depth = 31.4 - 2.5 * np.log10(1 / np.sqrt(np.median(result.weight)))
    assert 25.5 < depth < 26.2  # one sigma of a pixel: 46 units of zero point 30
    assert result.wcs.wcs.ctype[0] == "RA---ZPN"


def test_hsc_calexp(realdata: Path) -> None:
    """A real HSC cutout: zero point 27, variance of the same scale, NO_DATA by name."""
    path = realdata / "hsc_cutout" / "hsc_i.fits"
    pixels = read_coadd(path)
    with fits.open(path) as hdus:
        raw, variance = hdus[1].data, hdus[3].data
    assert pixels.image[100, 50] == pytest.approx(raw[100, 50] * 10 ** (0.4 * 4.4), rel=1e-5)
    assert pixels.weight[100, 50] == pytest.approx(1 / (variance[100, 50] * 10 ** (0.8 * 4.4)), rel=1e-4)


def test_coadd_is_shifted_on_to_its_patch(realdata: Path) -> None:
    """A file that covers part of a patch lands on its own pixels; one on another grid comes back to be resampled."""
    pixels = read_coadd(realdata / "hsc_cutout" / "hsc_i.fits")
    grid = pixels.wcs.deepcopy()
    grid.wcs.crpix += [100, -50]
    placed = place_on_grid(pixels, wcs=grid, shape=(500, 500), name="i")
    assert isinstance(placed, Coadd)
    np.testing.assert_array_equal(placed.image[0, 100:401], pixels.image[50])
    assert (placed.weight[:, :100] == 0).all()
    turned = tangent_wcs(ra=222.3, dec=0.7, pixel_scale=0.2, x=100, y=100)
    assert isinstance(place_on_grid(pixels, wcs=turned, shape=(500, 500), name="i"), InputImage)


def test_plain_image_needs_a_zero_point(tmp_path: Path) -> None:
    """No FLUXMAG0 and no zero point in the survey: refused; an image without WCS must fit the grid."""
    fits.writeto(tmp_path / "g.fits", np.random.default_rng(1).normal(size=(20, 30)).astype(np.float32))
    with pytest.raises(InputError, match="FLUXMAG0"):
        read_coadd(tmp_path / "g.fits")
    pixels = read_coadd(tmp_path / "g.fits", zero_point=30.0)
    wcs = tangent_wcs(ra=1, dec=2, pixel_scale=0.3, x=10, y=10)
    with pytest.raises(InputError, match=r"\(20, 30\)"):
        place_on_grid(pixels, wcs=wcs, shape=(30, 20), name="g")


def test_only_accepted_overlapping_detectors() -> None:
    """A rejected image, another band and an image elsewhere are left out."""
    selected = Table(
        {
            "path": ["a", "a", "b", "c"],
            "hdu": [1, 2, 1, 1],
            "band": ["vh", "vh", "vh", "vk"],
            "accepted": [True, True, False, True],
        }
    )
    coverage = Table(
        rows=[("a", 1, "vh", 8524, 7), ("b", 1, "vh", 8524, 7), ("a", 2, "vh", 8524, 8), ("c", 1, "vk", 8524, 7)],
        names=["path", "hdu", "band", "tract", "patch"],
    )
    rows = patch_detectors(selected, coverage, tract=8524, patch=7, band="vh")
    assert [(row["path"], row["hdu"]) for row in rows] == [("a", 1)]
    assert len(patch_detectors(Table(), Table(), tract=8524, patch=7, band="vh")) == 0


@pytest.mark.parametrize(("sky_noise", "ok"), [(8.0, True), (13.0, True), (3.0, False), (800.0, False)])
def test_noise_of_the_pixels_is_compared(tmp_path: Path, rng: np.random.Generator, sky_noise: float, ok: bool) -> None:
    """An image with half the confidence and sqrt(2) times the noise is as it should be; SKYNOISE off by more is not."""
    header = detector_header()
    header["SKYNOISE"] = sky_noise
    fits.writeto(tmp_path / "a.fit", rng.normal(8000, 8 * np.sqrt(2), (90, 80)).astype(np.float32), header)
    fits.writeto(tmp_path / "c.fit", np.full((90, 80), 50, np.int16))
    if ok:
        read_detector(tmp_path / "a.fit", 0, "vh", confidence=(tmp_path / "c.fit", 0))
    else:
        with pytest.raises(InputError, match=rf"a\.fit\[0\]: its pixels scatter by 8.*SKYNOISE is {sky_noise:g}"):
            read_detector(tmp_path / "a.fit", 0, "vh", confidence=(tmp_path / "c.fit", 0))


def one_image(name: str, *, scale: float = 30.0, noise: float = 200.0) -> InputImage:
    """An image of some scale and noise."""
    weight = np.full((5, 6), noise**-2, np.float32)
    weight[0] = 0
    wcs = tangent_wcs(ra=1, dec=2, pixel_scale=1, x=0, y=0)
    return InputImage(np.zeros((5, 6), np.float32), weight, wcs, name, scale)


def test_images_unlike_their_band_are_left_out() -> None:
    """Scale and noise have limits on both sides; two images, and images without data, are not compared."""
    odd = [one_image("bright", scale=0.003), one_image("faint", scale=200), one_image("sure", noise=2)]
    odd += [one_image("wild", noise=9000)]
    good = [one_image("a"), one_image("b", scale=45, noise=500), one_image("c", noise=90), one_image("d")]
    good += [one_image("e"), one_image("empty", noise=np.inf)]
    kept, problems = without_outliers(odd + good)
    assert [item.name for item in kept] == ["a", "b", "c", "d", "e", "empty"]
    assert [problem.split(":")[0] for problem in problems] == ["bright", "faint", "sure", "wild"]
    assert "0.0001 times the median" in problems[0]
    assert len(without_outliers(odd[:2])[0]) == 2


@pytest.mark.parametrize(("dx", "dy"), [(-7, 3), (12, -5), (2, 30)])
def test_a_coadd_that_reaches_over_the_patch(dx: int, dy: int) -> None:
    """A coadd of 40 x 50 px on a grid of 60 x 45, moved by some pixels, keeps the places of its pixels."""
    image = np.arange(2000, dtype=np.float32).reshape(40, 50)
    wcs = tangent_wcs(ra=150.0, dec=-40.0, pixel_scale=0.3, x=10, y=10)
    grid = wcs.deepcopy()
    grid.wcs.crpix += [dx, dy]
    placed = place_on_grid(OpticalPixels(image, image + 1, wcs), wcs=grid, shape=(60, 45), name="i")
    assert isinstance(placed, Coadd)
    rows, columns = np.indices((60, 45)) - np.array([dy, dx])[:, None, None]
    inside = (rows >= 0) & (rows < 40) & (columns >= 0) & (columns < 50)
    np.testing.assert_array_equal(placed.image, np.where(inside, 50 * rows + columns, 0))
    np.testing.assert_array_equal(placed.weight, np.where(inside, 50 * rows + columns + 1, 0))
