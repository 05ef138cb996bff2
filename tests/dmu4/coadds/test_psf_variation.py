"""The variation of a PSF over a patch is measured on its stars, and only where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.coadds.psf_variation import Variation, cell_psfs, describe, measure_variation, star_changes, templates, vary
from tests.scenes.patches import add_gaussian

SIZE = 35
SHAPE = (500, 620)
BASE = np.array([3.4, 2.9, 0.3])


def gaussian(covariance: np.ndarray, *, size: int = SIZE) -> np.ndarray:
    """A Gaussian stamp of sum 1 with a covariance (xx, yy, xy)."""
    stamp = np.zeros((size, size))
    xx, yy, xy = covariance
    add_gaussian(stamp, x=size // 2, y=size // 2, xx=xx, yy=yy, xy=xy, flux=1.0)
    return stamp / stamp.sum()


def mapped(covariance: np.ndarray, s: float, e1: float, e2: float) -> np.ndarray:
    """The covariance after the linear map 1 + s + e1 diag(1, -1) + e2 [[0, 1], [1, 0]]."""
    xx, yy, xy = covariance
    matrix = np.array([[1 + s + e1, e2], [e2, 1 + s - e1]])
    out = matrix @ np.array([[xx, xy], [xy, yy]]) @ matrix.T
    return np.array([out[0, 0], out[1, 1], out[0, 1]])


def changes_at(x: float, y: float) -> tuple[float, float, float]:
    """A size that grows towards one side of the image, and a shape that changes along the other."""
    u, v = (x - 0.5 * (SHAPE[1] - 1)) / 310, (y - 0.5 * (SHAPE[0] - 1)) / 310
    return 0.02 + 0.03 * u + 0.02 * u * u, 0.015 * v, -0.01 * u


def field(rng: np.random.Generator, *, varies: bool, stars: int = 70) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of stars, some with a neighbour, and of galaxies in noise of 1; its variance and mask."""
    image = rng.normal(size=SHAPE)
    for number in range(stars + 20):
        x, y = rng.uniform(30, SHAPE[1] - 30), rng.uniform(30, SHAPE[0] - 30)
        covariance = mapped(BASE, *changes_at(x, y)) if varies else BASE
        if number >= stars:
            covariance = covariance + np.array([4.0, 1.5, 1.0])
        xx, yy, xy = covariance
        flux = 10 ** rng.uniform(3.3, 5)
        add_gaussian(image, x=x, y=y, xx=xx, yy=yy, xy=xy, flux=flux)
        if number % 6 == 0:
            add_gaussian(image, x=x + 7.3, y=y - 4.1, xx=xx, yy=yy, xy=xy, flux=0.1 * flux)
    return image.astype(np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.int32)


