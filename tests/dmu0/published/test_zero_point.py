"""The zero point of published coadds: one precedence, in either header, for every reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dmu0.published.coadds import OpticalError, read_plain
from dmu0.published.zero_point import CasuScale, published_zero_point
from dmu2.stars import ImageUnusable
from dmu2.stars import read_coadd as read_stars_coadd
from dmu3.inputs import InputError
from dmu3.inputs import read_coadd as read_baseline_coadd

FLUX_MAG0_27 = 10 ** (0.4 * 27.0)
WCS_CARDS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 34.5, "CRVAL2": -5.0, "CRPIX1": 20.0, "CRPIX2": 25.0}
WCS_CARDS |= {"CD1_1": -4.67e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 4.67e-5}


def header(cards: dict[str, object]) -> fits.Header:
    """A header of some cards."""
    made = fits.Header()
    for key, value in cards.items():
        made[key] = value
    return made


@pytest.mark.parametrize(
    ("image", "primary", "survey", "expected"),
    [
        ({"FLUXMAG0": FLUX_MAG0_27}, {}, None, 27.0),
        ({"MAGZERO": 31.4}, {}, None, 31.4),
        ({}, {"FLUXMAG0": FLUX_MAG0_27}, None, 27.0),
        ({}, {"MAGZERO": 30.0}, None, 30.0),
        ({"MAGZERO": 25.0}, {"MAGZERO": 30.0}, None, 25.0),
        ({"FLUXMAG0": FLUX_MAG0_27, "MAGZERO": 27.001}, {}, None, 27.0),
        ({"FLUXMAG0": FLUX_MAG0_27}, {}, 30.0, 30.0),
        ({"FLUXMAG0": "unknown"}, {"MAGZERO": 0.0}, 0.0, 0.0),
        ({"MAGZERO": 23.9, "BUNIT": "uJy"}, {}, None, 23.9),
        ({"MAGZERO": 25.0, "BUNIT": "MJy/sr"}, {}, None, 25.0),
        ({"MAGZERO": 25.0, "BUNIT": "uJy"}, {}, 26.0, 26.0),
        ({"BUNIT": "nanomaggies"}, {}, None, 22.5),
        ({"BUNIT": "nanomaggy", "MAGZERO": 22.5}, {}, None, 22.5),
        ({"BUNIT": "Maggy "}, {}, None, 0.0),
        ({"MAGZERO": 99.0}, {}, 26.0, 26.0),
        ({"MAGZERO": 25.0, "PHOTZP": 25.05, "PHOTSYS": "AB"}, {}, None, 25.0),
        ({"MAGZERO": 25.0, "PHOTZP": 99.0, "PHOTSYS": "AB"}, {}, None, 25.0),
        ({"MAGZERO": 25.0, "PHOTZP": 23.0}, {}, None, 25.0),
    ],
)
def test_precedence(image: dict, primary: dict, survey: float | None, expected: float) -> None:
    """The survey file's, FLUXMAG0, MAGZERO; the image's header before the primary; a survey's 0 is a zero point."""
    found = published_zero_point(header(image), header(primary), path=Path("a.fits"), survey=survey)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("primary", [True, False])
