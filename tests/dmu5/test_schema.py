"""The schema: valid Felis, the pipeline's columns, and a refusal of anything else."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import yaml
from astropy.table import Table
from felis.datamodel import Schema

from dmu4.objects.columns import object_columns
from dmu5.schema import (
    NAME_LENGTH,
    TEMPLATE,
    SchemaError,
    catalogue_columns,
    check_table,
    empty_table,
    expanded_schema,
    with_schema,
    write_schema,
)
from obs_vista.bands import BAND_ORDER


def test_template_and_expansion_are_felis(tmp_path: Path) -> None:
    """Both the template and the file that is published with a catalogue are valid."""
    Schema.model_validate(yaml.safe_load(TEMPLATE.read_text()))
    path = write_schema(tmp_path / "schema.yaml", BAND_ORDER)
    schema = Schema.model_validate(yaml.safe_load(path.read_text()))
    assert [column.name for column in schema.tables[0].columns] == [c.name for c in catalogue_columns(BAND_ORDER)]


def test_same_columns_as_the_pipeline() -> None:
    """Every column of the pipeline's object table is defined, with its type; only ebv is added."""
    ours = {column.name: column.dtype for column in catalogue_columns(BAND_ORDER)}
    theirs = {column.name: column.dtype for column in object_columns(BAND_ORDER)}
    assert set(ours) - set(theirs) == {"ebv"}
    assert {name: ours[name] for name in theirs} == theirs


def test_units_agree_with_the_pipeline() -> None:
    """Units are those of the pipeline's table; depths are AB magnitudes in both."""
    theirs = {column.name: column.unit for column in object_columns(("g",))}
    for column in catalogue_columns(("g",)):
        if column.name != "ebv" and not column.name.endswith("depth5"):
            assert u.Unit(column.unit) == u.Unit(theirs[column.name]), column.name


def test_names_survive_sql_and_fits() -> None:
    """Names are unique when case is ignored, short enough for FITS, and every column has a description and a UCD."""
    columns = catalogue_columns(BAND_ORDER)
    assert len({column.name.lower() for column in columns}) == len(columns)
    assert max(len(column.name) for column in columns) <= NAME_LENGTH
    assert all(column.description and column.ucd for column in columns)
    assert not [column.name for column in columns if "{" in column.description]


def test_every_band_has_the_same_columns() -> None:
    """The columns of two bands differ in the label alone."""
    columns = catalogue_columns(("g", "vk"))
    stems = [{c.name.removeprefix(f"{band}_") for c in columns if c.band == band} for band in ("g", "vk")]
    assert stems[0] == stems[1]
    assert len(stems[0]) > 20


def test_bands_that_collide_are_refused() -> None:
    """A column twice, or in another case, is an error that names it."""
    with pytest.raises(SchemaError, match="g_detected"):
        expanded_schema(("g", "g"))


def test_other_columns_are_refused(objects: Table) -> None:
    """Missing columns, strange ones and wrong types are named."""
    columns = [c for c in catalogue_columns(("g", "i", "vj", "vk")) if c.name != "ebv"]
    check_table(objects, columns)
    broken = objects.copy()
    broken.remove_column("vk_psfFlux")
    broken["magic"] = 1.0
    broken["g_inputCount"] = np.zeros(len(broken), float)
    with pytest.raises(SchemaError) as error:
        check_table(broken, columns)
    for name in ("vk_psfFlux", "magic", "g_inputCount is float64, must be i4"):
        assert name in str(error.value)


def test_units_and_words_come_from_the_schema(objects: Table) -> None:
    """The table that is released has the schema's order, units, descriptions and UCDs."""
    columns = catalogue_columns(("g", "i", "vj", "vk"))
    objects["ebv"] = np.float32(0.02)
    table = with_schema(objects[list(reversed(objects.colnames))], columns)
    assert table.colnames == [column.name for column in columns]
    assert table["vk_psfFlux"].unit == u.nJy
    assert table["vk_psfFlux"].meta["ucd"] == "phot.flux;em.IR.K"
    assert "vk" in table["vk_psfFlux"].description


def test_empty_table_has_missing_values() -> None:
    """Fluxes are NaN, counts -1, flags False."""
    table = empty_table(catalogue_columns(("vh",)), 2)
    assert np.isnan(table["vh_psfFlux"]).all()
    assert (table["vh_inputCount"] == -1).all()
    assert not table["vh_usable"].any()
