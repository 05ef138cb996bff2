"""The relative error that does not decrease with brightness, for fluxes of known scatter."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.band_fluxes import Flux
from dmu4.measurement.flux_floor import FLOOR_STARS, flux_floor


def fluxes(rng: np.random.Generator, *, floors: tuple[float, float, float], stars: int = 40, sky: float = 20.0):
    """Point-source fluxes and two circles of stars whose noise grows with the circle, with further relative scatters.

    The larger circle has the noise of the smaller one and that of its ring; the point-source flux averages both.
    """
    true = 10 ** rng.uniform(4.6, 6, stars)
    core, ring = rng.normal(0, sky, (2, stars))
    noises = (0.6 * core, core, core + ring)
    errors = (0.6 * sky, sky, np.sqrt(2) * sky)
    return [
        Flux(true * (1 + rng.normal(0, floor, stars)) + noise, np.full(stars, error), np.zeros(stars, bool))
        for floor, noise, error in zip(floors, noises, errors, strict=True)
    ]


@pytest.mark.parametrize("floors", [(0.002, 0.0005, 0.001), (0.002, 0.0, 0.004), (0.01, 0.004, 0.006)])
def test_of_three_fluxes_only_the_floor_of_the_first_counts(rng: np.random.Generator, floors) -> None:
    """The scatter of the circles is not that of point-source fluxes: on average over samples their own is found."""
    found = []
    for _ in range(200):
        psf, *circles = fluxes(rng, floors=floors)
        found.append(flux_floor(psf, circles, np.zeros(40), default=0.5))
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(floors[0], rel=0.12)


def test_noise_is_no_floor(rng: np.random.Generator) -> None:
    """Stars of 100 to 200 sigma that scatter by their noise alone, 0.6%, have a floor below a third of it."""
    found = []
    for _ in range(100):
        psf, *circles = fluxes(rng, floors=(0, 0, 0), sky=500.0)
        found.append(flux_floor(psf, circles, np.zeros(40), default=0.5))
    assert np.median(found) < 0.002


def test_the_brightest_stars_count(rng: np.random.Generator) -> None:
    """Fainter stars, whose neighbours scatter by 3%, do not matter, nor do galaxies and flagged stars."""
    bright = fluxes(rng, floors=(0.002, 0.0005, 0.0005), stars=FLOOR_STARS + 20)
    faint = fluxes(rng, floors=(0.03, 0.03, 0.03), stars=200)
    psf, small, large = (
        Flux(
            np.concatenate([a.value, 0.01 * b.value]),
            np.concatenate([a.error, b.error / 3]),
            np.zeros(len(a.value) + 200, bool),
        )
        for a, b in zip(bright, faint, strict=True)
    )
    zero = np.zeros(len(psf.value))
    assert flux_floor(psf, (small, large), zero, default=0.5) == pytest.approx(0.002, rel=0.4)
    spoilt, extended, flag = psf.value.copy(), zero.copy(), psf.flag.copy()
    spoilt[:20:2] *= 1.5
    extended[:20:4], flag[2:20:4] = 1, True
    again = flux_floor(Flux(spoilt, psf.error, flag), (small, large), extended, default=0.5)
    assert again == pytest.approx(0.002, rel=0.4)


def test_too_few_stars(rng: np.random.Generator) -> None:
    """With seven stars, or without point sources, the default is assumed."""
    psf, *circles = fluxes(rng, floors=(0.002, 0, 0), stars=7)
    assert flux_floor(psf, circles, np.zeros(7), default=0.013) == 0.013
    psf, *circles = fluxes(rng, floors=(0.002, 0, 0), stars=30)
    assert flux_floor(psf, circles, np.full(30, np.nan), default=0.013) == 0.013
