"""Which extension is the image: one rule for the check, the first look, the draft and the reader."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from dmu0.files.integrity import check_file, observation_date
from dmu0.published.coadds import OpticalError, read_coadd, read_plain
from dmu0.surveys.first_look import NotAnImageError, look_at

CELESTIAL = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 34.5, "CRVAL2": -5.0, "CRPIX1": 15.0, "CRPIX2": 20.0}
CELESTIAL |= {"CD1_1": -5e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 5e-5, "RADESYS": "ICRS", "MAGZERO": 31.4}


@pytest.mark.parametrize(
    ("names", "image"),
    [
        (("WHT", ""), 1),
        (("ERR", "IMAGE"), 1),
        (("DQ", "SCI", "ERR"), 1),
        (("rms", "data"), 1),
        (("", "CONF"), 0),
        (("SCI", "ERR", "DQ"), 0),
        (("first", "second"), 0),
        (("sigma_r", "r"), 1),
        (("weight-r", "data r"), 1),
        (("VAR_POISSON", "r_flux"), 1),
        (("bkg", "image_bkg_sub"), 1),
        (("noise.map", "", "model_r"), 1),
        (("r", "rms_g"), 0),
    ],
)
def test_the_image_is_told_by_names(tmp_path, names: tuple[str, ...], image: int) -> None:
    """Reader, check and first look take the same extension, and no map for it."""
    planes = [np.abs(np.random.default_rng(n).normal(0, 1, (40, 30))).astype(np.float32) for n in range(len(names))]
    planes[image] = np.random.default_rng(9).normal(0, 1, (40, 30)).astype(np.float32)
    hdus = [fits.ImageHDU(plane, name=name) for plane, name in zip(planes, names, strict=True)]
    hdus[image].header.update(CELESTIAL)
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    assert check_file(path, "optical_coadd") == ""
    assert look_at(path).pixel_scale == pytest.approx(0.18)
    assert (look_at(path).zero_point, look_at(path).shape) == (31.4, (40, 30))
    np.testing.assert_allclose(read_plain(path).image, planes[image])


def test_maps_alone_are_no_image(tmp_path) -> None:
    """A file of maps is refused by what it has."""
    path = tmp_path / "a.fits"
    planes = [fits.ImageHDU(np.ones((40, 30), np.float32), name=name) for name in ("WHT", "ERR")]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(path)
    assert "no more than maps beside one: WHT, ERR" in check_file(path, "optical_coadd")
    with pytest.raises(OpticalError, match=r"a\.fits: by their names .*: WHT, ERR"):
        read_plain(path, zero_point=30.0)
    with pytest.raises(NotAnImageError, match="WHT, ERR"):
        look_at(path)


def test_bands_in_one_file_are_not_one(tmp_path) -> None:
    """Images of several bands are refused by their names, by the check and by every reader: which one is meant?"""
    path = tmp_path / "a.fits"
    planes = [
        fits.ImageHDU(np.random.default_rng(n).normal(0, 1, (40, 30)).astype(np.float32), name=name)
        for n, name in enumerate(("flux_g", "flux_r", "i", "rms_g"))
    ]
    for hdu in planes:
        hdu.header.update(CELESTIAL)
    for count in (2, 3, 4):
        fits.HDUList([fits.PrimaryHDU(), *planes[:count]]).writeto(path, overwrite=True)
        said = "by their names its images are of the bands G, R"
        assert said in check_file(path, "optical_coadd")
        for reader in (read_plain, read_coadd):
            with pytest.raises(OpticalError, match=rf"a\.fits: {said}"):
                reader(path)
        with pytest.raises(NotAnImageError, match="of the bands"):
            look_at(path)


def test_three_without_names(tmp_path, rng) -> None:
    """Behind an empty primary HDU, three planes without names are image, mask and variance; else the first is it."""
    image, mask, variance = rng.normal(0, 2, (40, 30)), np.zeros((40, 30), np.int32), np.full((40, 30), 4.0)
    others = [fits.ImageHDU(mask), fits.ImageHDU(variance)]
    path = tmp_path / "a.fits"
    for hdus, known in (
        ([fits.PrimaryHDU(), fits.ImageHDU(image), *others], True),
        ([fits.PrimaryHDU(image), *others], False),
    ):
        hdus[known].header.update(CELESTIAL)
        fits.HDUList(hdus).writeto(path, overwrite=True)
        found = read_coadd(path)
        np.testing.assert_allclose(found.image, image, rtol=1e-6)
        assert (found.variance == 4.0).all() == known
        assert np.median(found.variance) == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("name", ["SCI", "", "CCD"])
def test_several_images_are_not_one(tmp_path, name: str) -> None:
    """Detectors or tiles in one file are refused by their number, not read in part; two planes of one place are one."""
    path = tmp_path / "a.fits"
    planes = [
        fits.ImageHDU(np.random.default_rng(n).normal(0, 1, (40, 30)).astype(np.float32), name=name) for n in (1, 2)
    ]
    for number, hdu in enumerate(planes):
        hdu.header.update(CELESTIAL | {"CRPIX1": 15.0 - 30 * number, "EXTVER": number + 1})
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(path)
    assert "has 2 images of different parts of the sky" in check_file(path, "optical_coadd")
    with pytest.raises(OpticalError, match=r"a\.fits: it has 2 images"):
        read_plain(path)
    with pytest.raises(NotAnImageError, match="has 2 images"):
        look_at(path)
    planes[1].header["CRPIX1"] = 15.0
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(path, overwrite=True)
    np.testing.assert_array_equal(read_plain(path).image, planes[0].data)


@pytest.mark.parametrize("cards", [{"LTV1": "a", "LTV2": 2.0}, {"LTV1": 3.0}, {}])
def test_senseless_places_cost_nothing(tmp_path, cards: dict) -> None:
    """LTV1 and LTV2 that are no numbers give no origin, and world coordinates remain."""
    hdu = fits.PrimaryHDU(np.random.default_rng(6).normal(0, 1, (40, 30)).astype(np.float32))
    hdu.header.update(CELESTIAL | cards)
    hdu.writeto(tmp_path / "a.fits")
    read = read_plain(tmp_path / "a.fits")
    assert read.origin is None
    assert read.wcs is not None


def test_variance_in_large_units(tmp_path) -> None:
    """Squares of erg/s/cm2/Hz are beyond float32 in nJy^2 and below it in their own: the noise is right."""
    image = np.random.default_rng(6).normal(0, 3e-30, (40, 30))
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="IMAGE"), fits.ImageHDU(image * 0 + 9e-60, name="VARIANCE")]
    hdus[1].header.update(CELESTIAL | {"BUNIT": "erg / (s cm2 Hz)"})
    del hdus[1].header["MAGZERO"]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    read = read_plain(tmp_path / "a.fits")
    np.testing.assert_allclose(read.image, image * 1e32, rtol=1e-6)
    np.testing.assert_allclose(read.variance, 300.0**2, rtol=1e-6)


@pytest.mark.parametrize("card", ["DATE-OBS= 2009-11-04", "EXTTYPE = 1,2", "EXTNAME = a b", "LTV1    = 1,0"])
def test_cards_that_cannot_be_parsed(tmp_path, card: str) -> None:
    """A card that is not FITS, and that nothing depends on, costs neither the image nor an error."""
    image = np.random.default_rng(6).normal(0, 1, (40, 30)).astype(np.float32)
    hdu = fits.PrimaryHDU(image)
    hdu.header.update(CELESTIAL | {"REPLACED": 0})
    path = tmp_path / "a.fits"
    hdu.writeto(path)
    content = path.read_bytes()
    at = content.index(b"REPLACED")
    path.write_bytes(content[:at] + card.encode().ljust(80) + content[at + 80 :])
    assert check_file(path, "optical_coadd") == ""
    assert observation_date(path) == ("2009-11-04" if "DATE" in card else "")
    assert look_at(path).shape == (40, 30)
    np.testing.assert_allclose(read_plain(path).image, image)