@pytest.mark.parametrize("number", range(1, 6))
def test_derivatives_are_those_of_a_gaussian(number: int) -> None:
    """Each template is the difference of two Gaussians that are shifted, or mapped, by a little both ways."""
    psf, step = gaussian(BASE), 1e-3
    if number < 3:
        pair = []
        for sign in (-1, 1):
            stamp = np.zeros((SIZE, SIZE))
            at = {"x": SIZE // 2 + sign * step * (number == 1), "y": SIZE // 2 + sign * step * (number == 2)}
            add_gaussian(stamp, **at, xx=BASE[0], yy=BASE[1], xy=BASE[2], flux=1.0)
            pair.append(stamp)
        expected = (pair[1] - pair[0]) / (2 * step)
    else:
        by = np.eye(3)[number - 3] * step
        expected = (gaussian(mapped(BASE, *by)) - gaussian(mapped(BASE, *-by))) / (2 * step)
    np.testing.assert_allclose(templates(psf)[number], expected, atol=2e-5 * psf.max() + 1e-7)


def test_changes_of_single_stars() -> None:
    """Size and shape of stars between pixels, found 0.1 px off, on a sky that is not zero, are right to first order."""
    psf, true = gaussian(BASE), np.array([[0.02, 0.0, 0.0], [0.0, -0.02, 0.01], [-0.03, 0.01, 0.02]])
    image, places = np.full((90, 150), 0.3), np.array([[25.3, 40.8], [70.0, 33.4], [118.6, 52.5]])
    for (x, y), change in zip(places, true, strict=True):
        xx, yy, xy = mapped(BASE, *change)
        add_gaussian(image, x=x, y=y, xx=xx, yy=yy, xy=xy, flux=700.0)
    found = star_changes(image, places + np.array([0.1, -0.07]), psf, radius=8)
    np.testing.assert_allclose(found, true, atol=2.5e-3)


def test_a_psf_between_pixels() -> None:
    """A shifted PSF is the Gaussian there."""
    stamp = np.zeros((SIZE, SIZE))
    add_gaussian(stamp, x=SIZE // 2 + 0.4, y=SIZE // 2 - 0.3, xx=BASE[0], yy=BASE[1], xy=BASE[2], flux=1.0)
    np.testing.assert_allclose(templates(gaussian(BASE), dx=0.4, dy=-0.3)[0], stamp, atol=1e-6)


@pytest.mark.parametrize("seed", [1, 2])
def test_fluxes_of_stars_anywhere(seed: int) -> None:
    """With the PSF of its cell a star has its flux to 0.5% in each of 30 cells, where one stamp is up to 12% wrong."""
    planes = field(np.random.default_rng(seed), varies=True)
    psf, cell = gaussian(BASE), 100
    variation = measure_variation(psf, *planes, fwhm=4.2, max_stars=150)
    stamps = cell_psfs(psf, variation, (5, 6), cell=cell)
    assert variation.degree in (1, 2)
    assert 40 < variation.stars <= 95
    np.testing.assert_allclose(stamps.sum(axis=(2, 3)), 1, rtol=1e-12)
    before, after = [], []
    for row, column in np.ndindex(5, 6):
        true = gaussian(mapped(BASE, *changes_at(column * cell + 49.5, row * cell + 49.5)))
        before.append(np.sum(true * psf) / np.sum(psf**2) - 1)
        after.append(np.sum(true * stamps[row, column]) / np.sum(stamps[row, column] ** 2) - 1)
    assert np.abs(before).max() > 0.05
    assert np.abs(after).max() < 0.008
    assert np.std(after) < 0.005


@pytest.mark.parametrize("seed", [3, 4])
def test_a_psf_that_is_right_stays(seed: int) -> None:
    """Stars that have the PSF of the stamp change fluxes by less than 0.2% anywhere."""
    psf = gaussian(BASE)
    variation = measure_variation(psf, *field(np.random.default_rng(seed), varies=False), fwhm=4.2, max_stars=150)
    stamps = cell_psfs(psf, variation, (5, 6), cell=100)
    change = np.sum(psf * stamps, axis=(2, 3)) / np.sum(stamps**2, axis=(2, 3)) - 1
    assert np.abs(change).max() < 0.002


def test_without_stars_nothing_changes(rng: np.random.Generator) -> None:
    """Noise alone leaves the stamp in every cell, and says so."""
    psf, noise = gaussian(BASE), rng.normal(size=SHAPE).astype(np.float32)
    variation = measure_variation(
        psf, noise, np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.int32), fwhm=4.2, max_stars=150
    )
    assert variation.degree is None
    assert describe(variation) == "the same everywhere, by 0 stars"
    np.testing.assert_allclose(cell_psfs(psf, variation, (2, 3), cell=100), np.broadcast_to(psf, (2, 3, SIZE, SIZE)))


def test_extrapolation_is_bounded() -> None:
    """Far from all stars a steep polynomial changes sizes by no more than 15%."""
    steep = Variation(1, np.array([[0.0, 0, 0], [0.3, 0, 0], [0.0, 0.1, 0]]), (100.0, 50.0), 100.0, 12)
    np.testing.assert_allclose(steep.at(np.array([[150.0, 80.0], [300.0, 250.0]])), [[0.09, 0.05, 0], [0.15, 0.15, 0]])
    assert vary(gaussian(BASE), steep.at(np.array([[150.0, 80.0]])))[0].sum() == pytest.approx(1)
    assert describe(steep) == "linear, by 12 stars"
