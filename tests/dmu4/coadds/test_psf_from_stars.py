"""The PSF of an image without one: PSF fluxes of stars with wings, in deep, shallow and crowded fields."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.coadds.psf_from_stars import cell_stamps, in_words, light_of, psf_from_stars
from dmu4.psf.stars import find_sources
from obs_vista.masks import BIT
from obs_vista.photometry import flux_of
from tests.scenes.mosaics import moffat_as_gaussians
from tests.scenes.patches import add_gaussian, correlated_noise

SHAPE = (820, 900)
FIELDS = {  # rows, columns, sigma of a pixel in nJy, sources, smallest distance in px, faintest AB mag, share of stars
    "deep": (SHAPE, 10.0, 360, 15, 25.0, 0.5),
    "shallow": ((1500, 1600), 60.0, 420, 20, 23.0, 0.5),
    "crowded": (SHAPE, 15.0, 1600, 5, 25.0, 0.5),
    "bright": (SHAPE, 10.0, 600, 10, 20.5, 0.8),
    "few": (SHAPE, 10.0, 40, 25, 22.5, 0.35),
}
"""Fields of stars and galaxies: the deep one has a source in each square of 45 px, the crowded one in 21 px, the
shallow one in 76 px, of which a large part is needed for enough bright stars. In the bright one the wings of bright
stars overlap; the few have some 15 stars, fewer than galaxies."""


SEEING = {beta: moffat_as_gaussians(beta) for beta in (2.5, 3.0, 3.5)}


def add_source(
    image: np.ndarray, *, x: float, y: float, flux: float, fwhm: float, beta: float, size: float = 0
) -> None:
    """Add a round source of a width ``size`` (sigma in pixels) behind a seeing with the wings of a Moffat profile."""
    for share, factor in SEEING[beta]:
        variance = factor * (fwhm / 2.35482) ** 2 + size**2
        if share * flux > 0.01 * variance:  # brighter than 0.002 nJy
            add_gaussian(image, x=x, y=y, xx=variance, yy=variance, xy=0, flux=share * flux)


def field_of(name: str, *, seed: int, fwhm: float, beta: float) -> tuple[np.ndarray, float]:
    """An image of one of the `FIELDS`, and its sigma."""
    shape, sigma, count, apart, faintest, stars = FIELDS[name]
    rng = np.random.default_rng(seed)
    places = np.empty((0, 2))
    while len(places) < count:
        place = rng.uniform((0, 0), shape[::-1])
        if not (np.hypot(*(places - place).T) < apart).any():
            places = np.vstack([places, place])
    image = correlated_noise(rng, shape, sigma=sigma, width=0.5)
    for x, y in places:
        flux = float(flux_of(max(faintest - rng.exponential(1.9), 17.0)))
        size = rng.uniform(1, 3) * (rng.uniform() < 1 - stars)
        add_source(image, x=x, y=y, flux=flux, fwhm=fwhm, beta=beta, size=size)
    return image.astype(np.float32), sigma


def measured_flux(stamp: np.ndarray, light: float, *, fwhm: float, beta: float) -> float:
    """The flux that a fit of a PSF gives for a star of flux 1 in the middle of a stamp."""
    star = np.zeros(stamp.shape)
    add_source(star, x=stamp.shape[1] // 2, y=stamp.shape[0] // 2, flux=1e6, fwhm=fwhm, beta=beta)
    return float((star * stamp).sum() / (1e6 * light * (stamp**2).sum()))


@pytest.mark.parametrize(
    ("name", "seed", "beta"),
    [(name, seed, beta) for name in ("deep", "shallow", "crowded") for seed, beta in ((1, 2.5), (2, 3.5))]
    + [("deep", 3, 3.0), ("bright", 2, 3.5), ("bright", 3, 3.0), ("few", 1, 2.5), ("few", 3, 3.0)],
)
def test_psf_fluxes_are_total_fluxes(name, seed, beta):
    """PSF fluxes of stars with wide or narrow wings are right to 0.5%, anywhere in the field."""
    image, sigma = field_of(name, seed=seed, fwhm=4.3, beta=beta)
    variance, mask = np.full(image.shape, sigma**2, np.float32), np.zeros(image.shape, np.int32)
    psf = psf_from_stars(image, variance, mask)
    stamps = cell_stamps(psf, (2, 2), cell=image.shape[0] // 2)
    fluxes = [measured_flux(stamp, psf.light, fwhm=4.3, beta=beta) for stamp in stamps.reshape(4, *stamps.shape[2:])]
    print(f"{name}, beta {beta}, {psf.n_stars} stars: {np.mean(fluxes):.4f} (1 +- 0.005), {np.round(fluxes, 4)}")
    assert psf.n_stars >= 10
    assert np.mean(fluxes) == pytest.approx(1, abs=0.005)
    assert np.abs(np.array(fluxes) - 1).max() < 0.01


def test_the_place_and_phase_of_a_star():
    """A star drawn at a pixel of the image is there, whole, and the same wherever the array starts."""
    image, sigma = field_of("deep", seed=3, fwhm=4.3, beta=3.0)
    variance, mask = np.full(image.shape, sigma**2, np.float32), np.zeros(image.shape, np.int32)
    mask[:, 880:] = BIT["NO_DATA"]
    image[:, 880:] = np.nan
    psf = psf_from_stars(image, variance, mask, start=(1000, 200))
    star = psf.compute_stellar_image(x=1301.3, y=449.8)
    total = star.array.sum()
    columns, rows = np.arange(star.bbox.x.start, star.bbox.x.stop), np.arange(star.bbox.y.start, star.bbox.y.stop)
    assert total == pytest.approx(1, abs=0.01)
    assert (star.array @ columns).sum() / total == pytest.approx(1301.3, abs=0.02)
    assert (star.array.T @ rows).sum() / total == pytest.approx(449.8, abs=0.02)
    assert psf.within[1][0] < 880
    beyond, further = (psf.compute_stellar_image(x=x, y=400).array for x in (1890, 1899))
    np.testing.assert_allclose(beyond, further, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_stars(count):
    """Without three stars the PSF is a Moffat profile, and the words say so."""
    rng = np.random.default_rng(5)
    image = rng.normal(0, 10, (300, 340)).astype(np.float32)
    for number in range(count):
        add_source(image, x=90.2 + 100 * number, y=120.4, flux=1e5, fwhm=4.0, beta=3.0)
    psf = psf_from_stars(image, np.full(image.shape, 100, np.float32), np.zeros(image.shape, np.int32))
    assert psf.n_stars == 0
    assert psf.psf.moffat.beta == 3.0
    assert "too few stars" in in_words(psf.n_stars)
    assert in_words(7) == "7 stars"


def test_pixels_with_light_of_others():
    """Around a source all pixels with more than a quarter sigma of its light are marked, and few others."""
    image = np.zeros((200, 240))
    add_source(image, x=90.3, y=120.6, flux=3e5, fwhm=4.0, beta=3.0)
    sigma = np.full(image.shape, 10, np.float32)
    mask = np.zeros(image.shape, np.int32)
    sources = find_sources(image.astype(np.float32), sigma, mask, fwhm=4.0)
    lit = light_of(sources, np.ones(len(sources), bool), sigma, fwhm=4.0)
    assert len(sources) == 1
    assert lit[image > 3.5].all()
    assert not lit[image < 0.8].any()
    assert not light_of(sources, np.zeros(1, bool), sigma, fwhm=4.0).any()
