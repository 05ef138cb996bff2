"""Scatter beyond known errors."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.detectors.excess_variance import excess_variance, robust_excess_variance


def test_two_values_of_equal_errors() -> None:
    """For equal variances the result is the sample variance less theirs: of 1 and 4 it is 4.5 - 2."""
    assert excess_variance(np.array([1.0, 4.0]), np.full(2, 2.0), high=10.0) == pytest.approx(2.5, rel=1e-3)


def test_the_truth_is_found_on_average(rng: np.random.Generator) -> None:
    """With errors that differ tenfold, the mean over 400 samples of 30 values is the true variance to 5 per cent."""
    variance = 10 ** np.linspace(-1, 1, 30)
    found = [excess_variance(7 + rng.normal(0, np.sqrt(variance + 2.0)), variance, high=50.0) for _ in range(400)]
    assert np.mean(found) == pytest.approx(2.0, rel=0.05)


def test_limits(rng: np.random.Generator) -> None:
    """Too little and too much scatter give the limits, a single value the low one."""
    values = rng.normal(0, 1, 50)
    assert excess_variance(values, np.full(50, 4.0), low=0.3, high=9.0) == 0.3
    assert excess_variance(100 * values, np.full(50, 4.0), high=9.0) == 9.0
    assert excess_variance(values[:1], np.ones(1), low=0.2, high=9.0) == 0.2


def test_outliers_count_little(rng: np.random.Generator) -> None:
    """A tenth of the values 4 sigma off raises the robust estimate by at most three fifths, the other one far more."""
    variance = 10 ** rng.uniform(-1, 1, 4000)
    deviation = rng.normal(0, np.sqrt(variance + 2.0))
    deviation[::10] += 4 * np.sqrt(variance[::10] + 2.0)
    assert 1.7 < robust_excess_variance(deviation, variance, high=50.0) < 3.2
    assert excess_variance(deviation, variance, high=50.0) > 5
    assert robust_excess_variance(deviation[1::10], variance[1::10], high=50.0) == pytest.approx(2.0, rel=0.3)
    assert robust_excess_variance(deviation, 100 * variance, low=0.1, high=50.0) == 0.1
    assert robust_excess_variance(100 * deviation, variance, high=50.0) == 50.0
    assert robust_excess_variance(deviation[:0], variance[:0], low=0.3, high=50.0) == 0.3
