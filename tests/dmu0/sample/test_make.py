"""Making the sample and getting inputs: what is made, when it is made again, and what becomes of old files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.manifest import check_inputs
from dmu0.files.paths import DataFolders
from dmu0.sample import make, vista_files
from dmu0.steps import get_inputs, list_inputs, summarise
from dmu0.surveys import Inputs, SurveyError, load_survey

SMALL = {"detector_pixels": 60.0, "detector_pitch": 70.0, "galaxy_density": 20.0, "star_density": 1.0}


@pytest.fixture
def survey(tmp_path, monkeypatch):
    """A small sample of two bands and one patch, in a folder of its own."""
    monkeypatch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=tmp_path))
    monkeypatch.setattr(vista_files, "DETECTORS", (6, 13))
    return _small(load_survey("sample"), {})


def _small(survey, changes):
    return survey.model_copy(
        update={
            "inputs": Inputs(source="simulate", seed=3, scene=SMALL | changes),
            "vista": survey.vista.model_copy(update={"bands": ("vk",)}),
            "optical": (survey.optical[0].model_copy(update={"bands": ("i",)}),),
            "tracts": {8524: ("22,22",)},
        }
    )


def test_sample_is_made_once(survey) -> None:
    """The sample has its files; asked for again it is left alone; changed settings or lost files make it again."""
    files = make.make_sample(survey, progress=False)
    folder = survey.folders[0]
    assert sum(name.endswith("_st.fit") for name in files) == 4
    assert "truth/truth.parquet" in files
    assert all((folder / name).is_file() for name in files)
    times = {name: (folder / name).stat().st_mtime_ns for name in files}
    content = {name: (folder / name).read_bytes() for name in files}

    make.make_sample(survey, progress=False)
    assert {name: (folder / name).stat().st_mtime_ns for name in files} == times

    (folder / files[0]).unlink()
    assert not make.is_current(survey)
    make.make_sample(survey, progress=False)
    assert {name: (folder / name).read_bytes() for name in files} == content, "the same seed gives other bytes"

    assert not make.is_current(_small(survey, {"galaxy_density": 21.0}))
    states = check_inputs(survey)
    assert set(states["state"]) == {"ok"}, states["path", "state", "reason"]


def test_interrupted_sample_is_not_published(survey, monkeypatch) -> None:
    """When making it fails, nothing of it is in place, nothing is left over, and the error comes through."""

    def fail(*args, **kwargs):
        """Stand for a disk without space."""
        raise OSError("disk full")

    (survey.folders[0] / f"{make._STAGING}.vista").mkdir()  # what a killed run left
    monkeypatch.setattr(make, "write_catalogue", fail)
    with pytest.raises(OSError, match="disk full"):
        make.make_sample(survey, progress=False)
    assert [path.name for path in survey.folders[0].iterdir()] == [".sample.lock"]
    assert not make.is_current(survey)


def test_old_sample_is_replaced_whole(survey, tmp_path) -> None:
    """Files of an older sample that the new one does not have are gone after it is published."""
    folder = survey.folders[0]
    (folder / "vista").mkdir()
    (folder / "vista" / "old.fit").write_text("old")
    staging = tmp_path / "staging"
    (staging / "vista").mkdir(parents=True)
    (staging / "vista" / "new.fit").write_text("new")
    make._publish(staging, folder, {"digest": "x", "files": ["vista/new.fit"]})
    assert [path.name for path in (folder / "vista").iterdir()] == ["new.fit"]
    assert json.loads((folder / "sample.json").read_text())["digest"] == "x"


def test_sources_reach_beyond_everything() -> None:
    """The square with sources covers the dithered focal plane of the sample and its patches."""
    survey = load_survey("sample")
    half = make.half_width(survey, make.Scene())
    assert half > 2 * 405 * 0.341 + 14
    assert half > 0.5 * 1700 * 0.168


def test_inputs_of_a_local_survey_are_listed(real_images) -> None:
    """The files of a survey on disk are listed with their kinds; none is missing."""
    files = get_inputs(load_survey("tests/real/gama9.yaml"))
    assert sorted(set(files["kind"])) == ["optical_coadd", "vista_coadd"]
    assert np.all(files["bytes"] > 0)
    assert list(summarise(files)["files"]) == [5, 4]


def test_missing_inputs_are_listed(survey) -> None:
    """Before the sample is made its coadds are listed as missing."""
    files = list_inputs(survey)
    table = summarise(files)
    assert isinstance(table, Table)
    assert dict(zip(table["kind"], table["missing"], strict=True)) == {"optical_coadd": 1, "optical_psf": 1}


def test_folder_that_is_not_there_is_named(tmp_path) -> None:
    """A local survey whose folder is missing is an error that names the folder."""
    survey = load_survey("sample")
    survey = survey.model_copy(update={"inputs": Inputs(source="local", folder=tmp_path / "nowhere")})
    with pytest.raises(SurveyError, match="nowhere"):
        list_inputs(survey)
