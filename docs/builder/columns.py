"""The page of the columns of the catalogue, from its schema."""

from __future__ import annotations

import re

import numpy as np

from dmu0.schema.columns import SchemaColumn, schema_columns
from docs.builder.markdown import table

_TYPES = {"f": "float{}", "i": "int{}", "b": "bool", "U": "text"}


def column_type(dtype: str) -> str:
    """A numpy type in words."""
    kind = np.dtype(dtype)
    return _TYPES[kind.kind].format(8 * kind.itemsize)


def column_rows(columns: list[SchemaColumn], band: str = "") -> list[tuple[str, str, str, str, str]]:
    """Name, meaning, type, unit and UCD of some columns, with ``{band}`` for the label of their band."""

    def general(text: str) -> str:
        return re.sub(rf"\b{band}(?=\b|_)", "{band}", text) if band else text

    return [
        (f"`{general(c.name)}`", general(c.description), column_type(c.dtype), c.unit, f"`{c.ucd}`" if c.ucd else "")
        for c in columns
    ]


def columns_page() -> str:
    """The page: columns that exist once per object, and per-band columns."""
    band = "vk"
    columns = schema_columns([band])
    header = ("column", "meaning", "type", "unit", "UCD")
    once = [column for column in columns if not column.band]
    each = [column for column in columns if column.band]
    return (
        "# Columns of the catalogue\n\n"
        "The columns are the same in Parquet, FITS and VOTable. Fluxes are in nJy (AB magnitude = 31.4 - 2.5 log10 "
        f"flux), positions in ICRS degrees. A survey of n bands has {len(once)} + {len(each)} n columns. A missing "
        "number is NaN, a missing integer -1.\n\n"
        "## Once per object\n\n" + table(header, column_rows(once)) + "\n## For each band\n\n"
        "`{band}` stands for the label of a band: u g r i z y (optical) and vz vy vj vh vk (VISTA Z Y J H Ks). The "
        "UCDs are those of vk (Ks).\n\n" + table(header, column_rows(each, band))
    )
