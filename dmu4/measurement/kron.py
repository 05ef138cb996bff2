"""Kron apertures: ellipses scaled by the first moment of the light of each source."""

from __future__ import annotations

import numba
import numpy as np

from dmu4.measurement.stamps import StampSet, own_light

KRON_FACTOR = 2.5
"""Kron radius in units of the first moment (Kron 1980, ApJS 43, 305)."""

REACH = 6.0
"""Radius within which the first moment is measured, in sigma of the adaptive moments."""

LIMITS = (3.0, 8.0)
"""Smallest and largest Kron radius in sigma, which limit the effect of noise; a Gaussian has 3.1."""


@numba.njit(nogil=True, cache=True)
def _first_moments(pixels, offset, size, x0, y0, flux, residual, members, x, y, covariance, window, out):
    for i in members:
        stamp, first_x, first_y = own_light(pixels, offset, size, x0, y0, flux, residual, i, window)
        xx, yy, xy = covariance[i]
        determinant = xx * yy - xy * xy
        if not determinant > 0.0:
            continue
        a, b, c = yy / determinant, xx / determinant, -xy / determinant
        light, moment = 0.0, 0.0
        for row in range(len(stamp)):
            dy = first_y + row - y[i]
            for column in range(len(stamp)):
                dx = first_x + column - x[i]
                radius = np.sqrt(a * dx * dx + b * dy * dy + 2 * c * dx * dy)
                if radius < REACH:
                    light += stamp[row, column]
                    moment += radius * stamp[row, column]
        if light > 0.0:
            out[i] = moment / light


def kron_radii(
    stamps: StampSet,
    flux: np.ndarray,
    *,
    residual: np.ndarray,
    members: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    covariance: np.ndarray,
    window: int = 0,
) -> np.ndarray:
    """Kron radii of some sources in one band, in sigma of their adaptive moments.

    Parameters
    ----------
    stamps, flux
        Models of unit flux of all N sources, and their fluxes (0 where there is none).
    residual
        Image minus all models [y, x].
    members
        Numbers of the sources to measure.
    x, y, covariance
        Centres [N] and adaptive moments [N, 3] in array pixels.
    window
        Even number of pixels to a side in which the light is measured at least, however small the model.

    Returns
    -------
    ndarray
        One radius per member, within `LIMITS`; if the first moment cannot be measured, that of a Gaussian is used.
    """
    moment = np.full(len(stamps), np.nan)
    corners = (stamps.offset, stamps.size, stamps.x0, stamps.y0)
    _first_moments(
        *(stamps.pixels, *corners, flux, residual, np.asarray(members, np.int64)),
        *(x, y, np.ascontiguousarray(covariance), window, moment),
    )
    radius = KRON_FACTOR * np.nan_to_num(moment[members], nan=np.sqrt(np.pi / 2))
    return np.clip(radius, *LIMITS)
