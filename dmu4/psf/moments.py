"""Adaptive moments: the size and ellipticity of stars, measured alike on pixels and on PSF models."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.ndimage import zoom


class Moments(NamedTuple):
    """Gaussian-weighted moments, one value a source; NaN where the iteration did not converge.

    Parameters
    ----------
    flux
        Flux of the best-fitting elliptical Gaussian, in the image's units.
    x, y
        Centroid in pixels.
    size
        T = Ixx + Iyy in pixel^2.
    e1, e2
        (Ixx - Iyy) / T and 2 Ixy / T.
    """

    flux: np.ndarray
    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    e1: np.ndarray
    e2: np.ndarray


def adaptive_moments(image: np.ndarray, *, x: np.ndarray, y: np.ndarray, sigma: float, radius: int) -> Moments:
    """Moments of sources, weighted with the elliptical Gaussian that fits them (Bernstein & Jarvis 2002, AJ 123, 583).

    Parameters
    ----------
    image
        Background-subtracted pixels [y, x].
    x, y
        Where to start, in pixels.
    sigma
        Width of the first weight function, in pixels.
    radius
        Pixels further from the start are not looked at.
    """
    table = _moments(
        np.ascontiguousarray(image, np.float32),
        np.ascontiguousarray(x, np.float64),
        np.ascontiguousarray(y, np.float64),
        float(sigma),
        int(radius),
    )
    return Moments(*table)


def fwhm(stamp: np.ndarray) -> float:
    """Full width at half maximum in pixels: the diameter of a circle that holds the pixels above half of the peak.

    The stamp is refined by cubic splines first, so that the steps of the pixels do not show; NaN without a PSF.
    """
    if not np.isfinite(stamp).all():
        return float("nan")
    half = stamp.shape[0] // 2
    reach = min(half, 12)
    core = stamp[half - reach : half + reach + 1, half - reach : half + reach + 1]
    fine = zoom(core, 5, order=3, grid_mode=False)
    pixel = (core.shape[0] - 1) / (fine.shape[0] - 1)
    return float(2 * np.sqrt((fine > fine.max() / 2).sum() * pixel**2 / np.pi))


@njit(nogil=True, cache=True)
def _moments(image, x, y, sigma, radius):  # numba infers the types
    n = len(x)
    out = np.full((6, n), np.nan)
    for k in range(n):
        result = _one(image, x[k], y[k], sigma, radius)
        for i in range(6):
            out[i, k] = result[i]
    return out


@njit(nogil=True, cache=True)
def _one(image, x0, y0, sigma, radius):
    bad = (np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    ny, nx = image.shape
    left, right = max(0, round(x0) - radius), min(nx - 1, round(x0) + radius)
    bottom, top = max(0, round(y0) - radius), min(ny - 1, round(y0) + radius)
    if right - left < 2 or top - bottom < 2:
        return bad
    cx, cy = x0, y0
    wxx, wyy, wxy = sigma**2, sigma**2, 0.0
    for _ in range(100):
        determinant = wxx * wyy - wxy * wxy
        if not determinant > 1e-4 or wxx + wyy > radius**2:
            return bad
        s0, sx, sy, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(bottom, top + 1):
            dy = j - cy
            for i in range(left, right + 1):
                dx = i - cx
                rho = (wyy * dx * dx - 2 * wxy * dx * dy + wxx * dy * dy) / determinant
                if rho > 25.0:
                    continue
                w = image[j, i] * np.exp(-0.5 * rho)
                s0 += w
                sx += w * dx
                sy += w * dy
                sxx += w * dx * dx
                syy += w * dy * dy
                sxy += w * dx * dy
        if s0 <= 0:
            return bad
        mx, my = sx / s0, sy / s0
        # A Gaussian times its own weight has half its moments: the fixed point is at twice the weighted moments.
        nxx, nyy, nxy = 2 * (sxx / s0 - mx * mx), 2 * (syy / s0 - my * my), 2 * (sxy / s0 - mx * my)
        cx += 1.5 * mx
        cy += 1.5 * my
        if abs(cx - x0) > radius or abs(cy - y0) > radius or nxx <= 0 or nyy <= 0:
            return bad
        change = abs(nxx - wxx) + abs(nyy - wyy) + abs(nxy - wxy) + abs(mx) + abs(my)
        # Damped, so that crowded or noisy sources do not jump between two solutions.
        wxx, wyy, wxy = 0.2 * wxx + 0.8 * nxx, 0.2 * wyy + 0.8 * nyy, 0.2 * wxy + 0.8 * nxy
        if change < 1e-5:
            size = wxx + wyy
            # integral of the Gaussian that has the same weighted sum: s0 = flux / (4 pi sqrt(det)) * 2 pi sqrt(det)
            return (2.0 * s0, cx, cy, size, (wxx - wyy) / size, 2 * wxy / size)
    return bad
