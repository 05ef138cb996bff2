"""The sky between the sources."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.detectors.background import evaluate, fit_background
from obs_vista.masks import BIT
from tests.scenes.detectors import make_detector_scene


def _sersic(shape: tuple[int, int], *, radius: float) -> np.ndarray:
    """An exponential galaxy of unit flux in the middle."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    r = np.hypot(x - shape[1] / 2, y - shape[0] / 2) / (radius / 1.678)
    profile = np.exp(-r)
    return profile / profile.sum()


def test_level_and_gradient(rng: np.random.Generator) -> None:
    """Under stars, galaxies and correlated noise, the sky is right to a twentieth of the noise everywhere."""
    truth = make_detector_scene(rng)
    image = truth.given.image
    background = fit_background(image, np.zeros(image.shape, np.int32), fwhm=2.4)
    error = background.image() - truth.sky
    assert abs(np.median(error)) < 0.03 * background.noise
    assert np.abs(error).max() < 0.25 * background.noise
    assert background.gradient == pytest.approx(np.ptp(truth.sky), rel=0.2)
    assert background.level == pytest.approx(np.median(truth.sky), abs=0.05 * background.noise)


def test_a_large_galaxy_stays(rng: np.random.Generator) -> None:
    """The light of a galaxy of 12 px half-light radius, halo and all, is not taken for sky: 1.5 per cent at most."""
    galaxy = 4e5 * _sersic((384, 384), radius=12.0)
    image = (rng.normal(500, 5, galaxy.shape) + galaxy).astype(np.float32)
    background = fit_background(image, np.zeros(image.shape, np.int32), fwhm=2.4)
    y, x = np.mgrid[0:384, 0:384]
    inside = np.hypot(x - 192, y - 192) < 50
    kept = (image - background.image())[inside].sum() / galaxy[inside].sum()
    assert kept == pytest.approx(1, abs=0.015)


def test_flat_sky_is_flat(rng: np.random.Generator) -> None:
    """Pure noise gives its own mean, within five errors of it, and most of its scatter."""
    image = rng.normal(100, 3, (256, 256)).astype(np.float32)
    background = fit_background(image, np.zeros(image.shape, np.int32), fwhm=2.4)
    assert background.level == pytest.approx(100, abs=5 * 3 / 256)
    assert background.noise == pytest.approx(3, rel=0.08)


def test_masked_half(rng: np.random.Generator) -> None:
    """Half a detector without data changes nothing in the other half."""
    image = rng.normal(100, 3, (256, 256)).astype(np.float32)
    mask = np.zeros(image.shape, np.int32)
    mask[:, :128] = BIT["NO_DATA"]
    image[:, :128] = 0
    error = fit_background(image, mask, fwhm=2.4).image()[:, 128:] - 100
    assert np.abs(error).max() < 0.6


def test_nothing_to_measure() -> None:
    """An image that is masked all over is refused with the numbers."""
    with pytest.raises(ValueError, match="Only 0 of 10000 pixels"):
        fit_background(np.zeros((100, 100), np.float32), np.full((100, 100), BIT["BAD"], np.int32), fwhm=2.4)


def test_surface_is_a_polynomial() -> None:
    """Chebyshev coefficients mean what they say: T1 in x runs from -1 to 1."""
    surface = evaluate(np.array([[2.0, 3.0]]), (4, 5))
    np.testing.assert_allclose(surface[0], 2 + 3 * np.linspace(-1, 1, 5), rtol=1e-6)
