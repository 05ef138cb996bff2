"""Writers of the catalogue as Parquet, FITS and VOTable, with units, UCDs and descriptions, and of its schema."""

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
from dmu0.files.metadata import into_header, into_parquet, into_votable
from dmu0.files.provenance import Provenance
from dmu0.schema.columns import SchemaColumn, expanded_schema


def write_schema(path: Path, bands: Sequence[str]) -> Path:
    """Write the schema of a survey's bands as valid Felis; the file appears complete or not at all."""
    from felis.datamodel import Schema  # slow to import

    content = expanded_schema(bands)
    Schema.model_validate(content)
    with written_whole(path) as part:
        part.write_text(yaml.safe_dump(content, sort_keys=False, width=120))
    return path


def parquet_path(folder: Path, *, tract: int) -> Path:
    """The catalogue file of a tract. The folder is not ``tract=...``: readers would find the column twice."""
    return folder / "parquet" / str(tract) / "object.parquet"


def write_parquet(table: Table, folder: Path, *, tract: int, provenance: Provenance) -> Path:
    """Write one tract with zstd compression; the file includes units, descriptions and provenance.

    The file also has the column ``tract``, as a number, so that it can be used on its own.

    Parameters
    ----------
    table
        The catalogue of the tract.
    folder
        Folder of the survey's catalogue.
    tract
        Number of the tract.
    provenance
        Provenance to store in the key-value metadata of the file's schema.

    Returns
    -------
    Path
        `parquet_path`.
    """
    path = parquet_path(folder, tract=tract)
    with written_whole(path) as part:
        table.write(part, format="parquet")
        arrow = pq.ParquetFile(part).read()  # astropy put units and descriptions there, but cannot compress
        floats = [field.name for field in arrow.schema if pa.types.is_floating(field.type)]
        pq.write_table(
            into_parquet(arrow, provenance.words()),
            part,
            compression="zstd",
            use_byte_stream_split=floats,
            use_dictionary=[*set(arrow.column_names) - {*floats}],
        )
    return path


def write_fits(table: Table, path: Path, columns: Sequence[SchemaColumn], *, provenance: Provenance) -> Path:
    """Write a FITS table whose header gives the unit, UCD and meaning of each column (TUNIT, TUCD, TCOMM).

    Parameters
    ----------
    table
        The catalogue.
    path
        Name of the file.
    columns
        The schema of the table.
    provenance
        Provenance to store in cards of both headers (`dmu0.files.metadata.CARDS`).
    """
    hdu = fits.table_to_hdu(_plain(table))
    for number, column in enumerate(columns, start=1):
        if column.ucd:
            hdu.header[f"TUCD{number}"] = column.ucd
        hdu.header[f"TCOMM{number}"] = column.description  # long ones go on in CONTINUE cards
    hdu.header["EXTNAME"] = "OBJECT"
    primary = fits.PrimaryHDU()
    for header in (primary.header, hdu.header):
        into_header(header, provenance.words())
    with written_whole(path) as part:
        fits.HDUList([primary, hdu]).writeto(part)
    return path


def write_votable(table: Table, path: Path, columns: Sequence[SchemaColumn], *, provenance: Provenance) -> Path:
    """Write a VOTable (binary2) with units, UCDs and descriptions.

    Parameters
    ----------
    table
        The catalogue.
    path
        Name of the file.
    columns
        The schema of the table.
    provenance
        Provenance to store in INFO elements.
    """
    votable = from_table(_plain(table), table_id="object")
    fields = {field.name: field for field in votable.get_first_table().fields}
    for column in columns:
        if column.ucd:
            fields[column.name].ucd = column.ucd
        fields[column.name].description = column.description
    into_votable(votable, provenance.words())
    votable.set_all_tables_format("binary2")
    with written_whole(path) as part:
        votable.to_xml(str(part))
    return path


def _plain(table: Table) -> Table:
    """The table without the UCDs of its columns, which the writers add themselves."""
    plain = Table(table, copy=False)
    for name in plain.colnames:
        plain[name].meta.clear()
    return plain
