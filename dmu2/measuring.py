"""The steps of the colour terms of a survey: choosing the images, measuring them, and fitting all bands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table, vstack

from dmu0.published.coadds import plain_file, survey_source
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
    read_stacks,
)


class BandFit(NamedTuple):
    """The colour term of one band.

    Attributes
    ----------
    term
        Published colour term.
    fit
        Fitted colour term.
    stars
        Stars of the fit, with colour, difference, residual, used.
    """

    term: ColourTerm
    fit: Fit
    stars: Table


class ImageFile(NamedTuple):
    """A file whose images are measured.

    Attributes
    ----------
    path
        Path of the file.
    rows
        Rows of the file in the selected images of dmu1; None for a coadd.
    band
        Band of a coadd.
    """

    path: Path
    rows: Table | None
    band: str = ""

    @property
    def images(self) -> int:
        """Number of images of the file to be measured."""
        return 1 if self.rows is None else len(self.rows)


def files_to_measure(
    survey: Survey, selected: Table, coadds: Table, *, exposures: int, coadds_per_band: int
) -> list[ImageFile]:
    """The files on which reference stars are measured.

    Parameters
    ----------
    survey
        The survey.
    selected
        Detector images of dmu1.
    coadds
        Usable optical coadds, with path and band.
    exposures
        Number of VISTA exposures per band: those of best seeing.
    coadds_per_band
        Number of optical coadds per band, spread over the survey.
    """
    files = []
    if len(selected):
        chosen = choose_stacks(selected, survey.vista.stack_bands, exposures=exposures)
        for recorded in dict.fromkeys(chosen["path"].tolist()):
            files.append(ImageFile(survey.folders.input_path(recorded), chosen[chosen["path"] == recorded]))
    for band in survey.optical_bands:
        paths = coadds["path"][np.asarray(coadds["band"]) == band].tolist()
        step = max(len(paths) / coadds_per_band, 1)
        for number in np.unique(np.arange(0, len(paths), step).astype(int)):
            files.append(ImageFile(survey.folders.input_path(paths[number]), None, band))
    return files


def measure_files(
    survey: Survey,
    files: list[ImageFile],
    merged: Table,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[Table, Table]:
    """Measure the fluxes of the reference stars on images; also returns the state of each image.

    An image that cannot be measured fails with a reason; the others are processed.

    Parameters
    ----------
    survey
        The survey.
    files
        Files from `files_to_measure`.
    merged
        Reference stars.
    progress
        Function that wraps the loop over files, e.g. ``tqdm``.
    """
    tables, accounts = [], []
    for file in progress(files):
        for image in _images(survey, file):
            if isinstance(image, str):
                account = {"image": file.path.name, "band": file.band, "stars": 0, "state": "failed", "reason": image}
                accounts.append(account | {"aperture_correction": np.nan, "correction_err": np.nan})
                continue
            table, account = measure(image, merged)
            tables.append(table)
            accounts.append(account)
    return collect(tables), account_of(accounts)


def _images(survey: Survey, file: ImageFile) -> Iterator[StarImage | str]:
    """The images of a file, or the reason why they cannot be used."""
    if file.rows is not None:
        recorded = str(file.rows["confidence_path"][0])
        confidence = survey.folders.input_path(recorded) if recorded else None
        yield from read_stacks(file.rows, file.path, system=survey.vista.magnitudes, confidence=confidence)
        return
    try:
        yield read_coadd(file.path, file.band, file=plain_file(survey_source(survey, file.path, file.band)))
    except ImageUnusable as error:
        yield str(error)


def fit_bands(survey: Survey, measurements: Table, merged: Table) -> tuple[dict[str, BandFit], Table, Table]:
    """Fit the colour term of each band of a survey.

    Returns
    -------
    fits
        Band -> fit, for bands with stars.
    terms
        Table of the colour terms of all bands; those without stars have the published term.
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
    empty = Table(names=("image", "offset", "stars", "band"), dtype=("U96", "f8", "i8", "U8"))
    return fits, terms_table(rows), vstack(offsets) if offsets else empty
