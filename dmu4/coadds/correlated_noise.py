"""Correlated noise: measured on the inputs, propagated as noise realizations, and used to scale errors."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit
from scipy import ndimage, stats

from obs_vista.masks import bits

MAX_LAG = 3
"""Largest lag of the measured correlation: 1 for bilinear stacking, 5 half-size pixels for a Lanczos-3 kernel."""


def noise_correlation(image: np.ndarray, sigma: np.ndarray | float, good: np.ndarray, *, max_lag: int) -> np.ndarray:
    """Correlation of the noise of neighbouring pixels.

    Parameters
    ----------
    image
        Background-subtracted image [y, x].
    sigma
        Standard deviation of each pixel.
    good
        Sky pixels: pixels with data and without sources.
    max_lag
        Largest lag along each axis.

    Returns
    -------
    correlation
        Correlation [lag in y, lag in x] of side 2 max_lag + 1, symmetric about its centre, where it is 1; zero
        elsewhere if there are too few pixels.
    """
    size = 2 * max_lag + 1
    correlation = np.zeros((size, size))
    correlation[max_lag, max_lag] = 1.0
    scaled = np.where(good, np.divide(image, sigma, out=np.zeros(image.shape), where=good), 0.0)
    # Residuals of sources and artefacts beyond 4 sigma would dominate a mean of products.
    use = good & (np.abs(scaled) < 4)
    if use.sum() < 50 * size**2:
        return correlation
    scaled = np.where(use, scaled - scaled[use].mean(), 0.0)
    if not scaled.any():  # an image without noise
        return correlation
    for dy, dx, value in _lagged_means(scaled.astype(np.float32), use, max_lag):
        correlation[max_lag + int(dy), max_lag + int(dx)] = correlation[max_lag - int(dy), max_lag - int(dx)] = value
    return correlation / correlation[max_lag, max_lag]


@njit(cache=True, nogil=True)
def _lagged_means(values, use, max_lag):
    """Rows of (dy, dx, mean product of pixels at this lag), for half of the plane of lags and lag zero."""
    rows = np.zeros(((2 * max_lag + 1) * max_lag + max_lag + 1, 3))
    n = 0
    for dy in range(max_lag + 1):
        for dx in range(-max_lag if dy > 0 else 0, max_lag + 1):
            total, number = 0.0, 0
            for y in range(values.shape[0] - dy):
                for x in range(max(-dx, 0), values.shape[1] - max(dx, 0)):
                    if use[y, x] and use[y + dy, x + dx]:
                        total += values[y, x] * values[y + dy, x + dx]
                        number += 1
            rows[n, 0], rows[n, 1], rows[n, 2] = dy, dx, total / max(number, 1)
            n += 1
    return rows


def noise_kernel(correlation: np.ndarray) -> np.ndarray:
    """A kernel that converts independent noise into noise of a given correlation and the same variance.

    It is the real, symmetric square root of the correlation in Fourier space; negative values of the measured power are
    set to zero.
    """
    size = 4 * correlation.shape[0] + 1
    padded = np.zeros((size, size))
    reach = correlation.shape[0] // 2
    padded[: correlation.shape[0], : correlation.shape[1]] = correlation
    power = np.fft.fft2(np.roll(padded, (-reach, -reach), axis=(0, 1))).real
    root = np.fft.ifft2(np.sqrt(np.maximum(power, 0.0))).real
    kernel = np.roll(root, (reach, reach), axis=(0, 1))[: correlation.shape[0], : correlation.shape[1]]
    return kernel / np.sqrt((kernel**2).sum())


def sky_noise_correlation(image: np.ndarray, variance: np.ndarray, mask: np.ndarray, *, drop: int) -> np.ndarray:
    """Correlation of the sky noise of an image, up to `MAX_LAG`; see `noise_correlation`.

    Bilinear stacking correlates neighbouring pixels by about 0.3, which the variance does not show. A million pixels in
    the centre of the image are enough to measure it to a thousandth.

    Sources are separated from the sky by a single threshold in a smoothed image, which works for images of any survey
    and without a PSF: faint sources affect a correlation less than a sky level (`detectors.background`, `patches.sky`).

    Parameters
    ----------
    image, variance, mask
        Background-subtracted pixels [y, x], their variance and their mask bits.
    drop
        Mask bits of pixels to be ignored, in addition to those of saturated and very bright objects.
    """
    middle = tuple(slice(max(size // 2 - 500, 0), size // 2 + 500) for size in image.shape)
    if np.isfinite(image[middle]).mean() > 0.5:
        image, variance, mask = image[middle], variance[middle], mask[middle]
    usable = ((mask & (drop | int(bits("SAT", "BRIGHT_OBJECT")))) == 0) & np.isfinite(image) & (variance > 0)
    sigma = np.sqrt(np.where(usable, variance, 1.0))
    smooth = ndimage.gaussian_filter(np.where(usable, image / sigma, 0.0), 1.5)
    # The scatter of the smooth image is about a third for correlated noise; 1.2 is well above it.
    sources = ndimage.maximum_filter((smooth > 1.2) | ((mask & int(bits("DETECTED"))) != 0), size=7)
    sky = usable & ~sources
    level = np.median(image[sky]) if sky.any() else 0.0
    return noise_correlation(image - level, sigma, sky, max_lag=MAX_LAG)


@cache
def _normal_quantiles() -> np.ndarray:
    """Standard normal quantiles in the middle of 2**16 equal probabilities, to 4.2 sigma, of variance 1; float32."""
    values = stats.norm.ppf((np.arange(1 << 16) + 0.5) / (1 << 16))
    return (values / values.std()).astype(np.float32)


@njit(cache=True, nogil=True)
def _white_noise(seed: int, y0: int, x0: int, quantiles: np.ndarray, out: np.ndarray) -> None:
    """Normal deviates that depend only on the seed and the pixel, so that sub-images agree.

    Each number of SplitMix64 (Steele et al. 2014) has the quantiles of four neighbouring pixels of a row.
    """
    for y in range(out.shape[0]):
        for group in range(x0 // 4, (x0 + out.shape[1] - 1) // 4 + 1):
            z = seed + np.uint64((y0 + y) * 0x1000003 + group) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
            for x in range(max(4 * group - x0, 0), min(4 * group + 4 - x0, out.shape[1])):
                out[y, x] = quantiles[(z >> np.uint64(16 * ((x0 + x) % 4))) & np.uint64(0xFFFF)]


@njit(cache=True, nogil=True)
def _convolve(white: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """The sums of ``white`` under a kernel at each place where it fits: ndimage takes nine times as long."""
    for y in range(out.shape[0]):
        out[y] = 0.0
        for b in range(kernel.shape[0]):
            for a in range(kernel.shape[1]):
                weight = kernel[b, a]
                for x in range(out.shape[1]):
                    out[y, x] += weight * white[y + b, x + a]


def correlated_noise(variance: np.ndarray, kernel: np.ndarray, *, seed: int, y0: int = 0, x0: int = 0) -> np.ndarray:
    """A noise image with a given variance and the correlation of a `noise_kernel`.

    Parameters
    ----------
    variance
        Variance of each pixel; the noise is zero where it is not positive.
    seed
        Seed of the realization; the same seed and pixel give the same noise for any sub-image.
    y0, x0
        First pixel of ``variance`` in the whole image.
    """
    reach = kernel.shape[0] // 2
    white = np.empty((variance.shape[0] + 2 * reach, variance.shape[1] + 2 * reach), np.float32)
    # 2**20 keeps the first pixel positive for any margin.
    _white_noise(np.uint64(seed), y0 - reach + (1 << 20), x0 - reach + (1 << 20), _normal_quantiles(), white)
    noise = np.empty(variance.shape, np.float32)
    _convolve(white, kernel.astype(np.float32), noise)
    good = np.isfinite(variance) & (variance > 0)
    return noise * np.sqrt(np.where(good, variance, 0.0), dtype=np.float32)


def aperture_weights(radius: float) -> np.ndarray:
    """The fraction of each pixel inside a circle about the centre of the middle pixel, on a 10 x 10 sub-grid."""
    half = int(np.ceil(radius + 0.5))
    offset = (np.arange(10) + 0.5) / 10 - 0.5
    axis = np.arange(-half, half + 1)[:, None] + offset
    inside = (axis**2)[:, :, None, None] + (axis**2)[None, None] <= radius**2
    return inside.mean(axis=(1, 3))


def aperture_sums(
    image: np.ndarray, variance: np.ndarray, good: np.ndarray, *, radius: float, spacing: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sums in apertures on a regular grid, for apertures that contain good pixels only.

    Returns
    -------
    sums, variances, x, y
        Sum of the image, sum of the variance (as for independent pixels), and centre of each aperture.
    """
    weights = aperture_weights(radius)
    half = weights.shape[0] // 2
    spacing = spacing or int(np.ceil(2 * radius)) + 1
    centres_y = np.arange(half, image.shape[0] - half, spacing)
    centres_x = np.arange(half, image.shape[1] - half, spacing)
    result = _grid_sums(image, variance, good, weights, centres_y, centres_x)
    keep = result[1] > 0
    y, x = np.meshgrid(centres_y, centres_x, indexing="ij")
    return result[0][keep], result[1][keep], x[keep], y[keep]


