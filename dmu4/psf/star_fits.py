"""Least-squares fits of fluxes and positions of sources with a pixel-grid PSF, in numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from dmu4.psf.kernels import apply_axes, empty_axis, fill_axis, local_grid


class StarPixels(NamedTuple):
    """An image with the components of its pixel errors.

    Attributes
    ----------
    image
        Background-subtracted pixels [y, x].
    variance
        Variance of the empty sky [y, x]; pixels of infinite variance are ignored.
    gain_slope
        Variance per unit of the source's own light.
    error_floor
        Fraction of the model that is added to the errors, to account for errors of the PSF model.
    """

    image: np.ndarray
    variance: np.ndarray
    gain_slope: float
    error_floor: float


class PsfNodes(NamedTuple):
    """A PSF in the form used by the kernels.

    Attributes
    ----------
    coefficients
        Polynomial coefficients of the nodes [n, n, terms].
    scale
        Distance between nodes in pixels.
    table
        The `interpolant_table`.
    """

    coefficients: np.ndarray
    scale: float
    table: np.ndarray


class StarFits(NamedTuple):
    """Fluxes and positions of sources from least-squares fits of the PSF, one value per source; NaN without a fit.

    Attributes
    ----------
    flux, flux_error
        Flux and its standard error, in the image's units.
    x, y
        Position in pixels.
    x_error, y_error
        Standard errors of the position in pixels; NaN if it was fixed.
    chi2
        Reduced chi square; NaN if the position was fixed.
    """

    flux: np.ndarray
    flux_error: np.ndarray
    x: np.ndarray
    y: np.ndarray
    x_error: np.ndarray
    y_error: np.ndarray
    chi2: np.ndarray

    def of(self, sources: np.ndarray) -> StarFits:
        """The fits of some sources, selected by number or by a boolean array."""
        return StarFits(*(values[sources] for values in self))


def fit_stars(
    pixels: StarPixels,
    psf: PsfNodes,
    basis: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    radius: int,
    iterations: int,
    max_shift: float,
) -> StarFits:
    """Flux and position of each source from a least-squares fit of the PSF.

    Parameters
    ----------
    pixels, psf
        The image and the PSF.
    basis
        Polynomial terms at the sources [source, term].
    x, y
        Starting positions in pixels.
    radius
        Half width of the stamps in pixels.
    iterations
        Number of iterations; with 0 the positions are fixed.
    max_shift
        Largest distance from the starting position, in pixels.
    """
    fits = StarFits(*np.full((len(StarFits._fields), len(x)), np.nan))
    x, y = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(y, np.float64)
    _fit_all(pixels, psf, basis, x, y, int(radius), int(iterations), float(max_shift), fits)
    return fits


@njit(nogil=True, cache=True)
def _fit_all(pixels, psf, basis, x, y, radius, iterations, max_shift, fits):
    size = 2 * radius + 1
    along_x, along_y, stamps = empty_axis(size), empty_axis(size), np.zeros((3, size, size))
    for k in range(len(x)):
        grid = local_grid(psf.coefficients, basis[k])
        _fit_one(pixels, psf, grid, x[k], y[k], iterations, max_shift, along_x, along_y, stamps, k, fits)


@njit(nogil=True, cache=True)
def _fit_one(pixels, psf, grid, x, y, iterations, max_shift, along_x, along_y, stamps, k, fits):
    """Fill in the fit of source ``k``; the axes and the three ``stamps`` (model, its two slopes) are work space."""
    half, radius = grid.shape[0] // 2, stamps.shape[1] // 2
    cx, cy, flux = x, y, 0.0
    left, bottom = round(cx) - radius, round(cy) - radius
    for step in range(iterations + 1):
        fill_axis(cx, left, half, psf.scale, psf.table, along_x)
        fill_axis(cy, bottom, half, psf.scale, psf.table, along_y)
        apply_axes(grid, along_x.start, along_x.weight, along_y.start, along_y.weight, stamps[0])
        apply_axes(grid, along_x.start, along_x.slope, along_y.start, along_y.weight, stamps[1])
        apply_axes(grid, along_x.start, along_x.weight, along_y.start, along_y.slope, stamps[2])
        m, b, chi, used = _one_star_equations(pixels, flux, stamps, left, bottom)
        if used < 9 or m[0, 0] <= 0:
            break
        if step == 0 or iterations == 0 or b[0] <= 0:
            flux = b[0] / m[0, 0]
            fits.flux[k], fits.flux_error[k], fits.x[k], fits.y[k] = flux, 1.0 / np.sqrt(m[0, 0]), cx, cy
            if b[0] <= 0:
                break
            continue
        m[1, 0], m[2, 0], m[2, 1] = m[0, 1], m[0, 2], m[1, 2]
        rest = b[0] - m[0, 0] * flux
        if abs(np.linalg.det(m)) < 1e-200:
            break
        covariance = np.linalg.inv(m)
        flux += covariance[0, 0] * rest + covariance[0, 1] * b[1] + covariance[0, 2] * b[2]
        mx = covariance[1, 0] * rest + covariance[1, 1] * b[1] + covariance[1, 2] * b[2]
        my = covariance[2, 0] * rest + covariance[2, 1] * b[1] + covariance[2, 2] * b[2]
        cx += min(0.5, max(-0.5, mx))
        cy += min(0.5, max(-0.5, my))
        cx = min(x + max_shift, max(x - max_shift, cx))
        cy = min(y + max_shift, max(y - max_shift, cy))
        fits.flux[k], fits.flux_error[k], fits.x[k], fits.y[k] = flux, np.sqrt(covariance[0, 0]), cx, cy
        fits.x_error[k], fits.y_error[k] = np.sqrt(covariance[1, 1]), np.sqrt(covariance[2, 2])
        fits.chi2[k] = chi / max(1, used - 3)
        if abs(mx) < 1e-4 and abs(my) < 1e-4:
            break


@njit(nogil=True, cache=True)
def _one_star_equations(pixels, flux, stamps, left, bottom):
    """Normal matrix and right-hand side for flux, x and y of one star, chi square, and the number of pixels used."""
    model, ddx, ddy = stamps[0], stamps[1], stamps[2]
    ny, nx = pixels.image.shape
    size = model.shape[0]
    m, b = np.zeros((3, 3)), np.zeros(3)
    chi, used = 0.0, 0
    for j in range(max(0, -bottom), min(size, ny - bottom)):
        for i in range(max(0, -left), min(size, nx - left)):
            v = pixels.variance[bottom + j, left + i]
            if not v < np.inf:
                continue
            p = model[j, i]
            light = max(0.0, flux * p)
            w = 1.0 / (v + pixels.gain_slope * light + (pixels.error_floor * light) ** 2)
            px, py = flux * ddx[j, i], flux * ddy[j, i]
            r = pixels.image[bottom + j, left + i]
            m[0, 0] += w * p * p
            m[0, 1] += w * p * px
            m[0, 2] += w * p * py
            m[1, 1] += w * px * px
            m[1, 2] += w * px * py
            m[2, 2] += w * py * py
            rest = r - flux * p
            b[0] += w * p * r
            b[1] += w * px * rest
            b[2] += w * py * rest
            chi += w * rest * rest
            used += 1
    return m, b, chi, used
