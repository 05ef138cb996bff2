"""The columns of the catalogue, from ``schema.yaml``: expanded to the bands of a survey, and held against tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.table import Column, Table
from felis.datamodel import Schema

TEMPLATE = Path(__file__).with_name("schema.yaml")
NAME_LENGTH = 68
"""Longest name of a column: what a FITS header card holds."""

_NUMPY = {"boolean": "?", "short": "i2", "int": "i4", "long": "i8", "float": "f4", "double": "f8"}
# The spectral word of a band's UCDs (IVOA UCD1+ controlled vocabulary), by wavelength.
_SPECTRAL = {"u": "em.opt.U", "g": "em.opt.B", "r": "em.opt.R", "i": "em.opt.I", "z": "em.opt.I", "y": "em.IR.J"}
_SPECTRAL |= {"vz": "em.opt.I", "vy": "em.IR.J", "vj": "em.IR.J", "vh": "em.IR.H", "vk": "em.IR.K"}


class SchemaError(ValueError):
    """A table is not what the schema says; the message names the columns."""


@dataclass(frozen=True)
class CatalogueColumn:
    """One column of the catalogue.

    Parameters
    ----------
    name
        Name in the catalogue.
    dtype
        numpy type.
    unit
        IVOA unit string; empty for none.
    ucd
        IVOA UCD; empty for none.
    description
        What it holds.
    band
        The band that it is of; empty if of none.
    """

    name: str
    dtype: str
    unit: str
    ucd: str
    description: str
    band: str = ""

    @property
    def missing(self) -> object:
        """The value that stands for "none": NaN, an empty string, False or -1."""
        return {"f": np.nan, "U": "", "b": False}.get(np.dtype(self.dtype).kind, -1)


@cache
def _template() -> dict[str, Any]:
    content = yaml.safe_load(TEMPLATE.read_text())
    Schema.model_validate(content)
    return content


def expanded_schema(bands: Sequence[str]) -> dict[str, Any]:
    """The Felis schema of a survey's catalogue: one table, with the columns of every band.

    Parameters
    ----------
    bands
        Labels of the survey's bands.

    Raises
    ------
    SchemaError
        If two columns have names that differ in case only, or a name is too long.
    """
    template = _template()
    common, per_band = template["tables"]
    columns = [dict(column) for column in common["columns"]]
    columns += [_band_column(column, band) for band in bands for column in per_band["columns"]]
    for number, column in enumerate(columns, start=1):
        column["tap:column_index"] = number
    _check_names([column["name"] for column in columns])
    table = {**common, "columns": columns}
    return {**template, "tables": [table]}


def _band_column(column: dict[str, Any], band: str) -> dict[str, Any]:
    """A column of the template, as that of a band."""
    name = f"{band}_{column['name']}"
    text = column["description"].replace("{band}", band)
    new = {**column, "name": name, "@id": f"#object.{name}", "description": text}
    if "phot." in column.get("ivoa:ucd", ""):
        new["ivoa:ucd"] = f"{column['ivoa:ucd']};{_SPECTRAL[band]}"
    return new


def _check_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if len(name) > NAME_LENGTH:
            raise SchemaError(f"Column {name!r} has {len(name)} characters; at most {NAME_LENGTH} fit.")
        if name.lower() in seen:
            raise SchemaError(f"Columns {seen[name.lower()]!r} and {name!r} are the same where case is ignored.")
        seen[name.lower()] = name


def catalogue_columns(bands: Sequence[str]) -> list[CatalogueColumn]:
    """The columns of a survey's catalogue, in order: the common ones, then band by band."""
    per_band = len(_template()["tables"][1]["columns"])
    columns = expanded_schema(bands)["tables"][0]["columns"]
    common = len(columns) - per_band * len(bands)
    of_band = [""] * common + [band for band in bands for _ in range(per_band)]
    return [
        CatalogueColumn(
            name=column["name"],
            dtype=_NUMPY.get(column["datatype"], f"U{column.get('length', 1)}"),
            unit=column.get("ivoa:unit", ""),
            ucd=column.get("ivoa:ucd", ""),
            description=column["description"],
            band=band,
        )
        for column, band in zip(columns, of_band, strict=True)
    ]


def write_schema(path: Path, bands: Sequence[str]) -> Path:
    """Write the expanded schema, valid Felis, whole or not at all."""
    content = expanded_schema(bands)
    Schema.model_validate(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(yaml.safe_dump(content, sort_keys=False, width=120))
    part.replace(path)
    return path


def check_table(table: Table, columns: Sequence[CatalogueColumn]) -> None:
    """Hold a table against columns.

    Parameters
    ----------
    table
        The table.
    columns
        What it must have, no more and no less.

    Raises
    ------
    SchemaError
        If columns are missing or too many, or of another kind; the message names the first few of each.
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
        if name in wanted and not _same_kind(table[name].dtype, np.dtype(wanted[name].dtype))
    ]
    if wrong:
        problems.append(f"{len(wrong)} of another type: {_first(wrong)}")
    if problems:
        raise SchemaError("The columns are not those of schema.yaml: " + "; ".join(problems) + ".")


def _same_kind(found: np.dtype, wanted: np.dtype) -> bool:
    """The same type; texts of any length, and as objects, count as one."""
    if wanted.kind == "U":
        return found.kind in "USO"
    return found == wanted


def _first(names: list[str], count: int = 4) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def with_schema(table: Table, columns: Sequence[CatalogueColumn]) -> Table:
    """The table's columns in the schema's order, with its units, descriptions and UCDs.

    Parameters
    ----------
    table
        With the columns of the schema, checked by `check_table`.
    columns
        The schema.
    """
    check_table(table, columns)
    new = Table()
    for column in columns:
        values = np.asarray(table[column.name]).astype(column.dtype)
        meta = {"ucd": column.ucd} if column.ucd else {}
        new.add_column(
            Column(values, name=column.name, unit=column.unit or None, description=column.description, meta=meta)
        )
    return new


def empty_table(columns: Sequence[CatalogueColumn], length: int = 0) -> Table:
    """A table of missing values, with all columns."""
    values = {column.name: np.full(length, column.missing, dtype=column.dtype) for column in columns}
    return with_schema(Table(values), columns)


def column_table(columns: Sequence[CatalogueColumn]) -> Table:
    """The columns as a table to look at: name, unit, UCD and description."""
    rows = [(column.name, column.unit, column.ucd, column.description) for column in columns]
    return Table(rows=rows, names=["name", "unit", "ucd", "description"])
