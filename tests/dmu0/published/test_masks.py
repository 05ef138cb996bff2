"""Mask planes of any integer type, and pixels without data where there is no mask."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from lsst.images import Box

from dmu0.published.coadds import OpticalError, read_hsc, read_plain, translate_mask
from dmu0.published.masks import NAMELESS
from obs_vista.gaps import empty_pixels
from obs_vista.masks import BIT


@pytest.mark.parametrize(
    ("dtype", "number", "value"),
    [
        ("i2", 15, -32768),
        (">i2", 15, -32768),
        ("i4", 31, -(2**31)),
        ("u1", 7, 128),
        ("i8", 40, 2**40),
        ("f4", 8, 256.0),
    ],
)
def test_every_bit_of_every_type(dtype: str, number: int, value: float) -> None:
    """The highest bit of a signed mask is a plane like others, and sets none but its own."""
    mask = np.zeros((4, 6), dtype)
    mask[1, 2] = value
    header = fits.Header([("HIERARCH MP_NO_DATA", number), ("MP_SAT", 0), ("MP_CR", min(number - 1, 6))])
    found, _ = translate_mask(mask, header)
    assert found[1, 2] == BIT["NO_DATA"]
    assert np.count_nonzero(found) == 1


def test_plane_beyond_the_type() -> None:
    """A plane for which the integers have no room is set nowhere, also where the sign is set."""
    found, _ = translate_mask(np.full((3, 3), -128, np.int8), fits.Header([("HIERARCH MP_NO_DATA", 8), ("MP_SAT", 7)]))
    assert (found == BIT["SAT"]).all()


@pytest.mark.parametrize(
    ("mask", "number", "message"),
    [
        (np.full((3, 3), 0.5), 8, "whole"),
        (np.full((3, 3), np.nan), 8, "whole"),
        (np.zeros((3, 3), int), "x", "MP_SAT is 'x'"),
    ],
)
def test_masks_that_cannot_be_read(mask: np.ndarray, number: object, message: str) -> None:
    """Fractions and bits that are no numbers are refused."""
    with pytest.raises(OpticalError, match=message):
        translate_mask(mask, fits.Header([("MP_SAT", number)]))


@pytest.mark.parametrize("fill", [0.0, -99.0, -9999.0, np.nan])
def test_fills_without_a_mask(tmp_path, fill: float) -> None:
    """Blocks of a constant are no data whatever the constant; single zeros, thin lines and saturated cores are data."""
    image = np.random.default_rng(6).normal(0, 1, (60, 75)).astype(np.float32)
    filled = np.zeros(image.shape, bool)
    filled[:, :14], filled[50:, 60:], filled[20:23, 30:33] = True, True, True
    image[filled] = fill
    image[40, 30], image[35, 20:40], image[5:15, 40:50] = 0, 0, 6.5e4
    np.testing.assert_array_equal(empty_pixels(image), filled)
    fits.writeto(tmp_path / "a.fits", image)
    coadd = read_plain(tmp_path / "a.fits", zero_point=31.4)
    np.testing.assert_array_equal((coadd.mask & BIT["NO_DATA"]) != 0, filled)
    assert np.sqrt(np.median(coadd.variance[~filled])) == pytest.approx(1, rel=0.15)


def test_blank_integers(tmp_path) -> None:
    """BLANK pixels of an image of scaled integers are no data."""
    image = np.random.default_rng(6).normal(0, 100, (40, 30)).astype(np.int16)
    image[:, :9] = -32768
    hdu = fits.PrimaryHDU(image)
    hdu.header["BLANK"] = -32768
    hdu.writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(np.isnan(read_plain(tmp_path / "a.fits", zero_point=30.0).image), image == -32768)


def test_planes_of_a_plain_file(tmp_path) -> None:
    """A file that names a variance has it used; planes of different sizes are refused by file and plane."""
    image = np.random.default_rng(6).normal(0, 1, (40, 30)).astype(np.float32)
    variance = fits.ImageHDU(np.full((40, 30), 7.0, np.float32), name="VARIANCE")
    fits.HDUList([fits.PrimaryHDU(image), variance]).writeto(tmp_path / "a.fits")
    np.testing.assert_allclose(read_plain(tmp_path / "a.fits", zero_point=31.4).variance, 7.0)
    parts = [
        fits.PrimaryHDU(),
        *(fits.ImageHDU(image[: 40 - n], name=name) for n, name in enumerate(("IMAGE", "MASK"))),
    ]
    fits.HDUList([*parts, variance]).writeto(tmp_path / "b.fits")
    with pytest.raises(OpticalError, match=r"b\.fits: its MASK is \(39, 30\)"):
        read_hsc(tmp_path / "b.fits", zero_point=27.0)


@pytest.mark.parametrize("compressed", [False, True])
def test_blank_unsigned_integers(tmp_path, compressed: bool) -> None:
    """BLANK pixels of unsigned integers, which FITS stores with BZERO, are no data either, single ones included."""
    image = np.random.default_rng(6).normal(1000, 50, (40, 30)).astype(np.uint16)
    image[7, 9] = image[20:, 3] = 0
    hdu = fits.CompImageHDU(image) if compressed else fits.PrimaryHDU(image)
    fits.HDUList([fits.PrimaryHDU(), hdu] if compressed else [hdu]).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", "update", disable_image_compression=True, do_not_scale_image_data=True) as hdus:
        hdus[-1].header["ZBLANK" if compressed else "BLANK"] = -32768
    for box in (None, Box.factory[5:30, 2:12]):
        read = read_plain(tmp_path / "a.fits", zero_point=30.0, box=box).image
        part = image if box is None else image[5:30, 2:12]
        np.testing.assert_array_equal(np.isnan(read), part == 0)
        np.testing.assert_allclose(read[part > 0], part[part > 0] * 10 ** (0.4 * 1.4), rtol=1e-6)


def test_a_mask_without_names_tells_nothing(tmp_path) -> None:
    """Bits of unknown meaning are noted as left out, and pixels without data are told by their values."""
    image = np.random.default_rng(6).normal(0, 1, (40, 30)).astype(np.float32)
    image[:9] = 0
    mask = np.zeros(image.shape, np.int32)
    mask[30:] = 5
    parts = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), fits.ImageHDU(mask, name="MSK")]
    fits.HDUList(parts).writeto(tmp_path / "a.fits")
    read = read_plain(tmp_path / "a.fits", zero_point=31.4)
    assert read.left_out == (NAMELESS,)
    np.testing.assert_array_equal(np.isnan(read.image), image == 0)
