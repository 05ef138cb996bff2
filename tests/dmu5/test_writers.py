"""The fused catalogue in every format: what goes in comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table
from felis.datamodel import Schema

from dmu0.schema.columns import schema_columns
from dmu5.fusing import fuse
from dmu5.sky_coverage import write_mocs
from dmu5.writers import parquet_path, write_fits, write_parquet, write_schema, write_votable

BANDS = ("g", "i", "vj", "vk")
COLUMNS = schema_columns(BANDS)


def test_parquet_is_partitioned_by_tract(objects: Table, tmp_path: Path) -> None:
    """pandas reads the folder of all tracts as one table, with numbers for tracts."""
    table = fuse(objects, COLUMNS)
    for tract in (8524, 8525):
        table["tract"] = np.int32(tract)
        path = write_parquet(table, tmp_path, tract=tract)
        assert path == parquet_path(tmp_path, tract=tract)
    frame = pd.read_parquet(tmp_path / "parquet")
    assert len(frame) == 2 * len(table)
    assert set(frame["tract"].astype(int)) == {8524, 8525}
    assert frame["detect_isPrimary"].dtype == bool
    assert not list(tmp_path.rglob("*.part"))


def test_fits_says_what_columns_are(objects: Table, tmp_path: Path) -> None:
    """FITS keeps values, types, units, UCDs and descriptions."""
    table = fuse(objects, COLUMNS)
    path = write_fits(table, tmp_path / "object.fits", COLUMNS)
    again = Table.read(path)
    assert again.colnames == table.colnames
    np.testing.assert_array_equal(again["vk_psfFlux"], table["vk_psfFlux"])
    assert again["coord_ra"].unit == "deg"
    assert again["detect_isPrimary"].dtype == bool
    header = fits.getheader(path, 1)
    number = table.colnames.index("vk_psfFlux") + 1
    assert header[f"TUCD{number}"] == "phot.flux;em.IR.K"
    assert header[f"TCOMM{number}"].startswith("vk: point-source flux")


def test_votable_says_what_columns_are(objects: Table, tmp_path: Path) -> None:
    """VOTable keeps values, units and UCDs."""
    table = fuse(objects[:20], COLUMNS)
    votable = parse_single_table(write_votable(table, tmp_path / "object.vot", COLUMNS))
    fields = {field.name: field for field in votable.fields}
    assert fields["vk_psfFlux"].ucd == "phot.flux;em.IR.K"
    assert str(fields["vk_psfFlux"].unit) == "nJy"
    np.testing.assert_allclose(votable.to_table()["vk_psfFlux"], table["vk_psfFlux"])


def test_empty_catalogue_can_be_written(objects: Table, tmp_path: Path) -> None:
    """A tract without objects has files with all columns and no rows."""
    table = fuse(objects[:0], COLUMNS)
    write_parquet(table, tmp_path, tract=1)
    write_fits(table, tmp_path / "object.fits", COLUMNS)
    write_votable(table, tmp_path / "object.vot", COLUMNS)
    assert len(Table.read(tmp_path / "object.fits")) == 0
    assert set(write_mocs(table, tmp_path, BANDS).values()) == {0.0}


def test_the_schema_beside_the_catalogue_is_felis(tmp_path: Path) -> None:
    """What is published is valid, and lists the columns of the survey's bands in order."""
    schema = Schema.model_validate(yaml.safe_load(write_schema(tmp_path / "schema.yaml", BANDS).read_text()))
    assert [column.name for column in schema.tables[0].columns] == [column.name for column in COLUMNS]
