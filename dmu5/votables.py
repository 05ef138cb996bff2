"""VOTables of the catalogue: the description of its columns, and its rows as a BINARY2 stream."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence

import numpy as np
from astropy.io.votable import from_table
from astropy.io.votable.tree import CooSys, VOTableFile
from astropy.table import Table

from dmu0.files.metadata import into_votable
from dmu0.schema.columns import SchemaColumn
from dmu0.schema.tables import empty_table

FRAME = "ICRS"
"""Frame of the positions: the ID and the system of the COOSYS element."""

_END = b"</TABLE>"
_TEXT = re.compile(rb"(?<=<DESCRIPTION>)[^<]*(?=</DESCRIPTION>)")


def votable_header(columns: Sequence[SchemaColumn], words: Mapping[str, str]) -> bytes:
    """A VOTable without rows: type, unit, UCD and description of each column, the frame, and the provenance.

    Parameters
    ----------
    columns
        The schema.
    words
        Provenance to store in INFO elements.

    Notes
    -----
    Booleans are ``boolean``, because ``bit``, which astropy chooses, is not read by STILTS; text is ``char``.
    """
    return _xml(_described(columns, words))


def _described(columns: Sequence[SchemaColumn], words: Mapping[str, str]) -> VOTableFile:
    bare = empty_table(columns)
    for name in bare.colnames:
        bare[name].meta.clear()
    votable = from_table(bare, table_id="object")
    fields = {field.name: field for field in votable.get_first_table().fields}
    for column in columns:
        field = fields[column.name]
        field.description = column.description
        field.ucd = column.ucd or None
        field.datatype = {"bit": "boolean", "unicodeChar": "char"}.get(field.datatype, field.datatype)
        if column.ucd.startswith("pos.eq.") and column.unit == "deg":
            field.ref = FRAME
    votable.resources[0].coordinate_systems.append(CooSys(ID=FRAME, system=FRAME))
    into_votable(votable, words)
    return votable


def _xml(votable: VOTableFile) -> bytes:
    stream = io.BytesIO()
    votable.to_xml(stream)
    # astropy breaks the lines of descriptions, and readers keep the breaks.
    return _TEXT.sub(lambda found: b" ".join(found[0].split()), stream.getvalue())


def votable_bytes(table: Table, columns: Sequence[SchemaColumn], words: Mapping[str, str]) -> bytes:
    """A VOTable in BINARY2 format; missing values are null.

    Parameters
    ----------
    table
        Table with the columns of the schema.
    columns
        The schema.
    words
        Provenance to store in INFO elements.

    Notes
    -----
    The rows of BINARY2 (VOTable 1.4, section 6.4) are flags of the null fields, one bit each, and the big-endian values
    of all fields. As all fields have a fixed length, that is a structured array: writing it whole is 60 times faster
    than row by row.
    """
    dtypes = {column.name: _stream_type(column) for column in columns}
    flags = -(-len(columns) // 8)
    rows = np.zeros(len(table), [("null", "u1", (flags,)), *dtypes.items()])
    null = np.zeros((len(table), len(columns)), bool)
    for number, column in enumerate(columns):
        values = np.asarray(table[column.name])
        null[:, number] = missing_values(values, column)
        if values.dtype.kind == "b":
            values = np.where(values, b"T", b"F")
        rows[column.name] = np.char.encode(values, "ascii") if values.dtype.kind == "U" else values
    rows["null"] = np.packbits(null, axis=1)
    stream = base64.b64encode(rows.tobytes())
    data = b'<DATA><BINARY2><STREAM encoding="base64">' + stream + b"</STREAM></BINARY2></DATA>"
    head, end, tail = votable_header(columns, words).partition(_END)
    return head + data + end + tail


def _stream_type(column: SchemaColumn) -> np.dtype:
    dtype = np.dtype(column.dtype)
    if dtype.kind == "b":
        return np.dtype("S1")
    return np.dtype(f"S{dtype.itemsize // 4}") if dtype.kind == "U" else dtype.newbyteorder(">")


def missing_values(values: np.ndarray, column: SchemaColumn) -> np.ndarray:
    """Where a column has no value: NaN, and -1 in integer columns, where the schema allows it."""
    if not column.nullable or values.dtype.kind in "bUS":
        return np.zeros(len(values), bool)
    return np.isnan(values) if values.dtype.kind == "f" else values == column.missing
