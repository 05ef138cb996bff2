"""Baseline coadds: flux, position and noise against a known sky, with both engines."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from dmu0.sky.tract import tangent_wcs
from dmu3.swarp import CoaddError, InputImage, choose_engine, coadd, find_swarp
from dmu3.swarp_projection import wcs_header

ENGINES = [
    pytest.param("swarp", marks=pytest.mark.skipif(find_swarp() is None, reason="SWarp is not installed")),
    "reproject",
]
RA, DEC = 36.9, -5.2
GRID = tangent_wcs(ra=RA, dec=DEC, pixel_scale=0.168, x=199.5, y=199.5)
SHAPE = (400, 400)


def zpn_wcs(*, x: float, y: float, angle: float = 0.3) -> WCS:
    """A VISTA detector: ZPN with the camera's distortion, its pole far off the chip, (x, y) near the grid's centre."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---ZPN", "DEC--ZPN"
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    scale = 0.3414 / 3600
    header["CD1_1"], header["CD1_2"] = -scale * cosine, scale * sine
    header["CD2_1"], header["CD2_2"] = scale * sine, scale * cosine
    header["CRVAL1"], header["CRVAL2"] = RA - 0.4, DEC + 0.3
    header["PV2_1"], header["PV2_3"], header["PV2_5"] = 1.0, 44.0, -10300.0
    header["CRPIX1"], header["CRPIX2"] = 1.0, 1.0
    wcs = WCS(header)
    at = wcs.all_world2pix(RA, DEC, 0)
    header["CRPIX1"], header["CRPIX2"] = 1.0 + x - at[0], 1.0 + y - at[1]
    return WCS(header)


def render(wcs: WCS, sky: np.ndarray, flux: float, *, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Gaussian stars of a total flux (counts of this image) at sky positions, sigma in arcsec."""
    image = np.zeros(shape)
    pixel = np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600
    y, x = np.mgrid[: shape[0], : shape[1]]
    for a, b in np.transpose(wcs.all_world2pix(sky[:, 0], sky[:, 1], 0)):
        image += np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / (sigma / pixel) ** 2)
    return image * flux / (2 * np.pi * (sigma / pixel) ** 2)


@pytest.fixture
def stars() -> np.ndarray:
    """Nine isolated stars, ra and dec in deg."""
    x, y = np.meshgrid([90.3, 200.1, 310.6], [88.2, 201.7, 309.5])
    return np.column_stack(GRID.all_pix2world(x.ravel(), y.ravel(), 0))


def detectors(stars: np.ndarray, rng: np.random.Generator, noise: float) -> list[InputImage]:
    """Three dithered detectors with skies of their own and one dead corner."""
    images = []
    for number, (x, y) in enumerate([(110.2, 115.7), (118.9, 108.4), (104.6, 121.1)]):
        wcs, shape = zpn_wcs(x=x, y=y), (236, 232)
        image = render(wcs, stars, 10_000.0, shape=shape, sigma=0.5) + 500 * (number + 1)
        image += rng.normal(0, noise, shape)
        weight = np.full(shape, noise**-2)
        weight[:20, :20] = 0
        image[:20, :20] = np.nan
        images.append(InputImage(image.astype(np.float32), weight.astype(np.float32), wcs, f"image {number}"))
    return images


@pytest.mark.parametrize("engine", ENGINES)
def test_flux_position_and_depth(engine: str, stars: np.ndarray, rng: np.random.Generator) -> None:
    """Stars keep flux (2%) and position (0.03 px) through ZPN detectors; the weights add up; no NaN comes out."""
    noise = 5.0
    result = coadd(detectors(stars, rng, noise), wcs=GRID, shape=SHAPE, engine=engine)
    assert result.image.shape == result.weight.shape == SHAPE
    assert np.isfinite(result.image).all()
    assert np.isfinite(result.weight).all()
    x, y = GRID.all_world2pix(stars[:, 0], stars[:, 1], 0)
    fluxes, offsets = [], []
    for a, b in zip(x, y, strict=True):
        box = np.s_[int(b) - 14 : int(b) + 16, int(a) - 14 : int(a) + 16]
        yy, xx = np.mgrid[box]
        part = result.image[box]
        fluxes.append(part.sum())
        core = np.exp(-0.5 * ((xx - a) ** 2 + (yy - b) ** 2) / 3.0**2) * part
        offsets.append([2 * ((xx - a) * core).sum() / core.sum(), 2 * ((yy - b) * core).sum() / core.sum()])
    assert np.median(fluxes) == pytest.approx(10_000, rel=0.02)
    assert np.abs(np.median(offsets, axis=0)).max() < 0.03
    # One detector pixel of inverse variance w makes (0.3414/0.168)^2 pixels that share its flux.
    ratio = (0.3414 / 0.168) ** 2
    assert np.median(result.weight[150:250, 150:250]) == pytest.approx(3 * noise**-2 * ratio**2, rel=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_sky_is_zero_outside_the_inputs(engine: str, stars: np.ndarray, rng: np.random.Generator) -> None:
    """Pixels that no detector reaches have weight zero and value zero."""
    wide = tangent_wcs(ra=RA, dec=DEC, pixel_scale=0.168, x=359.5, y=399.5)
    result = coadd(detectors(stars, rng, 5.0)[:1], wcs=wide, shape=(800, 720), engine=engine)
    assert result.image.shape == (800, 720)
    assert (result.weight[:50] == 0).all()
    assert (result.image[result.weight == 0] == 0).all()
    assert 0.2 < (result.weight > 0).mean() < 0.5


def test_nothing_to_coadd_is_an_error() -> None:
    """No inputs: a message, not an empty image."""
    with pytest.raises(CoaddError, match="no images"):
        coadd([], wcs=GRID, shape=SHAPE)


def test_engines_are_named() -> None:
    """An unknown engine is refused by name."""
    with pytest.raises(CoaddError, match="'montage'"):
        choose_engine("montage")


def test_header_keeps_the_transformation() -> None:
    """The cards written for SWarp give the same positions as the WCS that they came from."""
    wcs = zpn_wcs(x=100, y=90)
    again = WCS(wcs_header(wcs))
    x, y = np.array([0.0, 100.0, 230.0]), np.array([5.0, 120.0, 200.0])
    separation = wcs.pixel_to_world(x, y).separation(again.pixel_to_world(x, y))
    assert separation.arcsec.max() < 1e-6


def test_header_of_a_sheared_transformation() -> None:
    """Pixels that are neither square nor at right angles: each card of the matrix is in its own place."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [200.0, -40.0], [17.0, 5.0]
    wcs.wcs.cd = np.array([[-1.0, 0.3], [0.1, 1.2]]) * 0.2 / 3600
    cards = wcs_header(wcs)
    assert [cards[f"CD{key}"] * 18_000 for key in ("1_1", "1_2", "2_1", "2_2")] == pytest.approx([-1, 0.3, 0.1, 1.2])
    assert (cards["CRPIX1"], cards["CRPIX2"], cards["RADESYS"], cards["EQUINOX"]) == (17.0, 5.0, "ICRS", 2000.0)