@njit(cache=True, nogil=True)
def _grid_sums(image, variance, good, weights, centres_y, centres_x):
    sums = np.zeros((2, centres_y.size, centres_x.size))
    size = weights.shape[0]
    for j in range(centres_y.size):
        for i in range(centres_x.size):
            y0, x0 = centres_y[j] - size // 2, centres_x[i] - size // 2
            total = noise = 0.0
            for b in range(size):
                for a in range(size):
                    if weights[b, a] > 0:
                        if not good[y0 + b, x0 + a]:
                            noise = np.nan
                            break
                        total += weights[b, a] * image[y0 + b, x0 + a]
                        noise += weights[b, a] * variance[y0 + b, x0 + a]
                if np.isnan(noise):
                    break
            sums[0, j, i], sums[1, j, i] = total, noise
    return sums


def aperture_error_scale(
    noise: list[np.ndarray], variance: np.ndarray, good: np.ndarray, *, radii: np.ndarray, min_apertures: int = 100
) -> np.ndarray:
    """Ratio of the errors of aperture sums to those of independent pixels, as a function of radius.

    The square root of the summed variance is to be multiplied by it.

    Parameters
    ----------
    noise
        Noise realizations of the coadd, of the same shape as ``variance``.
    variance
        Variance of each pixel.
    good
        Pixels with data; sources need not be excluded, since noise realizations contain none.
    radii
        Aperture radii in pixels.
    min_apertures
        Smallest number of apertures over all realizations; with fewer the result is NaN.
    """
    scale = np.full(len(radii), np.nan)
    usable = good & np.isfinite(variance)
    for n, radius in enumerate(radii):
        pulls = []
        for plane in noise:
            sums, variances, _, _ = aperture_sums(plane, variance, usable, radius=radius)
            pulls.append(sums / np.sqrt(variances))
        pulls = np.concatenate(pulls) if pulls else np.zeros(0)
        if len(pulls) >= min_apertures:
            scale[n] = np.sqrt(np.mean(pulls**2))
    return scale
