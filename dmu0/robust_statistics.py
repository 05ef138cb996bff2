"""Robust statistics, and the constants that convert them to those of a normal distribution."""

from __future__ import annotations

import math

import numpy as np

MAD_TO_SIGMA = 1.4826
"""Ratio of the standard deviation of a normal distribution to its median absolute deviation, 1 / Phi^-1(3/4).

It has five digits; more would not improve anything, but would change catalogues, because detection uses thresholds.
"""

SIGMA_TO_FWHM = 2.3548
"""Ratio of the full width at half maximum of a Gaussian to its standard deviation, 2 sqrt(2 ln 2), to five digits."""

MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Ratio of the standard error of a median to that of a mean, for many normal values: sqrt(pi / 2) = 1.2533."""

_ONE_SIGMA_BELOW = 15.865
"""Per cent of a normal distribution below one standard deviation under its mean, to five digits, as above."""


def robust_scatter(
    values: np.ndarray, *, about: np.ndarray | float | None = None, axis: int | None = None
) -> np.ndarray | float:
    """Standard deviation of normal values from their median absolute deviation, which is robust against outliers.

    Parameters
    ----------
    values
        Finite values, array of any shape.
    about
        Level from which deviations are measured, of a shape that broadcasts to that of the values; by default the
        median of the values.
    axis
        Axis along which the scatter is computed; by default that of all values.

    Returns
    -------
    float or numpy.ndarray
        Scatter; NaN if there are too few values: two are needed about their own median, one about a given level.
    """
    values = np.asarray(values)
    count = values.size if axis is None else values.shape[axis]
    if count < (2 if about is None else 1):
        return float("nan") if axis is None else np.full(np.delete(values.shape, axis), np.nan)
    if about is None:
        about = np.median(values, axis=axis, keepdims=True)
    scatter = MAD_TO_SIGMA * np.median(np.abs(values - about), axis=axis)
    return float(scatter) if axis is None else scatter


def clipped_moments(values: np.ndarray, *, limit: float = 3.0, iterations: int = 5) -> tuple[float, float]:
    """Median and `robust_scatter` of values, after rejecting those farther than ``limit`` times the scatter.

    Parameters
    ----------
    values
        Finite values, one-dimensional array.
    limit
        Largest distance from the median in units of the scatter.
    iterations
        Largest number of iterations.

    Returns
    -------
    median, scatter
        Median and scatter; NaN if there are no values.
    """
    values = np.sort(values)
    if values.size == 0:
        return float("nan"), float("nan")
    for _ in range(iterations):
        median = _middle(values)
        kept = np.abs(values - median) <= limit * MAD_TO_SIGMA * _middle_distance(values, median)
        if kept.all() or not kept.any():
            break
        # The values are sorted: those that are kept follow each other.
        first = int(np.argmax(kept))
        values = values[first : first + np.count_nonzero(kept)]
    median = _middle(values)
    return float(median), float(MAD_TO_SIGMA * _middle_distance(values, median))


def _middle(values: np.ndarray) -> np.floating:
    """The median of sorted values."""
    half = len(values) // 2
    return values[half] if len(values) % 2 else values[half - 1 : half + 1].mean()


def _middle_distance(values: np.ndarray, level: np.floating) -> np.floating:
    """The median of the distances of sorted values from a level.

    The k nearest values follow each other, and the k-th distance is that of the farther end of the one sequence of k
    values for which it is smallest. This is faster than sorting the distances.
    """
    half = len(values) // 2
    wanted = [half] if len(values) % 2 else [half - 1, half]
    ends = [np.maximum(level - values[: len(values) - k], values[k:] - level).min() for k in wanted]
    return ends[0] if len(ends) == 1 else np.mean(ends, dtype=values.dtype)


def lower_moments(values: np.ndarray) -> tuple[float, float]:
    """Median of values, and its distance to the 15.87th percentile: the scatter of the lower half.

    Faint sources affect only the upper half of the distribution of sky pixels; for a normal distribution the distance
    is the standard deviation.

    Parameters
    ----------
    values
        Finite values, array of any shape.

    Returns
    -------
    median, scatter
        Median and scatter; NaN if there are no values.
    """
    if np.size(values) == 0:
        return float("nan"), float("nan")
    low, median = np.percentile(values, [_ONE_SIGMA_BELOW, 50])
    return float(median), float(median - low)
