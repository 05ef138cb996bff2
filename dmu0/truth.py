"""The true sky of a simulated survey: reading it, selecting isolated sources, and matching measured sources."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from dmu0.files.tables import read_table
from dmu0.sky.matching import DAYS_PER_YEAR, Matches, match, propagate
from dmu0.sky.sphere import unit_vectors
from dmu0.surveys import Survey

MATCH_RADIUS = 0.5
"""Largest distance of a measured source from its true position, arcsec."""

NEIGHBOUR_RADIUS = 3.0
"""Distance within which other sources contribute light to a measured source, arcsec."""


def read_truth(survey: Survey) -> Table | None:
    """The true sources of a simulated survey (``dmu0/data/<survey>/truth/truth.parquet``); None if the sky is real.

    Positions are at the epoch ``meta["epoch_mjd_tai"]``, in degrees; fluxes are total fluxes in nJy.

    Raises
    ------
    FileNotFoundError
        If the survey is simulated and its truth is not there.
    """
    return _read(survey, "truth")


def read_detector_truth(survey: Survey) -> Table | None:
    """The true parameters of each detector image of a simulated survey; None if the sky is real.

    Raises
    ------
    FileNotFoundError
        If the survey is simulated and its truth is not there.
    """
    return _read(survey, "detectors")


def _read(survey: Survey, name: str) -> Table | None:
    return read_table(survey.folders[0] / "truth" / f"{name}.parquet") if survey.has_truth else None


def is_star(truth: Table) -> np.ndarray:
    """Whether each true source is a star."""
    return np.asarray(truth["type"]).astype(str) == "star"


def neighbour_fraction(truth: Table, band: str, *, radius: float) -> np.ndarray:
    """Ratio of the total flux of the neighbours of each true source to its own flux.

    Parameters
    ----------
    truth
        True sources, with ra and dec in deg and ``flux_<band>``.
    band
        Label of the band.
    radius
        Distance within which neighbours count, arcsec.

    Returns
    -------
    numpy.ndarray
        Ratio, one value per source; infinite for a source of zero flux.
    """
    ra, dec = np.asarray(truth["ra"], float), np.asarray(truth["dec"], float)
    flux = np.asarray(truth[f"flux_{band}"], float)
    tree = cKDTree(unit_vectors(ra, dec))
    others = np.zeros(len(truth))
    pairs = tree.query_pairs(2 * np.sin(np.radians(radius / 3600) / 2), output_type="ndarray")
    np.add.at(others, pairs[:, 0], flux[pairs[:, 1]])
    np.add.at(others, pairs[:, 1], flux[pairs[:, 0]])
    return np.divide(others, flux, out=np.full(len(truth), np.inf), where=flux > 0)


def isolated(truth: Table, band: str | np.ndarray, *, fraction: float, radius: float = NEIGHBOUR_RADIUS) -> np.ndarray:
    """Whether each true source is isolated: neighbours contribute less than a fraction of its own flux.

    Parameters
    ----------
    truth
        True sources, with positions in deg and fluxes.
    band
        Label of the band in which fluxes are compared, or an array of labels, one per source.
    fraction
        Limit of `neighbour_fraction`: one or two hundredths if fluxes are compared, to which neighbours then contribute
        no more than this; a tenth for completeness.
    radius
        Distance within which neighbours count, arcsec.
    """
    bands = np.broadcast_to(np.asarray(band), len(truth))
    alone = np.zeros(len(truth), bool)
    for label in np.unique(bands):
        here = bands == label
        alone[here] = neighbour_fraction(truth, str(label), radius=radius)[here] < fraction
    return alone


def detectable(truth: Table, limits: Mapping[str, np.ndarray | float] | Table) -> tuple[np.ndarray, np.ndarray]:
    """Whether each true source is brighter than a limit in any band, and the band in which it exceeds it most.

    Parameters
    ----------
    truth
        True sources, with ``flux_<band>``.
    limits
        Limiting fluxes, nJy: a mapping of bands to a number or to an array of one value per source; infinite where a
        band has no data.
    """
    bands = list(limits.keys())
    ratios = np.column_stack([np.asarray(truth[f"flux_{band}"], float) / limits[band] for band in bands])
    return ratios.max(axis=1) > 1, np.array(bands)[ratios.argmax(axis=1)]


def true_positions(truth: Table, *, epoch: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination of true sources in deg, at an epoch (MJD TAI) or as in the table."""
    ra, dec = np.asarray(truth["ra"], float), np.asarray(truth["dec"], float)
    if epoch is None:
        return ra, dec
    years = (epoch - float(truth.meta.get("epoch_mjd_tai", epoch))) / DAYS_PER_YEAR
    return propagate(ra, dec, truth["pm_ra"], truth["pm_dec"], years=years)


def match_to_truth(
    truth: Table, ra: np.ndarray, dec: np.ndarray, *, radius: float = MATCH_RADIUS, epoch: float | None = None
) -> Matches:
    """True and measured sources that are mutual nearest neighbours.

    Parameters
    ----------
    truth
        True sources; ``first`` of the pairs are its rows.
    ra, dec
        Measured positions in deg; ``second`` of the pairs are their rows.
    radius
        Largest distance of a pair in arcsec.
    epoch
        Epoch (MJD TAI) to which true sources are moved first; without one the positions in the table are used.
    """
    return match(*true_positions(truth, epoch=epoch), np.asarray(ra, float), np.asarray(dec, float), radius=radius)
