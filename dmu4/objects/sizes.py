"""Sizes of point sources and galaxies: what the size of an object, with its error, says about its kind.

The measured excess e of an object is its squared width before the seeing, with a Gaussian error s. For a point source e
scatters about zero, by s and by the accuracy t of the model of the PSF. For a galaxy of squared width w, it scatters
about w, and w is distributed as a log-normal whose mean depends linearly on magnitude. Both, and the fraction of point
sources at each magnitude, are fitted to the survey itself by expectation maximization (Dempster, Laird & Rubin 1977,
J. R. Stat. Soc. B 39, 1), so that no limit has to be chosen and the posterior probability is calibrated. Henrion et
al. 2011, MNRAS 412, 2286, show the same for UKIDSS and SDSS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

LOG_WIDTHS = np.linspace(np.log(5e-4), np.log(8), 40)
"""Logarithms of the squared widths (arcsec^2) at which the distribution of galaxies is sampled."""

PROFILE_SCATTER = 0.25
"""Relative scatter of the excess of galaxies of the same width between bands: profiles, colour gradients."""

BLENDED = 0.03
"""Fraction of point sources whose size is in the tail in all bands."""

SPACING = 0.5
"""Distance of the magnitudes at which the fraction of point sources is fitted."""

BEND = 0.2
"""Typical change of the slope of the logit of the fraction of point sources from one of these steps to the next."""

WEAK = 0.1
"""Weight of the mean logit at each magnitude: that of half an object."""

FINE = 0.02
"""Steps in which the widths of galaxies change with magnitude."""

ITERATIONS = 20
_LOG_ROOT = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True)
class PointWidths:
    """Excess of point sources in a band, arcsec^2.

    Attributes
    ----------
    offset, scatter
        Mean and intrinsic scatter: the accuracy of the size of the PSF.
    tail, tail_scatter
        Fraction of point sources with a wider scatter, and this scatter: faint neighbours, rejected pixels.
    """

    offset: float = 0.0
    scatter: float = 0.003
    tail: float = 0.05
    tail_scatter: float = 0.008


@dataclass(frozen=True)
class Population:
    """Point sources and galaxies by magnitude.

    Attributes
    ----------
    magnitudes, fraction
        Magnitudes in increasing order, and the fraction of point sources at each.
    mean, slope, spread
        Mean of the log of the squared widths of galaxies (arcsec^2) at `PIVOT`, its change per magnitude, and its
        scatter.
    """

    magnitudes: np.ndarray
    fraction: np.ndarray
    mean: float = np.log(0.06)
    slope: float = -0.3
    spread: float = 1.0

    PIVOT = 23.0

    def point_fraction(self, magnitude: np.ndarray) -> np.ndarray:
        """Fraction of point sources at magnitudes [N]."""
        return np.interp(magnitude, self.magnitudes, self.fraction)

    def width_weights(self, magnitude: np.ndarray) -> np.ndarray:
        """Fraction of galaxies of each of `LOG_WIDTHS` at magnitudes [N, width]."""
        steps, which = np.unique(np.rint(np.asarray(magnitude, float) / FINE), return_inverse=True)
        middle = np.clip(self.mean + self.slope * (FINE * steps - self.PIVOT), LOG_WIDTHS[0] + 1, LOG_WIDTHS[-1] - 1)
        weight = np.exp(-0.5 * np.square((LOG_WIDTHS - middle[:, None]) / self.spread))
        return (weight / weight.sum(axis=1, keepdims=True))[which]


def _normal(difference: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return -0.5 * np.square(difference) / variance - 0.5 * np.log(variance) - _LOG_ROOT


def point_densities(excess: np.ndarray, error: np.ndarray, points: PointWidths) -> np.ndarray:
    """Log of the probability density of the excess of a point source [N, 2]; 0 where the excess is unknown.

    The first column is for any point source, the second for those in the tail. A neighbour widens an object in all
    bands: over several bands, the columns are summed, then combined by `point_density`.
    """
    known = np.isfinite(excess) & np.isfinite(error)
    difference, square = np.where(known, excess - points.offset, 0.0), np.where(known, np.square(error), 1.0)
    core, tail = (_normal(difference, square + one**2) for one in (points.scatter, points.tail_scatter))
    either = np.logaddexp(np.log1p(-points.tail) + core, np.log(points.tail) + tail)
    return np.where(known[:, None], np.column_stack([either, tail]), 0.0)


def point_density(densities: np.ndarray) -> np.ndarray:
    """Log of the density of all sizes of a point source [N], from the sums over bands of `point_densities`."""
    return np.logaddexp(np.log1p(-BLENDED) + densities[:, 0], np.log(BLENDED) + densities[:, 1])


def width_densities(excess: np.ndarray, error: np.ndarray, points: PointWidths) -> np.ndarray:
    """Log of the probability density of the excess of galaxies of each of `LOG_WIDTHS` [N, width]; 0 where unknown."""
    width = np.exp(LOG_WIDTHS)
    variance = (np.square(error) + points.scatter**2)[:, None] + np.square(PROFILE_SCATTER * width)
    density = _normal((excess - points.offset)[:, None] - width, variance)
    return np.where((np.isfinite(excess) & np.isfinite(error))[:, None], density, 0.0)


def point_log_odds(
    population: Population, magnitude: np.ndarray, point: np.ndarray, widths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log of the ratio of the densities of the excess for a point source and a galaxy, and of the prior odds [N].

    Parameters
    ----------
    population
        Point sources and galaxies by magnitude.
    magnitude
        Magnitudes [N].
    point
        Log densities for point sources [N], from `point_density`.
    widths
        Log densities for galaxies of each width [N, width], summed over bands.
    """
    top = widths.max(axis=1)
    return _log_odds(population, magnitude, point - top, population.width_weights(magnitude) * _above(widths, top))


