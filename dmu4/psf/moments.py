"""Adaptive moments: the common definition of size and ellipticity for stars, PSF models and objects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.ndimage import zoom


class MomentLimits(NamedTuple):
    """Limits and convergence criterion of the iteration of adaptive moments.

    Attributes
    ----------
    max_shift
        Largest distance of the centre from its starting position, in pixels.
    smallest, largest
        Limits of the mean of the two variances, in pixel^2.
    reach
        Radius, in widths of the weight function, beyond which pixels are ignored.
    tolerance
        Relative change of the size at which the iteration ends.
    """

    max_shift: float
    smallest: float
    largest: float
    reach: float
    tolerance: float


STAR_REACH, STAR_TOLERANCE = 5.0, 2e-6
"""Values for bright stars and noiseless PSF models, accurate to a millionth: their sizes are compared to 1e-3."""

OBJECT_REACH, OBJECT_TOLERANCE = 4.5, 1e-4
"""Values for objects, which are faint: beyond 4.5 widths, where the weight is 4e-5, noise and neighbours dominate."""


class Moments(NamedTuple):
    """Gaussian-weighted moments, one value per source; NaN where the iteration did not converge.

    Attributes
    ----------
    flux
        Flux of the best-fitting elliptical Gaussian, in the image's units.
    x, y
        Centroid in pixels.
    size
        Size T = Ixx + Iyy in pixel^2.
    e1, e2
        Ellipticities (Ixx - Iyy) / T and 2 Ixy / T.
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
        Starting positions in pixels.
    sigma
        Width of the initial weight function, in pixels.
    radius
        Distance from the starting position beyond which pixels are ignored.
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
    """Full width at half maximum in pixels: the diameter of a circle with the area of the pixels above half the peak.

    The stamp is first interpolated with cubic splines to reduce the effect of pixelisation; NaN without a PSF.
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
    out = np.full((6, len(x)), np.nan)
    ny, nx = image.shape
    for k in range(len(x)):
        left, right = max(0, round(x[k]) - radius), min(nx, round(x[k]) + radius + 1)
        bottom, top = max(0, round(y[k]) - radius), min(ny, round(y[k]) + radius + 1)
        if right - left < 3 or top - bottom < 3:
            continue
        stamp, start = image[bottom:top, left:right], sigma * sigma
        limits = MomentLimits(float(radius), 0.04, 0.5 * radius * radius, STAR_REACH, STAR_TOLERANCE)
        cx, cy, xx, yy, xy, converged = iterate_moments(stamp, x[k] - left, y[k] - bottom, start, start, 0.0, limits)
        if converged:
            # The sum of a Gaussian under a weight of its own shape is half of its flux.
            out[0, k] = 2.0 * weighted_sums(stamp, cx, cy, xx, yy, xy, STAR_REACH)[0]
            out[1, k], out[2, k], out[3, k] = cx + left, cy + bottom, xx + yy
            out[4, k], out[5, k] = (xx - yy) / (xx + yy), 2 * xy / (xx + yy)
    return out


@njit(nogil=True, cache=True)
def weighted_sums(stamp, x, y, xx, yy, xy, reach):
    """Sums of w I times 1, dx, dy, dx^2, dy^2, dx dy, where w is a Gaussian with the given moments."""
    determinant = xx * yy - xy * xy
    a, b, c = yy / determinant, xx / determinant, -xy / determinant
    reach_x, reach_y = reach * np.sqrt(xx), reach * np.sqrt(yy)
    sums = np.zeros(6)
    for row in range(max(0, int(y - reach_y)), min(stamp.shape[0], int(y + reach_y) + 2)):
        dy = row - y
        for column in range(max(0, int(x - reach_x)), min(stamp.shape[1], int(x + reach_x) + 2)):
            dx = column - x
            rho = a * dx * dx + b * dy * dy + 2 * c * dx * dy
            if rho > reach * reach:
                continue
            value = np.exp(-0.5 * rho) * stamp[row, column]
            sums[0] += value
            sums[1] += value * dx
            sums[2] += value * dy
            sums[3] += value * dx * dx
            sums[4] += value * dy * dy
            sums[5] += value * dx * dy
    return sums


@njit(nogil=True, cache=True)
def object_limits(shape: tuple[int, int], xx: float, yy: float, max_shift: float) -> MomentLimits:
    """Limits for an object on a stamp of a given shape, with the variances from which the iteration starts."""
    largest = (0.2 * min(shape)) ** 2
    return MomentLimits(max_shift, 0.1 * (xx + yy), largest, OBJECT_REACH, OBJECT_TOLERANCE)


@njit(nogil=True, cache=True)
def iterate_moments(stamp, x, y, xx, yy, xy, limits):
    """Adaptive moments of a stamp [y, x]; returns x, y, xx, yy, xy, converged.

    The Gaussian weight is iterated until it has the moments that it measures (Bernstein & Jarvis 2002, AJ 123, 583).
    The update is exact for a Gaussian source: the inverse of the new moments is that of the weighted moments minus that
    of the weight.
    """
    start_x, start_y = x, y
    smallest, tolerance = limits.smallest, limits.tolerance
    for _ in range(60):
        sums = weighted_sums(stamp, x, y, xx, yy, xy, limits.reach)
        if sums[0] <= 0.0:
            return x, y, xx, yy, xy, False
        dx, dy = sums[1] / sums[0], sums[2] / sums[0]
        qxx, qyy, qxy = sums[3] / sums[0] - dx * dx, sums[4] / sums[0] - dy * dy, sums[5] / sums[0] - dx * dy
        det_q, det_w = qxx * qyy - qxy * qxy, xx * yy - xy * xy
        if det_q <= 0.0 or qxx <= 0.0:
            return x, y, xx, yy, xy, False
        ixx, iyy, ixy = qyy / det_q - yy / det_w, qxx / det_q - xx / det_w, -qxy / det_q + xy / det_w
        det_i = ixx * iyy - ixy * ixy
        if det_i > 0.0 and ixx > 0.0:
            new_xx, new_yy, new_xy = iyy / det_i, ixx / det_i, -ixy / det_i
        else:
            new_xx, new_yy, new_xy = 2 * qxx, 2 * qyy, 2 * qxy
        # No more than a factor of two in area at a time.
        ratio = np.sqrt((new_xx * new_yy - new_xy * new_xy) / det_w)
        damp = min(max(ratio, 0.5), 2.0) / ratio
        new_xx, new_yy, new_xy = damp * new_xx, damp * new_yy, damp * new_xy
        change = (abs(new_xx - xx) + abs(new_yy - yy) + abs(new_xy - xy)) / (xx + yy)
        xx, yy, xy = new_xx, new_yy, new_xy
        x, y = x + 1.5 * dx, y + 1.5 * dy
        if (x - start_x) ** 2 + (y - start_y) ** 2 > limits.max_shift**2:
            return x, y, xx, yy, xy, False
        if not smallest < 0.5 * (xx + yy) < limits.largest or xx * yy - xy * xy < smallest**2 * 0.05:
            return x, y, xx, yy, xy, False
        if change < tolerance and abs(dx) + abs(dy) < tolerance * np.sqrt(xx + yy):
            return x, y, xx, yy, xy, True
    return x, y, xx, yy, xy, False
