"""Making tables with the columns of the schema, and checking them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Column, Table

from dmu0.schema.columns import SchemaColumn, SchemaError


def check_table(table: Table, columns: Sequence[SchemaColumn]) -> None:
    """Check the columns of a table.

    Parameters
    ----------
    table
        The table.
    columns
        Columns that it must have, and no others.

    Raises
    ------
    SchemaError
        If columns are missing, unknown or have a different type; the message names the first few of each.
    """
    wanted = {column.name: column for column in columns}
    problems = []
    if missing := [name for name in wanted if name not in table.colnames]:
        problems.append(f"{len(missing)} missing: {_first(missing)}")
    if extra := [name for name in table.colnames if name not in wanted]:
        problems.append(f"{len(extra)} not in the schema: {_first(extra)}")
    wrong = [
        f"{name} is {table[name].dtype}, must be {wanted[name].dtype}"
        for name in table.colnames
        if name in wanted and not same_type(table[name].dtype, wanted[name].dtype)
    ]
    if wrong:
        problems.append(f"{len(wrong)} of another type: {_first(wrong)}")
    if problems:
        raise SchemaError("The columns are not those of dmu0/schema/object.yaml: " + "; ".join(problems) + ".")


def same_type(found: np.dtype | str, wanted: np.dtype | str) -> bool:
    """Whether two numpy types are equal regardless of byte order; text of any length, or as objects, is one type."""
    found, wanted = np.dtype(found).newbyteorder("="), np.dtype(wanted).newbyteorder("=")
    if wanted.kind == "U":
        return found.kind in "USO"
    return found == wanted


def _first(names: list[str], count: int = 4) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def make_table(values: Mapping[str, np.ndarray], columns: Sequence[SchemaColumn], *, length: int) -> Table:
    """A table with all columns in the schema's order, with its types, units, descriptions and UCDs.

    Parameters
    ----------
    values
        Column name -> values; columns that are not given are filled with their value for missing data.
    columns
        The schema.
    length
        Number of rows.

    Raises
    ------
    KeyError
        If a name in ``values`` is not a column.
    """
    known = {column.name for column in columns}
    if unknown := [name for name in values if name not in known]:
        raise KeyError(f"The schema of these bands has no column {unknown[0]!r}: see dmu0/schema/object.yaml.")
    table = Table()
    for column in columns:
        data = values.get(column.name)
        if data is None:
            data = np.full(length, column.missing, dtype=column.dtype)
        table.add_column(
            Column(
                np.asarray(data).astype(column.dtype),
                name=column.name,
                unit=column.unit or None,
                description=column.description,
                meta={"ucd": column.ucd} if column.ucd else {},
            )
        )
    return table


def with_schema(table: Table, columns: Sequence[SchemaColumn]) -> Table:
    """A table's columns in the schema's order, with its units, descriptions and UCDs.

    Parameters
    ----------
    table
        Table with the columns of the schema.
    columns
        The schema.

    Raises
    ------
    SchemaError
        If the columns of the table differ from the schema.
    """
    check_table(table, columns)
    return make_table({name: np.asarray(table[name]) for name in table.colnames}, columns, length=len(table))


def empty_table(columns: Sequence[SchemaColumn], length: int = 0) -> Table:
    """A table of missing values, with all columns."""
    return make_table({}, columns, length=length)


def column_table(columns: Sequence[SchemaColumn]) -> Table:
    """The columns as a table for display: name, unit, UCD and description."""
    rows = [(column.name, column.unit, column.ucd, column.description) for column in columns]
    return Table(rows=rows or None, names=["name", "unit", "ucd", "description"], dtype=[str] * 4)
