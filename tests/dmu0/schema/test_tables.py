"""Tables and the schema: made by it, and refused where they differ."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from dmu0.schema.columns import SchemaError, schema_columns
from dmu0.schema.tables import check_table, column_table, empty_table, make_table, same_type, with_schema

COLUMNS = schema_columns(("g", "vk"))


@pytest.fixture
def table() -> Table:
    """Three rows with all columns, without units or words, in reverse order."""
    values = {column.name: np.full(3, column.missing, dtype=column.dtype) for column in reversed(COLUMNS)}
    values["vk_psfFlux"] = np.array([1.5, -2.5, np.nan], np.float32)
    return Table(values)


def test_other_columns_are_refused(table: Table) -> None:
    """Missing columns, strange ones and wrong types are named."""
    check_table(table, COLUMNS)
    table.remove_column("vk_psfFlux")
    table["magic"] = 1.0
    table["g_inputCount"] = np.zeros(len(table), float)
    with pytest.raises(SchemaError) as error:
        check_table(table, COLUMNS)
    for name in ("vk_psfFlux", "magic", "g_inputCount is float64, must be i4"):
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        (">f4", "f4", True),
        ("f8", "f4", False),
        ("u4", "i4", False),
        ("U7", "U2", True),
        ("S2", "U2", True),
        ("O", "U2", True),
        ("i8", "U2", False),
        ("u1", "?", False),
    ],
)
def test_types_that_count_as_one(found: str, wanted: str, same: bool) -> None:
    """Byte order and length of a text do not matter; size, sign and kind do."""
    assert same_type(found, wanted) is same


def test_units_and_words_come_from_the_schema(table: Table) -> None:
    """The table has the schema's order, types, units, descriptions and UCDs, and its own values."""
    made = with_schema(table, COLUMNS)
    assert made.colnames == [column.name for column in COLUMNS]
    assert made["vk_psfFlux"].unit == u.nJy
    assert made["vk_psfFlux"].meta["ucd"] == "phot.flux;em.IR.K"
    assert made["vk_psfFlux"].description.startswith("vk: point-source flux")
    np.testing.assert_array_equal(made["vk_psfFlux"], np.array([1.5, -2.5, np.nan], np.float32))


def test_what_is_not_given_is_missing() -> None:
    """Fluxes are NaN, counts -1, flags False, texts empty, where no values are given; a wrong name is refused."""
    table = make_table({"g_inputCount": np.array([4.0, 2.0])}, COLUMNS, length=2)
    assert list(table["g_inputCount"]) == [4, 2]
    assert table["g_inputCount"].dtype == np.int32
    assert np.isnan(table["vk_psfFlux"]).all()
    assert list(table["vk_inputCount"]) == [-1, -1]
    assert list(table["refBand"]) == ["", ""]
    assert not table["g_usable"].any()
    assert len(empty_table(COLUMNS)) == 0
    with pytest.raises(KeyError, match="q_psfFlux"):
        make_table({"q_psfFlux": np.zeros(2)}, COLUMNS, length=2)


def test_columns_to_look_at() -> None:
    """One row per column, in order; none give a table without rows."""
    shown = column_table(COLUMNS)
    assert list(shown["name"]) == [column.name for column in COLUMNS]
    assert shown["unit"][shown["name"] == "vk_depth5"][0] == "mag"
    assert len(column_table([])) == 0
