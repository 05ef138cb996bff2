"""The flux floor: the relative error of point-source fluxes that does not decrease with brightness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmu0.robust_statistics import robust_scatter
from dmu4.measurement.band_fluxes import Flux

FLOOR_APERTURES = (6, 9)
"""The circular apertures with which point-source fluxes are compared: they contain most light and little sky."""

MIN_FLOOR_STARS = 8
"""Smallest number of bright stars for measuring the flux floor."""

FLOOR_STARS = 50
"""Number of the brightest stars, whose errors are almost only the floor."""

BRIGHT_ENOUGH = 100.0
"""Signal to noise that these stars have at least."""


def flux_floor(psf: Flux, circles: Sequence[Flux], extendedness: np.ndarray, *, default: float) -> float:
    """Relative scatter of point-source fluxes that their errors do not explain, from the brightest stars.

    The flux of a bright star is limited by the accuracy of the PSF and the sky, not by photon noise: this part of the
    error does not decrease with brightness. The scatter of the ratio of two fluxes is that of both; with a third one,
    the part of each is known (Gray & Allan 1974, Proc. 28th Symp. Freq. Control, 243),

        F^2 = [V(c1/p) + V(c2/p) - V(c2/c1)] / 2,

    where V is the variance of a ratio beyond that of the noise. A point-source flux p is the most accurate one, so that
    the noise of the ratio has the variance of the circle minus that of p (Hausman 1978, Econometrica 46, 1251), and of
    two circles that of the larger minus that of the smaller.

    Parameters
    ----------
    psf
        Point-source fluxes.
    circles
        Total fluxes from two circular apertures, the smaller one first: fluxes over the light in the aperture.
    extendedness
        Morphology of the objects, 0 for stars.
    default
        Result if there are fewer than `MIN_FLOOR_STARS` stars above `BRIGHT_ENOUGH`.
    """
    stars = (extendedness == 0) & ~psf.flag & (psf.value > BRIGHT_ENOUGH * psf.error)
    for circle in circles:
        stars &= ~circle.flag & (circle.value > 0)
    if np.count_nonzero(stars) < MIN_FLOOR_STARS:
        return default
    chosen = np.flatnonzero(stars)
    chosen = chosen[np.argsort((psf.error / psf.value)[chosen], kind="stable")[:FLOOR_STARS]]
    small, large = circles
    square = 0.5 * (_excess(small, psf, chosen) + _excess(large, psf, chosen) - _excess(large, small, chosen))
    return float(np.sqrt(max(square, 0.0)))


def _excess(noisy: Flux, accurate: Flux, chosen: np.ndarray) -> float:
    """Variance of the ratio of two fluxes of some stars beyond that of the noise, which they share in part."""
    (a, da), (b, db) = ((one.value[chosen], one.error[chosen]) for one in (noisy, accurate))
    return float(robust_scatter(a / b) ** 2 - np.median(np.maximum((da / a) ** 2 - (db / b) ** 2, 0)))
