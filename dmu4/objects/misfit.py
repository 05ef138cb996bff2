"""Fluxes and fits of objects, and how well models fit real sources: by `modelChi2`, at each signal to noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

SIGNALS = (0.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 40.0, 100.0)
"""Lower edges of the ranges of signal to noise in which `modelChi2` of real sources is measured."""

LOG_CHI2 = np.linspace(-2.5, 5.0, 51)
"""Edges of the bins of the log of `modelChi2`."""

FEW = 20.0
"""Number of objects of a band and range that the distribution of the band counts as, and that of all bands there."""

SMOOTH = (0.1, 0.2, 0.4, 0.2, 0.1)
"""Weights of neighbouring bins."""

COLUMNS = ("psfFlux", "psfFluxErr", "modelChi2", "neighbourFraction")
"""Columns of each band that are used."""


@dataclass(frozen=True)
class Signals:
    """What is known of N objects in B bands; NaN if unknown.

    Attributes
    ----------
    flux, error
        Point-source fluxes and their errors in nJy [N, B].
    chi2
        Mean square of the residuals of the model over their errors [N, B].
    others
        Fraction of the light at the object that belongs to its neighbours [N, B].
    """

    flux: np.ndarray
    error: np.ndarray
    chi2: np.ndarray
    others: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> Signals:
        """Some of the objects."""
        return Signals(self.flux[rows], self.error[rows], self.chi2[rows], self.others[rows])

    @classmethod
    def of_table(cls, objects: Table, bands: Sequence[str]) -> Signals:
        """The fluxes and fits in some bands of an object table; what is flagged is unknown."""
        found = np.full((4, len(objects), len(bands)), np.nan)
        for number, band in enumerate(bands):
            values = [np.asarray(objects[f"{band}_{name}"], float) for name in COLUMNS]
            good = ~np.asarray(objects[f"{band}_psfFlux_flag"], bool) & np.isfinite(values[0]) & (values[1] > 0)
            found[:, good, number] = [one[good] for one in values]
        return cls(*found)

    @property
    def signal(self) -> np.ndarray:
        """Signal to noise [N, B]."""
        return self.flux / self.error


@dataclass(frozen=True)
class Misfit:
    """Distribution of the log of `modelChi2` of real sources, and of artefacts that do not look like a source.

    Attributes
    ----------
    real
        Density in bins of `LOG_CHI2` for bands and ranges of signal to noise [band, range, bin].
    bad
        Density for artefacts in the same bins: uniform above the median of real sources, 0 below.
    """

    real: np.ndarray
    bad: np.ndarray

    def ratio(self, signals: Signals) -> tuple[np.ndarray, np.ndarray]:
        """Density of the misfit in the best band for a bad artefact over that for a real source, and the range [N].

        The ratio is 1 if the misfit is unknown.
        """
        chi2, signal, best = at_best(signals, signals.chi2)
        known, step = np.isfinite(chi2) & (chi2 > 0), signal_range(signal)
        place = best, step, _bin(np.where(known, chi2, 1.0))
        return np.where(known, self.bad[place] / self.real[place], 1.0), step


def at_best(signals: Signals, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and signal to noise in the band of the highest signal to noise of each object, and its number [N]."""
    signal = np.where(np.isfinite(signals.flux), signals.signal, -np.inf)
    rows, best = np.arange(len(signal)), signal.argmax(axis=1)
    return values[rows, best], signal[rows, best], best


def signal_range(signal: np.ndarray) -> np.ndarray:
    """Number of the range of `SIGNALS` of each signal to noise."""
    return np.clip(np.searchsorted(SIGNALS, signal, side="right") - 1, 0, len(SIGNALS) - 1)


def _bin(chi2: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(LOG_CHI2, np.log(chi2), side="right") - 1, 0, len(LOG_CHI2) - 2)


def fit_misfit(signals: Signals) -> Misfit:
    """The distribution of `modelChi2` of well-seen objects in each band and range of signal to noise.

    Few objects of a range count little beside those of the band, and few of the band little beside all.
    """
    known = np.isfinite(signals.chi2) & (signals.chi2 > 0) & np.isfinite(signals.flux)
    band, step = np.nonzero(known)[1], signal_range(signals.signal[known])
    counts = np.zeros((known.shape[1], len(SIGNALS), len(LOG_CHI2) - 1))
    np.add.at(counts, (band, step, _bin(signals.chi2[known])), 1.0)
    wider = np.apply_along_axis(np.convolve, 2, counts, SMOOTH, "same")
    uniform = np.full(len(LOG_CHI2) - 1, 1 / (len(LOG_CHI2) - 1))
    of_all = mixed(wider.sum(axis=(0, 1)), uniform, 1.0)
    of_band = mixed(wider.sum(axis=1), of_all, FEW)
    real = mixed(wider, of_band[:, None], FEW)
    below = np.cumsum(real, axis=2) - 0.5 * real
    bad = (below > 0.5).astype(float)
    return Misfit(real, bad / bad.sum(axis=2, keepdims=True))


def mixed(counts: np.ndarray, prior: np.ndarray, weight: float) -> np.ndarray:
    """Fractions along the last axis from counts and from fractions before that count as a number of objects."""
    return (counts + weight * prior) / (counts.sum(axis=-1, keepdims=True) + weight)
