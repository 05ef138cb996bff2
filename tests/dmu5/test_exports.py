"""FITS and VOTable of the whole survey or per tract, and the small catalogue."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu5 import exports
from dmu5.exports import table_path, write_lite, write_tables
from dmu5.file_columns import deviations, file_columns
from dmu5.fusing import fuse
from dmu5.lite import lite_columns, make_lite
from dmu5.writers import write_parquet

BANDS = ("g", "i", "vj", "vk")
COLUMNS = schema_columns(BANDS)


@pytest.fixture
def survey(objects: Table, tmp_path: Path, provenance: Provenance) -> SimpleNamespace:
    """A survey of two tracts of 30 and 20 rows; every fifth row is not primary, every seventh is flagged in Ks."""
    table = fuse(objects[:50], COLUMNS)
    table["detect_isPrimary"][::5] = False
    table["vk_gaap1p0Flux_flag"] = np.arange(50) % 7 == 0
    table["vk_cModelFlux_flag"] = np.arange(50) % 11 == 0
    table["tract"] = np.where(np.arange(50) < 30, 8524, 8525)
    folder = tmp_path / "catalogue"
    for tract in (8524, 8525):
        rows = table[table["tract"] == tract]
        write_parquet(rows, folder, COLUMNS, tract=tract, provenance=provenance)
    return SimpleNamespace(
        name="trial", bands=BANDS, tracts={8524: None, 8525: None}, folders={5: tmp_path}, table=table
    )


def test_small_surveys_have_one_file(survey: SimpleNamespace, provenance: Provenance) -> None:
    """One FITS and one VOTable of all rows; without VOTables an old one goes."""
    folder = survey.folders[5] / "catalogue"
    paths = list(write_tables(survey, provenance=provenance))
    assert paths == [folder / "object.fits", folder / "object.vot"]
    assert sorted(Table.read(paths[0])["objectId"]) == list(range(50))
    assert list(write_tables(survey, provenance=provenance, votable=False)) == paths[:1]
    assert not paths[1].exists()


def test_large_surveys_have_one_file_per_tract(
    survey: SimpleNamespace, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit each tract has its own, and a file of all from before goes."""
    folder = survey.folders[5] / "catalogue"
    list(write_tables(survey, provenance=provenance))
    monkeypatch.setattr(exports, "SINGLE_FILE", 49)
    paths = list(write_tables(survey, provenance=provenance))
    assert {*paths} == {table_path(folder, kind, tract) for kind in ("fits", "vot") for tract in (8524, 8525)}
    assert not (folder / "object.fits").exists()
    assert [len(Table.read(path)) for path in paths if path.suffix == ".fits"] == [30, 20]
    assert all(deviations(file_columns(path), COLUMNS) == [] for path in paths)


def test_the_small_catalogue_has_no_flagged_values(survey: SimpleNamespace, provenance: Provenance) -> None:
    """One row per object of all tracts; a flagged flux and its error are missing, others are as they were."""
    paths = write_lite(survey, provenance=provenance)
    lite = pq.read_table(paths[0]).to_pandas().set_index("objectId").sort_index()
    full = survey.table.to_pandas().set_index("objectId")
    full = full[full["detect_isPrimary"]]
    assert list(lite.index) == list(full.index)
    for band in BANDS:
        for name in ("gaap1p0Flux", "cModelFlux"):
            flagged = full[f"{band}_{name}_flag"]
            assert lite[f"{band}_{name}"].isna().equals(flagged | full[f"{band}_{name}"].isna())
            kept = ~flagged
            np.testing.assert_array_equal(lite[f"{band}_{name}"][kept], full[f"{band}_{name}"][kept])
    assert lite["vk_gaap1p0FluxErr"].isna().sum() == full["vk_gaap1p0Flux_flag"].sum() > 3
    assert deviations(file_columns(paths[0]), lite_columns(COLUMNS)) == []
    assert deviations(file_columns(paths[1]), lite_columns(COLUMNS)) == []


def test_some_forty_columns_for_ten_bands() -> None:
    """Twelve of an object and three of each band."""
    ten = ("g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk")
    assert len(lite_columns(schema_columns(ten))) == 42
    assert len(make_lite(Table({c.name: np.zeros(0, c.dtype) for c in COLUMNS}), COLUMNS).colnames) == 24
