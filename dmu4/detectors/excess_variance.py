"""The scatter of values that their known errors do not explain."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq


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
