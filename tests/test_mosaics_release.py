"""Two mosaics on unequal, rotated pixels of their own, from a folder of files to a catalogue, as a new user would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from dmu0.draft.sorting import sort_folder
from dmu0.draft.text import draft
from dmu0.files.paths import DataFolders
from dmu0.robust_statistics import robust_scatter
from dmu0.surveys import load_survey
from dmu0.surveys.check import check_survey
from obs_vista.photometry import flux_of
from tests.scenes.mosaics import Mosaic, Sky, lattice_sky, optical_mosaic, vista_mosaic
from tests.test_compositions import release

pytestmark = pytest.mark.slow

ZERO_POINTS = {"r": 27.0, "Ks": 28.184}
"""Magnitude of one count: AB for r, Vega for Ks."""

AB_OF_VEGA = 1.816
"""AB minus Vega magnitude of Ks."""


def write(folder: Path, mosaic: Mosaic, image: np.ndarray, *, name: str, zero_point: float, weighted: bool) -> None:
    """An image with its cards, pixels without data being 0, and perhaps a weight map in a unit of its own."""
    header = mosaic.cards.copy()
    system = "VEGA" if name == "Ks" else "AB"
    header.update({"FILTER": name, "PHOTZP": zero_point, "PHOTSYS": system})
    ab = zero_point + (AB_OF_VEGA if name == "Ks" else 0.0)
    pixels = np.where(mosaic.weight > 0, image / flux_of(ab), 0).astype(np.float32)
    fits.writeto(folder / f"field_{name}_sci.fits", pixels, header)
    if weighted:
        fits.writeto(folder / f"field_{name}_wei.fits", (0.037 * mosaic.weight).astype(np.float32), mosaic.cards)


def colourful(sky: Sky, rng: np.random.Generator) -> Sky:
    """The same sources in another band."""
    return Sky(sky.ra, sky.dec, sky.flux * 10 ** (0.4 * rng.normal(0.8, 0.4, len(sky.ra))), sky.size)


@pytest.mark.parametrize("weighted", [True, False], ids=["with weight maps", "without"])
def test_fluxes_of_two_mosaics(weighted, tmp_path, monkeypatch):
    """The drafted survey is released as it is: every bright source is found, and fluxes of stars are right to 1%, their
    errors to 30%, in both bands."""
    rng = np.random.default_rng(16)
    sky = lattice_sky(rng, half=66.0, spacing=9.0, magnitudes=(18.0, 23.0), galaxies=0.4)
    skies = {"r": sky, "Ks": colourful(sky, rng)}
    uneven = np.ones((480, 470))
    uneven[:60], uneven[:, 300:] = 0.0, 0.5
    mosaics = {
        "r": optical_mosaic(shape=(760, 820), sigma=20.0, beta=3.5),
        "Ks": vista_mosaic(shape=uneven.shape, sigma=60.0, correlation=0.5, weight=uneven, beta=3.0),
    }
    folder = tmp_path / "my images"
    folder.mkdir()
    for name, mosaic in mosaics.items():
        image = mosaic.pixels(skies[name], rng)
        write(folder, mosaic, image, name=name, zero_point=ZERO_POINTS[name], weighted=weighted)
    text, needed = draft(sort_folder(folder), target=tmp_path / "mine.yaml")
    assert needed == []
    (tmp_path / "mine.yaml").write_text(text + "engine: {processes: 1, threads: 2}\n")

    monkeypatch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=tmp_path))
    survey = load_survey(str(tmp_path / "mine.yaml"))
    assert (survey.bands, check_survey(survey)) == (("r", "vk"), [])
    catalogue = release(survey)
    catalogue = catalogue[catalogue["detect_isPrimary"]]
    found = SkyCoord(catalogue["coord_ra"], catalogue["coord_dec"], unit="deg")
    row, distance, _ = SkyCoord(sky.ra, sky.dec, unit="deg").match_to_catalog_sky(found)
    for band, name in (("r", "r"), ("vk", "Ks")):
        mosaic, truth = mosaics[name], skies[name].flux
        x, y = (np.rint(axis).astype(int) for axis in mosaic.wcs.world_to_pixel_values(sky.ra, sky.dec))
        inside = (x > 30) & (y > 30) & (x < mosaic.shape[1] - 30) & (y < mosaic.shape[0] - 30)
        inside[inside] = mosaic.weight[y[inside], x[inside]] > 0
        bright = inside & (y > 90) & (truth > 100 * mosaic.sigma * mosaic.fwhm / 0.2)
        assert bright.sum() > 30
        assert (distance[bright].arcsec < 0.3).all(), band
        stars = bright & (sky.size == 0)
        flux, error = (np.asarray(catalogue[f"{band}_psf{word}"])[row[stars]] for word in ("Flux", "FluxErr"))
        ratio = float(np.median(flux / truth[stars]))
        faint = flux < 300 * error  # brighter stars have the errors of the PSF
        width = float(robust_scatter(((flux / ratio - truth[stars]) / error)[faint], about=0.0))
        print(f"{band}: {stars.sum()} stars, flux over truth {ratio:.4f} (1 +- 0.01), pulls {width:.2f} (0.7 to 1.3)")
        assert ratio == pytest.approx(1, abs=0.01)
        assert 0.7 < width < 1.3
        galaxies = bright & (sky.size > 0)
        kron = float(np.median(np.asarray(catalogue[f"{band}_kronFlux"])[row[galaxies]] / truth[galaxies]))
        print(f"{band}: {galaxies.sum()} galaxies, Kron flux over truth {kron:.3f} (0.95 +- 0.06)")
        assert kron == pytest.approx(0.95, abs=0.06)
