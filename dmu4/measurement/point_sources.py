"""Point-source fluxes, and how much wider than the PSF a source is: stars or galaxies."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.stamps import Profiles, frequency_squared, own_light, psf_transforms, render


class PointFluxes(NamedTuple):
    """Point-source fluxes and widths of N sources; NaN where the pixels say nothing.

    Attributes
    ----------
    flux, error
        Point-source flux and its error, for uncorrelated noise and known neighbours [N].
    excess, excess_error
        Squared width before the seeing over that of the PSF, and its error, for the same noise [N].
    """

    flux: np.ndarray
    error: np.ndarray
    excess: np.ndarray
    excess_error: np.ndarray


@numba.njit(nogil=True, cache=True)
def _excess(points, wider, at, members, models, offset, size, x0, y0, flux, residual, variance, good):
    """The fields of `PointFluxes` in their order [member, 4].

    Stamps of the two templates, flat, begin at ``at``; those of the models of all sources at ``offset``.
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
        # Error of second - excess * total, both linear in the pixels: coefficients of the two templates.
        of_p = (-pl - excess * ll) / determinant
        of_w = (pp + excess * pl) / determinant
        spread = of_p * of_p * vpp + 2 * of_p * of_w * vpl + of_w * of_w * vll
        result[number, 2], result[number, 3] = excess, np.sqrt(max(spread, 0.0)) / total
    return result


def point_fluxes(profiles: Profiles, fit: BandFit, members: np.ndarray) -> PointFluxes:
    """Point-source flux of some sources, and their squared width before the seeing over that of the PSF.

    Both are fitted to the source with its neighbours' models subtracted. Where all models are points the flux is that
    of the simultaneous fit; beside a galaxy the galaxy's disc has been taken away, not a point.

    A source of small intrinsic variance s^2 has the transform PSF x (1 - 2 pi^2 s^2 k^2): it is the PSF plus s^2 times
    a known second template. The ratio of the two amplitudes is zero for a star whatever its flux. For sources much
    larger than the PSF the number only says "large".

    Parameters
    ----------
    profiles
        Positions and stamp sizes of all sources.
    fit
        Models of all sources of the band, and the image less these.
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
    planes = (fit.residual, fit.variance, fit.good)
    return PointFluxes(*_excess(*templates, models.pixels, *corners, fit.flux, *planes).T)


def classify(
    excess: np.ndarray, error: np.ndarray, signal_to_noise: np.ndarray, *, limit: float, min_signal_to_noise: float = 5
) -> np.ndarray:
    """0 for a point, 1 for an extended source, NaN where it cannot be told.

    Parameters
    ----------
    excess, error
        From `point_fluxes`, with the error scaled to the true noise.
    signal_to_noise
        Signal to noise of the point-source flux.
    limit
        Excess up to which a source counts as a point, however small its error: the accuracy of the PSF's size.
    min_signal_to_noise
        Below this it is not said.
    """
    extended = (excess > limit) & (excess > 2 * error)
    told = np.isfinite(excess) & (signal_to_noise >= min_signal_to_noise)
    return np.where(told, extended.astype(float), np.nan)
