"""Reading and writing of dmu2: reference files in the manifest, and its own products."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from dmu0.files.manifest import read_manifest
from dmu0.files.paths import DataFolders
from dmu0.files.tables import read_table, write_table
from dmu0.surveys import Survey
from dmu2.catalogues import READERS, read_catalogue
from dmu2.colour_terms import TABLE_COLUMNS
from obs_vista.photometry import magnitude_of

MATCHED = "matched.parquet"
ASTROMETRY = "astrometry.ecsv"
FILES = "reference_files.ecsv"
TERMS = "colour_terms.ecsv"
MEASUREMENTS = "star_fluxes.parquet"
IMAGES = "star_images.ecsv"
REFCAT = "refcat"
REPORT = "refcat/report.ecsv"


def reference_files(survey: Survey) -> dict[str, list[Path]]:
    """Catalogue -> usable files of a survey, from its manifest; catalogues without files are missing."""
    manifest = read_manifest(survey.folders)
    found = {}
    for kind in READERS:
        rows = manifest[(manifest["kind"] == kind) & (manifest["state"] == "ok")]
        if len(rows):
            found[kind] = [survey.folders.input_path(str(path)) for path in rows["path"]]
    return found


def read_references(survey: Survey, progress: Callable[[Iterable], Iterable] = iter) -> tuple[dict[str, Table], Table]:
    """All reference catalogues of a survey, and the state of each file.

    Parameters
    ----------
    survey
        The survey.
    progress
        Function that wraps the loop over catalogues, e.g. ``tqdm``.

    Returns
    -------
    catalogues, files
        Tables as in `dmu2.catalogues.read_catalogue`; catalogues without a readable file are missing. The paths are
        those of the manifest.
    """
    catalogues, states = {}, []
    for kind, paths in progress(list(reference_files(survey).items())):
        catalogue, files = read_catalogue(kind, paths)
        files["path"] = [survey.folders.recorded_path(path) for path in paths]
        states.append(files)
        if len(catalogue):
            catalogues[kind] = catalogue
    return catalogues, vstack(states) if states else read_catalogue("ps1", [])[1]


def optical_coadds(survey: Survey) -> Table:
    """Table with path and band of the usable optical coadds of a survey, from its manifest."""
    manifest = read_manifest(survey.folders)
    usable = (manifest["kind"] == "optical_coadd") & (manifest["state"] == "ok")
    return manifest[usable]["path", "band", "tract", "patch"]


def read_selected(folders: DataFolders) -> Table:
    """The selected detector images of dmu1; empty if the survey has no stacks."""
    path = folders[1] / "selected.parquet"
    return read_table(path)


def read_matched(folders: DataFolders) -> Table:
    """The merged reference stars."""
    return read_table(folders[2] / MATCHED)


def write_matched(folders: DataFolders, merged: Table) -> Path:
    """Write the merged reference stars."""
    return write_table(merged, folders[2] / MATCHED)


def read_terms(folders: DataFolders) -> Table:
    """The table of colour terms.

    Raises
    ------
    FileNotFoundError
        If the table does not exist, or is from an older version without all columns.
    """
    path = folders[2] / TERMS
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}: run dmu2/2_Colour_terms for the survey {folders.survey!r} first.")
    table = Table.read(path, format="ascii.ecsv")
    missing = {name for name, _ in TABLE_COLUMNS} - set(table.colnames)
    if missing:
        raise FileNotFoundError(
            f"{path} lacks the columns {', '.join(sorted(missing))}: run dmu2/2_Colour_terms again."
        )
    return table


def star_magnitude_limits(table: Table, names: Iterable[str]) -> dict[str, tuple[int, float]]:
    """For each flux, the number of stars and the 95th percentile of the AB magnitude, which is close to the limit."""
    limits = {}
    for name in names:
        flux = np.asarray(table[f"{name}_flux"], float) if f"{name}_flux" in table.colnames else np.empty(0)
        flux = flux[np.isfinite(flux) & (flux > 0)]
        faint = float(magnitude_of(np.percentile(flux, 5))) if len(flux) else np.nan
        limits[name] = len(flux), float(faint)
    return limits
