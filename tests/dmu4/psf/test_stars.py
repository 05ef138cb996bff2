"""Star selection, from crowded to nearly empty detectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dmu4.psf.moments import adaptive_moments
from dmu4.psf.stars import find_sources, select_stars, stellar_size
from obs_vista.masks import BIT
from tests.scenes.detectors import SyntheticDetector, make_detector_scene


def _selected(truth: SyntheticDetector) -> tuple[int, int, int]:
    """Numbers of selected sources, of those that are true stars, and of those that are galaxies."""
    image = (truth.given.image - truth.sky).astype(np.float32)
    sigma = np.full(image.shape, 4.5, np.float32)
    sources = find_sources(image, sigma, np.zeros(image.shape, np.int32), fwhm=truth.given.seeing)
    chosen = np.flatnonzero(select_stars(sources, fwhm=truth.given.seeing))
    places = np.stack([sources.x[chosen], sources.y[chosen]], axis=1)
    star = cKDTree(np.stack([truth.x, truth.y], axis=1)).query(places)[0] < 1.0
    return len(chosen), int(star.sum()), int((~star).sum())


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({}, 40),
        ({"fwhm": 4.2}, 30),
        ({"stars": 400, "galaxies": 40, "shape": (384, 384)}, 60),  # crowded
        ({"stars": 6, "galaxies": 40}, 3),  # nearly empty
        ({"variation": 0.2}, 35),  # a PSF that changes fast
    ],
)
def test_purity_and_numbers(rng: np.random.Generator, changes: dict, least: int) -> None:
    """Enough of the selected sources are stars, and at most one in fifteen is not."""
    count, stars, others = _selected(make_detector_scene(rng, **changes))
    assert stars >= least
    assert others <= max(1, count // 15)


def test_no_star_at_all(rng: np.random.Generator) -> None:
    """An empty detector selects next to nothing and raises nothing."""
    count, _, _ = _selected(make_detector_scene(rng, stars=0, galaxies=0))
    assert count <= 1


def test_size_of_the_crowd(rng: np.random.Generator) -> None:
    """The stellar size is found among twice as many larger galaxies."""
    size = np.concatenate([rng.normal(2.0, 0.03, 40), rng.uniform(2.2, 8.0, 80)])
    assert stellar_size(size, np.full(120, 100.0)) == pytest.approx(2.0, rel=0.03)


def test_size_of_few_stars(rng: np.random.Generator) -> None:
    """Seven stars are the smallest crowd, though there is a larger one among the galaxies; two
    cosmic rays, which are smaller, are no crowd."""
    galaxies = np.concatenate([rng.uniform(2.8, 6.0, 20), rng.normal(4.5, 0.05, 6)])
    size = np.concatenate([rng.normal(2.0, 0.02, 7), galaxies, [0.9, 1.1]])
    assert stellar_size(size, np.full(len(size), 100.0)) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("size", [[2.0, 2.1, 5.0], [1.0, 2.0, 4.0], [2.0, 2.0, 2.0]])
def test_size_of_three_sources(size: list[float]) -> None:
    """Three sources have a size, whether or not they are alike: one of theirs."""
    assert stellar_size(np.array(size), np.full(3, 100.0)) in [pytest.approx(value) for value in size]


def test_moments_of_a_gaussian() -> None:
    """Flux, centre, size and ellipticity of a noiseless Gaussian come back to 1e-4."""
    y, x = np.mgrid[0:61, 0:61]
    xx, yy, xy = 5.0, 4.0, 0.5
    det = xx * yy - xy**2
    dx, dy = x - 30.3, y - 29.6
    image = 1000 / (2 * np.pi * np.sqrt(det)) * np.exp(-0.5 * (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / det)
    found = adaptive_moments(image, x=np.array([31.0]), y=np.array([29.0]), sigma=1.5, radius=20)
    assert found.flux[0] == pytest.approx(1000, rel=1e-4)
    assert (found.x[0], found.y[0]) == pytest.approx((30.3, 29.6), abs=1e-4)
    assert found.size[0] == pytest.approx(9.0, rel=1e-4)
    assert found.e1[0] == pytest.approx(1 / 9, abs=1e-4)
    assert found.e2[0] == pytest.approx(1 / 9, abs=1e-4)


def test_moments_of_nothing() -> None:
    """Where there is no light the moments are not-a-number."""
    found = adaptive_moments(np.full((40, 40), -1.0), x=np.array([20.0]), y=np.array([20.0]), sigma=1.0, radius=8)
    assert np.isnan(found.size[0])


@pytest.mark.parametrize("plane", BIT)
def test_planes_that_spoil_a_star(plane: str, rng: np.random.Generator) -> None:
    """A star with a defective, saturated or non-linear pixel in its core is not used; other planes do not matter."""
    rows, columns = np.indices((80, 100))
    image = rng.normal(0, 1, rows.shape)
    image += 400 * np.exp(-0.5 * ((columns - 60.3) ** 2 + (rows - 30.8) ** 2) / 1.4**2)
    mask = np.zeros(rows.shape, np.int32)
    mask[31, 61] = BIT[plane]
    found = find_sources(image.astype(np.float32), np.ones(rows.shape, np.float32), mask, fwhm=3.3)
    star = np.hypot(found.x - 60.3, found.y - 30.8) < 1
    spoils = plane in {"NO_DATA", "BAD", "SAT", "CR", "EDGE", "SUSPECT"}
    assert found.masked[star].all() if spoils else not found.masked[star].any()
    assert spoils or star.sum() == 1