@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({}, "its zero point is unknown: no FLUXMAG0 and no MAGZERO"),
        ({"FLUXMAG0": 0.0}, "FLUXMAG0 is 0.0"),
        ({"FLUXMAG0": -5.0}, "FLUXMAG0 is -5.0"),
        ({"FLUXMAG0": "63095734448.0"}, "FLUXMAG0 is '63095734448.0'"),
        ({"MAGZERO": 0}, "MAGZERO is 0"),
        ({"MAGZERO": "N/A"}, "MAGZERO is 'N/A'"),
        ({"MAGZERO": 99.0}, "MAGZERO is 99.0; a zero point between -10 and 50 mag"),
        ({"FLUXMAG0": 1e-9}, "FLUXMAG0 is 1e-09; a zero point between"),
        ({"FLUXMAG0": 1e40}, "FLUXMAG0 is 1e.40; a zero point between"),
        (
            {"MAGZERO": 25.0, "PHOTZP": 24.0, "PHOTSYS": "AB"},
            "MAGZERO gives the zero point 25.000, but PHOTZP .*24.000",
        ),
        ({"FLUXMAG0": FLUX_MAG0_27, "MAGZERO": 30.0}, "FLUXMAG0 is 6.3.*but MAGZERO is 30"),
    ],
)
def test_every_reader_refuses_alike(tmp_path: Path, cards: dict, message: str, primary: bool) -> None:
    """What cannot be a zero point is refused by file, card and value, by the pipeline, the stars and the baseline."""
    path = tmp_path / "odd.fits"
    first, second = (cards, {}) if primary else ({}, cards)
    pixels = np.random.default_rng(2).normal(size=(50, 40)).astype(np.float32)
    hdus = [fits.PrimaryHDU(header=header(first)), fits.ImageHDU(pixels, header(second | WCS_CARDS))]
    fits.HDUList(hdus).writeto(path)
    for reader, kind in ((read_plain, OpticalError), (read_baseline_coadd, InputError)):
        with pytest.raises(kind, match=rf"odd\.fits: {message}"):
            reader(path)
    with pytest.raises(ImageUnusable, match=rf"odd\.fits: {message}"):
        read_stars_coadd(path, "i")
    assert np.isfinite(read_plain(path, zero_point=30.0).image).all()


@pytest.mark.parametrize("card", ["NaN", "INF", "10,0"])
def test_senseless_cards(card: str) -> None:
    """A value that FITS does not know is refused with what stands there."""
    odd = fits.Header([fits.Card.fromstring(f"FLUXMAG0= {card:>20}".ljust(80))])
    with pytest.raises(OpticalError, match=f"FLUXMAG0 is '{card}'"):
        published_zero_point(odd, fits.Header(), path=Path("a.fits"))
    with pytest.raises(OpticalError, match="in the survey file is nan"):
        published_zero_point(odd, fits.Header(), path=Path("a.fits"), survey=float("nan"))


def test_every_reader_has_the_same_fluxes(tmp_path: Path) -> None:
    """One file, one flux in nJy and the same pixels without data, in the pipeline, for the stars, in the baseline."""
    path = tmp_path / "a.fits"
    pixels = np.random.default_rng(2).normal(size=(50, 40)).astype(np.float32)
    pixels[:, :11] = -99.0
    pixels[7, 30] = np.nan
    empty = ~np.isfinite(pixels) | (pixels == -99.0)
    hdus = [fits.PrimaryHDU(header=header({"MAGZERO": 30.0})), fits.ImageHDU(pixels, header(WCS_CARDS))]
    fits.HDUList(hdus).writeto(path)
    pipeline, stars, baseline = read_plain(path), read_stars_coadd(path, "i"), read_baseline_coadd(path)
    np.testing.assert_array_equal(np.isnan(pipeline.image), empty)
    np.testing.assert_array_equal(stars.mask, empty)
    np.testing.assert_array_equal(baseline.weight == 0, empty)
    expected = pixels[~empty] * 10 ** (0.4 * 1.4)
    for image in (pipeline.image, stars.pixels * stars.nanojansky, baseline.image):
        np.testing.assert_allclose(image[~empty], expected, rtol=1e-6)
    np.testing.assert_allclose(baseline.weight[~empty], 1 / pipeline.variance[~empty], rtol=1e-6)
    np.testing.assert_allclose(stars.noise[~empty], np.sqrt(pipeline.variance[~empty]), rtol=1e-6)
    assert np.sqrt(np.median(pipeline.variance)) == pytest.approx(10 ** (0.4 * 1.4), rel=0.1)


