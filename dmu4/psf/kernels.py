"""Pixel-grid PSFs: drawing, fitting fluxes and positions, and the normal equations of the grid, in numba.

The model is Piff's ``PixelGrid`` with GalSim's quintic interpolant: a star at (x, y) of flux f has pixels
``f / s^2 sum_k G_k I(u / s - k) I(v / s - l)``, where G is the grid (sum 1, one node every s pixels), u and v are pixel
minus star, and I is the interpolant. Lanczos-3, the usual choice, changes the size of a star by half a per cent;
the quintic, at five nodes an FWHM, by less than a thousandth.
"""

from __future__ import annotations

from functools import cache

import galsim
import numpy as np
from numba import njit

TAPS = 6
"""Nodes that a pixel touches along each axis."""

_STEPS = 4096


@cache
def interpolant_table() -> np.ndarray:
    """GalSim's quintic interpolant (Bernstein & Gruen 2014, PASP 126, 287) for -4 <= u <= 4 in steps of 1/4096 px."""
    u = np.arange(-4 * _STEPS, 4 * _STEPS + 1) / _STEPS
    return np.asarray(galsim.Quintic().xval(u), np.float64)


@njit(nogil=True, cache=True)
def _interpolant(u, table):  # numba infers the types
    position = (u + 4.0) * _STEPS
    k = int(position)
    if k < 0 or k >= len(table) - 1:
        return 0.0
    f = position - k
    return (1.0 - f) * table[k] + f * table[k + 1]


@njit(nogil=True, cache=True)
def _axis(centre, first, count, half, scale, table, start, weight, slope):
    """For each pixel of an axis: its first node, the weights of six nodes, and their derivative by the centre."""
    step = 1.0 / 64.0
    for i in range(count):
        u = (first + i - centre) / scale
        node = int(np.floor(u)) - 2
        start[i] = node + half
        for t in range(TAPS):
            d = u - (node + t)
            weight[i, t] = _interpolant(d, table) / scale
            slope[i, t] = (_interpolant(d - step, table) - _interpolant(d + step, table)) / (2 * step * scale * scale)


@njit(nogil=True, cache=True)
def _apply(grid, sx, wx, sy, wy, out):
    """out[j, i] = sum over nodes of wy[j] wx[i] grid: both axes one after the other."""
    n = grid.shape[0]
    ny, nx = out.shape
    rows = np.zeros((n, nx))
    for a in range(n):
        for i in range(nx):
            total = 0.0
            for t in range(TAPS):
                b = sx[i] + t
                if 0 <= b < n:
                    total += wx[i, t] * grid[a, b]
            rows[a, i] = total
    for j in range(ny):
        for i in range(nx):
            total = 0.0
            for t in range(TAPS):
                a = sy[j] + t
                if 0 <= a < n:
                    total += wy[j, t] * rows[a, i]
            out[j, i] = total


@njit(nogil=True, cache=True)
def local_grid(coefficients, basis):
    """The grid [n, n] at a place: coefficients [n, n, terms] times the polynomial terms there."""
    n = coefficients.shape[0]
    grid = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            total = 0.0
            for t in range(len(basis)):
                total += coefficients[a, b, t] * basis[t]
            grid[a, b] = total
    return grid


@njit(nogil=True, cache=True)
def draw(grid, scale, x, y, left, bottom, shape, table):
    """Pixels [y, x] of a star of unit flux at (x, y), on a stamp whose first pixel is (left, bottom)."""
    ny, nx = shape
    half = grid.shape[0] // 2
    sx, wx, dx = np.zeros(nx, np.int64), np.zeros((nx, TAPS)), np.zeros((nx, TAPS))
    sy, wy, dy = np.zeros(ny, np.int64), np.zeros((ny, TAPS)), np.zeros((ny, TAPS))
    _axis(x, left, nx, half, scale, table, sx, wx, dx)
    _axis(y, bottom, ny, half, scale, table, sy, wy, dy)
    out = np.zeros((ny, nx))
    _apply(grid, sx, wx, sy, wy, out)
    return out


@njit(nogil=True, cache=True)
def _one_star_equations(image, variance, gain_slope, error_floor, flux, model, ddx, ddy, left, bottom):
    """Normal matrix and right-hand side for flux, x and y of one star, chi square, and how many pixels count."""
    ny, nx = image.shape
    size = model.shape[0]
    m, b = np.zeros((3, 3)), np.zeros(3)
    chi, used = 0.0, 0
    for j in range(max(0, -bottom), min(size, ny - bottom)):
        for i in range(max(0, -left), min(size, nx - left)):
            v = variance[bottom + j, left + i]
            if not v < np.inf:
                continue
            p = model[j, i]
            light = max(0.0, flux * p)
            w = 1.0 / (v + gain_slope * light + (error_floor * light) ** 2)
            px, py = flux * ddx[j, i], flux * ddy[j, i]
            r = image[bottom + j, left + i]
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


