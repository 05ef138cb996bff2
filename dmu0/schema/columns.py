"""The columns of the catalogue, from ``object.yaml``: expanded to the bands of a survey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from obs_vista.bands import plain_band

TEMPLATE = Path(__file__).with_name("object.yaml")
"""The file that defines every column, in Felis."""

NAME_LENGTH = 68
"""Length of the longest column name that fits in a FITS header card."""

_NUMPY = {"boolean": "?", "short": "i2", "int": "i4", "long": "i8", "float": "f4", "double": "f8"}
# The spectral word of a band's UCDs (IVOA UCD1+ controlled vocabulary), by wavelength.
_SPECTRAL = {"u": "em.opt.U", "g": "em.opt.B", "r": "em.opt.R", "i": "em.opt.I", "z": "em.opt.I", "y": "em.IR.J"}
_SPECTRAL |= {"vz": "em.opt.I", "vy": "em.IR.J", "vj": "em.IR.J", "vh": "em.IR.H", "vk": "em.IR.K"}


class SchemaError(ValueError):
    """A schema or a table is invalid; the message names the columns."""


@dataclass(frozen=True)
class SchemaColumn:
    """One column of the catalogue.

    Attributes
    ----------
    name
        Name in the catalogue; names stay distinct when case is ignored.
    dtype
        Type of the values, as a numpy type.
    unit
        IVOA unit string; empty for none.
    ucd
        IVOA UCD; empty for none.
    description
        Meaning of the column, in one sentence.
    band
        Label of the band of the column; empty for columns that exist once per object.
    nullable
        Whether values may be missing.
    """

    name: str
    dtype: str
    unit: str
    ucd: str
    description: str
    band: str = ""
    nullable: bool = True

    @property
    def missing(self) -> object:
        """The value that stands for "none": NaN, an empty string, False or -1."""
        return {"f": np.nan, "U": "", "b": False}.get(np.dtype(self.dtype).kind, -1)


@cache
def _template() -> dict[str, Any]:
    return yaml.safe_load(TEMPLATE.read_text())


def schema_version() -> str:
    """The version of the schema, which changes if a column is added, removed, or changes its name, type or meaning."""
    return str(_template()["version"])


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
    """A column of the template, for a band."""
    name = f"{band}_{column['name']}"
    text = column["description"].replace("{band}", band)
    new = {**column, "name": name, "@id": f"#object.{name}", "description": text}
    if "phot." in column.get("ivoa:ucd", ""):
        new["ivoa:ucd"] = f"{column['ivoa:ucd']};{_SPECTRAL[plain_band(band)]}"
    return new


def _check_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if len(name) > NAME_LENGTH:
            raise SchemaError(f"Column {name!r} has {len(name)} characters; at most {NAME_LENGTH} fit.")
        if name.lower() in seen:
            raise SchemaError(f"Columns {seen[name.lower()]!r} and {name!r} are the same where case is ignored.")
        seen[name.lower()] = name


def schema_columns(bands: Sequence[str]) -> list[SchemaColumn]:
    """The columns of a survey's catalogue in order: the common ones, then those of each band.

    Parameters
    ----------
    bands
        Labels of the survey's bands.

    Raises
    ------
    SchemaError
        If two columns have names that differ in case only, or a name is too long.
    """
    per_band = len(_template()["tables"][1]["columns"])
    columns = expanded_schema(bands)["tables"][0]["columns"]
    common = len(columns) - per_band * len(bands)
    of_band = [""] * common + [band for band in bands for _ in range(per_band)]
    return [
        SchemaColumn(
            name=column["name"],
            dtype=_NUMPY.get(column["datatype"], f"U{column.get('length', 1)}"),
            unit=column.get("ivoa:unit", ""),
            ucd=column.get("ivoa:ucd", ""),
            description=column["description"],
            band=band,
            nullable=column.get("nullable", True),
        )
        for column, band in zip(columns, of_band, strict=True)
    ]
