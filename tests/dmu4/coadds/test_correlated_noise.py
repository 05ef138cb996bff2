"""Correlated noise: measured, made, carried through a coadd, and put into error bars."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dmu4.coadds.correlated_noise import (
    aperture_error_scale,
    aperture_sums,
    aperture_weights,
    correlated_noise,
    noise_correlation,
    noise_kernel,
)

BILINEAR = np.array([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]) * 0.6
BILINEAR[1, 1] = 1.0


def test_white_noise_is_normal_and_repeatable():
    """Mean 0, variance 1, no correlation; a sub-image asked for alone is the same numbers; other seeds are not."""
    noise = correlated_noise(np.ones((800, 800)), np.ones((1, 1)), seed=12)
    assert abs(noise.mean()) < 0.005
    assert noise.var() == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(noise) > 3) == pytest.approx(0.0027, abs=0.0004)
    kernel = noise_correlation(noise, 1.0, np.ones(noise.shape, bool), max_lag=2)
    kernel[2, 2] = 0
    assert np.abs(kernel).max() < 0.006
    part = correlated_noise(np.ones((50, 60)), np.ones((1, 1)), seed=12, y0=101, x0=203)
    np.testing.assert_array_equal(part, noise[101:151, 203:263])
    assert (
        abs(np.corrcoef(noise.ravel(), correlated_noise(np.ones((800, 800)), np.ones((1, 1)), seed=13).ravel())[0, 1])
        < 0.005
    )


def test_noise_under_a_kernel_is_the_sum_of_its_neighbours() -> None:
    """An asymmetric kernel at each place of white noise, for any sub-image; zero without variance."""
    kernel = np.array([[0.0, 0.2, -0.1], [0.5, 1.0, 0.0], [0.3, 0.0, 0.4]])
    variance = np.full((9, 11), 4.0)
    variance[2, 3] = 0.0
    white = correlated_noise(np.ones((11, 13)), np.ones((1, 1)), seed=7, y0=19, x0=29)
    expected = 2 * sum(kernel[b, a] * white[b : b + 9, a : a + 11] for b in range(3) for a in range(3))
    expected[2, 3] = 0.0
    np.testing.assert_allclose(correlated_noise(variance, kernel, seed=7, y0=20, x0=30), expected, rtol=1e-5, atol=1e-6)


def test_made_noise_has_the_asked_correlation():
    """Noise made from a bilinear stack's correlation has it to 0.03, and the variance that was asked for."""
    kernel = noise_kernel(np.pad(BILINEAR, 2))
    noise = correlated_noise(np.full((700, 700), 4.0), kernel, seed=3)
    assert noise.var() == pytest.approx(4.0, rel=0.02)
    measured = noise_correlation(noise, 2.0, np.ones(noise.shape, bool), max_lag=3)
    np.testing.assert_allclose(measured[2:5, 2:5], BILINEAR, atol=0.03)
    np.testing.assert_array_equal(measured, measured[::-1, ::-1])


def test_correlation_ignores_sources_and_holes(rng):
    """Sources that are not marked, and pixels without data, change the measured correlation by less than 0.02."""
    noise = ndimage.convolve(rng.normal(size=(600, 600)), np.array([[0, 0.3, 0], [0.3, 1, 0.3], [0, 0.3, 0]]))
    noise /= noise.std()
    clean = noise_correlation(noise, 1.0, np.ones(noise.shape, bool), max_lag=2)
    good = rng.uniform(size=noise.shape) > 0.1
    spoilt = np.where(good, noise, np.nan)
    spoilt[100:103, 100:103] += 500
    np.testing.assert_allclose(noise_correlation(spoilt, 1.0, good, max_lag=2), clean, atol=0.02)


def test_too_few_pixels_count_as_white():
    """With next to no sky, the correlation is taken as none."""
    kernel = noise_correlation(np.ones((20, 20)), 1.0, np.zeros((20, 20), bool), max_lag=2)
    assert kernel.sum() == 1


def test_aperture_weights_have_the_area_of_the_circle():
    """The weights of an aperture sum to pi r^2."""
    for radius in (1.5, 3.0, 5.95, 12.3):
        assert aperture_weights(radius).sum() == pytest.approx(np.pi * radius**2, rel=0.02)


def test_aperture_sums_leave_bad_apertures_out(rng):
    """Sums over a constant are its area; an aperture with one bad pixel is not there."""
    image, good = np.full((100, 100), 2.0), np.ones((100, 100), bool)
    sums, variances, x, _ = aperture_sums(image, np.ones_like(image), good, radius=4.0)
    np.testing.assert_allclose(sums, 2 * variances)
    good[50, 50] = False
    assert len(aperture_sums(image, np.ones_like(image), good, radius=4.0)[0]) == len(x) - 1


@pytest.mark.parametrize("radius", [3.0, 6.0, 10.0])
def test_error_scale_makes_errors_true(radius):
    """On other noise of the same kind, apertures scatter as the scaled error says, to 5%; white noise needs none."""
    kernel = noise_kernel(np.pad(BILINEAR, 2))
    variance, good = np.full((900, 900), 2.0), np.ones((900, 900), bool)
    planes = [correlated_noise(variance, kernel, seed=seed) for seed in (1, 2, 3)]
    scale = aperture_error_scale(planes[:2], variance, good, radii=np.array([radius]))[0]
    assert scale > 1.3
    sums, variances, _, _ = aperture_sums(planes[2], variance, good, radius=radius)
    assert np.std(sums) / (scale * np.sqrt(variances.mean())) == pytest.approx(1.0, abs=0.05)
    white = [correlated_noise(variance, np.ones((1, 1)), seed=9)]
    # Pixels cut by the circle count by their part of the area, so that small apertures have a little less.
    assert aperture_error_scale(white, variance, good, radii=np.array([radius]))[0] == pytest.approx(1.0, abs=0.08)


def test_error_scale_needs_apertures():
    """Without noise planes, or with few apertures, there is no scale, and that is said by NaN."""
    variance, good = np.ones((50, 50)), np.ones((50, 50), bool)
    assert np.isnan(aperture_error_scale([], variance, good, radii=np.array([6.0]))).all()
    assert np.isnan(aperture_error_scale([variance], variance, good, radii=np.array([6.0]))).all()
