"""Magnitudes and errors of the fluxes of a catalogue, with the relative error of bright sources."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from dmu5.dust import extinction
from obs_vista.photometry import POGSON, magnitude_of


def _flux(table: Table, name: str) -> np.ndarray:
    """A flux as floating-point numbers, NaN where it is missing or flagged."""
    values = np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan)
    flag = f"{name}_flag"
    if flag in table.colnames:
        values = np.where(np.ma.filled(np.ma.asarray(table[flag]), True), np.nan, values)
    return values


def flux_error(table: Table, name: str) -> np.ndarray:
    """The error of a flux, nJy: statistical, and ``{band}_fluxFloor`` times the flux, in quadrature.

    Parameters
    ----------
    table
        Catalogue with the flux, its error, and the floor of the band if that is to be added.
    name
        Name of the flux, such as ``vk_gaap1p0Flux``.
    """
    error = np.ma.filled(np.ma.asarray(table[f"{name}Err"]).astype(float), np.nan)
    floor = f"{name.partition('_')[0]}_fluxFloor"
    if floor not in table.colnames:
        return error
    relative = np.ma.filled(np.ma.asarray(table[floor]).astype(float), np.nan)
    return np.hypot(error, np.nan_to_num(relative) * _flux(table, name))


def signal_to_noise(table: Table, name: str) -> np.ndarray:
    """Flux over its error (`flux_error`); NaN where the flux is missing or flagged."""
    error = flux_error(table, name)
    return np.divide(_flux(table, name), error, out=np.full(len(table), np.nan), where=error > 0)


def magnitude(table: Table, name: str, *, snr_min: float = 0.0, deredden: bool = False) -> np.ndarray:
    """AB magnitude of a flux in nJy; NaN where it is missing, flagged, not positive, or too noisy.

    Parameters
    ----------
    table
        Catalogue with the flux, its error, and its flag if flagged values are to be left out.
    name
        Name of the flux, such as ``vk_gaap1p0Flux``.
    snr_min
        Smallest ratio of the flux to its error.
    deredden
        Whether to subtract the Galactic extinction (`dmu5.dust.extinction`); NaN where ``ebv`` is missing.
    """
    flux = _flux(table, name)
    with np.errstate(invalid="ignore"):
        good = (flux > 0) & (signal_to_noise(table, name) > snr_min)
    observed = np.where(good, magnitude_of(np.where(good, flux, 1.0)), np.nan)
    return observed - extinction(table, name.partition("_")[0]) if deredden else observed


def magnitude_error(table: Table, name: str) -> np.ndarray:
    """Error of `magnitude`: 1.086 times the error over the flux; NaN where the flux is missing or flagged."""
    ratio = signal_to_noise(table, name)
    with np.errstate(invalid="ignore"):
        return np.where(ratio > 0, POGSON / np.where(ratio > 0, ratio, 1.0), np.nan)
