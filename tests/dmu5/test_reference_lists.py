"""Identifiers of objects in reference catalogues, with stars that move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from dmu0.files.paths import DataFolders
from dmu0.files.provenance import gather_provenance
from dmu0.surveys import Survey, load_survey
from dmu5 import reference_lists
from dmu5.reference_lists import associate_references
from tests.scenes.releases import released


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The sample with an empty folder for its catalogue."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path)))
    survey = load_survey("sample")
    (survey.folders[5] / "catalogue").mkdir()
    return survey


def objects_at(survey: Survey, dec: list[float], date: float) -> Table:
    """Objects at RA 35.6 deg, detected in i and measured at a date."""
    table = Table({"objectId": 10 + np.arange(len(dec)), "coord_ra": np.full(len(dec), 35.6), "coord_dec": dec})
    table["refBand"] = "i"
    for band in survey.bands:
        table[f"{band}_epoch"] = date if band == "i" else date - 3000.0
    return table


def test_stars_are_found_where_they_were(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A star that moved by four arcsec since its epoch is found at the date of refBand; three columns are written."""
    gaia = Table({"id": [4295806720, 7, 8], "ra": [35.6] * 3, "dec": [-5.0 - 4 / 3600, -5.1, -5.3]})
    gaia["epoch"] = 57388.5
    gaia["pm_ra"], gaia["pm_dec"] = [0.0, np.nan, 0.0], [1000.0, np.nan, 0.0]  # mas a year
    monkeypatch.setattr(reference_lists, "read_references", lambda survey: ({"gaia": gaia}, None))
    objects = objects_at(survey, [-5.0, -5.1, -5.2], 57388.5 + 4 * 365.25)
    old = survey.folders[5] / "catalogue" / "vista_objects.parquet"
    old.touch()
    pairs = associate_references(survey, objects, provenance=gather_provenance(survey))["gaia"]
    assert pairs["objectId"].tolist() == [10, 11]
    assert pairs["gaia_source_id"].tolist() == [4295806720, 7]
    assert np.all(np.asarray(pairs["separation"]) < 2e-3)
    table = pq.read_table(survey.folders[5] / "catalogue" / "gaia_objects.parquet")
    assert table.schema.names == ["objectId", "gaia_source_id", "separation"]
    assert table["gaia_source_id"].to_pylist() == [4295806720, 7]
    assert table.schema.field("separation").metadata[b"unit"] == b"arcsec"
    assert not old.exists()


def test_unknown_dates(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coadds that do not tell their dates are taken to be of 2015.5; no references give no file."""
    monkeypatch.setattr(reference_lists, "read_references", lambda survey: ({}, None))
    assert associate_references(survey, objects_at(survey, [1.0], np.nan), provenance=gather_provenance(survey)) == {}
    assert reference_lists._median_date(objects_at(survey, [1.0], np.nan), survey) == 57206.0
    assert reference_lists._median_date(objects_at(survey, [1.0, 2.0], 58000.0), survey) == 58000.0


@pytest.mark.release
def test_stars_of_the_sample_are_those_of_its_references() -> None:
    """Stars brighter than i = 20 have counterparts in PS1, most also in 2MASS, as near as the errors of the lists."""
    survey, catalogue = released("sample")
    bright = catalogue["detect_isPrimary"] & (catalogue["refExtendedness"] == 0) & (catalogue["i_psfFlux"] > 36e3)
    wanted = set(np.asarray(catalogue["objectId"][bright]).tolist())
    for name, fraction, distance in (("ps1", 0.95, 0.06), ("twomass", 0.6, 0.3)):
        table = pq.read_table(survey.folders[5] / "catalogue" / f"{name}_objects.parquet").to_pandas()
        assert len(wanted & set(table["objectId"])) > fraction * len(wanted)
        assert table["separation"].median() < distance
        assert table["objectId"].is_unique
