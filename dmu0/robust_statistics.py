"""Statistics that outliers do not spoil, and the constants that turn them into those of a normal distribution."""

from __future__ import annotations

import math

import numpy as np

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation, 1 / Phi^-1(3/4), to five digits.

More digits make nothing truer, but catalogues different: detection, which compares, changes with the last digit.
"""

SIGMA_TO_FWHM = 2.3548
"""Full width at half maximum of a Gaussian over its standard deviation, 2 sqrt(2 ln 2), to five digits."""

MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Standard error of a median over that of a mean, for many normal values: sqrt(pi / 2) = 1.2533."""

_ONE_SIGMA_BELOW = 15.865
"""Per cent of a normal distribution below one standard deviation under its mean, to five digits, as above."""


def robust_scatter(
    values: np.ndarray, *, about: np.ndarray | float | None = None, axis: int | None = None
) -> np.ndarray | float:
    """Standard deviation of normal values from their median absolute deviation, despite outliers.

    Parameters
    ----------
    values
        Array of any shape, all of it finite.
    about
        Level from which deviations are counted, of a shape that broadcasts to that of the values; the median of the
        values where it is not given.
    axis
        Axis along which deviations are taken together; without one, all values are.

    Returns
    -------
    float or numpy.ndarray
        NaN where there are too few values to tell: two are needed about their own median, one about a given level.
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
    """Median and `robust_scatter` of values, after those farther than ``limit`` times the scatter are left out.

    Parameters
    ----------
    values
        Array of one axis, all of it finite.
    limit
        Largest distance from the median, in units of the scatter.
    iterations
        How often values are left out at most.

    Returns
    -------
    median, scatter
        NaN if there are no values.
    """
    values = np.asarray(values)
    if values.size == 0:
        return float("nan"), float("nan")
    for _ in range(iterations):
        median = np.median(values)
        kept = np.abs(values - median) <= limit * robust_scatter(values, about=median)
        if kept.all() or not kept.any():
            break
        values = values[kept]
    median = float(np.median(values))
    return median, robust_scatter(values, about=median)


def lower_moments(values: np.ndarray) -> tuple[float, float]:
    """Median of values, and its distance to the 15.87th percentile: the scatter without the bright side.

    On the bright side of the sky are faint sources; a normal distribution has its standard deviation on either side.

    Parameters
    ----------
    values
        Array of any shape, all of it finite.

    Returns
    -------
    median, scatter
        NaN if there are no values.
    """
    if np.size(values) == 0:
        return float("nan"), float("nan")
    low, median = np.percentile(values, [_ONE_SIGMA_BELOW, 50])
    return float(median), float(median - low)