def _above(widths: np.ndarray, top: np.ndarray) -> np.ndarray:
    return np.exp(widths - top[:, None])


def _log_odds(
    population: Population, magnitude: np.ndarray, point: np.ndarray, weighted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `point_log_odds`, from densities relative to the largest of each object, for galaxies times their weights."""
    fraction = population.point_fraction(magnitude)
    return point - np.log(weighted.sum(axis=1) + 1e-300), np.log(fraction / (1 - fraction))


def fit_population(
    magnitude: np.ndarray, point: np.ndarray, widths: np.ndarray, *, start: Population | None = None
) -> Population:
    """Fit the fraction of point sources and the widths of galaxies to the sizes of objects.

    Parameters
    ----------
    magnitude, point, widths
        Magnitudes [N], and log densities as for `point_log_odds`, of objects whose sizes are known.
    start
        Population to begin with.
    """
    population, top = start or _start(magnitude), widths.max(axis=1)
    relative = _above(widths, top)
    for _ in range(ITERATIONS):
        population, _ = _improve(population, magnitude, point - top, relative)
    return population


def _start(magnitude: np.ndarray) -> Population:
    ends = np.percentile(magnitude, [0.5, 99.5]) if len(magnitude) else np.array([20.0, 20.0])
    low, high = ends / SPACING
    nodes = SPACING * np.arange(np.floor(low), np.ceil(high) + 1)
    return Population(nodes, np.full(len(nodes), 0.3))


def _improve(
    population: Population, magnitude: np.ndarray, point: np.ndarray, relative: np.ndarray
) -> tuple[Population, np.ndarray]:
    """One step of expectation maximization, and the probabilities of point sources before it."""
    posterior = population.width_weights(magnitude) * relative
    evidence, prior = _log_odds(population, magnitude, point, posterior)
    is_point = expit(evidence + prior)
    # The mean log width of each object if it is a galaxy, and its mean square.
    total = posterior.sum(axis=1) + 1e-300
    middle, square = (posterior @ power / total for power in (LOG_WIDTHS, LOG_WIDTHS**2))
    return _with_widths(population, magnitude, is_point, middle, square), is_point


def _with_widths(
    population: Population, magnitude: np.ndarray, is_point: np.ndarray, middle: np.ndarray, square: np.ndarray
) -> Population:
    """The population for given probabilities. The starting values count as ten galaxies and two point sources."""
    galaxy, x = 1 - is_point, magnitude - population.PIVOT
    default = Population(population.magnitudes, population.fraction)
    total, sx, sxx = galaxy.sum() + 10, (galaxy * x).sum(), (galaxy * x * x).sum() + 10
    sy = (galaxy * middle).sum() + 10 * default.mean
    sxy = (galaxy * x * middle).sum() + 10 * default.slope
    slope = (total * sxy - sx * sy) / (total * sxx - sx * sx)
    mean = (sy - slope * sx) / total
    line = mean + slope * x
    variance = ((galaxy * (square - 2 * middle * line + line**2)).sum() + 10 * default.spread**2) / total
    return replace(
        population,
        fraction=_fraction(population, magnitude, is_point),
        mean=float(mean),
        slope=float(slope),
        spread=float(np.clip(np.sqrt(variance), 0.3, 2.5)),
    )


def _fraction(population: Population, magnitude: np.ndarray, is_point: np.ndarray) -> np.ndarray:
    """Fraction of point sources at the nodes, improved by a Newton step for its logit.

    Where sizes tell the kinds apart the fraction follows them; elsewhere the logit continues as a straight line, as it
    is if the counts of both kinds are powers of the flux. The step uses the information of the data (the sum of squared
    scores), because expectation maximization would not move where that is small.
    """
    nodes, logit = population.magnitudes, np.log(population.fraction / (1 - population.fraction))
    number = np.clip(np.rint((magnitude - nodes[0]) / SPACING).astype(int), 0, len(nodes) - 1)
    score = is_point - population.point_fraction(magnitude)
    slope, information = (np.bincount(number, weights=one, minlength=len(nodes)) for one in (score, np.square(score)))
    bends = np.diff(np.eye(len(nodes)), 2, axis=0) if len(nodes) > 2 else np.zeros((1, len(nodes)))
    stiffness = bends.T @ bends / BEND**2
    share = (is_point.sum() + 1) / (len(is_point) + 2)
    start = np.log(share / (1 - share))
    right = slope - stiffness @ logit - WEAK * (logit - start)
    step = np.linalg.solve(np.diag(information + WEAK) + stiffness, right)
    return expit(np.clip(logit + np.clip(step, -1, 1), -8, 8))


def fit_points(excess: np.ndarray, error: np.ndarray, magnitude: np.ndarray) -> tuple[PointWidths, Population]:
    """Fit the excess of point sources, and the population, of one band.

    Parameters
    ----------
    excess, error
        Excess and its error, arcsec^2 [N], finite.
    magnitude
        Magnitudes in the band [N].
    """
    points, population = PointWidths(), _start(magnitude)
    for _ in range(ITERATIONS):
        point, widths = point_density(point_densities(excess, error, points)), width_densities(excess, error, points)
        top = widths.max(axis=1)
        population, is_point = _improve(population, magnitude, point - top, _above(widths, top))
        points = _better_points(points, excess, error, is_point)
    return points, population


def _better_points(points: PointWidths, excess: np.ndarray, error: np.ndarray, is_point: np.ndarray) -> PointWidths:
    """One step of expectation maximization of the excess of point sources; the starting values count as three."""
    difference, start = excess - points.offset, PointWidths()
    either, tail = point_densities(excess, error, points).T
    in_tail = np.exp(np.log(points.tail) + tail - either)
    means, spreads = [], []
    for member, scatter, first in (
        (is_point * (1 - in_tail), points.scatter, start.scatter),
        (is_point * in_tail, points.tail_scatter, start.tail_scatter),
    ):
        # The deviation of each point source that is not due to its error: its mean and variance.
        shrink = scatter**2 / (scatter**2 + np.square(error))
        own, variance = shrink * difference, shrink * np.square(error)
        means.append(float((member * shrink * own).sum() / ((member * shrink).sum() + 3)))
        total = (member * (np.square(own) + variance)).sum() + 3 * first**2
        spreads.append(float(np.sqrt(total / (member.sum() + 3))))
    # Only objects whose errors are small tell core and tail apart.
    told = is_point * (np.square(error) < points.tail_scatter**2)
    fraction = float(((told * in_tail).sum() + 3 * start.tail) / (told.sum() + 3))
    return PointWidths(points.offset + means[0], spreads[0], min(fraction, 0.3), max(spreads[1], 2 * spreads[0]))
