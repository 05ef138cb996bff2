"""The files of the catalogue: Parquet, FITS and VOTable, each with units, UCDs and descriptions, and the schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import Table

from dmu0.files.atomic import written_whole
from dmu0.schema.columns import SchemaColumn, expanded_schema


def write_schema(path: Path, bands: Sequence[str]) -> Path:
    """Write the schema of a survey's bands, valid Felis, whole or not at all."""
    from felis.datamodel import Schema  # slow to import

    content = expanded_schema(bands)
    Schema.model_validate(content)
    with written_whole(path) as part:
        part.write_text(yaml.safe_dump(content, sort_keys=False, width=120))
    return path


def parquet_path(folder: Path, *, tract: int) -> Path:
    """The catalogue file of a tract. The folder is not ``tract=...``: readers would find the column twice."""
    return folder / "parquet" / str(tract) / "object.parquet"


def write_parquet(table: Table, folder: Path, *, tract: int) -> Path:
    """Write one tract, zstd-compressed; units and descriptions are in the file.

    The column ``tract`` is in the file too, as a number, so that a file makes sense on its own.
    """
    path = parquet_path(folder, tract=tract)
    with written_whole(path) as part:
        table.write(part, format="parquet")
        arrow = pq.ParquetFile(part).read()  # astropy put units and descriptions there, but cannot compress
        floats = [field.name for field in arrow.schema if pa.types.is_floating(field.type)]
        pq.write_table(
            arrow,
            part,
            compression="zstd",
            use_byte_stream_split=floats,
            use_dictionary=[*set(arrow.column_names) - {*floats}],
        )
    return path


def write_fits(table: Table, path: Path, columns: Sequence[SchemaColumn]) -> Path:
    """Write a FITS table whose header says unit, UCD and meaning of each column (TUNIT, TUCD, TCOMM)."""
    hdu = fits.table_to_hdu(_plain(table))
    for number, column in enumerate(columns, start=1):
        if column.ucd:
            hdu.header[f"TUCD{number}"] = column.ucd
        hdu.header[f"TCOMM{number}"] = column.description[:NOTE_LENGTH]
    hdu.header["EXTNAME"] = "OBJECT"
    with written_whole(path) as part:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(part)
    return path


NOTE_LENGTH = 68
"""Characters of a description that fit into a FITS card; the rest is in the schema."""


def write_votable(table: Table, path: Path, columns: Sequence[SchemaColumn]) -> Path:
    """Write a VOTable (binary2) with units, UCDs and descriptions."""
    votable = from_table(_plain(table), table_id="object")
    fields = {field.name: field for field in votable.get_first_table().fields}
    for column in columns:
        if column.ucd:
            fields[column.name].ucd = column.ucd
        fields[column.name].description = column.description
    votable.set_all_tables_format("binary2")
    with written_whole(path) as part:
        votable.to_xml(str(part))
    return path


def _plain(table: Table) -> Table:
    """The table without the UCDs of its columns, which the writers put where they belong themselves."""
    plain = Table(table, copy=False)
    for name in plain.colnames:
        plain[name].meta.clear()
    return plain
