"""Point-source fluxes, and the classification into point and extended sources."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.profiles import Profiles
from dmu4.measurement.stamps import Convolving, parts, render
from dmu4.measurement.template_sums import TemplateSums, template_sums


class PointFluxes(NamedTuple):
    """Point-source fluxes and widths of N sources; NaN where they cannot be measured.

    Attributes
    ----------
    flux, error
        Point-source flux and its error, for uncorrelated noise and known neighbours [N].
    excess, excess_error
        Squared intrinsic width relative to that of the PSF, and its error, for uncorrelated noise [N]; NaN also below
        `MIN_WIDTH_RATIO`.
    """

    flux: np.ndarray
    error: np.ndarray
    excess: np.ndarray
    excess_error: np.ndarray


MIN_WIDTH_RATIO = 4.0
"""Signal to noise, for uncorrelated noise, below which the width of a source is not measured: it decides nothing."""


def _widths(sums: TemplateSums) -> tuple[np.ndarray, np.ndarray]:
    """Excess widths and their errors from fits of a point source and its change with width; NaN where there is none."""
    (pp, pw, ww), (vpp, vpw, vww) = ((m[:, 0, 0], m[:, 0, 1], m[:, 1, 1]) for m in (sums.normal, sums.noise))
    pd, wd = sums.right.T
    determinant = pp * ww - pw * pw
    with np.errstate(divide="ignore", invalid="ignore"):
        total, second = (ww * pd - pw * wd) / determinant, (pp * wd - pw * pd) / determinant
        excess = second / total
        # Error of second - excess * total, which is linear in the pixels: coefficients of the two templates.
        of_p, of_w = (-pw - excess * ww) / determinant, (pp + excess * pw) / determinant
        spread = of_p * of_p * vpp + 2 * of_p * of_w * vpw + of_w * of_w * vww
        error = np.sqrt(np.maximum(spread, 0)) / total
        known = (determinant > 1e-6 * pp * ww) & (total > 0)
    return np.where(known, excess, np.nan), np.where(known, error, np.nan)


def point_fluxes(profiles: Profiles, fit: BandFit, members: np.ndarray) -> PointFluxes:
    """Point-source flux of some sources, and their squared intrinsic width relative to that of the PSF.

    Both are fitted to the source after subtracting the models of its neighbours. If all models are point sources, the
    flux is that of the simultaneous fit; next to a galaxy, a disc has been subtracted instead of a point source.

    A source of small intrinsic variance s^2 has the transform PSF x (1 - 2 pi^2 s^2 k^2): it is the PSF plus s^2 times
    a known second template. The ratio of the two amplitudes is zero for a star of any flux. For sources much larger
    than the PSF it is only a qualitative measure of size.

    Parameters
    ----------
    profiles
        Positions and stamp sizes of all sources.
    fit
        Models of all sources of the band, and the residual image.
    members
        Numbers of the sources to measure.
    """
    members, measured = np.asarray(members, np.int64), np.full((4, len(members)), np.nan)
    is_point = profiles.is_point[members]
    curved = fit.kernels.curvature(fit.sigma)
    for kind in (True, False):
        numbers = np.flatnonzero(is_point == kind)
        for part in parts(len(numbers)):
            some = numbers[part]
            measured[:, some] = _of_kind(profiles, fit, members[some], curved, points=kind)
    return PointFluxes(*measured)


def _of_kind(profiles: Profiles, fit: BandFit, members: np.ndarray, curved: Convolving, *, points: bool) -> np.ndarray:
    """The fields of `PointFluxes` in order [4, member] of sources whose models are all ``points``, or all discs."""
    some = profiles.subset(members).as_points()
    stamps = fit.models.subset(members) if points else render(some, fit.kernels, fit.cell[members])
    of_point = template_sums(fit, members, (stamps,))
    power = of_point.normal[:, 0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        flux, error = of_point.right[:, 0] / power, np.sqrt(of_point.noise[:, 0, 0]) / power
        seen = np.flatnonzero(flux > MIN_WIDTH_RATIO * error)
    wider, widths = render(some.subset(seen), curved, fit.cell[members[seen]]), np.full((2, len(members)), np.nan)
    widths[:, seen] = _widths(template_sums(fit, members[seen], (stamps.subset(seen), wider)))
    return np.stack([flux, error, *widths])


def classify(
    excess: np.ndarray, error: np.ndarray, signal_to_noise: np.ndarray, *, limit: float, min_signal_to_noise: float = 5
) -> np.ndarray:
    """Morphology: 0 for a point source, 1 for an extended source, NaN if undetermined.

    Parameters
    ----------
    excess, error
        Excess width and its error from `point_fluxes`, with the error scaled to the true noise.
    signal_to_noise
        Signal to noise of the point-source flux.
    limit
        Excess up to which a source is a point source regardless of its error: the accuracy of the size of the PSF.
    min_signal_to_noise
        Smallest signal to noise for a classification.
    """
    extended = (excess > limit) & (excess > 2 * error)
    told = np.isfinite(excess) & (signal_to_noise >= min_signal_to_noise)
    return np.where(told, extended.astype(float), np.nan)
