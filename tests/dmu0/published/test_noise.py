"""Weight and variance maps of published images: right where they are what they are called, refused where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dmu0.published.coadds import OpticalError, PlainFile, read_coadd, read_plain
from dmu0.published.noise import check_variance, weight_variance

SHAPE = (300, 420)
CELESTIAL = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 359.99, "CRVAL2": -5.0, "CRPIX1": 15.0}
CELESTIAL |= {"CRPIX2": 20.0, "CD1_1": -5e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 5e-5, "MAGZERO": 31.4}


@pytest.fixture
def sigma() -> np.ndarray:
    """Noise [y, x] of an image of three depths, in nJy."""
    return np.select([np.arange(420) < 110, np.arange(420) < 250], [10.0, 30.0], 17.0) * np.ones(SHAPE)


@pytest.fixture
def image(sigma, rng) -> np.ndarray:
    """An image of that noise, on a pedestal, with a few sources."""
    pixels = 400 + rng.normal(size=SHAPE) * sigma
    for x, y in ((50, 70), (180, 210), (390, 31)):
        pixels[y - 3 : y + 4, x - 3 : x + 4] += 2e4
    return pixels


def write(path: Path, pixels: np.ndarray, **cards: object) -> Path:
    """An image in a file."""
    hdu = fits.PrimaryHDU(pixels.astype(np.float32))
    hdu.header.update(CELESTIAL | cards)
    hdu.writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("factor", [1.0, 3e-7, 1e9])
def test_weights_of_several_depths(image, sigma, factor: float) -> None:
    """The noise from weights of any unit is right to 3% at each depth, whatever the level of the sky."""
    empty = np.zeros(SHAPE, bool)
    empty[:, 300:310] = True
    variance = weight_variance(image, factor / sigma**2, empty, name="w")
    assert np.isinf(variance[:, 300:310]).all()
    for depth in (10, 30, 17):
        assert np.median(np.sqrt(variance[~empty & (sigma == depth)])) == pytest.approx(depth, rel=0.03)


@pytest.mark.parametrize(("power", "refused"), [(2, True), (1, True), (0, False), (-2, False)])
def test_other_maps_in_the_place_of_weights(image, sigma, power: int, refused: bool) -> None:
    """Variances and sigmas called weights are refused; a flat map says nothing of the noise, and is believed."""
    if refused:
        with pytest.raises(OpticalError, match=r"wt\.fits: the noise is .* times larger where .*these are no weights"):
            weight_variance(image, sigma**power, np.zeros(SHAPE, bool), name="wt.fits")
    else:
        assert np.isfinite(weight_variance(image, sigma**power, np.zeros(SHAPE, bool), name="wt.fits")).all()


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_variances_within_reason(image, sigma, factor: float) -> None:
    """A variance map is taken as it is, also where noise is correlated, or the field crowded."""
    np.testing.assert_array_equal(
        check_variance(image, factor * sigma**2, sigma < 0, name="v"), np.asarray(factor * sigma**2)
    )


def test_other_maps_in_the_place_of_variances(image, sigma) -> None:
    """An inverse variance, and variances in another unit, are refused with both numbers."""
    for wrong in (1 / sigma**2, sigma**2 * 10 ** (0.8 * 6.4), sigma**2 * 1e-3):
        with pytest.raises(OpticalError, match=r"v\.fits: half of the variance map .*scatter by [12]\d.*weights"):
            check_variance(image, wrong, sigma < 0, name="v.fits")
    few = sigma > 0
    few[:90, :100] = False
    assert check_variance(image, 1 / sigma**2, few, name="v.fits").shape == SHAPE


def test_bright_sources_are_no_other_noise(rng) -> None:
    """A galaxy that fills the deep part of a small image, and the halo of a star, make no other map of a right one."""
    y, x = np.mgrid[:240, :320]
    deep = x < 160
    sigma = np.where(deep, 10.0, 15.0)
    light = 4e3 * np.exp(-np.hypot(x - 80, y - 110) / 25) + 3e7 / (np.hypot(x - 400, y + 50) ** 2)
    image = light + rng.normal(size=x.shape) * sigma
    assert np.median(light[deep]) > 5 * 10
    none = np.zeros(x.shape, bool)
    assert np.isfinite(weight_variance(image, 1 / sigma**2, none, name="w")).all()
    assert np.isfinite(check_variance(image, sigma**2, none, name="v")).all()


def test_the_reader_refuses_wrong_maps(tmp_path, image, sigma) -> None:
    """Maps beside the image and extensions alike."""
    path = write(tmp_path / "i.fits", image)
    for kind, pixels, said in (
        ("weight", sigma**2, "no weights"),
        ("variance", 1 / sigma**2, "half of the variance map"),
    ):
        beside = write(tmp_path / "m.fits", pixels)
        with pytest.raises(OpticalError, match=rf"m\.fits: .*{said}"):
            read_plain(path, file=PlainFile(path, **{kind: beside}))
        within = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(one) for one in (image, pixels))])
        within[1].header.update(CELESTIAL)
        within[1].header["EXTNAME"], within[2].header["EXTNAME"] = "SCI", kind
        within.writeto(tmp_path / "e.fits", overwrite=True)
        with pytest.raises(OpticalError, match=rf"e\.fits: {kind.upper()}: .*{said}"):
            read_coadd(tmp_path / "e.fits")


def test_maps_of_another_field(tmp_path, image, sigma) -> None:
    """A map of the same size that is elsewhere by its header is refused; one that is a little off, or has no place, is
    that of its image."""
    path = write(tmp_path / "i.fits", image)
    for cards in ({"CRVAL1": 0.01}, {"CRVAL2": -5.1}, {"CD1_1": 5e-5}):
        beside = write(tmp_path / "w.fits", 1 / sigma**2, **cards)
        with pytest.raises(OpticalError, match=r"w\.fits: .* deg from those of the image.*i\.fits"):
            read_plain(path, file=PlainFile(path, weight=beside))
    for cards in ({"CRVAL2": -5.0 + 2 / 3600}, {"CTYPE1": "X", "CTYPE2": "Y"}):
        beside = write(tmp_path / "w.fits", 1 / sigma**2, **cards)
        assert np.isfinite(read_plain(path, file=PlainFile(path, weight=beside)).variance).all()


def test_variance_maps_on_an_asinh_scale(tmp_path, image, sigma) -> None:
    """The variances of Pan-STARRS, in a file beside the image, are made linear as an extension is."""
    path = write(tmp_path / "i.fits", image)
    stored = 2.5 * np.log10(np.e) * np.arcsinh((sigma**2 - 1) / (2 * 200))
    beside = write(tmp_path / "v.fits", stored, BSOFTEN=200.0, BOFFSET=1.0)
    found = read_plain(path, file=PlainFile(path, variance=beside))
    np.testing.assert_allclose(found.variance, sigma**2, rtol=1e-5)
