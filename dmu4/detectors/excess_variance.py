"""The scatter of values that their known errors do not explain."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from dmu0.robust_statistics import robust_scatter


def excess_variance(values: np.ndarray, variance: np.ndarray, *, low: float = 0.0, high: float) -> float:
    """Variance, the same for all values, that their scatter about the weighted mean needs beside their known variances.

    The sum of squares about the weighted mean is made equal to its expectation (Paule & Mandel 1982, J. Res. Natl. Bur.
    Stand. 87, 377). Without limits the estimate is nearly unbiased for any known variances; it needs no normality.

    Parameters
    ----------
    values, variance
        Values without outliers, and their known variances.
    low, high
        Smallest and largest result.

    Returns
    -------
    float
        The variance; ``low`` with fewer than two values.
    """
    if len(values) < 2:
        return low

    def surplus(excess: float) -> float:
        weight = 1 / (variance + excess)
        mean = np.sum(weight * values) / np.sum(weight)
        return float(np.sum(weight * (values - mean) ** 2) - (len(values) - 1))

    if surplus(low) <= 0:
        return low
    return high if surplus(high) >= 0 else float(brentq(surplus, low, high, xtol=1e-4 * high))


def robust_excess_variance(deviation: np.ndarray, variance: np.ndarray, *, low: float = 0.0, high: float) -> float:
    """Variance with which the median absolute deviation of values in units of their errors is that of normal values.

    For many values, among which outliers may hide in large errors; see `excess_variance` for few and clean ones.

    Parameters
    ----------
    deviation, variance
        Deviations of the values from what is expected, and their known variances.
    low, high
        Smallest and largest result.

    Returns
    -------
    float
        The variance; ``low`` without values.
    """

    def surplus(excess: float) -> float:
        return float(robust_scatter(deviation / np.sqrt(variance + excess), about=0)) - 1

    if not len(deviation) or surplus(low) <= 0:
        return low
    return high if surplus(high) >= 0 else float(brentq(surplus, low, high, xtol=1e-4 * high))
