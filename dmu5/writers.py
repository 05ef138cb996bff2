"""Writers of the catalogue as Parquet, FITS and VOTable, with units, UCDs and descriptions, and of its schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hpgeom
import numpy as np
import pyarrow.parquet as pq
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.table.meta import get_yaml_from_table

from dmu0.files.atomic import written_whole
from dmu0.files.metadata import into_header
from dmu0.files.provenance import Provenance
from dmu0.schema.columns import SchemaColumn, expanded_schema
from dmu0.schema.tables import empty_table
from dmu5.arrow_tables import arrow_schema, to_arrow
from dmu5.votables import votable_bytes

HEALPIX_ORDER = 29
"""Order of the HEALPix index by which rows are sorted on the sky, and of ``_healpix_29`` in HATS."""

ROW_GROUP = 8192
"""Rows per row group of Parquet files: a reader of a small area reads few of them."""

_BLOCK = 16 * ROW_GROUP  # rows that are converted at once, so that memory stays bounded


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


def write_parquet(
    table: Table, folder: Path, columns: Sequence[SchemaColumn], *, tract: int, provenance: Provenance
) -> Path:
    """Write one tract; the file includes units, UCDs, descriptions and provenance.

    The file also has the column ``tract``, as a number, so that it can be used on its own.

    Parameters
    ----------
    table
        The catalogue of the tract.
    folder
        Folder of the survey's catalogue.
    columns
        The schema of the table.
    tract
        Number of the tract.
    provenance
        Provenance to store in the key-value metadata of the file's schema.

    Returns
    -------
    Path
        `parquet_path`.
    """
    return write_sorted_parquet(table, parquet_path(folder, tract=tract), columns, provenance=provenance)


def write_sorted_parquet(table: Table, path: Path, columns: Sequence[SchemaColumn], *, provenance: Provenance) -> Path:
    """Write a Parquet file whose rows are sorted on the sky, in groups of `ROW_GROUP` with statistics.

    Missing values are NULL. Compression is zstd, of floats after their bytes were separated by significance.

    Parameters
    ----------
    table
        Table with the columns of the schema.
    path
        Name of the file.
    columns
        The schema of the table.
    provenance
        Provenance to store in the key-value metadata of the file's schema.
    """
    schema = arrow_schema(columns, provenance.words())
    order = np.argsort(sky_index(np.asarray(table["coord_ra"]), np.asarray(table["coord_dec"])), kind="stable")
    with written_whole(path) as part, pq.ParquetWriter(part, schema, **parquet_options(columns)) as writer:
        for start in range(0, max(len(table), 1), _BLOCK):
            block = to_arrow(table, columns, schema, order[start : start + _BLOCK])
            writer.write_table(block, row_group_size=ROW_GROUP)
    return path


def parquet_options(columns: Sequence[SchemaColumn]) -> dict[str, object]:
    """Options of pyarrow's writer for files with these columns."""
    floats = [column.name for column in columns if np.dtype(column.dtype).kind == "f"]
    others = [column.name for column in columns if column.name not in {*floats}]
    return {"compression": "zstd", "use_byte_stream_split": floats, "use_dictionary": others}


def sky_index(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Nested HEALPix index of order `HEALPIX_ORDER` of positions in deg; neighbours on the sky have close numbers."""
    if not len(ra):
        return np.zeros(0, np.int64)
    return hpgeom.angle_to_pixel(2**HEALPIX_ORDER, ra, dec, nest=True, lonlat=True)


def write_fits(table: Table, path: Path, columns: Sequence[SchemaColumn], *, provenance: Provenance) -> Path:
    """Write a FITS table whose header gives the unit, UCD and meaning of each column.

    They are in TUNIT, TUCD and TCOMM, which TOPCAT reads, and in astropy's serialisation of columns in COMMENT cards,
    because astropy reads no descriptions elsewhere. A missing value is NaN, and TNULL in columns of integers.

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

    Notes
    -----
    CHECKSUM and DATASUM have no date in their comments, so that the same content makes the same bytes.
    """
    plain = Table(table, copy=False)
    for name in plain.colnames:
        plain[name].meta.clear()
    plain.meta.clear()
    hdu = fits.table_to_hdu(plain)
    for number, column in enumerate(columns, start=1):
        if column.unit:
            hdu.columns[column.name].unit = column.unit  # as in the schema: astropy writes pix for pixel
        if column.ucd:
            hdu.header[f"TUCD{number}"] = column.ucd
        hdu.header[f"TCOMM{number}"] = column.description  # long ones go on in CONTINUE cards
        if column.nullable and np.dtype(column.dtype).kind == "i":
            hdu.columns[column.name].null = column.missing
    hdu.header["EXTNAME"] = "OBJECT"
    hdu.header["RADESYS"] = ("ICRS", "frame of coord_ra and coord_dec")
    primary = fits.PrimaryHDU()
    for header in (primary.header, hdu.header):
        into_header(header, provenance.words())
    for line in _serialised_columns(columns):
        hdu.header.add_comment(line)
    for each in (primary, hdu):
        each.add_checksum(when="checksum of this HDU")
    with written_whole(path) as part:
        fits.HDUList([primary, hdu]).writeto(part)
    return path


def _serialised_columns(columns: Sequence[SchemaColumn]) -> list[str]:
    """Lines of the COMMENT cards in which astropy looks for the descriptions and the metadata of columns."""
    lines = ["--BEGIN-ASTROPY-SERIALIZED-COLUMNS--"]
    described = empty_table(columns)
    described.meta["__serialized_columns__"] = {}
    for line in get_yaml_from_table(described):
        pieces = [line[start : start + 70] for start in range(0, len(line), 70)] or [""]
        lines += [piece + "\\" for piece in pieces[:-1]] + pieces[-1:]  # a backslash: goes on in the next card
    return [*lines, "--END-ASTROPY-SERIALIZED-COLUMNS--"]


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
    with written_whole(path) as part:
        part.write_bytes(votable_bytes(table, columns, provenance.words()))
    return path
