"""Centres, adaptive moments and extendedness of sources, each measured with its neighbours subtracted."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from dmu4.measurement.profiles import DISC_VARIANCES, DISC_WEIGHTS
from dmu4.measurement.stamps import StampSet, own_light
from dmu4.psf.moments import OBJECT_REACH, iterate_moments, object_limits, weighted_sums


@dataclass(frozen=True)
class Shapes:
    """Moments of N sources in one band.

    Attributes
    ----------
    x, y
        Array positions of the centres.
    x_error, y_error
        Errors of the centres in pixels, for uncorrelated noise.
    xy_covariance
        Covariance of x and y in pixels^2, for uncorrelated noise: it is not zero if the source is elongated along a
        diagonal.
    covariance
        Adaptive moments [source, 3]: xx, yy, xy in pixels^2, PSF not removed.
    failed
        Whether the iteration failed to converge: the moments are then the starting values, and the centre is measured
        with a fixed weight.
    """

    x: np.ndarray
    y: np.ndarray
    x_error: np.ndarray
    y_error: np.ndarray
    xy_covariance: np.ndarray
    covariance: np.ndarray
    failed: np.ndarray


@numba.njit(nogil=True, cache=True)
def _fixed_centre(stamp, x, y, xx, yy, xy, max_shift):
    """Centre with a Gaussian weight of fixed moments; the starting position if it moves too far."""
    start_x, start_y = x, y
    for _ in range(20):
        sums = weighted_sums(stamp, x, y, xx, yy, xy, OBJECT_REACH)
        if sums[0] <= 0.0:
            return start_x, start_y
        dx, dy = sums[1] / sums[0], sums[2] / sums[0]
        x, y = x + 1.5 * dx, y + 1.5 * dy
        if (x - start_x) ** 2 + (y - start_y) ** 2 > max_shift**2:
            return start_x, start_y
        if abs(dx) + abs(dy) < 1e-3:
            break
    return x, y


@numba.njit(nogil=True, cache=True)
def _centre_error(variance, x, y, xx, yy, xy, total):
    """Errors (x, y) and covariance of a weighted centre for a weighted sum of light ``total``."""
    determinant = xx * yy - xy * xy
    a, b, c = yy / determinant, xx / determinant, -xy / determinant
    ny, nx = variance.shape
    sum_x, sum_y, sum_xy = 0.0, 0.0, 0.0
    for row in range(max(0, int(y - 4 * np.sqrt(yy))), min(ny, int(y + 4 * np.sqrt(yy)) + 2)):
        for column in range(max(0, int(x - 4 * np.sqrt(xx))), min(nx, int(x + 4 * np.sqrt(xx)) + 2)):
            dx, dy = column - x, row - y
            weight = np.exp(-0.5 * (a * dx * dx + b * dy * dy + 2 * c * dx * dy))
            sum_x += (weight * dx) ** 2 * variance[row, column]
            sum_y += (weight * dy) ** 2 * variance[row, column]
            sum_xy += weight**2 * dx * dy * variance[row, column]
    # For a Gaussian source with a weight of its own shape the mean offset is half that of the source.
    return 2 * np.sqrt(sum_x) / total, 2 * np.sqrt(sum_y) / total, 4 * sum_xy / total**2


@numba.njit(nogil=True, cache=True)
def _measure(
    pixels, offset, size, x0, y0, flux, residual, variance, members, x, y, start, adapt, max_shift, window, out
):
    for i in members:
        stamp, first_x, first_y = own_light(pixels, offset, size, x0, y0, flux, residual, i, window)
        xx, yy, xy = start[i]
        at_x, at_y = _fixed_centre(stamp, x[i] - first_x, y[i] - first_y, xx, yy, xy, max_shift)
        converged = False
        if adapt[i]:
            limits = object_limits(stamp.shape, xx, yy, max_shift)
            result = iterate_moments(stamp, at_x, at_y, xx, yy, xy, limits)
            converged = result[5]
            if converged:
                at_x, at_y, xx, yy, xy = result[0], result[1], result[2], result[3], result[4]
        total = weighted_sums(stamp, at_x, at_y, xx, yy, xy, OBJECT_REACH)[0]
        out[i, 0], out[i, 1] = at_x + first_x, at_y + first_y
        out[i, 2:5] = np.nan
        if total > 0.0:
            out[i, 2], out[i, 3], out[i, 4] = _centre_error(variance, out[i, 0], out[i, 1], xx, yy, xy, total)
        out[i, 5], out[i, 6], out[i, 7] = xx, yy, xy
        out[i, 8] = 0.0 if converged else 1.0


def measure_shapes(
    stamps: StampSet,
    flux: np.ndarray,
    *,
    residual: np.ndarray,
    variance: np.ndarray,
    members: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    adapt: np.ndarray,
    max_shift: float,
    window: int = 0,
) -> Shapes:
    """Centres and adaptive moments of some sources in one band.

    Parameters
    ----------
    stamps, flux
        Models of unit flux of all N sources, and their fluxes (0 where there is none).
    residual, variance
        Image minus all models, and variance [y, x].
    members
        Numbers of the sources to measure.
    x, y
        Starting positions in array pixels [N].
    start
        Starting moments [N, 3]: those of the PSF.
    adapt
        Whether a source is bright enough for adaptive moments [N].
    max_shift
        Largest shift of a centre in pixels.
    window
        Even number of pixels to a side in which the light is measured at least, however small the model.
    """
    out = np.full((len(stamps), 9), np.nan)
    corners = (stamps.offset, stamps.size, stamps.x0, stamps.y0)
    _measure(
        *(stamps.pixels, *corners, flux, residual, variance),
        *(np.asarray(members, np.int64), x, y, np.ascontiguousarray(start), adapt, max_shift, window, out),
    )
    out = out[members]
    return Shapes(
        x=out[:, 0],
        y=out[:, 1],
        x_error=out[:, 2],
        y_error=out[:, 3],
        xy_covariance=out[:, 4],
        covariance=out[:, 5:8],
        failed=out[:, 8] != 0,
    )


def psf_moments(psf: np.ndarray) -> np.ndarray:
    """Adaptive moments [cell, 3] of PSF stamps [cell, y, x]; NaN for a stamp without light."""
    moments = np.full((len(psf), 3), np.nan)
    middle = psf.shape[-1] // 2
    for cell, stamp in enumerate(psf):
        if stamp.any():
            width = 1 / (4 * np.pi * float(np.sum(np.square(stamp, dtype=float))))
            limits = object_limits(stamp.shape, width, width, 2.0)
            xx, yy, xy, converged = iterate_moments(stamp.astype(float), middle, middle, width, width, 0.0, limits)[2:]
            moments[cell] = (xx, yy, xy) if converged else (width, width, 0.0)
    return moments


def disc_covariance(observed: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """The exponential disc that, convolved with the PSF, has the observed adaptive moments.

    The PSF is approximated by a Gaussian. The orientation and axis ratio are those of the difference of the moments;
    the size solves the equation of the adaptive moments for the Gaussian components of the disc.

    Parameters
    ----------
    observed, psf
        Moments of the sources and of the PSF [N, 3] (xx, yy, xy).

    Returns
    -------
    ndarray
        Covariance [N, 3], as in `dmu4.measurement.stamps.Profiles`; zero for sources no larger than the PSF.
    """
    size, psf_size = (np.sqrt(np.maximum(m[:, 0] * m[:, 1] - m[:, 2] ** 2, 0)) for m in (observed, psf))
    low, high = np.zeros(len(size)), 4 * np.maximum(size, 1e-6)
    for _ in range(40):
        middle = 0.5 * (low + high)
        parts = middle[:, None] * DISC_VARIANCES + psf_size[:, None]
        weight = DISC_WEIGHTS / (parts + size[:, None])
        moment = np.sum(weight * parts * size[:, None] / (parts + size[:, None]), axis=1) / np.sum(weight, axis=1)
        too_small = moment < 0.5 * size
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    difference = observed - psf
    mean = 0.5 * (difference[:, 0] + difference[:, 1])
    e1 = np.divide(0.5 * (difference[:, 0] - difference[:, 1]), mean, out=np.zeros(len(mean)), where=mean > 0)
    e2 = np.divide(difference[:, 2], mean, out=np.zeros(len(mean)), where=mean > 0)
    # The smallest axis ratio of a disc is 0.2, an ellipticity of 0.92 in moments.
    shrink = np.minimum(1, 0.92 / np.maximum(np.hypot(e1, e2), 1e-12))
    e1, e2 = e1 * shrink, e2 * shrink
    radius = np.where((size > psf_size) & (mean > 0), 0.5 * (low + high) / np.sqrt(1 - e1**2 - e2**2), 0)
    return np.column_stack([radius * (1 + e1), radius * (1 - e1), radius * e2])
