"""Building the shards of a survey from its merged stars, and reporting shards with too few stars."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from astropy.table import Table
from lsst.sphgeom import ConvexPolygon, HtmPixelization

from dmu2.colour_terms import ColourTerm, apply
from dmu2.refcat import HTM_LEVEL, ORIGINAL_FLUXES, SURVEY_BANDS, empty_shard, shard_index

_RAD_PER_MAS = float(np.radians(1 / 3.6e6))

REPORT_COLUMNS = (
    ("shard", "i8"), ("band", "U8"), ("stars", "i8"), ("bright", "i8"), ("median_error", "f8"),
    ("state", "U8"), ("fallback", "U24"),
)  # fmt: skip
"""Columns of ``refcat/report.ecsv``; bright stars have flux errors below `BRIGHT_ERROR`."""

BRIGHT_ERROR = 0.05
"""Largest relative flux error of a bright star, which contributes significantly to a zero point."""

HEADER = "header solution"
"""Fallback of a shard with too few stars in a band: dmu4 keeps the zero point and astrometry of the headers there."""


class FewReferenceStars(UserWarning):
    """A shard has fewer reference stars in a band than the survey requires."""


class NoReferenceStars(RuntimeError):
    """There are references, but no shard has enough stars in any band."""


def build(merged: Table, terms: Mapping[str, ColourTerm]) -> Table:
    """The reference catalogue: merged stars with the columns of a shard, and fluxes in the survey's own system.

    Fluxes of a VISTA catalogue are already in this system and are kept; the others follow from colour terms.

    Parameters
    ----------
    merged
        Merged stars from `dmu2.merging.merge`.
    terms
        Colour term of each band, from `dmu2.colour_terms.terms_in_use`.
    """
    table = empty_shard(len(merged))
    if len(merged) == 0:
        return table
    for ours, theirs in (("coord_ra", "ra"), ("coord_dec", "dec")):
        table[ours][:] = np.radians(np.asarray(merged[theirs]))
        table[f"{ours}_err"][:] = np.asarray(merged[f"{theirs}_err"]) * _RAD_PER_MAS
    for name in ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err"):
        table[name][:] = np.asarray(merged[name]) * _RAD_PER_MAS
    for name in ("id", "epoch", "position_from", "extended"):
        table[name][:] = np.asarray(merged[name])
    for name in ORIGINAL_FLUXES:
        if f"{name}_flux" in merged.colnames:
            table[f"{name}_flux"][:] = np.asarray(merged[f"{name}_flux"])
            table[f"{name}_fluxErr"][:] = np.asarray(merged[f"{name}_fluxErr"])
    for band in SURVEY_BANDS:
        flux, error = apply(terms[band], merged)
        if f"{band}_flux" in merged.colnames:
            measured = np.isfinite(merged[f"{band}_flux"])
            flux = np.where(measured, merged[f"{band}_flux"], flux)
            error = np.where(measured, merged[f"{band}_fluxErr"], error)
        table[f"{band}_flux"][:], table[f"{band}_fluxErr"][:] = flux, error
    return table


def expected_shards(polygons: Iterable[ConvexPolygon]) -> list[int]:
    """The htm7 pixels that overlap some regions of the sky, such as the patches of a survey."""
    pixels = HtmPixelization(HTM_LEVEL)
    touched = {
        shard
        for polygon in polygons
        for begin, end in pixels.envelope(polygon)
        for shard in range(begin, end)
        if not polygon.isDisjointFrom(pixels.pixel(shard))
    }
    return sorted(touched)


def report(table: Table, *, bands: Iterable[str], shards: Iterable[int], min_stars: int) -> Table:
    """Number of stars in each shard and band, and whether calibration falls back on the headers.

    Parameters
    ----------
    table
        Reference catalogue from `build`.
    bands
        Bands of the survey.
    shards
        Shards that overlap the survey, which have rows even without stars.
    min_stars
        Smallest number of point sources in a shard and band; with fewer the state is ``few`` or ``empty``, and the
        fallback is `HEADER`.

    Returns
    -------
    rows
        Table with the columns `REPORT_COLUMNS`; median_error is the relative error of fluxes.
    """
    index = shard_index(np.degrees(table["coord_ra"].value), np.degrees(table["coord_dec"].value))
    point = ~np.asarray(table["extended"])
    out = Table(names=[name for name, _ in REPORT_COLUMNS], dtype=[dtype for _, dtype in REPORT_COLUMNS])
    for shard in sorted({*shards, *np.unique(index).tolist()}):
        inside = (index == shard) & point
        for band in bands:
            if band not in SURVEY_BANDS:
                continue
            flux = np.asarray(table[f"{band}_flux"])[inside]
            relative = (np.asarray(table[f"{band}_fluxErr"])[inside] / flux)[np.isfinite(flux)]
            number = len(relative)
            state = "ok" if number >= min_stars else "few" if number else "empty"
            middle = float(np.median(relative)) if number else np.nan
            bright = int((relative < BRIGHT_ERROR).sum())
            out.add_row((shard, band, number, bright, middle, state, "" if state == "ok" else HEADER))
    return out


def warn_of_few(rows: Table, *, expected: Iterable[int], min_stars: int) -> list[str]:
    """Issue a `FewReferenceStars` warning for each shard of the survey with too few stars.

    Returns
    -------
    messages
        One message per shard, in order.

    Raises
    ------
    NoReferenceStars
        If no shard of the survey has enough stars in any band.
    """
    wanted = rows[np.isin(rows["shard"], list(expected))]
    short = wanted[wanted["state"] != "ok"]
    if len(wanted) and len(short) == len(wanted):
        most = int(np.max(wanted["stars"]))
        raise NoReferenceStars(
            f"No shard has {min_stars} reference stars in any band (the most is {most}): do the reference catalogues "
            "cover the survey? Lower references.min_stars_per_shard to go on with fewer."
        )
    messages = []
    for shard in np.unique(short["shard"]).tolist():
        lacking = short[short["shard"] == shard]
        counts = ", ".join(f"{row['band']} {row['stars']}" for row in lacking)
        message = f"Shard {shard} has fewer than {min_stars} reference stars in {counts}: falling back on the {HEADER}."
        warnings.warn(message, FewReferenceStars, stacklevel=2)
        messages.append(message)
    return messages
