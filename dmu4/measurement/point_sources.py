"""Point-source fluxes, and the classification into point and extended sources."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.forced import SUM_IN_ANY_ORDER
from dmu4.measurement.stamps import Convolving, Profiles, parts, render


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


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _point_sums(
    points: np.ndarray,
    at: np.ndarray,
    members: np.ndarray,
    models: np.ndarray,
    offset: np.ndarray,
    size: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    flux: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
) -> np.ndarray:
    """Sums [member, 3] over good pixels of P^2, P times the source, and P^2 times the variance, for point sources P.

    The flat stamps of P start at ``at``, those of the models of all sources at ``offset``; the source is its model
    times its flux plus the residual image.
    """
    ny, nx = good.shape
    sums = np.zeros((len(members), 3))
    for number, i in enumerate(members):
        power, signal, noise = 0.0, 0.0, 0.0
        x_from, x_to = max(x0[i], 0), min(x0[i] + size[i], nx)
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            row = (y - y0[i]) * size[i] - x0[i]
            template, model = points[at[number] + row + x_from :], models[offset[i] + row + x_from :]
            rest, spread, known = residual[y, x_from:x_to], variance[y, x_from:x_to], good[y, x_from:x_to]
            for k in range(len(known)):
                value = float(template[k]) if known[k] else 0.0
                power += value * value
                signal += value * (flux[i] * model[k] + rest[k])
                noise += value * value * spread[k]
        sums[number, 0], sums[number, 1], sums[number, 2] = power, signal, noise
    return sums


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _width_sums(
    points: np.ndarray,
    wider: np.ndarray,
    at: np.ndarray,
    at_wider: np.ndarray,
    members: np.ndarray,
    models: np.ndarray,
    offset: np.ndarray,
    size: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    flux: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
) -> np.ndarray:
    """Further sums [member, 5] with the second template W: of P W, W^2, W times the source, and v P W, v W^2."""
    ny, nx = good.shape
    sums = np.zeros((len(members), 5))
    for number, i in enumerate(members):
        pw, ww, wd, vpw, vww = 0.0, 0.0, 0.0, 0.0, 0.0
        x_from, x_to = max(x0[i], 0), min(x0[i] + size[i], nx)
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            row = (y - y0[i]) * size[i] - x0[i]
            template, model = points[at[number] + row + x_from :], models[offset[i] + row + x_from :]
            second = wider[at_wider[number] + row + x_from :]
            rest, spread, known = residual[y, x_from:x_to], variance[y, x_from:x_to], good[y, x_from:x_to]
            for k in range(len(known)):
                w = float(second[k]) if known[k] else 0.0
                pw += template[k] * w
                ww += w * w
                wd += w * (flux[i] * model[k] + rest[k])
                vpw += spread[k] * template[k] * w
                vww += spread[k] * w * w
        sums[number, 0], sums[number, 1], sums[number, 2], sums[number, 3], sums[number, 4] = pw, ww, wd, vpw, vww
    return sums


def _widths(point: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Excess widths and their errors from the sums of `_point_sums` and `_width_sums`; NaN where there is none."""
    (pp, pd, vpp), (pw, ww, wd, vpw, vww) = point.T, width.T
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
    is_point = ~profiles.covariance[members].any(axis=1)
    curved = fit.kernels.curvature(fit.sigma)
    for kind in (True, False):
        numbers = np.flatnonzero(is_point == kind)
        for part in parts(len(numbers)):
            some = numbers[part]
            measured[:, some] = _of_kind(profiles, fit, members[some], curved, points=kind)
    return PointFluxes(*measured)


def _of_kind(profiles: Profiles, fit: BandFit, members: np.ndarray, curved: Convolving, *, points: bool) -> np.ndarray:
    """The fields of `PointFluxes` in order [4, member] of sources whose models are all ``points``, or all discs."""
    models, some = fit.models, profiles.subset(members).as_points()
    stamps = models.subset(members) if points else render(some, fit.kernels, fit.cell[members])
    corners = (models.offset, models.size, models.x0, models.y0)
    planes = (fit.flux, fit.residual, fit.variance, fit.usable)
    of_point = _point_sums(stamps.pixels, stamps.offset, members, models.pixels, *corners, *planes)
    with np.errstate(divide="ignore", invalid="ignore"):
        flux, error = of_point[:, 1] / of_point[:, 0], np.sqrt(of_point[:, 2]) / of_point[:, 0]
        seen = np.flatnonzero(flux > MIN_WIDTH_RATIO * error)
    wider, widths = render(some.subset(seen), curved, fit.cell[members[seen]]), np.full((2, len(members)), np.nan)
    templates = (stamps.pixels, wider.pixels, stamps.offset[seen], wider.offset, members[seen])
    widths[:, seen] = _widths(of_point[seen], _width_sums(*templates, models.pixels, *corners, *planes))
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
