"""The columns of Parquet, FITS and VOTable files of the catalogue, as described in their own headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import parse_single_table

from dmu0.schema.columns import SchemaColumn
from dmu0.schema.tables import same_type

_FITS_TYPES = {"L": "?", "I": "i2", "J": "i4", "K": "i8", "E": "f4", "D": "f8", "A": "U1"}
_VOTABLE_TYPES = {"boolean": "?", "short": "i2", "int": "i4", "long": "i8", "float": "f4", "double": "f8"}
_VOTABLE_TYPES |= {"char": "U1", "unicodeChar": "U1"}


@dataclass(frozen=True)
class FileColumn:
    """One column as described in a file.

    Attributes
    ----------
    name
        Name of the column.
    dtype
        Type as a numpy type, or as in the file if numpy has no such type; text is ``U1`` regardless of its length.
    unit
        Unit as written in the file; empty for none.
    ucd
        UCD; empty for none.
    description
        Meaning of the column; empty if the file does not give it.
    """

    name: str
    dtype: str
    unit: str
    ucd: str
    description: str


def file_columns(path: Path) -> list[FileColumn]:
    """The columns of a Parquet file, a FITS table (first extension) or a VOTable (first table), in order.

    Raises
    ------
    ValueError
        If the name of the file does not end with .parquet, .fits or .vot.
    """
    readers = {".parquet": _parquet_columns, ".fits": _fits_columns, ".vot": _votable_columns}
    if path.suffix not in readers:
        raise ValueError(f"{path.name}: columns are read from names that end with {', '.join(readers)}.")
    return readers[path.suffix](path)


def _parquet_columns(path: Path) -> list[FileColumn]:
    return [
        FileColumn(
            field.name,
            "U1" if pa.types.is_string(field.type) else _arrow_name(field.type),
            *((field.metadata or {}).get(key, b"").decode() for key in (b"unit", b"ucd", b"description")),
        )
        for field in pq.read_schema(path)
    ]


def _arrow_name(kind: pa.DataType) -> str:
    """The numpy name of an Arrow type, or the Arrow name if numpy has none."""
    names = {"bool": "?", "float": "f4", "double": "f8"}
    return names.get(str(kind), str(kind))


def _fits_columns(path: Path) -> list[FileColumn]:
    with fits.open(path) as hdus:
        header, columns = hdus[1].header, hdus[1].columns
        return [
            FileColumn(
                column.name,
                _FITS_TYPES.get(column.format.lstrip("0123456789"), column.format),
                column.unit or "",
                str(header.get(f"TUCD{number}", "")),
                str(header.get(f"TCOMM{number}", "")),
            )
            for number, column in enumerate(columns, start=1)
        ]


def _votable_columns(path: Path) -> list[FileColumn]:
    return [
        FileColumn(
            field.name,
            _VOTABLE_TYPES.get(field.datatype, field.datatype),
            "" if field.unit is None else str(field.unit),
            field.ucd or "",
            " ".join((field.description or "").split()),  # writers may break its lines
        )
        for field in parse_single_table(path).fields
    ]


def deviations(found: Sequence[FileColumn], columns: Sequence[SchemaColumn]) -> list[str]:
    """Deviations of the columns of a file from the schema, one text per deviation; none if they agree.

    Parameters
    ----------
    found
        Columns of the file.
    columns
        The schema. The byte order, the length of text, and the spelling of units may differ.
    """
    names, wanted = [column.name for column in found], {column.name: column for column in columns}
    seen: set[str] = set()
    texts = [f"{name}: missing" for name in wanted if name not in names]
    texts += [f"{name}: not in the schema" for name in names if name not in wanted]
    for name in names:
        if name.lower() in seen:
            texts.append(f"{name}: twice, where case is ignored")
        seen.add(name.lower())
    if not texts and names != list(wanted):
        first = next(name for name, other in zip(names, wanted, strict=True) if name != other)
        texts.append(f"{first}: not in its place")
    for column in found:
        if column.name in wanted:
            texts += _differences(column, wanted[column.name])
    return texts


def _differences(column: FileColumn, wanted: SchemaColumn) -> list[str]:
    """Differences of a column from the schema in type, unit, UCD and description."""
    return [
        f"{column.name}: {what} {had!r}, must be {must!r}"
        for what, had, must, same in (
            ("type", column.dtype, wanted.dtype, _same_type(column.dtype, wanted.dtype)),
            ("unit", column.unit, wanted.unit, _same_unit(column.unit, wanted.unit)),
            ("UCD", column.ucd, wanted.ucd, column.ucd == wanted.ucd),
            ("description", column.description, wanted.description, column.description == wanted.description),
        )
        if not same
    ]


def _same_type(found: str, wanted: str) -> bool:
    try:
        return same_type(found, wanted)
    except TypeError:  # a type that numpy does not know
        return False


def _same_unit(found: str, wanted: str) -> bool:
    if not found or not wanted:
        return found == wanted
    return u.Unit(found, parse_strict="silent") == u.Unit(wanted)