@njit(nogil=True, cache=True)
def fit_stars(
    image, variance, gain_slope, error_floor, coefficients, scale, basis, x, y, radius, iterations, max_shift, table
):
    """Flux and position of each source by least squares on the PSF.

    Parameters
    ----------
    image, variance
        Background-subtracted pixels [y, x] and the variance of the empty sky; pixels of infinite variance do not count.
    gain_slope
        Variance that each unit of a source's own light adds.
    error_floor
        Fraction of the model that is added to the errors: no PSF model is better than that.
    coefficients, scale, basis
        PSF grid [n, n, terms], pixels between its nodes, and polynomial terms [source, terms].
    x, y
        Starting positions in pixels.
    radius
        Half width of the stamps in pixels.
    iterations
        Passes; with 0 the positions stay as they are.
    max_shift
        Largest move from the starting position, in pixels.

    Returns
    -------
    numpy.ndarray
        [source, 7]: flux, error, x, y, error of x, error of y, reduced chi square; NaN where nothing could be fitted.
    """
    count = len(x)
    out = np.full((count, 7), np.nan)
    size = 2 * radius + 1
    sx, wx, dwx = np.zeros(size, np.int64), np.zeros((size, TAPS)), np.zeros((size, TAPS))
    sy, wy, dwy = np.zeros(size, np.int64), np.zeros((size, TAPS)), np.zeros((size, TAPS))
    model, ddx, ddy = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size))
    half = coefficients.shape[0] // 2
    for k in range(count):
        grid = local_grid(coefficients, basis[k])
        cx, cy, flux = x[k], y[k], 0.0
        left, bottom = round(cx) - radius, round(cy) - radius
        for step in range(iterations + 1):
            _axis(cx, left, size, half, scale, table, sx, wx, dwx)
            _axis(cy, bottom, size, half, scale, table, sy, wy, dwy)
            _apply(grid, sx, wx, sy, wy, model)
            _apply(grid, sx, dwx, sy, wy, ddx)
            _apply(grid, sx, wx, sy, dwy, ddy)
            m, b, chi, used = _one_star_equations(
                image, variance, gain_slope, error_floor, flux, model, ddx, ddy, left, bottom
            )
            if used < 9 or m[0, 0] <= 0:
                break
            if step == 0 or iterations == 0 or b[0] <= 0:
                flux = b[0] / m[0, 0]
                error = 1.0 / np.sqrt(m[0, 0])
                out[k, 0], out[k, 1], out[k, 2], out[k, 3] = flux, error, cx, cy
                if b[0] <= 0:
                    break
                continue
            m[1, 0], m[2, 0], m[2, 1] = m[0, 1], m[0, 2], m[1, 2]
            rest0 = b[0] - m[0, 0] * flux
            if abs(np.linalg.det(m)) < 1e-200:
                break
            covariance = np.linalg.inv(m)
            flux += covariance[0, 0] * rest0 + covariance[0, 1] * b[1] + covariance[0, 2] * b[2]
            mx = covariance[1, 0] * rest0 + covariance[1, 1] * b[1] + covariance[1, 2] * b[2]
            my = covariance[2, 0] * rest0 + covariance[2, 1] * b[1] + covariance[2, 2] * b[2]
            cx += min(0.5, max(-0.5, mx))
            cy += min(0.5, max(-0.5, my))
            cx = min(x[k] + max_shift, max(x[k] - max_shift, cx))
            cy = min(y[k] + max_shift, max(y[k] - max_shift, cy))
            out[k, 0], out[k, 1] = flux, np.sqrt(covariance[0, 0])
            out[k, 2], out[k, 3] = cx, cy
            out[k, 4], out[k, 5] = np.sqrt(covariance[1, 1]), np.sqrt(covariance[2, 2])
            out[k, 6] = chi / max(1, used - 3)
            if abs(mx) < 1e-4 and abs(my) < 1e-4:
                break
    return out


