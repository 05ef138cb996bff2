"""Fluxes and magnitudes: the AB zero point of a nanojansky, which is defined only here, and conversions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

AB_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy: 8.90 for 1 Jy (Oke & Gunn 1983, ApJ 266, 713, where AB = 0 is 3631 Jy) plus 22.5."""


POGSON = 2.5 / np.log(10)
"""Magnitudes per relative change of flux, for small changes: 1.0857."""


def magnitude_of(flux: ArrayLike) -> np.ndarray:
    """AB magnitudes of fluxes.

    Parameters
    ----------
    flux
        Flux densities in nJy, of any shape.

    Returns
    -------
    magnitude
        float64 of the same shape; NaN where a flux is not positive.
    """
    flux = np.asarray(flux, float)
    positive = flux > 0
    return np.where(positive, AB_ZERO_POINT - 2.5 * np.log10(np.where(positive, flux, 1.0)), np.nan)


def magnitude_error(flux: ArrayLike, error: ArrayLike) -> np.ndarray:
    """Errors of AB magnitudes, from fluxes and their errors in one unit; NaN where a flux is not positive."""
    flux, error = np.asarray(flux, float), np.asarray(error, float)
    positive = flux > 0
    return np.where(positive, POGSON * error / np.where(positive, flux, 1.0), np.nan)


def flux_of(magnitude: ArrayLike) -> np.ndarray:
    """Flux densities in nJy of AB magnitudes, of the same shape; NaN stays NaN."""
    return 10 ** (0.4 * (AB_ZERO_POINT - np.asarray(magnitude, float)))


def nanojansky_per_count(zero_point: float) -> float:
    """Flux density in nJy of one count in an image of a given AB zero point, the magnitude of one count."""
    return float(flux_of(zero_point))


def zero_point_of(flux_mag0: float) -> float:
    """The AB zero point of an image from the counts of a source of magnitude 0, the convention of HSC and LSST."""
    return float(2.5 * np.log10(flux_mag0))
