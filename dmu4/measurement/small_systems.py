"""Small symmetric systems of equations inside compiled loops, where calls of LAPACK take long to compile."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def solve_symmetric(matrix: np.ndarray, right: np.ndarray, solution: np.ndarray) -> None:
    """Solve a symmetric positive definite system by its Cholesky decomposition.

    Parameters
    ----------
    matrix
        Matrix [n, n], whose lower half is overwritten by its decomposition.
    right
        Right-hand side [n].
    solution
        Receives the solution [n].
    """
    n = len(right)
    for j in range(n):
        for i in range(j, n):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = np.sqrt(total) if i == j else total / matrix[j, j]
    for i in range(n):
        total = right[i]
        for k in range(i):
            total -= matrix[i, k] * solution[k]
        solution[i] = total / matrix[i, i]
    for i in range(n - 1, -1, -1):
        total = solution[i]
        for k in range(i + 1, n):
            total -= matrix[k, i] * solution[k]
        solution[i] = total / matrix[i, i]


@numba.njit(nogil=True, cache=True)
def damped_step(gradient: np.ndarray, curvature: np.ndarray, damping: float, step: np.ndarray) -> None:
    """The step of Levenberg and Marquardt that solves (curvature + damping x its diagonal) step = gradient."""
    n = len(gradient)
    system = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            system[i, j] = curvature[i, j]
        system[i, i] *= 1 + damping
    solve_symmetric(system, gradient, step)


@numba.njit(nogil=True, cache=True)
def keep(
    source: tuple[np.ndarray, ...], target: tuple[np.ndarray, ...], curvature: np.ndarray, kept: np.ndarray
) -> None:
    """Copy vectors [n] and a matrix [n, n] to others, element by element."""
    n = len(curvature)
    for i in range(n):
        for k in range(len(source)):
            target[k][i] = source[k][i]
        for j in range(n):
            kept[i, j] = curvature[i, j]


@numba.njit(nogil=True, cache=True)
def invert_symmetric(matrix: np.ndarray, inverse: np.ndarray) -> None:
    """Invert a symmetric positive definite matrix [n, n], which is kept, into ``inverse``."""
    n = len(matrix)
    unit, column, work = np.zeros(n), np.zeros(n), np.empty((n, n))
    for j in range(n):
        for i in range(n):
            unit[i] = 1.0 if i == j else 0.0
            for k in range(n):
                work[i, k] = matrix[i, k]
        solve_symmetric(work, unit, column)
        for i in range(n):
            inverse[i, j] = column[i]
