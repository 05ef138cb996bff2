"""LSST's identifiers of objects: from Parquet and from HATS, across partitions, the nearest of each other only."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu0.schema.tables import empty_table
from dmu0.surveys import SurveyError
from dmu0.surveys.optical import Optical
from dmu5.hats_collection import write_hats
from dmu5.lsst_objects import FILE, RADIUS, associate_lsst
from dmu5.writers import write_parquet

COLUMNS = schema_columns(["i"])
COUNT = 900


def survey(folder: Path, objects: str | None) -> SimpleNamespace:
    """A survey with LSST coadds, which names a table of objects or none."""
    optical = Optical(kind="lsst", bands=("i",), coadds={"default": "a.fits"}, objects=objects)
    return SimpleNamespace(
        optical=(optical,), input_folder=folder, path=folder / "trial.yaml", folders={5: folder / "dmu5"}
    )


@pytest.fixture
def ours(rng: np.random.Generator, tmp_path: Path) -> Table:
    """Objects in 6 arcmin about RA 0, at declination -44, on both sides of the zero of right ascension."""
    (tmp_path / "dmu5" / "catalogue").mkdir(parents=True)
    table = Table({"objectId": 10**12 + np.arange(COUNT)[::-1]})
    table["coord_ra"] = rng.uniform(-0.06, 0.06, COUNT) % 360
    table["coord_dec"] = -44 + rng.uniform(-0.05, 0.05, COUNT)
    return table


@pytest.fixture
def theirs(ours: Table) -> Table:
    """LSST's objects: two of three of ours, 0.1 arcsec north, the others more than `RADIUS` away; and a second sky."""
    table = empty_table(COLUMNS, 2 * COUNT)
    table["objectId"][:COUNT] = 7 * 10**17 + np.arange(COUNT)
    table["objectId"][COUNT:] = 5 * 10**17 + np.arange(COUNT)
    away = np.where(np.arange(COUNT) % 3 == 0, 1.5 * RADIUS, 0.1) / 3600
    table["coord_ra"] = np.tile(ours["coord_ra"], 2)
    table["coord_dec"] = np.concatenate([ours["coord_dec"] + away, ours["coord_dec"] + 8])
    table["detect_isPrimary"] = True
    return table


def expect_pairs(survey: SimpleNamespace, ours: Table, provenance: Provenance) -> Table:
    """Two of three objects have the identifier of the one 0.1 arcsec away, in the file too."""
    pairs = associate_lsst(survey, ours, provenance=provenance)
    path = survey.folders[5] / "catalogue" / FILE
    assert pairs.as_array().tolist() == Table.read(path).as_array().tolist()
    assert pairs.colnames == ["objectId", "lsst_objectId", "separation"]
    true = {int(number): 7 * 10**17 + n for n, number in enumerate(ours["objectId"]) if n % 3}
    found = dict(zip(pairs["objectId"].tolist(), pairs["lsst_objectId"].tolist(), strict=True))
    # Where two objects are closer than RADIUS to each other the nearest may be another's.
    wrong = {number for number in true.keys() | found.keys() if true.get(number) != found.get(number)}
    assert len(wrong) <= 2
    assert len(pairs) == pytest.approx(2 * COUNT / 3, abs=2)
    np.testing.assert_allclose(np.median(pairs["separation"]), 0.1, atol=1e-4)
    fields = {field.name: field.metadata for field in pq.read_schema(path)}
    assert fields["separation"][b"unit"] == b"arcsec"
    assert fields["lsst_objectId"][b"ucd"] == b"meta.id.cross"
    return pairs


def test_from_parquet_files(ours: Table, theirs: Table, tmp_path: Path, provenance: Provenance) -> None:
    """Files by a pattern; rows that are not primary are not taken, and a table without that column is."""
    repeated = theirs.copy()
    repeated["detect_isPrimary"], repeated["objectId"] = False, theirs["objectId"] + 10**16
    names = ("objectId", "coord_ra", "coord_dec", "detect_isPrimary")
    for name, table in (("a", repeated), ("b", theirs)):
        pq.write_table(pa.table({key: np.asarray(table[key]) for key in names}), tmp_path / f"dp2_{name}.parquet")
    chosen = expect_pairs(survey(tmp_path, "dp2_*.parquet"), ours, provenance)
    assert not np.isin(chosen["lsst_objectId"], repeated["objectId"]).any()
    pq.write_table(pa.table({key: np.asarray(theirs[key]) for key in names[:3]}), tmp_path / "plain.parquet")
    plain = expect_pairs(survey(tmp_path, "plain.parquet"), ours, provenance)
    assert plain.as_array().tolist() == chosen.as_array().tolist()


