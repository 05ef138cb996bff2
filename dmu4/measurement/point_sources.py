"""Point-source fluxes, and the classification into point and extended sources."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.stamps import Profiles, frequency_squared, own_light, psf_transforms, render


class PointFluxes(NamedTuple):
    """Point-source fluxes and widths of N sources; NaN where they cannot be measured.

    Attributes
    ----------
    flux, error
        Point-source flux and its error, for uncorrelated noise and known neighbours [N].
    excess, excess_error
        Squared intrinsic width relative to that of the PSF, and its error, for uncorrelated noise [N].
    """

    flux: np.ndarray
    error: np.ndarray
    excess: np.ndarray
    excess_error: np.ndarray


@numba.njit(nogil=True, cache=True)
def _excess(points, wider, at, members, models, offset, size, x0, y0, flux, residual, variance, good):
    """The fields of `PointFluxes` in their order [member, 4].

    The flat stamps of the two templates start at ``at``, those of the models of all sources at ``offset``.
    """
    ny, nx = good.shape
    result = np.full((len(members), 4), np.nan)
    for number, i in enumerate(members):
        stamp = own_light(models, offset, size, x0, y0, flux, residual, i)
        side = size[i]
        pp, pl, ll, pd, ld, vpp, vpl, vll = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for row in range(side):
            for column in range(side):
                x, y = x0[i] + column, y0[i] + row
                if not (0 <= y < ny and 0 <= x < nx and good[y, x]):
                    continue
                p = float(points[at[number] + row * side + column])
                w = float(wider[at[number] + row * side + column])
                v = variance[y, x]
                pp += p * p
                pl += p * w
                ll += w * w
                pd += p * stamp[row, column]
                ld += w * stamp[row, column]
                vpp += p * p * v
                vpl += p * w * v
                vll += w * w * v
        if pp <= 0.0:
            continue
        result[number, 0], result[number, 1] = pd / pp, np.sqrt(vpp) / pp
        determinant = pp * ll - pl * pl
        if determinant <= 1e-6 * pp * ll:
            continue
        total = (ll * pd - pl * ld) / determinant
        second = (pp * ld - pl * pd) / determinant
        if total <= 0.0:
            continue
        excess = second / total
        # Error of second - excess * total, which is linear in the pixels: coefficients of the two templates.
        of_p = (-pl - excess * ll) / determinant
        of_w = (pp + excess * pl) / determinant
        spread = of_p * of_p * vpp + 2 * of_p * of_w * vpl + of_w * of_w * vll
        result[number, 2], result[number, 3] = excess, np.sqrt(max(spread, 0.0)) / total
    return result


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
    some, cell = profiles.subset(members).as_points(), fit.cell[members]
    transforms = psf_transforms(fit.psf, some.size)
    curved = {
        side: (transform * (-2 * np.pi**2 * fit.sigma**2 * frequency_squared(side))).astype(np.complex64)
        for side, transform in transforms.items()
    }
    points, wider = render(some, transforms, cell), render(some, curved, cell)
    models = fit.models
    corners = (models.offset, models.size, models.x0, models.y0)
    templates = (points.pixels, wider.pixels, points.offset, np.asarray(members, np.int64))
    planes = (fit.residual, fit.variance, fit.usable)
    return PointFluxes(*_excess(*templates, models.pixels, *corners, fit.flux, *planes).T)


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