@njit(nogil=True, cache=True)
def normal_equations(
    image, variance, gain_slope, error_floor, coefficients, scale, basis, flux, x, y, radius, splines, number, table
):
    """Normal equations of every star for the amplitudes of the splines.

    A spline is a product of one in x and one in y, so that its value at a pixel is too: the interpolant is applied to
    the axes, not to the plane.

    Parameters
    ----------
    flux, x, y
        Of the stars, held fixed.
    splines
        [node, lattice]: the splines of one axis at the grid's nodes.
    number
        [lattice, lattice]: which spline is the product of these two (y, x); -1 for none.

    Returns
    -------
    matrix, vector
        [star, spline, spline] and [star, spline].
    """
    stars, count = len(x), number.max() + 1
    matrix, vector = np.zeros((stars, count, count)), np.zeros((stars, count))
    ny, nx = image.shape
    size = 2 * radius + 1
    n = coefficients.shape[0]
    lattice = splines.shape[1]
    sx, wx, dwx = np.zeros(size, np.int64), np.zeros((size, TAPS)), np.zeros((size, TAPS))
    sy, wy, dwy = np.zeros(size, np.int64), np.zeros((size, TAPS)), np.zeros((size, TAPS))
    model = np.zeros((size, size))
    index, value = np.zeros(count, np.int64), np.zeros(count)
    for k in range(stars):
        grid = local_grid(coefficients, basis[k])
        left, bottom = round(x[k]) - radius, round(y[k]) - radius
        _axis(x[k], left, size, n // 2, scale, table, sx, wx, dwx)
        _axis(y[k], bottom, size, n // 2, scale, table, sy, wy, dwy)
        _apply(grid, sx, wx, sy, wy, model)
        in_x, in_y = _at_pixels(splines, sx, wx), _at_pixels(splines, sy, wy)
        for j in range(max(0, -bottom), min(size, ny - bottom)):
            for i in range(max(0, -left), min(size, nx - left)):
                v = variance[bottom + j, left + i]
                if not v < np.inf:
                    continue
                light = max(0.0, flux[k] * model[j, i])
                w = 1.0 / (v + gain_slope * light + (error_floor * light) ** 2)
                rest = image[bottom + j, left + i] - flux[k] * model[j, i]
                used = 0
                for b in range(lattice):
                    if in_y[j, b] == 0.0:
                        continue
                    for a in range(lattice):
                        if number[b, a] >= 0 and in_x[i, a] != 0.0:
                            index[used] = number[b, a]
                            value[used] = flux[k] * in_y[j, b] * in_x[i, a]
                            used += 1
                for p in range(used):
                    scaled = w * value[p]
                    row = matrix[k, index[p]]
                    vector[k, index[p]] += scaled * rest
                    for q in range(used):
                        row[index[q]] += scaled * value[q]
    return matrix, vector


@njit(nogil=True, cache=True)
def _at_pixels(splines, start, weight):
    """The splines of one axis at each pixel: [pixel, lattice]."""
    n, lattice = splines.shape
    out = np.zeros((len(start), lattice))
    for i in range(len(start)):
        for t in range(TAPS):
            node = start[i] + t
            if 0 <= node < n:
                for a in range(lattice):
                    out[i, a] += weight[i, t] * splines[node, a]
    return out


@njit(nogil=True, cache=True)
def solve_amplitudes(matrix, vector, basis, prior, amplitude):
    """Change of the splines' amplitudes, by Cholesky decomposition.

    Written out because the matrices are small: the threads of a BLAS cost more here than they bring.

    Parameters
    ----------
    matrix, vector
        Normal equations of the stars, from `normal_equations`.
    basis
        Polynomial terms [star, term].
    prior
        Inverse variance of each amplitude about zero [spline, term].
    amplitude
        The amplitudes so far [spline, term].

    Returns
    -------
    numpy.ndarray
        [spline, term].
    """
    stars, size, _ = matrix.shape
    terms = basis.shape[1]
    n = size * terms
    joint, right = np.zeros((n, n)), np.zeros(n)
    for k in range(stars):
        for a in range(terms):
            for p in range(size):
                right[a * size + p] += basis[k, a] * vector[k, p]
            for b in range(a + 1):
                weight = basis[k, a] * basis[k, b]
                for p in range(size):
                    row = joint[a * size + p]
                    for q in range(size):
                        row[b * size + q] += weight * matrix[k, p, q]
    for a in range(terms):
        for p in range(size):
            joint[a * size + p, a * size + p] += prior[p, a]
            right[a * size + p] -= prior[p, a] * amplitude[p, a]
    for i in range(n):  # the lower triangle becomes its Cholesky factor
        for j in range(i + 1):
            total = joint[i, j]
            for m in range(j):
                total -= joint[i, m] * joint[j, m]
            joint[i, j] = np.sqrt(max(total, 1e-300)) if i == j else total / joint[j, j]
    for i in range(n):
        for m in range(i):
            right[i] -= joint[i, m] * right[m]
        right[i] /= joint[i, i]
    for i in range(n - 1, -1, -1):
        right[i] /= joint[i, i]
        for m in range(i):
            right[m] -= joint[i, m] * right[i]
    return right.reshape(terms, size).T.copy()
