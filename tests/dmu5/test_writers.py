"""The fused catalogue in every format: what goes in comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table
from felis.datamodel import Schema

from dmu0.files.metadata import read_provenance
from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu5.fusing import fuse
from dmu5.writers import parquet_path, write_fits, write_parquet, write_schema, write_votable

BANDS = ("g", "i", "vj", "vk")
COLUMNS = schema_columns(BANDS)


def test_parquet_is_partitioned_by_tract(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """pandas reads the folder of all tracts as one table, with numbers for tracts."""
    table = fuse(objects, COLUMNS)
    for tract in (8524, 8525):
        table["tract"] = np.int32(tract)
        path = write_parquet(table, tmp_path, COLUMNS, tract=tract, provenance=provenance)
        assert path == parquet_path(tmp_path, tract=tract)
    frame = pd.read_parquet(tmp_path / "parquet")
    assert len(frame) == 2 * len(table)
    assert set(frame["tract"].astype(int)) == {8524, 8525}
    assert frame["detect_isPrimary"].dtype == bool
    assert not list(tmp_path.rglob("*.part"))


def test_fits_says_what_columns_are(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """FITS keeps values, types, units, UCDs and descriptions."""
    table = fuse(objects, COLUMNS)
    path = write_fits(table, tmp_path / "object.fits", COLUMNS, provenance=provenance)
    again = Table.read(path)
    assert again.colnames == table.colnames
    np.testing.assert_array_equal(again["vk_psfFlux"], table["vk_psfFlux"])
    assert again["coord_ra"].unit == "deg"
    assert again["detect_isPrimary"].dtype == bool
    header = fits.getheader(path, 1)
    number = table.colnames.index("vk_psfFlux") + 1
    assert header[f"TUCD{number}"] == "phot.flux;em.IR.K"
    assert header[f"TCOMM{number}"] == COLUMNS[number - 1].description


def test_votable_says_what_columns_are(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """VOTable keeps values, units and UCDs."""
    table = fuse(objects[:20], COLUMNS)
    votable = parse_single_table(write_votable(table, tmp_path / "object.vot", COLUMNS, provenance=provenance))
    fields = {field.name: field for field in votable.fields}
    assert fields["vk_psfFlux"].ucd == "phot.flux;em.IR.K"
    assert str(fields["vk_psfFlux"].unit) == "nJy"
    np.testing.assert_allclose(votable.to_table()["vk_psfFlux"], table["vk_psfFlux"])


def test_empty_catalogue_can_be_written(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """A tract without objects has files with all columns and no rows."""
    table = fuse(objects[:0], COLUMNS)
    write_parquet(table, tmp_path, COLUMNS, tract=1, provenance=provenance)
    write_fits(table, tmp_path / "object.fits", COLUMNS, provenance=provenance)
    write_votable(table, tmp_path / "object.vot", COLUMNS, provenance=provenance)
    assert len(Table.read(tmp_path / "object.fits")) == 0
    assert len(Table.read(tmp_path / "object.vot")) == len(Table.read(parquet_path(tmp_path, tract=1))) == 0


def test_the_schema_beside_the_catalogue_is_felis(tmp_path: Path) -> None:
    """What is published is valid, and lists the columns of the survey's bands in order."""
    schema = Schema.model_validate(yaml.safe_load(write_schema(tmp_path / "schema.yaml", BANDS).read_text()))
    assert [column.name for column in schema.tables[0].columns] == [column.name for column in COLUMNS]


def test_every_file_says_who_made_it(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """Provenance is read back from each format; FITS has it in both headers."""
    table = fuse(objects[:20], COLUMNS)
    paths = [
        write_parquet(table, tmp_path, COLUMNS, tract=8524, provenance=provenance),
        write_fits(table, tmp_path / "object.fits", COLUMNS, provenance=provenance),
        write_votable(table, tmp_path / "object.vot", COLUMNS, provenance=provenance),
    ]
    for path in paths:
        assert read_provenance(path) == provenance.words()
    assert fits.getheader(paths[1], 1)["SURVSHA"] == provenance.survey_sha256


def test_the_same_table_makes_the_same_bytes(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """Written again, with what tables carry along from their first writing, every file is the same byte for byte."""
    table = fuse(objects[:20], COLUMNS)
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        paths = [
            write_parquet(table, folder, COLUMNS, tract=8524, provenance=provenance),
            write_fits(table, folder / "object.fits", COLUMNS, provenance=provenance),
            write_votable(table, folder / "object.vot", COLUMNS, provenance=provenance),
        ]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]


def test_tracts_of_different_runs_are_read_together(objects: Table, tmp_path: Path, provenance: Provenance) -> None:
    """A folder whose tracts were made by different code is still one table."""
    table = fuse(objects[:20], COLUMNS)
    write_parquet(table, tmp_path, COLUMNS, tract=8524, provenance=provenance)
    write_parquet(table, tmp_path, COLUMNS, tract=8525, provenance=replace(provenance, commit="f" * 40))
    assert len(pd.read_parquet(tmp_path / "parquet")) == 40