def test_from_hats(ours: Table, theirs: Table, tmp_path: Path, provenance: Provenance) -> None:
    """A collection of many partitions, with margins: each object once; damaged partitions far away are not opened."""
    file = write_parquet(theirs, tmp_path / "all", COLUMNS, tract=1, provenance=provenance)
    write_hats([file], tmp_path / "hats", COLUMNS, name="dp2", provenance=provenance, max_rows=100)
    parts = sorted((tmp_path / "hats" / "object" / "dataset").rglob("Npix=*.parquet"))
    assert len(parts) >= 18
    far = [part for part in parts if pq.read_table(part, columns=["coord_dec"])["coord_dec"].to_numpy().min() > -40]
    for part in far:
        part.write_bytes(b"no table")
    assert len(far) >= 9
    expect_pairs(survey(tmp_path, "hats"), ours, provenance)
    expect_pairs(survey(tmp_path, "hats/object"), ours, provenance)


def test_nothing_near_gives_no_pairs(ours: Table, theirs: Table, tmp_path: Path, provenance: Provenance) -> None:
    """A catalogue of another part of the sky, and a survey without objects, give a table without rows."""
    file = write_parquet(theirs[COUNT:], tmp_path / "all", COLUMNS, tract=1, provenance=provenance)
    write_hats([file], tmp_path / "hats", COLUMNS, name="dp2", provenance=provenance)
    assert len(associate_lsst(survey(tmp_path, "hats"), ours, provenance=provenance)) == 0
    assert len(associate_lsst(survey(tmp_path, "hats"), ours[:0], provenance=provenance)) == 0


def test_without_a_table(ours: Table, tmp_path: Path, provenance: Provenance) -> None:
    """No key, no file, and that of an earlier release goes; a name without a file, and other columns, are errors."""
    old = tmp_path / "dmu5" / "catalogue" / FILE
    old.write_text("of an earlier release")
    assert associate_lsst(survey(tmp_path, None), ours, provenance=provenance) is None
    assert not old.exists()
    with pytest.raises(SurveyError, match=r"trial\.yaml: optical\.objects names nothing that is there: .*dp2\.parquet"):
        associate_lsst(survey(tmp_path, "dp2.parquet"), ours, provenance=provenance)
    pq.write_table(pa.table({"objectId": [1], "ra": [0.0], "dec": [-44.0]}), tmp_path / "dp2.parquet")
    with pytest.raises(SurveyError, match=r"optical\.objects dp2\.parquet has no column coord_ra, coord_dec; it has"):
        associate_lsst(survey(tmp_path, "dp2.parquet"), ours, provenance=provenance)
    with pytest.raises(ValueError, match="kind 'hsc' has the key 'objects'"):
        Optical(kind="hsc", bands=("i",), coadds={"default": "a.fits"}, objects="dp2.parquet")


def test_other_folders(ours: Table, theirs: Table, tmp_path: Path, provenance: Provenance) -> None:
    """The margin of a catalogue is not taken for the catalogue, and a folder that is not HATS is named."""
    file = write_parquet(theirs, tmp_path / "all", COLUMNS, tract=1, provenance=provenance)
    write_hats([file], tmp_path / "hats", COLUMNS, name="dp2", provenance=provenance, max_rows=100)
    with pytest.raises(SurveyError, match=r"object_margin is a HATS MarginCatalog, not a catalogue of objects"):
        associate_lsst(survey(tmp_path, "hats/object_margin"), ours, provenance=provenance)
    with pytest.raises(FileNotFoundError, match="all"):
        associate_lsst(survey(tmp_path, "all"), ours, provenance=provenance)
