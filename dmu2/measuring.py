"""The steps of the colour terms on a survey: which images to measure, measuring them, and fitting all bands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from astropy.table import Table, vstack

from dmu0.surveys import Survey
from dmu2.colour_terms import PUBLISHED, ColourTerm, Fit, apply, fit_term, table_row, terms_table
from dmu2.stars import (
    ImageUnusable,
    StarImage,
    account_of,
    choose_stacks,
    collect,
    instrument_fluxes,
    measure,
    read_coadd,
    read_stack,
)


class BandFit(NamedTuple):
    """The colour term of one band.

    Parameters
    ----------
    term
        As published.
    fit
        As fitted.
    stars
        The stars of the fit: colour, difference, residual, used.
    """

    term: ColourTerm
    fit: Fit
    stars: Table


def images_to_measure(
    survey: Survey, selected: Table, coadds: Table, *, exposures: int, coadds_per_band: int
) -> list[tuple[str, Callable[[], StarImage]]]:
    """Name of each image to measure, and a function that reads it.

    Parameters
    ----------
    survey
        The survey.
    selected
        Detector images of dmu1.
    coadds
        Usable optical coadds: path, band.
    exposures
        VISTA exposures a band: those of best seeing.
    coadds_per_band
        Optical coadds a band, spread over the survey.
    """
    images: list[tuple[str, Callable[[], StarImage]]] = []
    if len(selected):
        resolve = survey.folders.input_path
        for row in choose_stacks(selected, survey.vista.bands, exposures=exposures):
            confidence = resolve(str(row["confidence_path"])) if row["confidence_path"] else None
            path = resolve(str(row["path"]))
            options = {"system": survey.vista.magnitudes, "confidence": confidence}
            images.append((f"{path.name}[{row['hdu']}]", lambda r=row, p=path, o=options: read_stack(r, p, **o)))
    for band in survey.optical.bands if survey.optical else ():
        rows = coadds[np.asarray(coadds["band"]) == band]
        step = max(len(rows) / coadds_per_band, 1)
        zero_point = survey.optical.zero_points.get(band)
        for number in np.unique(np.arange(0, len(rows), step).astype(int)):
            path = survey.folders.input_path(str(rows["path"][number]))
            images.append((path.name, lambda p=path, b=band, z=zero_point: read_coadd(p, b, zero_point=z)))
    return images


def measure_images(
    images: list[tuple[str, Callable[[], StarImage]]],
    merged: Table,
    progress: Callable[[Iterable], Iterator] = iter,
) -> tuple[Table, Table]:
    """Fluxes of the reference stars on images, and the account of the images.

    An image that cannot be measured is failed with its reason, and the others go on.

    Parameters
    ----------
    images
        Of `images_to_measure`.
    merged
        Reference stars.
    progress
        Wraps the loop over images, e.g. ``tqdm``.
    """
    tables, accounts = [], []
    for name, read in progress(images):
        try:
            table, account = measure(read(), merged)
        except ImageUnusable as error:
            account = {"image": name, "band": "", "stars": 0, "aperture_correction": np.nan, "correction_err": np.nan}
            accounts.append(account | {"state": "failed", "reason": str(error)})
            continue
        tables.append(table)
        accounts.append(account)
    return collect(tables), account_of(accounts)


def fit_bands(survey: Survey, measurements: Table, merged: Table) -> tuple[dict[str, BandFit], Table, Table]:
    """Fit the colour term of each band of a survey.

    Returns
    -------
    fits
        Band to its fit, of bands with stars.
    terms
        The table of colour terms of all bands, those without stars with the published term.
    offsets
        Magnitude offset of each image from the reference: band, image, offset, stars.
    """
    fits, rows, offsets = {}, [], []
    for band in survey.bands:
        if band not in PUBLISHED:
            continue
        term = PUBLISHED[band]
        stars = merged[:0]
        if len(measurements) and f"{term.base}_flux" in merged.colnames:
            predicted, _ = apply(term, merged)
            stars, shifts = instrument_fluxes(measurements, merged, band, predicted)
            shifts["band"] = np.full(len(shifts), band)
            offsets.append(shifts)
        fit, points = fit_term(term, stars) if len(stars) else (Fit.nothing(), Table())
        if len(stars):
            fits[band] = BandFit(term, fit, points)
        rows.append(table_row(term, fit))
    empty = Table(names=("image", "offset", "stars", "band"), dtype=("U96", "f8", "i8", "U4"))
    return fits, terms_table(rows), vstack(offsets) if offsets else empty
