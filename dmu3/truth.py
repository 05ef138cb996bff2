"""The true sky of a simulated survey, and catalogues beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from dmu0.files.tables import read_table
from dmu0.robust_statistics import robust_scatter
from dmu0.surveys import Survey
from dmu2.matching import match


def read_truth(survey: Survey) -> Table | None:
    """The true sources of a simulated survey (``dmu0/data/<survey>/truth``); None if the sky is real.

    Raises
    ------
    FileNotFoundError
        If the survey is simulated and its truth is not there.
    """
    return read_table(survey.folders[0] / "truth" / "truth.parquet") if survey.has_truth else None


def neighbour_fraction(truth: Table, band: str, *, radius: float) -> np.ndarray:
    """How much of the light near each true source is that of others: their summed flux over its own.

    Parameters
    ----------
    truth
        With ra and dec in deg and ``flux_<band>``.
    band
        Label of the band.
    radius
        Others count within this distance, arcsec.
    """
    ra, dec = np.asarray(truth["ra"], float), np.asarray(truth["dec"], float)
    flux = np.asarray(truth[f"flux_{band}"], float)
    tree = cKDTree(_unit_vectors(ra, dec))
    others = np.zeros(len(truth))
    pairs = tree.query_pairs(2 * np.sin(np.radians(radius / 3600) / 2), output_type="ndarray")
    np.add.at(others, pairs[:, 0], flux[pairs[:, 1]])
    np.add.at(others, pairs[:, 1], flux[pairs[:, 0]])
    return np.divide(others, flux, out=np.full(len(truth), np.inf), where=flux > 0)


def _unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    lon, lat = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def isolated_stars(truth: Table, band: str, *, radius: float = 3.0, fraction: float = 0.02) -> np.ndarray:
    """Which true sources are stars whose neighbours add little light.

    Parameters
    ----------
    truth
        With ``type``, positions and fluxes.
    band
        The band in which neighbours are weighed.
    radius
        Arcsec.
    fraction
        Largest `neighbour_fraction`.
    """
    return (np.asarray(truth["type"]) == "star") & (neighbour_fraction(truth, band, radius=radius) < fraction)


@dataclass(frozen=True)
class FluxComparison:
    """Measured fluxes beside true ones, of the sources of both catalogues that match.

    Parameters
    ----------
    band
        Label of the band.
    true
        True fluxes, nJy.
    ratio
        Measured over true.
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


def compare_fluxes(
    truth: Table,
    ra: np.ndarray,
    dec: np.ndarray,
    flux: np.ndarray,
    error: np.ndarray,
    band: str,
    *,
    snr_min: float = 20.0,
    radius: float = 0.5,
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
        Stars count whose true flux is more than this many quoted errors: the cut does not depend on the measured flux.
    radius
        Of matching, arcsec.
    """
    stars = truth[isolated_stars(truth, band)]
    pairs = match(np.asarray(stars["ra"]), np.asarray(stars["dec"]), np.asarray(ra), np.asarray(dec), radius=radius)
    true = np.asarray(stars[f"flux_{band}"], float)[pairs.first]
    value, sigma = np.asarray(flux, float)[pairs.second], np.asarray(error, float)[pairs.second]
    keep = np.isfinite(value) & (sigma > 0) & (true > snr_min * sigma)
    return FluxComparison(band, true[keep], value[keep] / true[keep], (value[keep] - true[keep]) / sigma[keep])
