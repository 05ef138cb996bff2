"""Values of the noise by hand: every term of the variance has its own size, so that none can be lost or scaled."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from obs_vista.noise import (
    ConfidenceError,
    is_sky_subtracted,
    measured_sky_noise,
    pawprint_variance,
    predicted_sky_noise,
    sky_level,
    skynoise_variance,
)

# Detector 9 (facts of the camera): gain 4.53 e-/ADU, read noise 4.154 ADU.
GAIN, READ_NOISE = 4.53, 4.154


def header(**cards: object) -> fits.Header:
    """A header with NICOMB 5, NDIT 3 and a sky of 700 ADU, and what is asked for."""
    made = fits.Header()
    made.update({"NICOMB": 5, "SKYLEVEL": 700.0, "SKYNOISE": 6.0})
    made.append(("HIERARCH ESO DET NDIT", 3))
    made.update(cards)
    return made


def test_prediction_of_a_stack_and_of_an_exposure() -> None:
    """((RN^2 + S/g) (1 + 1/n)) / n with n = 15 for the stack; (RN^2 + S/g) / 3 for one exposure of 3 DITs."""
    one_dit = READ_NOISE**2 + 700 / GAIN
    assert predicted_sky_noise(header(), 9) == pytest.approx(np.sqrt(one_dit * (1 + 1 / 15) / 15), rel=1e-9)
    single = header()
    del single["NICOMB"]
    assert predicted_sky_noise(single, 9) == pytest.approx(np.sqrt(one_dit / 3), rel=1e-9)
    # A sky that was subtracted too much is no negative variance.
    assert predicted_sky_noise(header(SKYLEVEL=-30.0), 9) == pytest.approx(READ_NOISE * np.sqrt(16) / 15, rel=1e-9)
    assert sky_level(header(SKYLEVEL=-30.0)) == -30


def test_variance_of_a_stack_term_by_term() -> None:
    """Confidence 60 and a source of 5,000 ADU in one pixel, confidence 100 and blank sky in another, not square."""
    image, confidence = np.full((6, 11), 700.0), np.full((6, 11), 100.0)
    image[1, 9], confidence[1, 9] = 5700.0, 60.0
    variance = pawprint_variance(image, confidence, header(), 9).variance
    n = 15 * 0.6
    expected = (READ_NOISE**2 + 5700 / GAIN + (READ_NOISE**2 + 700 / GAIN) / n) / n
    assert variance[1, 9] == pytest.approx(expected, rel=1e-5)
    assert variance[4, 2] == pytest.approx(predicted_sky_noise(header(), 9) ** 2, rel=1e-5)


def test_variance_without_a_map_counts_the_photons_of_sources() -> None:
    """sigma^2 + u S / (g n): sky noise by the header, photons of n = 15 DITs, pixels in units of u = 3 per ADU."""
    image = 2100.0 + 1e-6 * np.arange(30) * np.ones((40, 1))  # of one value, it would be a gap
    image[7, 21] = 2700.0
    image[30, 4] = np.nan
    noise = skynoise_variance(image, header(), 9, units_per_adu=3.0)
    assert noise.variance[0, 0] == pytest.approx((3 * 6.0) ** 2, rel=1e-6)
    assert noise.variance[7, 21] - noise.variance[0, 0] == pytest.approx(3 * 600.0 / (GAIN * 15), rel=1e-4)
    assert np.argwhere(noise.no_data).tolist() == [[30, 4]]


def test_unknown_scale_is_told_by_the_noise(rng: np.random.Generator) -> None:
    """Pixels of 2.5 units per ADU: the noise in the image over the predicted one gives photons in the same unit."""
    sigma = 2.5 * predicted_sky_noise(header(), 9)
    image = rng.normal(0, sigma, (640, 512))
    image[100, 200] = 4e4
    noise = skynoise_variance(image, header(), 9)
    assert noise.variance[0, 0] == pytest.approx(sigma**2, rel=0.02)
    assert noise.variance[100, 200] - noise.variance[0, 0] == pytest.approx(2.5 * 4e4 / (GAIN * 15), rel=0.03)


def test_measured_noise_takes_small_blocks(rng: np.random.Generator) -> None:
    """A gradient of 0.5 per pixel spreads 640 pixels over 320, but those of a block of 8 over 4 only."""
    image = rng.normal(0, 3.0, (64, 640)) + 0.02 * np.arange(640)
    assert measured_sky_noise(image, block=32) == pytest.approx(3.0, rel=0.03)
    assert measured_sky_noise(image, block=640) > 3.5


@pytest.mark.parametrize(("level", "subtracted"), [(0.0, True), (300.0, True), (400.0, False), (700.0, False)])
def test_sky_is_told_by_half_its_level(level: float, subtracted: bool) -> None:
    """With SKYLEVEL 700, a median below 350 means that the sky is gone."""
    assert is_sky_subtracted(np.full((20, 30), level) + 1e-3, header()) is subtracted


def test_a_map_without_a_positive_pixel_is_refused() -> None:
    """Negative confidence everywhere is no confidence."""
    with pytest.raises(ConfidenceError, match="zero everywhere"):
        pawprint_variance(np.full((4, 5), 700.0), np.full((4, 5), -1.0), header(), 9)
