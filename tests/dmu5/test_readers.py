"""Each program named for users opens each file of the catalogue that it can read, with units, UCDs and descriptions."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path

import astropy.units as u
import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse as parse_votable
from astropy.table import Table

from dmu0.files.paths import PROJECT
from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu5.fusing import fuse
from dmu5.writers import write_fits, write_parquet, write_votable

BANDS = ("g", "i", "vj", "vk")
COLUMNS = schema_columns(BANDS)
needs_stilts = pytest.mark.skipif(shutil.which("stilts") is None, reason="the Debian package stilts is not installed")


def stilts(*words: str) -> str:
    """What STILTS prints."""
    done = subprocess.run(["stilts", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def catalogue(objects: Table) -> Table:
    """A catalogue in which every third object has no flux in J, the counts of images are unknown for two, and the first
    object is in the dark."""
    table = fuse(objects[:60], COLUMNS)
    table["vj_psfFlux"][::3] = np.nan
    table["vj_psfFlux_flag"][::3] = True
    table["g_inputCount"] = 7
    table["g_inputCount"][5:7] = -1
    return table


def by_id(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in order of the identifiers."""
    return np.asarray(values)[np.argsort(np.asarray(ids))]


def test_parquet_in_astropy(catalogue: Table, tmp_path: Path, provenance: Provenance) -> None:
    """astropy reads values, units, UCDs and descriptions of every column, plainly and by the VOParquet convention."""
    path = write_parquet(catalogue, tmp_path, COLUMNS, tract=8524, provenance=provenance)
    table = Table.read(path)
    assert len(table) == 60
    for column in COLUMNS:
        assert table[column.name].description == column.description
        assert (table[column.name].unit or "") == (u.Unit(column.unit) if column.unit else "")
        assert table[column.name].meta.get("ucd", "") == column.ucd
    expected = np.asarray(catalogue["vj_psfFlux"])
    np.testing.assert_array_equal(by_id(table["objectId"], table["vj_psfFlux"]), expected)
    by_convention = Table.read(path, format="parquet.votable")
    assert by_convention["vk_psfFlux"].unit == "nJy"
    assert by_convention["vk_psfFlux"].meta["ucd"] == "phot.flux;em.IR.K"
    assert len(by_convention) == 60


def test_parquet_in_pyarrow_and_pandas(catalogue: Table, tmp_path: Path, provenance: Provenance) -> None:
    """Missing values are NULL, fields describe themselves, rows are sorted on the sky."""
    path = write_parquet(catalogue, tmp_path, COLUMNS, tract=8524, provenance=provenance)
    table = pq.read_table(path)
    for column in COLUMNS:
        said = table.schema.field(column.name).metadata
        assert said[b"description"].decode() == column.description
        assert said.get(b"unit", b"").decode() == column.unit
        assert said.get(b"ucd", b"").decode() == column.ucd
    assert table["vj_psfFlux"].null_count == 20
    assert table["g_inputCount"].null_count == 2
    assert not table.schema.field("objectId").nullable
    frame = pd.read_parquet(path)
    assert frame["detect_isPrimary"].dtype == bool
    assert frame["objectId"].dtype == np.int64
    flux = np.asarray(catalogue["vj_psfFlux"], float)
    assert frame["vj_psfFlux"].mean() == pytest.approx(np.nanmean(flux), rel=1e-5)


def test_parquet_in_duckdb(catalogue: Table, tmp_path: Path, provenance: Provenance) -> None:
    """A mean in SQL leaves out what is missing, and the VOTable that describes the columns is found."""
    path = write_parquet(catalogue, tmp_path, COLUMNS, tract=8524, provenance=provenance)
    query = f"select avg(vj_psfFlux), count(vj_psfFlux), count(*), sum(g_inputCount) from '{path}'"
    mean, known, every, images = duckdb.sql(query).fetchall()[0]
    assert mean == pytest.approx(np.nanmean(np.asarray(catalogue["vj_psfFlux"], float)), rel=1e-5)
    assert (known, every, images) == (40, 60, 7 * 58)
    keys = duckdb.sql(f"select decode(key), decode(value) from parquet_kv_metadata('{path}')").fetchall()
    content = dict(keys)["IVOA.VOTable-Parquet.content"]
    fields = parse_votable(io.BytesIO(content.encode())).get_first_table().fields
    assert [field.name for field in fields] == [column.name for column in COLUMNS]


def test_fits_in_astropy(catalogue: Table, tmp_path: Path, provenance: Provenance) -> None:
    """Every column has its unit and description, a missing integer is masked, and the checksums are right."""
    path = write_fits(catalogue, tmp_path / "object.fits", COLUMNS, provenance=provenance)
    table = Table.read(path)
    assert [table[column.name].description for column in COLUMNS] == [column.description for column in COLUMNS]
    assert [table[column.name].meta.get("ucd", "") for column in COLUMNS] == [column.ucd for column in COLUMNS]
    assert table["vk_psfFlux"].unit == "nJy"
    assert "comments" not in table.meta
    assert list(np.flatnonzero(table["g_inputCount"].mask)) == [5, 6]
    with fits.open(path, checksum=True) as hdus:  # a wrong sum is a warning, which is an error here
        assert all({"CHECKSUM", "DATASUM"} <= {*hdu.header} for hdu in hdus)
    content = bytearray(path.read_bytes())
    content[-3000] ^= 255
    path.write_bytes(content)
    with (
        pytest.warns(UserWarning, match="Checksum verification failed"),
        pytest.warns(UserWarning, match="Datasum verification failed"),
        fits.open(path, checksum=True) as hdus,
    ):
        assert hdus[1].data is not None


