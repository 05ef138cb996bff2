"""Baseline catalogues: a known field, both engines, missing bands."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from dmu0.sky.skymap import SingleSkyMap, make_sky_map
from dmu0.surveys import SkyMapConfig
from dmu3.catalogues import colour, column_names, patch_catalogue
from dmu3.detection import chi_square_image, gaussian_sigmas
from dmu3.point_sources import aperture_corrections, local_errors
from dmu3.sextractor import SExtractorError, choose_engine, find_sextractor
from dmu3.swarp import Coadd

ENGINES = [
    pytest.param(
        "sextractor", marks=pytest.mark.skipif(find_sextractor() is None, reason="SExtractor is not installed")
    ),
    "sep",
]
SHAPE = (400, 420)
PATCH = SingleSkyMap(name="test", centre=(10.0, 2.0), shape=SHAPE, pixel_scale=0.168).tract(0).patch(0)
SIGMA = 0.35 / 0.168


def field(rng: np.random.Generator, flux: float, noise: float) -> tuple[Coadd, np.ndarray, np.ndarray]:
    """A grid of Gaussian stars on white noise, at x and y."""
    x, y = (values.ravel() + 0.3 for values in np.meshgrid(np.arange(40, 400, 60), np.arange(40, 380, 60)))
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = rng.normal(0, noise, SHAPE)
    for a, b in zip(x, y, strict=True):
        image += flux / (2 * np.pi * SIGMA**2) * np.exp(-0.5 * ((xx - a) ** 2 + (yy - b) ** 2) / SIGMA**2)
    return Coadd(image.astype(np.float32), np.full(SHAPE, noise**-2, np.float32)), x, y


@pytest.mark.parametrize("engine", ENGINES)
def test_fluxes_positions_and_columns(engine: str, rng: np.random.Generator) -> None:
    """All stars are found at 20 mas, with their flux in a 3" circle and in the Kron ellipse, and true errors."""
    g, x, y = field(rng, 2000.0, 4.0)
    vk, _, _ = field(rng, 6000.0, 12.0)
    table = patch_catalogue({"g": g, "vk": vk}, ("g", "i", "vk"), PATCH, engine=engine)
    assert tuple(table.colnames) == column_names(("g", "i", "vk"))
    ra, dec = PATCH.wcs.all_pix2world(x, y, 0)
    distance = np.hypot((table["ra"][:, None] - ra) * np.cos(np.radians(2)), table["dec"][:, None] - dec) * 3600
    nearest = distance.argmin(axis=0)
    assert distance.min(axis=0).max() < 0.1
    assert np.median(distance.min(axis=0)) < 0.02
    stars = table[nearest]
    for band, flux in (("g", 2000), ("vk", 6000)):
        assert np.median(stars[f"{band}_apFlux_3p0"]) == pytest.approx(flux, rel=0.02)
        assert np.median(stars[f"{band}_kronFlux"]) == pytest.approx(flux, rel=0.05)
        pulls = (stars[f"{band}_apFlux_2p0"] - np.median(stars[f"{band}_apFlux_2p0"])) / stars[f"{band}_apFluxErr_2p0"]
        assert 0.6 < pulls.std() < 1.4
    assert np.isnan(table["i_apFlux_2p0"]).all()
    assert (table["i_flags"] == -1).all()


def test_positions_in_the_tract(rng: np.random.Generator) -> None:
    """Columns x and y are pixels of the tract, each along its own axis; sizes are in arcsec."""
    patch = make_sky_map(SkyMapConfig(name="small", patch_inner=400, patch_border=0)).tract(8524).patch("12,7")
    image, x, y = field(rng, 3000.0, 4.0)
    cut = Coadd(image.image[:, :400].copy(), image.weight[:, :400].copy())
    table = patch_catalogue({"i": cut}, ("i",), patch, engine="sep")
    x, y = x[x < 390] + patch.outer_bbox.x.min, y[x < 390] + patch.outer_bbox.y.min
    assert patch.outer_bbox.x.min != patch.outer_bbox.y.min
    nearest = np.hypot(np.asarray(table["x"])[:, None] - x, np.asarray(table["y"])[:, None] - y).argmin(axis=0)
    assert np.abs(np.median(np.asarray(table["x"])[nearest] - x)) < 0.1
    assert np.abs(np.median(np.asarray(table["y"])[nearest] - y)) < 0.1
    ra, dec = patch.tract.wcs.all_pix2world(x, y, 0)
    assert np.abs(np.median(np.asarray(table["ra"])[nearest] - ra)) * 3600 < 0.02
    assert np.abs(np.median(np.asarray(table["dec"])[nearest] - dec)) * 3600 < 0.02
    # The chi-square image is smoothed by as much as the seeing, and cut where it sinks into the noise.
    assert np.median(np.asarray(table["a"])[nearest]) == pytest.approx(0.35 * np.sqrt(2), rel=0.2)
    assert set(table["position_band"][nearest]) == {"i"}
    assert (set(table["tract"]), set(table["patch"])) == ({8524}, {patch.id})


