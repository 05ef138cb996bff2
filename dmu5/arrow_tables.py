"""The catalogue as Arrow tables: NULL where there is no value, and fields that describe themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.table import Table
from astropy.table.meta import get_yaml_from_table

from dmu0.files.metadata import PREFIX
from dmu0.schema.columns import SchemaColumn
from dmu0.schema.tables import empty_table
from dmu5.votables import missing_values, votable_header


def arrow_schema(columns: Sequence[SchemaColumn], words: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of the catalogue, which readers of Parquet files see.

    Parameters
    ----------
    columns
        The schema of the catalogue.
    words
        Provenance to store in the metadata.

    Returns
    -------
    Schema
        Each field has metadata ``unit``, ``ucd`` and ``description``, without those that are empty. The metadata of
        the schema has the same three times, for readers of different kinds: a VOTable without rows under the keys of
        the VOParquet convention (IVOA Note 2025-01-16), the serialisation of astropy's ``Table``, and the provenance.
    """
    fields = [
        pa.field(column.name, _arrow_type(column), nullable=column.nullable, metadata=_said(column))
        for column in columns
    ]
    metadata = {
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": votable_header(columns, words).decode(),
        "table_meta_yaml": "\n".join(get_yaml_from_table(empty_table(columns))),
    }
    for column in columns:
        if np.dtype(column.dtype).kind == "U":
            metadata[f"table::len::{column.name}"] = str(np.dtype(column.dtype).itemsize // 4)
    return pa.schema(fields, metadata | {PREFIX + name: value for name, value in words.items()})


def _arrow_type(column: SchemaColumn) -> pa.DataType:
    dtype = np.dtype(column.dtype)
    return pa.string() if dtype.kind == "U" else pa.from_numpy_dtype(dtype)


def _said(column: SchemaColumn) -> dict[str, str]:
    said = {"unit": column.unit, "ucd": column.ucd, "description": column.description}
    return {name: text for name, text in said.items() if text}


def to_arrow(table: Table, columns: Sequence[SchemaColumn], schema: pa.Schema, rows: np.ndarray | slice) -> pa.Table:
    """Rows of a table as an Arrow table, with NULL where there is no value.

    Parameters
    ----------
    table
        Table with the columns of the schema.
    columns
        The schema of the catalogue.
    schema
        `arrow_schema` of the columns.
    rows
        Numbers of the rows, or a slice.
    """
    arrays = []
    for column, field in zip(columns, schema, strict=True):
        values = np.asarray(table[column.name])[rows]
        missing = missing_values(values, column)
        mask = missing if missing.any() else None
        arrays.append(pa.array(values.astype(column.dtype, copy=False), type=field.type, mask=mask))
    return pa.Table.from_arrays(arrays, schema=schema)


def from_arrow(values: pa.ChunkedArray, column: SchemaColumn) -> np.ndarray:
    """The values of an Arrow column as numpy array of the schema's type, with its value for missing data for NULL."""
    filled = pc.fill_null(values, column.missing) if values.null_count else values
    return np.asarray(filled.to_numpy()).astype(column.dtype)
