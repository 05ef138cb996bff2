"""Zero points of many detectors together, from the stars that they have in common and their references.

The references of a small or shallow detector give its zero point to a per cent, but the stars that several detectors
saw give their differences to a tenth of that. All of them are fitted at once (compare Padmanabhan et al. 2008, ApJ 674,
1217), with the detectors of a visit scattered about a common value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import median
from scipy.optimize import nnls
from scipy.sparse import csr_array

from dmu4.detectors.excess_variance import excess_variance, robust_excess_variance

SPREADS = np.geomspace(0.001, 0.1, 13)
"""Possible scatters of the zero points of the detectors of a visit in mag, all equally likely at first."""

OUTLIER = 4.0
"""Deviations of more than this, in units of the expected scatter, are not used."""

LOOSE = 1.0
"""Error in mag of a zero point without stars, references or a header: it is as it was."""

NEGLIGIBLE = 1e-3
"""Probability of a scatter below which it does not count."""

MIN_SCATTER = 0.002
"""Smallest scatter in mag of the fluxes of a star on several detectors, and of references, beyond their errors."""


@dataclass(frozen=True)
class CommonStars:
    """N measurements of S stars on D detectors.

    Attributes
    ----------
    detector, star
        Numbers of the detector and of the star of each measurement [N].
    magnitude, error
        Magnitudes, with the zero points of each detector alone, and their errors [N].
    reference, reference_error
        Magnitudes of the stars in the reference catalogue and their errors [S]; NaN if unknown.
    visit
        Number of the visit of each detector [D].
    zero_point
        Zero point of one count of each detector alone [D]; those of a visit are comparable.
    header_error
        Error of zero points that come from the header [D]; infinite for those that come from references.
    """

    detector: np.ndarray
    star: np.ndarray
    magnitude: np.ndarray
    error: np.ndarray
    reference: np.ndarray
    reference_error: np.ndarray
    visit: np.ndarray
    zero_point: np.ndarray
    header_error: np.ndarray

    def of(self, chosen: np.ndarray) -> CommonStars:
        """Some of the measurements, selected by a boolean array."""
        names = ("detector", "star", "magnitude", "error")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


@dataclass(frozen=True)
class Noise:
    """Scatter of the magnitudes of a star on several detectors.

    Attributes
    ----------
    factor
        Ratio of the noise to the quoted errors, which do not contain the correlation of neighbouring pixels.
    repeatability
        Scatter beyond that, the same for bright and faint stars, in mag.
    """

    factor: float
    repeatability: float

    def variance(self, error: np.ndarray) -> np.ndarray:
        """Variance in mag^2 of magnitudes with given quoted errors in mag."""
        return (self.factor * error) ** 2 + self.repeatability**2


@dataclass(frozen=True)
class CommonZeroPoints:
    """Zero points of D detectors.

    Attributes
    ----------
    correction
        To be added to each zero point in mag [D].
    covariance
        Covariance of the corrections in mag^2 [D, D].
    noise
        Noise of the magnitudes of a star on several detectors.
    scatter
        Scatter of the references of stars beyond their errors, mag: of colour terms and variable stars.
    spread
        Scatter of the zero points of the detectors of a visit, mag; NaN where every visit has one detector.
    stars
        Number of stars of each detector [D].
    shared
        Number of these that other detectors saw as well [D].
    """

    correction: np.ndarray
    covariance: np.ndarray
    noise: Noise
    scatter: float
    spread: float
    stars: np.ndarray
    shared: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Standard error of each zero point, mag."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def common_error(self) -> float:
        """Standard error of the mean of all zero points, mag: all fluxes are wrong by the same factor."""
        return float(np.sqrt(self.covariance.mean()))

    @property
    def relative_error(self) -> np.ndarray:
        """Standard error of each zero point relative to the mean of all, mag."""
        rows = self.covariance.mean(axis=0)
        return np.sqrt(np.maximum(np.diag(self.covariance) - 2 * rows + rows.mean(), 0))


def fit_common_zero_points(stars: CommonStars, *, rounds: int = 4) -> CommonZeroPoints:
    """Corrections to zero points for which stars agree with each other and with their references.

    With the true magnitude M of a star, its magnitude m on detector d, and its reference r,

        m + c_d = M + noise,   r = M + noise,   z_d + c_d = Z_visit + scatter,

    where c is the correction of a zero point z, and Z that of a visit. M and Z are free, and eliminated. The variances
    of the noise are those of the quoted errors, a factor and an excess, which are fitted; the result is the mean over
    the possible scatters of the detectors of a visit, weighted by their marginal likelihoods (Gelman et al. 2013,
    Bayesian Data Analysis, sec. 5.4), so that its error contains that of the scatter. A detector that deviates from its
    visit by more than `OUTLIER` times what is expected is not drawn towards it.

    Parameters
    ----------
    stars
        The measurements, in any order.
    rounds
        Number of repetitions without the outliers of the last one.
    """
    noise, scatter = Noise(1.5, 0.005), 0.01
    reference = stars.reference.copy()
    kept = np.ones(len(stars.magnitude), bool)
    for _ in range(rounds if len(kept) else 0):
        used = replace(stars.of(kept), reference=reference)
        matrix, vector = _normal_equations(used, noise, scatter)
        correction = cho_solve(cho_factor(matrix), vector)
        magnitude = stars.magnitude + correction[stars.detector]
        middle = median(magnitude, labels=stars.star, index=np.arange(len(reference)))
        kept = np.abs(magnitude - middle[stars.star]) < OUTLIER * _residual_errors(stars, noise)
        mean, error = _star_means(stars.of(kept), correction, noise)
        noise = _measure_noise(stars.of(kept), (magnitude - mean[stars.star])[kept], noise)
        deviation = mean - stars.reference
        known = stars.reference_error**2 + error**2
        # about the median, because wrong references have moved all corrections
        level = np.nanmedian(deviation) if np.isfinite(deviation).any() else 0.0
        near = np.abs(deviation - level) < OUTLIER * np.sqrt(known + scatter**2)
        reference = np.where(near, stars.reference, np.nan)
        excess = robust_excess_variance(deviation[near] - level, known[near], low=MIN_SCATTER**2, high=0.1**2)
        scatter = float(np.sqrt(excess))
    return _solve(replace(stars.of(kept), reference=reference), noise, scatter)


def _residual_errors(stars: CommonStars, noise: Noise) -> np.ndarray:
    """Expected deviations from the means of stars, which are smaller than the errors: each is a part of its mean.

    A star that was measured once does not deviate; it is always kept.
    """
    variance = noise.variance(stars.error)
    share = 1 / variance / np.bincount(stars.star, 1 / variance)[stars.star]
    return np.where(share < 1 - 1e-9, np.sqrt(variance * np.maximum(1 - share, 0)), np.inf)


def _star_means(stars: CommonStars, correction: np.ndarray, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Mean magnitude of each star over its detectors, and its error; NaN without measurements."""
    weight = 1 / noise.variance(stars.error)
    count = len(stars.reference)
    total = np.bincount(stars.star, weight, count)
    values = np.bincount(stars.star, weight * (stars.magnitude + correction[stars.detector]), count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return values / total, 1 / np.sqrt(total)


def _measure_noise(stars: CommonStars, residual: np.ndarray, noise: Noise) -> Noise:
    """The noise of the measurements from their deviations from the means of stars, starting from an estimate of it."""
    expected = _residual_errors(stars, noise)
    several = np.isfinite(expected)
    seen = np.bincount(stars.star[several], minlength=len(stars.reference))
    total = several.sum() - (seen > 1).sum()
    freedom = total - (len(np.unique(stars.detector[several])) - 1)
    if freedom < 20:
        return noise
    variance = noise.variance(stars.error[several])
    # the expected deviation takes the means into account; the corrections absorb another part
    square = (residual[several] / expected[several]) ** 2 * total / freedom
    design = np.column_stack([stars.error[several] ** 2, np.ones(several.sum())]) / variance[:, None]
    factor, excess = nnls(design, square)[0]
    return Noise(float(np.clip(np.sqrt(factor), 1.0, 4.0)), float(np.clip(np.sqrt(excess), MIN_SCATTER, 0.05)))


def _solve(stars: CommonStars, noise: Noise, scatter: float) -> CommonZeroPoints:
    """The corrections for a given noise of the magnitudes and scatter of the references."""
    matrix, vector = _normal_equations(stars, noise, scatter)
    alone = cho_solve(cho_factor(matrix), np.eye(len(matrix)))
    groups = _groups(stars, stars.zero_point + alone @ vector, np.diag(alone))
    seen = np.bincount(stars.star, minlength=len(stars.reference))
    count = len(stars.visit)
    result = CommonZeroPoints(
        alone @ vector,
        alone,
        noise,
        scatter,
        np.nan,
        stars=np.bincount(stars.detector, minlength=count),
        shared=np.bincount(stars.detector, seen[stars.star] > 1, minlength=count).astype(int),
    )
    if not groups:
        return result
    correction, covariance, spread = _about_visits(matrix, vector, groups, stars.zero_point)
    return replace(result, correction=correction, covariance=covariance, spread=spread)


def _normal_equations(stars: CommonStars, noise: Noise, scatter: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix and right-hand side of the corrections; the magnitudes of the stars are eliminated."""
    count, weight = len(stars.visit), 1 / noise.variance(stars.error)
    known = np.isfinite(stars.reference) & np.isfinite(stars.reference_error)
    of_reference = np.where(known, 1 / (np.where(known, stars.reference_error, 1.0) ** 2 + scatter**2), 0)
    total = np.bincount(stars.star, weight, len(known)) + of_reference
    values = np.bincount(stars.star, weight * stars.magnitude, len(known))
    mean = (values + np.where(known, of_reference * stars.reference, 0)) / np.where(total > 0, total, 1)
    vector = -np.bincount(stars.detector, weight * (stars.magnitude - mean[stars.star]), count)
    matrix = np.diag(np.bincount(stars.detector, weight, count) + stars.header_error**-2.0 + LOOSE**-2)
    shares = weight / np.sqrt(total[stars.star])
    ties = csr_array((shares, (stars.star, stars.detector)), shape=(len(known), count))
    return matrix - (ties.T @ ties).toarray(), vector


def _groups(stars: CommonStars, zero_point: np.ndarray, variance: np.ndarray) -> list[np.ndarray]:
    """The detectors of each visit with at least three that do not deviate."""
    groups = []
    for visit in np.unique(stars.visit):
        members = np.flatnonzero(stars.visit == visit)
        while len(members) >= 3:
            deviation = zero_point[members] - np.median(zero_point[members])
            excess = excess_variance(deviation, variance[members], high=SPREADS[-1] ** 2)
            # each is compared with the others: alone it must not raise the scatter in which it hides
            worst = int(np.argmax(np.abs(deviation) / np.sqrt(variance[members] + excess)))
            others = np.delete(np.arange(len(members)), worst)
            excess = excess_variance(deviation[others], variance[members][others], low=0.003**2, high=SPREADS[-1] ** 2)
            if abs(deviation[worst]) < OUTLIER * np.sqrt(variance[members][worst] + excess):
                groups.append(members)
                break
            members = members[others]
    return groups


def _about_visits(
    matrix: np.ndarray, vector: np.ndarray, groups: Sequence[np.ndarray], zero_point: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Corrections, covariance and scatter when the detectors of each group scatter about a common zero point.

    The mean over `SPREADS`, weighted by the likelihood of each with corrections and zero points of visits integrated
    out.
    """
    structure = np.zeros_like(matrix)
    for members in groups:
        structure[np.ix_(members, members)] = np.eye(len(members)) - 1 / len(members)
    pull = structure @ zero_point
    free, likelihood, solutions = sum(len(members) - 1 for members in groups), [], []
    for spread in SPREADS:
        factor = cho_factor(matrix + structure / spread**2)
        right = vector - pull / spread**2
        solutions.append(cho_solve(factor, right))
        half = 0.5 * (right @ solutions[-1] - zero_point @ pull / spread**2)
        likelihood.append(half - free * np.log(spread) - np.sum(np.log(np.diag(factor[0]))))
    # steps of equal ratio represent a uniform prior with weights in proportion to the spread
    weight = SPREADS * np.exp(np.array(likelihood) - max(likelihood))
    weight /= weight.sum()
    correction = np.average(solutions, axis=0, weights=weight)
    covariance = np.zeros_like(matrix)
    for share, spread, solution in zip(weight, SPREADS, solutions, strict=True):
        if share > NEGLIGIBLE:
            inverse = cho_solve(cho_factor(matrix + structure / spread**2), np.eye(len(matrix)))
            covariance += share * (inverse + np.outer(solution - correction, solution - correction))
    return correction, covariance / weight[weight > NEGLIGIBLE].sum(), float(weight @ SPREADS)
