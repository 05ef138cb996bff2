"""The stars of many detectors as one list, for zero points that are fitted together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Row, Table

from dmu4.detectors.common_stars import CommonStars, CommonZeroPoints
from dmu4.detectors.zero_point import relative_misfit, resembles_psf, typical_error
from obs_vista.photometry import POGSON, magnitude_of

LARGEST_ERROR = 0.03
"""Largest relative error of the flux of a star; fainter ones are too many, and add little."""


def list_stars(sources: Sequence[Table], summaries: Sequence[Row | Mapping]) -> CommonStars:
    """The measurements of point-like sources that were identified with the same reference stars.

    A star whose reference has no flux in the band, or was not used for a zero point, still ties detectors together.

    Parameters
    ----------
    sources
        Tables of `dmu4.detectors.tables.source_table`, one per detector.
    summaries
        Rows of their visit summaries, in the same order.
    """
    usable = [_usable(table) for table in sources]

    def column(name: str) -> np.ndarray:
        parts = [np.asarray(table[name])[chosen] for table, chosen in zip(sources, usable, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0)

    flux, error = column("psf_flux").astype(float), column("psf_flux_err").astype(float)
    _, first, star = np.unique(column("ref_id"), return_index=True, return_inverse=True)
    mean = np.bincount(star, flux, len(first)) / np.maximum(np.bincount(star, minlength=len(first)), 1)
    chosen = np.bincount(star, column("photometry_used"), len(first)) > 0
    reference, reference_error = (column(name).astype(float)[first] for name in ("ref_flux", "ref_flux_err"))
    reference_error = typical_error(mean, reference_error, chosen)
    # linear in the flux of the reference, whose noise would make its magnitude too faint on average
    deviation = np.where(chosen, reference, np.nan) / mean - 1
    detector = np.repeat(np.arange(len(sources)), [int(one.sum()) for one in usable])
    fitted = np.array([str(row["zero_point_state"]) == "fitted" for row in summaries], bool)
    known = np.array([float(row["zero_point_err"]) for row in summaries])
    fitted &= np.bincount(detector, minlength=len(sources)) > 0
    return CommonStars(
        detector=detector,
        star=star,
        magnitude=magnitude_of(flux),
        error=POGSON * error / flux,
        reference=magnitude_of(mean) - POGSON * deviation,
        reference_error=POGSON * np.where(chosen, reference_error, np.nan) / mean,
        visit=np.array([int(row["visit"]) for row in summaries], int),
        zero_point=np.array([float(row["zero_point"]) for row in summaries]),
        header_error=np.where(fitted | ~(known > 0), np.inf, known),
    )


def _usable(table: Table) -> np.ndarray:
    """Isolated point sources of a detector that are reference stars and look like the PSF."""
    flux, error = np.asarray(table["psf_flux"], float), np.asarray(table["psf_flux_err"], float)
    chosen = np.asarray(table["point_like"], bool) & (np.asarray(table["ref_id"]) >= 0)
    chosen &= (flux > 0) & (error > 0) & (error < LARGEST_ERROR * flux)
    misfit = relative_misfit(np.asarray(table["psf_chi2"], float), flux, error)
    return chosen & resembles_psf(np.where(chosen, misfit, np.nan))


def zero_point_table(found: CommonZeroPoints, stars: CommonStars, summaries: Sequence[Row | Mapping]) -> Table:
    """One row per detector with its common zero point.

    Parameters
    ----------
    found, stars
        The fit, and what was fitted.
    summaries
        Rows of the visit summaries, in the order of the detectors.
    """
    own = np.array([POGSON * float(row["aperture_correction_err"]) for row in summaries])
    count = len(stars.visit)
    columns = {
        "visit": (stars.visit, None, "number of the visit"),
        "detector": (np.array([int(row["detector"]) for row in summaries], int), None, "number of the detector"),
        "zero_point": (stars.zero_point + found.correction, "mag", "AB magnitude of one count, from common stars"),
        "zero_point_err": (np.hypot(found.error, own), "mag", "its standard error"),
        "relative_err": (found.relative_error, "mag", "error of the fluxes of stars, relative to the mean of all"),
        "psf_err": (
            own,
            "mag",
            "error of its PSF fluxes, which is in zero_point_err and cancels in fluxes",
        ),
        "common_err": (np.full(count, found.common_error), "mag", "standard error of the mean of all"),
        "correction": (found.correction, "mag", "zero point minus that of the detector alone"),
        "n_stars": (found.stars, None, "stars used"),
        "n_shared": (found.shared, None, "of these, stars that other detectors saw as well"),
        "noise_factor": (np.full(count, found.noise.factor), None, "ratio of the scatter of a star to its errors"),
        "repeatability": (np.full(count, found.noise.repeatability), "mag", "scatter of bright stars beyond that"),
        "reference_scatter": (np.full(count, found.scatter), "mag", "scatter of references beyond their errors"),
        "visit_spread": (np.full(count, found.spread), "mag", "scatter of the zero points of a visit"),
    }
    table = Table()
    for name, (values, unit, description) in columns.items():
        table[name] = values
        table[name].description = description
        if unit:
            table[name].unit = unit
    return table
