"""Comparison of measured fluxes with the true sky of a simulated survey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import robust_scatter
from dmu0.truth import MATCH_RADIUS, is_star, isolated, match_to_truth

NEIGHBOURS = 0.02
"""Largest contribution of neighbours to a star, relative to its own flux, for its flux to be compared."""


@dataclass(frozen=True)
class FluxComparison:
    """Measured and true fluxes of the matched sources of two catalogues.

    Attributes
    ----------
    band
        Label of the band.
    true
        True fluxes, nJy.
    ratio
        Ratio of measured to true flux.
    pull
        Measured minus true in units of the quoted error.
    """

    band: str
    true: np.ndarray
    ratio: np.ndarray
    pull: np.ndarray

    def __len__(self) -> int:
        return len(self.true)

    @property
    def bias(self) -> float:
        """Median of the ratio minus one; NaN if there is nothing to compare."""
        return float(np.median(self.ratio) - 1) if len(self) else float("nan")

    @property
    def scatter(self) -> float:
        """Scatter of the ratio, from its quartiles; NaN if there is nothing to compare."""
        return robust_scatter(self.ratio)

    @property
    def far_off(self) -> np.ndarray:
        """Whether each flux deviates from the truth by more than 3% and three times its error, added up."""
        deviation = np.abs(self.ratio - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.where(deviation > 0, deviation / np.abs(self.pull), 0)
        return deviation > 0.03 + 3 * error


def compare_fluxes(
    truth: Table,
    ra: np.ndarray,
    dec: np.ndarray,
    flux: np.ndarray,
    error: np.ndarray,
    band: str,
    *,
    snr_min: float = 20.0,
    radius: float = MATCH_RADIUS,
) -> FluxComparison:
    """Compare fluxes of isolated true stars in one band.

    Parameters
    ----------
    truth
        The true sources.
    ra, dec
        Measured positions, deg.
    flux, error
        Measured fluxes and their errors, nJy.
    band
        Label of the band.
    snr_min
        Smallest ratio of true flux to quoted error, so that the cut does not depend on the measured flux.
    radius
        Matching radius, arcsec.
    """
    stars = truth[is_star(truth) & isolated(truth, band, fraction=NEIGHBOURS)]
    pairs = match_to_truth(stars, ra, dec, radius=radius)
    true = np.asarray(stars[f"flux_{band}"], float)[pairs.first]
    value, sigma = np.asarray(flux, float)[pairs.second], np.asarray(error, float)[pairs.second]
    keep = np.isfinite(value) & (sigma > 0) & (true > snr_min * sigma)
    return FluxComparison(band, true[keep], value[keep] / true[keep], (value[keep] - true[keep]) / sigma[keep])
