"""The catalogue in the formats of its readers, made from the Parquet files of the tracts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from astropy.table import Table, vstack

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu0.surveys import Survey
from dmu5.hats_collection import write_hats
from dmu5.lite import lite_columns, make_lite
from dmu5.observations import obscore_columns, obscore_records
from dmu5.steps import parquet_files, read_catalogue
from dmu5.writers import write_fits, write_sorted_parquet, write_votable

SINGLE_FILE = 200_000
"""Largest number of rows for which FITS and VOTable are one file of the whole survey; otherwise one per tract."""


def row_count(survey: Survey) -> int:
    """The number of rows of the catalogue, from the footers of its files."""
    return sum(pq.ParquetFile(path).metadata.num_rows for path in parquet_files(survey))


def table_path(folder: Path, suffix: str, tract: int | None = None) -> Path:
    """The file of the whole catalogue, ``object.fits``, or that of a tract, ``fits/8524/object.fits``."""
    name = f"object.{suffix}"
    return folder / name if tract is None else folder / suffix / str(tract) / name


def write_tables(survey: Survey, *, provenance: Provenance, votable: bool = True) -> Iterator[Path]:
    """Write the catalogue as FITS and VOTable: one file of each, or one per tract for more than `SINGLE_FILE` rows.

    Parameters
    ----------
    survey
        The survey.
    provenance
        Provenance to store in the files.
    votable
        Whether to write VOTables too.

    Yields
    ------
    Path
        Each file when it is finished.
    """
    columns, folder = schema_columns(survey.bands), survey.folders[5] / "catalogue"
    tracts = [int(path.parent.name) for path in parquet_files(survey)]
    parts: list[int | None] = [None] if row_count(survey) <= SINGLE_FILE else [*tracts]
    for suffix in ("fits", "vot"):
        keep = {table_path(folder, suffix, part) for part in parts} if suffix == "fits" or votable else set()
        for old in {table_path(folder, suffix), *folder.glob(f"{suffix}/*/object.{suffix}")} - keep:
            old.unlink(missing_ok=True)  # of an earlier release with more or fewer rows
    for part in parts:
        table = read_catalogue(survey, tracts="" if part is None else str(part))
        yield write_fits(table, table_path(folder, "fits", part), columns, provenance=provenance)
        if votable:
            yield write_votable(table, table_path(folder, "vot", part), columns, provenance=provenance)


def write_lite(survey: Survey, *, provenance: Provenance) -> list[Path]:
    """Write the small catalogue (`dmu5.lite`) of all tracts, as ``object_lite.parquet`` and ``object_lite.fits``."""
    columns, folder = schema_columns(survey.bands), survey.folders[5] / "catalogue"
    needed = [column.name for column in lite_columns(columns)] + ["detect_isPrimary"]
    needed += [f"{column.name}_flag" for column in lite_columns(columns) if column.name.endswith("Flux")]
    parts = []
    for path in parquet_files(survey):
        table = read_catalogue(survey, tracts=path.parent.name, columns=needed)
        parts.append(make_lite(table, columns))
    table = vstack(parts, metadata_conflicts="error") if len(parts) > 1 else parts[0]
    written = [
        write_sorted_parquet(table, folder / "object_lite.parquet", lite_columns(columns), provenance=provenance),
        write_fits(table, folder / "object_lite.fits", lite_columns(columns), provenance=provenance),
    ]
    return written


def write_observations(survey: Survey, *, provenance: Provenance) -> Path:
    """Write the records of all images (`dmu5.observations`), ``obscore.vot``."""
    path = survey.folders[5] / "catalogue" / "obscore.vot"
    return write_votable(obscore_records(survey), path, obscore_columns(), provenance=provenance)


def write_collection(survey: Survey, *, provenance: Provenance) -> Path:
    """Write the objects of all tracts as a HATS collection, ``hats`` (`dmu5.hats_collection`)."""
    folder = survey.folders[5] / "catalogue" / "hats"
    columns = schema_columns(survey.bands)
    write_hats(parquet_files(survey), folder, columns, name=survey.name, provenance=provenance)
    return folder


def collection_rows(folder: Path) -> Table:
    """The number of rows and the size of each part of a HATS collection."""
    rows = []
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [*part.glob("dataset/**/*.parquet")]
        count = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
        rows.append((part.name, len(files), count, sum(path.stat().st_size for path in files) / 1e6))
    return Table(rows=rows or None, names=("part", "files", "rows", "MB"), dtype=[str, int, int, float])
