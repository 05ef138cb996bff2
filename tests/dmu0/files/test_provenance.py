"""Provenance depends on code, survey and inputs, and on nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from dmu0.files import paths
from dmu0.files.code_version import UNKNOWN, code_version
from dmu0.files.manifest import check_inputs
from dmu0.files.provenance import gather_provenance
from dmu0.schema.columns import schema_version
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import Survey, load_survey

DATES = ("2009-11-04T04:39:58.9047", "2012-03-01T00:00:01.5", "2010-01-04T01:34:56.7243")
NEWEST = "2012-03-01T00:00:01"


@pytest.fixture
def make_survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_casu: Callable) -> Callable[[str], Survey]:
    """A function that makes a survey of three stacks, the newest in the middle, in a folder of its own."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: paths.DataFolders(self.name, self.path.parent)))

    def make(folder: str) -> Survey:
        inputs = tmp_path / folder / "inputs"
        inputs.mkdir(parents=True)
        for number, date in enumerate(DATES):
            image = np.random.default_rng(number).integers(8000, 8800, (40, 50)).astype(np.int32)
            write_casu(inputs / f"v2009110{number}_00001_st.fit", {1: image}, **{"DATE-OBS": date})
        path = tmp_path / folder / "trial.yaml"
        content = {"name": "trial", "title": "Trial", "inputs": {"source": "local", "folder": "inputs"}}
        content |= {"vista": {"bands": ["vh"], "stacks": ["v*_st.fit"], "confidence": None}}
        path.write_text(yaml.safe_dump(content | {"sky_map": {"name": "hscPdr2"}, "tracts": {8524: [41]}}))
        return load_survey(str(path))

    return make


def test_every_word_is_true(make_survey: Callable[[str], Survey]) -> None:
    """Each word is what anyone can check with the files at hand."""
    survey = make_survey("here")
    manifest = check_inputs(survey)
    assert set(manifest["state"]) == {"ok"}
    words = gather_provenance(survey).words()
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in survey.input_folder.glob("*.fit")]
    assert words == {
        "software": f"lsst-ir-fusion {code_version().version}",
        "commit": code_version().commit,
        "modified": code_version().modified,
        "schema_version": schema_version(),
        "survey": "trial.yaml",
        "survey_sha256": hashlib.sha256(survey.path.read_bytes()).hexdigest(),
        "sky_map": "hscPdr2",
        "sky_map_sha1": make_sky_map(survey.sky_map).digest().hex(),
        "inputs_sha256": hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest(),
        "newest_input": NEWEST,
    }


def test_a_copy_has_the_same(make_survey: Callable[[str], Survey]) -> None:
    """Neither the place of the files nor their times are in it: a copy elsewhere, with new times, gives the same."""
    first = make_survey("here")
    there = first.path.parent.with_name("there")
    shutil.copytree(first.path.parent, there)
    second = load_survey(str(there / "trial.yaml"))
    for path in second.input_folder.glob("*.fit"):
        os.utime(path, (2e9, 2e9))
    for survey in (first, second):
        check_inputs(survey)
    assert gather_provenance(first) == gather_provenance(second)


def test_other_inputs_have_another(make_survey: Callable[[str], Survey]) -> None:
    """Without its newest image the survey has other inputs, of another newest date."""
    survey = make_survey("here")
    check_inputs(survey)
    before = gather_provenance(survey)
    (survey.input_folder / "v20091101_00001_st.fit").unlink()
    check_inputs(survey)
    after = gather_provenance(survey)
    assert after.newest_input == "2010-01-04T01:34:56"
    assert after.inputs_sha256 != before.inputs_sha256
    assert after.survey_sha256 == before.survey_sha256


def test_known_files_keep_their_date(make_survey: Callable[[str], Survey]) -> None:
    """A second check, which reads no file again, keeps the dates."""
    survey = make_survey("here")
    first = check_inputs(survey)
    assert sorted(first["observed"]) == sorted(date[:19] for date in DATES)
    assert list(check_inputs(survey)["observed"]) == list(first["observed"])


def test_before_there_is_a_manifest(make_survey: Callable[[str], Survey]) -> None:
    """What is not known yet is said to be unknown."""
    words = gather_provenance(make_survey("here")).words()
    assert (words["inputs_sha256"], words["newest_input"]) == (UNKNOWN, UNKNOWN)