@pytest.mark.parametrize("engine", ENGINES)
def test_half_a_band_leaves_the_other_alone(engine: str, rng: np.random.Generator) -> None:
    """A band that covers half of the patch is NaN on the other half; the whole band is measured everywhere."""
    g, _, _ = field(rng, 2000.0, 4.0)
    whole, _, _ = field(rng, 2000.0, 4.0)
    half = np.where(np.arange(SHAPE[1]) < 210, whole.weight, 0).astype(np.float32)
    cut = Coadd(np.where(half > 0, whole.image, 0).astype(np.float32), half)
    table = patch_catalogue({"g": g, "vj": cut}, ("g", "vj"), PATCH, engine=engine)
    inside = np.asarray(table["x"]) < 205
    assert np.isfinite(table["g_apFlux_2p0"]).all()
    assert np.isfinite(table["vj_apFlux_2p0"][inside]).all()
    assert np.isnan(table["vj_apFlux_2p0"][np.asarray(table["x"]) > 215]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_sky(engine: str, rng: np.random.Generator) -> None:
    """Noise alone: hardly a detection, and the columns are all there."""
    noise = Coadd(rng.normal(0, 1, SHAPE).astype(np.float32), np.ones(SHAPE, np.float32))
    table = patch_catalogue({"i": noise}, ("i",), PATCH, engine=engine)
    assert len(table) <= 3
    assert tuple(table.colnames) == column_names(("i",))


@pytest.mark.parametrize("bands", [1, 3, 10])
def test_detection_image_is_gaussian_in_its_tail(bands: int, rng: np.random.Generator) -> None:
    """Noise exceeds 1, 2 and 3 sigma as often as a Gaussian, for any number of bands; bright sources grow alike."""
    chi = np.sqrt((np.maximum(rng.normal(size=(bands, 400_000)), 0) ** 2).sum(axis=0))
    sigmas = gaussian_sigmas(chi, bands)
    assert np.percentile(sigmas, [84.13, 97.725, 99.865]) == pytest.approx([1, 2, 3], abs=0.06)
    bright = gaussian_sigmas(np.array([50.0, 100.0]), bands)
    assert bright[1] - bright[0] == pytest.approx(50, abs=1e-3)


def test_no_band_no_detection_image() -> None:
    """A chi square of nothing is refused."""
    with pytest.raises(ValueError, match="at least one band"):
        chi_square_image([], sigma=1.0)


def test_unknown_photometry_engine() -> None:
    """An unknown engine is refused by name."""
    with pytest.raises(SExtractorError, match="'daophot'"):
        choose_engine("daophot")


@pytest.mark.parametrize("engine", ENGINES)
def test_corrected_apertures_and_colours_of_stars(engine: str, rng: np.random.Generator) -> None:
    """A circle of 2" diameter times its correction is the total flux, the colour that of the fluxes, to 1%."""
    g, _, _ = field(rng, 20000.0, 4.0)
    vk, _, _ = field(rng, 60000.0, 12.0)
    table = patch_catalogue({"g": g, "vk": vk}, ("g", "vk"), PATCH, engine=engine)
    for band, flux in (("g", 20000), ("vk", 60000)):
        inside = 1 - np.exp(-0.5 * (1.0 / 0.168 / SIGMA) ** 2)  # of a Gaussian, in a circle of 1" radius
        assert table[f"{band}_apCorr_2p0"][0] == pytest.approx(1 / inside, rel=0.01)
        total = table[f"{band}_apFlux_2p0"] * table[f"{band}_apCorr_2p0"]
        assert np.median(total) == pytest.approx(flux, rel=0.01)
    value, error = colour(table, "g", "vk")
    assert np.median(value) == pytest.approx(2.5 * np.log10(3), abs=0.01)
    assert np.median(error) == pytest.approx(np.std(value), rel=0.5)


def test_local_errors_know_correlated_noise(rng: np.random.Generator) -> None:
    """Smoothed noise has errors in circles far above those of independent pixels; without stars no correction."""
    coadd, _, _ = field(rng, 3000.0, 4.0)
    white = rng.normal(0, 4.0, SHAPE)
    smooth = gaussian_filter(white, 1.5)
    smooth *= 4.0 / smooth.std()
    stars = coadd.image - coadd.image  # the places of the stars alone matter
    errors = {}
    for name, noise in (("white", white), ("smooth", smooth)):
        image = Coadd((stars + noise).astype(np.float32), coadd.weight)
        x, y = np.array([60.0, 200.0]), np.array([70.0, 210.0])
        errors[name] = local_errors(image, x, y, diameters=(2 / 0.168,), pixel=0.168)[:, 0]
    assert errors["white"] == pytest.approx(4.0 * np.sqrt(np.pi) / 0.168, rel=0.2)
    assert (errors["smooth"] > 2.5 * errors["white"]).all()
    empty = Table({"apFlux": np.zeros((0, 1)), "apFluxErr": np.zeros((0, 1)), "flags": np.zeros(0, int)})
    nothing, count = aperture_corrections(coadd, x[:0], y[:0], empty, diameters=(12.0,), pixel=0.168)
    assert (count, np.isnan(nothing).all()) == (0, True)


@pytest.mark.parametrize("engine", ENGINES)
def test_selection_in_one_band(engine: str, rng: np.random.Generator) -> None:
    """Objects of the Ks image alone are those of a catalogue selected in Ks, measured in both bands."""
    g, x, _ = field(rng, 3000.0, 4.0)
    noise = Coadd(rng.normal(0, 12, SHAPE).astype(np.float32), np.full(SHAPE, 1 / 144, np.float32))
    both = {"g": g, "vk": noise}
    assert len(patch_catalogue(both, ("g", "vk"), PATCH, engine=engine, selection="g")) >= len(x)
    assert len(patch_catalogue(both, ("g", "vk"), PATCH, engine=engine, selection="vk")) < 5
    swapped = patch_catalogue({"g": noise, "vk": g}, ("g", "vk"), PATCH, engine=engine, selection="vk")
    assert np.median(swapped["vk_apFlux_3p0"]) == pytest.approx(3000, rel=0.05)
    assert abs(np.median(swapped["g_apFlux_3p0"])) < 300