CASU = {"MAGZPT": 23.85, "EXPTIME": 10.0, "EXTINCT": 0.05}
CASU |= {"HIERARCH ESO TEL AIRM START": 1.2, "HIERARCH ESO TEL AIRM END": 1.4}


@pytest.mark.parametrize(
    ("cards", "magnitudes", "expected"),
    [
        ({}, "Vega", 23.85 + 2.5 - 0.05 * 0.3 + 1.816),
        ({}, "AB", 23.85),
        ({"MAGZERO": 30.0}, "Vega", 30.0),
        ({"FLUXMAG0": FLUX_MAG0_27}, "AB", 27.0),
    ],
)
def test_tiles_of_vista(cards: dict, magnitudes: str, expected: float) -> None:
    """MAGZPT counts for VISTA alone, after the cards of coadds, with exposure time, extinction and Vega offset."""
    primary, casu = header(CASU), CasuScale("vk", magnitudes)
    found = published_zero_point(header(cards), primary, path=Path("a.fits"), casu=casu)
    assert found == pytest.approx(expected, abs=1e-9)
    if not cards:
        with pytest.raises(OpticalError, match="no FLUXMAG0 and no MAGZERO in its"):
            published_zero_point(header(cards), primary, path=Path("a.fits"))
        with pytest.raises(OpticalError, match=r"a\.fits: MAGZPT is 0.*zero_points"):
            published_zero_point(header({"MAGZPT": 0.0}), primary, path=Path("a.fits"), casu=casu)


@pytest.mark.parametrize(
    ("cards", "band", "expected"),
    [
        ({"PHOTZP": 24.8, "PHOTSYS": "AB"}, None, 24.8),
        ({"PHOTZP": 0.0, "PHOTSYS": "AB"}, None, 0.0),
        ({"PHOTZP": 28.2, "PHOTSYS": "VEGA"}, "vk", 28.2 + 1.816),
        ({"PHOTZP": 28.2, "PHOTSYS": "VEGA ", "MAGZPT": 23.0, "EXPTIME": 60.0}, "vk", 28.2 + 1.816),
        ({"PHOTZP": 28.2, "PHOTSYS": "VEGA", "MAGZERO": 30.0}, "vk", 30.0),
        ({"PHOTZP": 28.2, "PHOTSYS": "VEGA"}, None, r"a\.fits: PHOTZP is 28.2 in the system PHOTSYS = 'VEGA'"),
        ({"PHOTZP": 99.0, "PHOTSYS": "AB"}, None, r"a\.fits: PHOTZP is 99.0; a zero point between"),
        ({"PHOTZP": 28.2}, None, "zero point is unknown"),
    ],
)
@pytest.mark.parametrize("primary", [True, False])
def test_cards_of_eso(cards: dict, band: str | None, expected: float | str, primary: bool) -> None:
    """PHOTZP counts with the system that PHOTSYS names, in either header; without a system it means nothing."""
    first, second = (header(cards), fits.Header()) if primary else (fits.Header(), header(cards))
    casu = None if band is None else CasuScale(band, "Vega")
    if isinstance(expected, str):
        with pytest.raises(OpticalError, match=expected):
            published_zero_point(second, first, path=Path("a.fits"), casu=casu)
    else:
        assert published_zero_point(second, first, path=Path("a.fits"), casu=casu) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("cards", "first"), [({"MAGZERO": 25.0}, "MAGZERO"), ({"FLUXMAG0": FLUX_MAG0_27}, "FLUXMAG0")])
def test_a_unit_that_contradicts(cards: dict, first: str) -> None:
    """A unit of flux density is a zero point as well: the two must agree."""
    for unit, zero_point in (("uJy", r"23\.900"), ("nanomaggy", r"22\.500")):
        with pytest.raises(OpticalError, match=rf"a\.fits: {first} gives .*but BUNIT = '{unit}' gives {zero_point}"):
            published_zero_point(header(cards | {"BUNIT": unit}), header({}), path=Path("a.fits"))