def test_votable_in_astropy(catalogue: Table, tmp_path: Path, provenance: Provenance) -> None:
    """Values, masks, units, UCDs, descriptions and the frame of the positions are read back."""
    path = write_votable(catalogue, tmp_path / "object.vot", COLUMNS, provenance=provenance)
    votable = parse_votable(path, verify="exception")
    table = votable.get_first_table().to_table()
    for column in COLUMNS:
        values, mask = np.asarray(table[column.name]), np.ma.getmaskarray(table[column.name])
        expected = np.asarray(catalogue[column.name])
        np.testing.assert_array_equal(values[~mask], expected[~mask])
        assert table[column.name].description == column.description
    assert list(np.flatnonzero(table["vj_psfFlux"].mask)) == list(range(0, 60, 3))
    assert list(np.flatnonzero(table["g_inputCount"].mask)) == [5, 6]
    assert not np.ma.is_masked(table["detect_isPrimary"])
    assert [system.system for system in votable.resources[0].coordinate_systems] == ["ICRS"]
    refs = {field.name for field in votable.get_first_table().fields if field.ref == "ICRS"}
    assert {"coord_ra", "coord_dec"} <= refs


@needs_stilts
@pytest.mark.parametrize("kind", ["fits", "vot"])
def test_each_format_in_stilts(catalogue: Table, tmp_path: Path, provenance: Provenance, kind: str) -> None:
    """STILTS reads values, missing values, and the unit, UCD and description of every column."""
    path = tmp_path / f"object.{kind}"
    {"fits": write_fits, "vot": write_votable}[kind](catalogue, path, COLUMNS, provenance=provenance)
    said = csv.DictReader(io.StringIO(stilts("tpipe", f"in={path}", "cmd=meta", "ofmt=csv")))
    found = {row["Name"]: row for row in said}
    for column in COLUMNS:
        row = found[column.name]
        assert row["Description"] == column.description
        assert (row.get("UCD", ""), row["Units"].replace("**", "")) == (column.ucd, column.unit)
        if column.dtype == "?":
            assert row["Class"] == "Boolean"
    select = 'cmd=select "!vj_psfFlux_flag && detect_isPrimary"'
    rows = stilts("tpipe", f"in={path}", select, "cmd=keepcols 'vj_psfFlux g_inputCount'", "ofmt=csv").splitlines()
    assert len(rows) == 41
    flux = np.asarray(catalogue["vj_psfFlux"])
    assert float(rows[1].split(",")[0]) == pytest.approx(flux[1], rel=1e-6)
    assert sum(row.endswith(",") for row in rows[1:]) == 1  # of rows 5 and 6 one has a flux in J


@needs_stilts
def test_stilts_finds_no_fault_in_the_votable(catalogue: Table, tmp_path: Path, provenance: Provenance) -> None:
    """votlint, the validator of VOTables, has nothing to say."""
    path = write_votable(catalogue, tmp_path / "object.vot", COLUMNS, provenance=provenance)
    done = subprocess.run(["stilts", "votlint", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.release
def test_released_files_agree() -> None:
    """The sample's files have the same rows in each format, and the objects are those of the small ones and of HATS."""
    folder = PROJECT / "dmu5" / "data" / "sample" / "catalogue"
    full = [Table.read(path) for path in (*folder.glob("parquet/*/*.parquet"), *folder.rglob("object.fits"))]
    full.append(Table.read(folder / "object.vot"))
    assert len({len(table) for table in full}) == 1
    assert all(table["vk_psfFlux"].description for table in full)
    objects = int(np.sum(full[0]["detect_isPrimary"]))
    small = [Table.read(folder / "object_lite.parquet"), Table.read(folder / "object_lite.fits")]
    assert {len(table) for table in small} == {objects}
    for pattern, rows in (("parquet/*/object.parquet", len(full[0])), ("hats/object/dataset/*/*/*.parquet", objects)):
        assert duckdb.sql(f"select count(*) from '{folder}/{pattern}'").fetchall() == [(rows,)]


@pytest.mark.release
@needs_stilts
@pytest.mark.parametrize("name", ["object.fits", "object.vot", "object_lite.fits"])
def test_stilts_reads_the_release(name: str) -> None:
    """Units, UCDs and descriptions of the sample's files, as STILTS sees them."""
    path = PROJECT / "dmu5" / "data" / "sample" / "catalogue" / name
    found = {
        row["Name"]: row for row in csv.DictReader(io.StringIO(stilts("tpipe", f"in={path}", "cmd=meta", "ofmt=csv")))
    }
    assert all(row["Description"] for row in found.values())
    assert (found["vk_cModelFlux"]["Units"], found["vk_cModelFlux"]["UCD"]) == ("nJy", "phot.flux;em.IR.K")
