"""Noise of detector images: how much the variance is scaled, and what of it is the sky's."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.detectors.noise import NO_DATA_VARIANCE, pixel_errors, scale_variance
from obs_vista.masks import BIT

SHAPE = (200, 260)


def test_variance_is_scaled_by_the_square_of_the_scatter(rng: np.random.Generator) -> None:
    """White noise of 6 where 4 is predicted: a ratio of 1.5, variances 2.25 times as large, but where no data are."""
    image = rng.normal(0, 6, SHAPE).astype(np.float32)
    variance, mask = np.full(SHAPE, 16, np.float32), np.zeros(SHAPE, np.int32)
    variance[:, 200:] *= 4
    image[:, 200:] *= 2
    variance[3, 5], mask[3, 5] = NO_DATA_VARIANCE, BIT["NO_DATA"]
    image[3, 5] = 1e6
    noise, scaled = scale_variance(image, variance, mask, fwhm=2.3, sky_noise=6.0)
    assert noise.ratio == pytest.approx(1.5, rel=0.02)
    assert noise.ratio_after == pytest.approx(1.0, rel=0.03)
    assert scaled[100, 100] == pytest.approx(16 * noise.ratio**2)
    assert scaled[100, 250] == pytest.approx(64 * noise.ratio**2)
    assert scaled[3, 5] == np.float32(NO_DATA_VARIANCE)
    assert noise.sigma == pytest.approx(4 * noise.ratio)


def test_nothing_that_scatters_is_refused() -> None:
    """An image of one value has no noise, and a masked one no pixels, to scale by."""
    mask, variance = np.zeros(SHAPE, np.int32), np.ones(SHAPE, np.float32)
    with pytest.raises(ValueError, match="do not scatter"):
        scale_variance(np.zeros(SHAPE, np.float32), variance, mask, fwhm=2.3, sky_noise=1.0)
    with pytest.raises(ValueError, match="only 0 pixels"):
        scale_variance(np.zeros(SHAPE, np.float32), variance, mask + BIT["SAT"], fwhm=2.3, sky_noise=1.0)


def test_photons_of_objects_are_told_from_the_sky() -> None:
    """A variance of 25 + 0.2 f in objects and of 25 beside them is a sky of 25 everywhere, and 0.2 per count."""
    rows, columns = np.indices(SHAPE)
    light = 4000 * np.exp(-0.5 * ((columns - 180.3) ** 2 + (rows - 60.7) ** 2) / 8**2)
    objects = light > 1
    image = np.where(objects, light, 0).astype(np.float32)
    variance, mask = (25 + 0.2 * image).astype(np.float32), np.zeros(SHAPE, np.int32)
    mask[10, 20] = BIT["BAD"]
    errors = pixel_errors(image, variance, mask, objects)
    assert errors.slope == pytest.approx(0.2, rel=1e-4)
    expected = np.full(SHAPE, 25.0)
    expected[10, 20] = np.inf
    np.testing.assert_allclose(errors.sky, expected, rtol=1e-4)
    # A pixel that says less than half of the sky's variance is not believed.
    variance[50, 30] = 5.0
    assert pixel_errors(image, variance, mask, objects).sky[50, 30] == pytest.approx(12.5)
