"""Quality of catalogued sources: the flags of PS1, 2MASS, Gaia and VISTA, and extended sources."""

from __future__ import annotations

import numpy as np

# Bits of PS1's qualityFlag (Flewelling et al. 2020, ApJS 251, 7, table 12).
PS1_EXTENDED = 1 | 2
PS1_GOOD = 4 | 8 | 16
PS1_BAD_STACK = 64
PS1_PSF_MINUS_KRON = 0.05
"""An object of PS1 is extended where i PSF minus i Kron magnitude exceeds this (Farrow et al. 2014, MNRAS 437, 748)."""

TWOMASS_QUALITIES = "ABC"
"""Photometric qualities (ph_qual) of detections at five sigma or better (Skrutskie et al. 2006, AJ 131, 1163)."""

GAIA_RUWE_MAX = 1.4
"""Above this, a single star does not fit the observations (Lindegren et al. 2018, GAIA-C3-TN-LU-LL-124)."""

VISTA_ERROR_BITS = 2**16
"""Bits of ppErrBits from this value on are more than a warning (glossary of the VSA)."""


def ps1_usable(flags: np.ndarray) -> np.ndarray:
    """PS1 objects with a good measurement in PS1 data, by qualityFlag; unknown flags (NaN) count as good."""
    known = np.isfinite(flags)
    bits = np.where(known, flags, 0).astype(np.int64)
    return ~known | (((bits & PS1_GOOD) > 0) & ((bits & PS1_BAD_STACK) == 0))


def ps1_extended(psf: np.ndarray, kron: np.ndarray, error: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """PS1 objects that are not point sources, by flag or by PSF minus Kron magnitude in i.

    Parameters
    ----------
    psf, kron
        Mean magnitudes in i; NaN where missing.
    error
        Standard error of their difference in mag, so that noise does not make faint stars extended.
    flags
        Values of qualityFlag, NaN where unknown.
    """
    bits = np.where(np.isfinite(flags), flags, 0).astype(np.int64)
    excess = np.nan_to_num(psf - kron, nan=-1)
    return ((bits & PS1_EXTENDED) > 0) | (excess > PS1_PSF_MINUS_KRON + np.nan_to_num(error))


def twomass_good(qualities: np.ndarray | None, contamination: np.ndarray | None, position: int) -> np.ndarray | bool:
    """2MASS detections of one band that are neither upper limits nor artefacts.

    Parameters
    ----------
    qualities, contamination
        The three-letter flags Qflg (ph_qual) and Cflg (cc_flg); None if the table has none, in which case all are good.
    position
        Position of the letter: 0 for J, 1 for H, 2 for Ks.
    """
    good: np.ndarray | bool = True
    if qualities is not None:
        good = np.isin(_letter(qualities, position), list(TWOMASS_QUALITIES))
    if contamination is not None:
        good = good & (_letter(contamination, position) == "0")
    return good


def gaia_usable(ruwe: np.ndarray) -> np.ndarray:
    """Gaia sources that are consistent with a single star; those without a RUWE are kept."""
    return ~(ruwe > GAIA_RUWE_MAX)


def vista_good(error_bits: np.ndarray) -> np.ndarray:
    """VISTA detections of one band without a serious quality issue."""
    return np.nan_to_num(error_bits) < VISTA_ERROR_BITS


def _letter(flags: np.ndarray, position: int) -> np.ndarray:
    """One letter of each flag; empty if the flag is shorter."""
    return np.array([flag[position : position + 1] for flag in flags.tolist()])
