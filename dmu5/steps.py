"""The steps called by the notebooks: making the catalogue of a survey tract by tract, and reading it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Column, Table

from dmu0.files.provenance import gather_provenance
from dmu0.schema.columns import schema_columns
from dmu0.schema.tables import empty_table
from dmu0.surveys import Survey, chosen_tracts
from dmu2.bright_stars import BrightStars
from dmu2.steps import REFCAT
from dmu5.arrow_tables import from_arrow
from dmu5.fusing import fuse, read_objects
from dmu5.writers import parquet_path, write_parquet, write_schema


@dataclass(frozen=True)
class TractCatalogue:
    """The outcome of one tract.

    Attributes
    ----------
    tract
        Number of the tract.
    state
        ``done``, ``skipped`` or ``failed``.
    reason
        Reason, if the tract is not done.
    n_rows
        Number of rows.
    n_primary
        Number of primary rows, that is of objects.
    """

    tract: int
    state: str
    reason: str = ""
    n_rows: int = 0
    n_primary: int = 0


def make_catalogue(survey: Survey, *, tracts: str = "", ebv_map: Path | None = None) -> Iterator[TractCatalogue]:
    """Write the Parquet catalogue of a survey, one folder per tract, and the schema.

    Every column exists for every band of the survey. A tract without objects gives a table without rows.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to process, separated by spaces; all if empty.
    ebv_map
        See `dmu5.fusing.fuse`.

    Raises
    ------
    SchemaError
        If the columns of a table differ from the schema.
    """
    folder = survey.folders[5] / "catalogue"
    columns = schema_columns(survey.bands)
    provenance = gather_provenance(survey)
    write_schema(folder / "schema.yaml", survey.bands)
    found, stars = read_objects(survey, tracts), bright_stars(survey)
    for tract in chosen_tracts(survey, tracts):
        if tract not in found:
            write_parquet(empty_table(columns), folder, columns, tract=tract, provenance=provenance)
            yield TractCatalogue(tract, "skipped", "the pipeline made no object table")
            continue
        table = fuse(found[tract], columns, ebv_map=ebv_map, stars=stars)
        write_parquet(table, folder, columns, tract=tract, provenance=provenance)
        yield TractCatalogue(tract, "done", "", len(table), int(np.sum(table["detect_isPrimary"])))


def bright_stars(survey: Survey) -> BrightStars:
    """The bright stars of the survey's reference catalogue; none where it has none."""
    return BrightStars.of_catalogue(sorted((survey.folders[2] / REFCAT).glob("*.parquet")))


def tract_table(states: Sequence[TractCatalogue]) -> Table:
    """The outcome of each tract, one row per tract."""
    names = list(TractCatalogue.__dataclass_fields__)
    rows = [tuple(getattr(state, name) for name in names) for state in states]
    return Table(rows=rows or None, names=names, dtype=[int, "U8", "U256", int, int])


def parquet_files(survey: Survey, *, tracts: str = "") -> list[Path]:
    """The existing catalogue files of a survey, in the order of its tracts."""
    wanted = chosen_tracts(survey, tracts)
    paths = [parquet_path(survey.folders[5] / "catalogue", tract=tract) for tract in wanted]
    return [path for path in paths if path.exists()]


def read_catalogue(survey: Survey, *, tracts: str = "", columns: Sequence[str] | None = None) -> Table:
    """The catalogue of a survey.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to read, separated by spaces; all if empty.
    columns
        Columns to read; all if None.

    Raises
    ------
    FileNotFoundError
        If there is no catalogue.
    """
    paths = parquet_files(survey, tracts=tracts)
    if not paths:
        folder = survey.folders[5] / "catalogue"
        raise FileNotFoundError(f"There is no catalogue in {folder}: run dmu5/1_Fused_catalogue for this survey first.")
    schema = [column for column in schema_columns(survey.bands) if columns is None or column.name in columns]
    tables = [pq.ParquetFile(path).read(columns=[column.name for column in schema]) for path in paths]
    joined = Table()
    for column in schema:
        data = np.concatenate([from_arrow(table[column.name], column) for table in tables])
        joined.add_column(Column(data, name=column.name, unit=column.unit or None, description=column.description))
    return joined
