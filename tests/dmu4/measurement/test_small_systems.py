"""Small systems against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.small_systems import invert_symmetric, solve_symmetric


@pytest.mark.parametrize("n", [1, 3, 5])
def test_systems_are_solved(rng, n):
    """Solution and inverse of a random positive definite matrix are those of numpy, and the inverse keeps it."""
    factor = rng.normal(size=(n, n + 2))
    matrix, right = factor @ factor.T, rng.normal(size=n)
    solution, inverse, kept = np.empty(n), np.empty((n, n)), matrix.copy()
    invert_symmetric(matrix, inverse)
    np.testing.assert_array_equal(matrix, kept)
    np.testing.assert_allclose(inverse, np.linalg.inv(kept), rtol=1e-8, atol=1e-10)
    solve_symmetric(matrix, right, solution)
    np.testing.assert_allclose(solution, np.linalg.solve(kept, right), rtol=1e-8, atol=1e-10)
