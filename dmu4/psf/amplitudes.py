"""Spline amplitudes of a pixel-grid PSF: normal equations and their solution, in numba."""

from __future__ import annotations

import numpy as np
from numba import njit

from dmu4.psf.kernels import TAPS, apply_axes, empty_axis, fill_axis, local_grid


@njit(nogil=True, cache=True)
def normal_equations(pixels, psf, basis, flux, x, y, radius, splines, number):
    """Normal equations of every star for the amplitudes of the splines.

    A two-dimensional spline is the product of one in x and one in y, and so is its value at a pixel: the interpolant
    is applied to each axis separately.

    Parameters
    ----------
    pixels, psf, basis
        As in `fit_stars`.
    flux, x, y
        Fluxes and positions of the stars, held fixed.
    radius
        Half width of the stamps in pixels.
    splines
        One-dimensional splines at the nodes of the grid [node, lattice].
    number
        Number of the spline that is the product of two one-dimensional ones [lattice y, lattice x]; -1 for none.

    Returns
    -------
    matrix, vector
        Normal matrix [star, spline, spline] and right-hand side [star, spline].
    """
    stars, count = len(x), number.max() + 1
    matrix, vector = np.zeros((stars, count, count)), np.zeros((stars, count))
    size, half = 2 * radius + 1, psf.coefficients.shape[0] // 2
    along_x, along_y, model = empty_axis(size), empty_axis(size), np.zeros((size, size))
    for k in range(stars):
        grid = local_grid(psf.coefficients, basis[k])
        left, bottom = round(x[k]) - radius, round(y[k]) - radius
        fill_axis(x[k], left, half, psf.scale, psf.table, along_x)
        fill_axis(y[k], bottom, half, psf.scale, psf.table, along_y)
        apply_axes(grid, along_x.start, along_x.weight, along_y.start, along_y.weight, model)
        in_x = _at_pixels(splines, along_x.start, along_x.weight)
        in_y = _at_pixels(splines, along_y.start, along_y.weight)
        _add_star(pixels, flux[k], model, left, bottom, in_x, in_y, number, matrix[k], vector[k])
    return matrix, vector


@njit(nogil=True, cache=True)
def _add_star(pixels, flux, model, left, bottom, in_x, in_y, number, matrix, vector):
    """Add the pixels of one star to its normal equations; ``in_x`` and ``in_y`` are the splines at them."""
    ny, nx = pixels.image.shape
    size, lattice, count = model.shape[0], in_x.shape[1], len(vector)
    index, value = np.zeros(count, np.int64), np.zeros(count)
    for j in range(max(0, -bottom), min(size, ny - bottom)):
        for i in range(max(0, -left), min(size, nx - left)):
            v = pixels.variance[bottom + j, left + i]
            if not v < np.inf:
                continue
            light = max(0.0, flux * model[j, i])
            w = 1.0 / (v + pixels.gain_slope * light + (pixels.error_floor * light) ** 2)
            rest = pixels.image[bottom + j, left + i] - flux * model[j, i]
            used = 0
            for b in range(lattice):
                if in_y[j, b] == 0.0:
                    continue
                for a in range(lattice):
                    if number[b, a] >= 0 and in_x[i, a] != 0.0:
                        index[used] = number[b, a]
                        value[used] = flux * in_y[j, b] * in_x[i, a]
                        used += 1
            for p in range(used):
                scaled = w * value[p]
                row = matrix[index[p]]
                vector[index[p]] += scaled * rest
                for q in range(used):
                    row[index[q]] += scaled * value[q]


@njit(nogil=True, cache=True)
def _at_pixels(splines, start, weight):
    """One-dimensional splines at each pixel [pixel, lattice]."""
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
    """Change of the spline amplitudes, by Cholesky decomposition.

    The decomposition is written out because the matrices are small: BLAS threads would cost more time than they save.

    Parameters
    ----------
    matrix, vector
        Normal equations of the stars, from `normal_equations`.
    basis
        Polynomial terms [star, term].
    prior
        Inverse variance of each amplitude about zero [spline, term].
    amplitude
        Current amplitudes [spline, term].

    Returns
    -------
    numpy.ndarray
        Change of the amplitudes [spline, term].
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
