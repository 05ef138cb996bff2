"""Columns that DP2's Object table has too: code written for it runs here, but for differences that are listed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import lsst.sdm.schemas
import pytest
import yaml

from dmu0.schema.columns import TEMPLATE, SchemaColumn, schema_columns

FOLDER = Path(lsst.sdm.schemas.__file__).parent
BANDS = ("u", "g", "r", "i", "z", "y")
TYPES = {"boolean": "?", "int": "i4", "long": "i8", "float": "f4", "double": "f8", "char": "U"}


@cache
def dp2_columns() -> dict[str, dict[str, Any]]:
    """Name -> column of the Object table of DP2, whose columns refer to those of a common schema."""

    def read(name: str) -> dict[str, Any]:
        tables = yaml.load((FOLDER / name).read_text(), Loader=yaml.CSafeLoader)["tables"]
        return next(table for table in tables if table["name"] == "Object")

    released = read("dp2.yaml")["columnRefs"]["base"]["Object"]
    known = {column["name"]: column for column in read("drp_base.yaml")["columns"]}
    return {name: known[name] for name in released}


@cache
def differences() -> dict[str, dict[str, str]]:
    """Name -> what differs on purpose, and why."""
    return yaml.safe_load(TEMPLATE.with_name("dp2_differences.yaml").read_text())


def listed(name: str, what: str) -> bool:
    """Whether a difference of a column is listed."""
    general = re.sub(rf"^[{''.join(BANDS)}]_", "{band}_", name)
    return any(what in differences().get(key, {}) for key in (name, general))


def common() -> list[SchemaColumn]:
    """Our columns that DP2 has."""
    return [column for column in schema_columns(BANDS) if column.name in dp2_columns()]


def plain(unit: str) -> str:
    """A unit without the ways in which powers are written."""
    return unit.replace("**", "")


def test_the_schema_is_that_of_dp2() -> None:
    """The package has the Object table of DP2 with its 1,248 columns, and we have many of them."""
    assert len(dp2_columns()) == 1248
    names = {column.name for column in common()}
    assert len(names) > 150
    for name in ("objectId", "coord_ra", "footprintArea", "deblend_blendNChild", "refExtendedness", "ebv"):
        assert name in names
    for stem in ("psfFlux", "psfFluxErr", "psfMag", "psfMagErr", "epoch", "kronFlux", "gaap1p0Flux", "inputCount"):
        assert {f"{band}_{stem}" for band in BANDS} <= names


@pytest.mark.parametrize("column", common(), ids=lambda column: column.name)
def test_columns_are_those_of_dp2(column: SchemaColumn) -> None:
    """Type and unit are DP2's, and the UCD where it has one, except where the list says why not."""
    theirs = dp2_columns()[column.name]
    ours = "U" if column.dtype.startswith("U") else column.dtype
    same_length = ours != "U" or column.dtype == f"U{theirs.get('length')}"
    assert (ours == TYPES[theirs["datatype"]] and same_length) != listed(column.name, "type")
    assert (plain(column.unit) == plain(theirs.get("ivoa:unit", ""))) != listed(column.name, "unit")
    if "ivoa:ucd" in theirs:
        assert (column.ucd == theirs["ivoa:ucd"]) != listed(column.name, "ucd")


def test_listed_differences_are_of_columns() -> None:
    """Each listed name is a column that both have, with a reason."""
    names = {column.name for column in common()}
    for name, reasons in differences().items():
        assert name.replace("{band}", "i") in names
        assert set(reasons) <= {"type", "unit", "ucd", "meaning"}
        assert all(len(reason) > 5 for reason in reasons.values())
