"""Robust statistics: those of a normal distribution, in spite of outliers, and NaN where there is nothing to tell."""

from __future__ import annotations

import numpy as np
import pytest

from dmu0.robust_statistics import (
    MAD_TO_SIGMA,
    MEDIAN_ERROR,
    SIGMA_TO_FWHM,
    clipped_moments,
    lower_moments,
    robust_scatter,
)


def test_fwhm_of_a_gaussian():
    """At half of the full width a Gaussian has half of its maximum."""
    assert np.exp(-0.5 * (SIGMA_TO_FWHM / 2) ** 2) == pytest.approx(0.5, rel=1e-4)


def test_scatter_of_normal_values(rng):
    """The scatter of normal values is their standard deviation, and half of them are within 1 / `MAD_TO_SIGMA`."""
    values = rng.normal(-7, 3.0, 200_000)
    assert robust_scatter(values) == pytest.approx(3.0, rel=0.01)
    assert np.mean(np.abs(values + 7) < 3 / MAD_TO_SIGMA) == pytest.approx(0.5, abs=0.005)


def test_scatter_ignores_outliers(rng):
    """A tenth of wild values changes the scatter by the quantile that they shift, not by their size."""
    values = rng.normal(0, 2.0, 5000)
    values[:500] = 1e6
    assert robust_scatter(values) == pytest.approx(2.0, rel=0.25)
    level, scatter = clipped_moments(values)
    assert level == pytest.approx(0, abs=0.1)
    assert scatter == pytest.approx(2.0, rel=0.05)


def test_scatter_about_a_level(rng):
    """About a level far from the values it is their distance; about an array, each is compared with its own."""
    values = rng.normal(5, 0.01, 1001)
    assert robust_scatter(values, about=0) == pytest.approx(5 * MAD_TO_SIGMA, rel=0.01)
    columns = np.stack([values, 3 * values], axis=1)
    assert robust_scatter(columns, about=np.array([5, 15])) < 0.05


def test_scatter_along_an_axis(rng):
    """Along an axis each row has its own median and its own scatter."""
    sigma = np.array([1.0, 4.0, 0.1])
    values = rng.normal(np.array([[0.0], [100.0], [-3.0]]), sigma[:, None], (3, 20_001))
    assert robust_scatter(values, axis=1) == pytest.approx(sigma, rel=0.03)
    assert robust_scatter(values.T, axis=0) == pytest.approx(sigma, rel=0.03)
    assert robust_scatter(values.T, about=np.array([0.0, 100, -3]), axis=0) == pytest.approx(sigma, rel=0.03)


def test_too_few_values():
    """One value has no scatter about its own median, no value has none at all: NaN, and no warning."""
    assert np.isnan(robust_scatter(np.zeros(0)))
    assert np.isnan(robust_scatter(np.zeros(1)))
    assert robust_scatter(np.ones(1), about=0) == MAD_TO_SIGMA
    assert np.isnan(robust_scatter(np.zeros(0), about=0))
    assert np.isnan(robust_scatter(np.zeros((1, 4)), axis=0)).tolist() == [True] * 4
    assert np.isnan(clipped_moments(np.zeros(0))).all()
    assert np.isnan(lower_moments(np.zeros(0))).all()
    assert clipped_moments(np.ones(1)) == (1.0, 0.0)


def test_lower_moments_ignore_the_bright_side(rng):
    """Half of the values brightened: the scatter of the faint side stays that of the noise about the median."""
    values = rng.normal(2, 0.5, 100_001)
    assert lower_moments(values) == pytest.approx((2, 0.5), abs=0.01)
    above = values > 2
    values[above] += 10 * (values[above] - 2)
    assert lower_moments(values) == pytest.approx((2, 0.5), abs=0.01)


def test_error_of_a_median(rng):
    """Medians of many samples scatter by `MEDIAN_ERROR` times what their means do."""
    samples = rng.normal(0, 1, (4000, 401))
    ratio = np.std(np.median(samples, axis=1)) / np.std(samples.mean(axis=1))
    assert ratio == pytest.approx(MEDIAN_ERROR, rel=0.03)
