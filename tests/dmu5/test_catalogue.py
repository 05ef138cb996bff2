"""The fused catalogue in every format: what goes in comes out."""

from __future__ import annotations

from pathlib import Path

import healsparse
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table

from dmu5.catalogue import (
    fuse,
    look_up_ebv,
    parquet_path,
    write_fits,
    write_mocs,
    write_parquet,
    write_votable,
)
from dmu5.schema import SchemaError, catalogue_columns

BANDS = ("g", "i", "vj", "vk")
COLUMNS = catalogue_columns(BANDS)


def test_fused_columns(objects: Table) -> None:
    """The pipeline's table becomes the schema's, with a reddening that is NaN without a map."""
    table = fuse(objects, COLUMNS)
    assert table.colnames == [column.name for column in COLUMNS]
    assert np.isnan(table["ebv"]).all()
    np.testing.assert_array_equal(table["vk_psfFlux"], objects["vk_psfFlux"])


def test_a_missing_band_is_refused(objects: Table) -> None:
    """A table without the columns of one band does not become a catalogue."""
    with pytest.raises(SchemaError, match="vh_"):
        fuse(objects, catalogue_columns((*BANDS, "vh")))


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


def test_mocs_cover_the_objects(objects: Table, tmp_path: Path) -> None:
    """Each band's MOC has about the area of the field; a band without data has none."""
    objects["vj_usable"] = False
    areas = write_mocs(fuse(objects, COLUMNS), tmp_path, BANDS)
    assert 30 < areas["catalogue"] < 60  # the field is 36 arcmin^2, cells are 0.7
    assert areas["vj"] == 0
    assert (tmp_path / "g.moc.fits").exists()
    assert not (tmp_path / "vj.moc.fits").exists()


def test_reddening_from_a_map(tmp_path: Path) -> None:
    """E(B-V) is that of the map's pixel, NaN outside; a map that is not there is an error."""
    sky = healsparse.HealSparseMap.make_empty(32, 256, np.float32)
    sky.update_values_pos(np.array([150.0]), np.array([0.0]), np.float32(0.031), lonlat=True)
    sky.write(str(tmp_path / "ebv.hsp"))
    values = look_up_ebv(np.array([150.0, 151.5]), np.array([0.0, 0.0]), tmp_path / "ebv.hsp")
    assert values[0] == pytest.approx(0.031)
    assert np.isnan(values[1])
    with pytest.raises(FileNotFoundError, match=r"none\.hsp"):
        look_up_ebv(np.zeros(1), np.zeros(1), tmp_path / "none.hsp")


def test_empty_catalogue_can_be_written(objects: Table, tmp_path: Path) -> None:
    """A tract without objects has files with all columns and no rows."""
    table = fuse(objects[:0], COLUMNS)
    write_parquet(table, tmp_path, tract=1)
    write_fits(table, tmp_path / "object.fits", COLUMNS)
    write_votable(table, tmp_path / "object.vot", COLUMNS)
    assert len(Table.read(tmp_path / "object.fits")) == 0
    assert set(write_mocs(table, tmp_path, BANDS).values()) == {0.0}
