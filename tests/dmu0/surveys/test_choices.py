"""TRACTS, ENGINE and JOBS, as people and papermill give them."""

from __future__ import annotations

import pytest

from dmu0.surveys import SurveyError, check_engine, check_jobs, chosen_tracts, load_survey, normal_tracts


@pytest.fixture
def survey(tmp_path):
    """A survey of three tracts, not in order."""
    path = tmp_path / "three.yaml"
    path.write_text(
        "name: three\ntitle: t\ninputs: {source: local, folder: .}\noptical: {kind: hsc, bands: [i]}\n"
        "sky_map: {name: hscPdr2}\ntracts: {8525: all, 8524: all, 8765: all}\n"
    )
    return load_survey(str(path))


@pytest.mark.parametrize(
    ("tracts", "numbers", "text"),
    [
        ("", [8524, 8525, 8765], ""),
        ("  ", [8524, 8525, 8765], ""),
        ([], [8524, 8525, 8765], ""),
        ("8525", [8525], "8525"),
        (8525, [8525], "8525"),
        ("8765 8524", [8524, 8765], "8524 8765"),
        ("8524,8765", [8524, 8765], "8524 8765"),
        ([8765, 8524, 8524], [8524, 8765], "8524 8765"),
        ("8525  8524 8765", [8524, 8525, 8765], ""),
        ("08524", [8524], "8524"),
    ],
)
def test_tracts(survey, tracts, numbers, text):
    """Text, integers and lists choose tracts; naming all of them is naming none, however it is written."""
    assert chosen_tracts(survey, tracts) == numbers
    assert normal_tracts(survey, tracts) == text


@pytest.mark.parametrize("tracts", ["8526", 9, "8524 north", "-8524", "8524.5", "all", ["8524", "x"], "\u0668"])
def test_tracts_that_are_none(survey, tracts):
    """Other tracts and words are refused with the choice, and what was probably meant."""
    with pytest.raises(SurveyError, match="choose from 8524, 8525, 8765") as error:
        normal_tracts(survey, tracts)
    assert repr(tracts) in str(error.value)
    if tracts == "8526":
        assert "Did you mean '852" in str(error.value)


def test_engine_and_jobs():
    """Engines are two; jobs are a number of at least one; nothing is the default."""
    assert [check_engine(engine) for engine in ("", "local", "bps")] == ["", "local", "bps"]
    with pytest.raises(SurveyError, match=r"ENGINE='slurm': choose from local and bps"):
        check_engine("slurm")
    with pytest.raises(SurveyError, match="Did you mean 'local'"):
        check_engine("Locl")
    assert [check_jobs(jobs) for jobs in ("", " 4 ", 2)] == ["", "4", "2"]
    for wrong in ("0", "-1", "two", "2.5", "1e3", "99999", "\u0662", "9" * 5000):
        with pytest.raises(SurveyError, match="JOBS="):
            check_jobs(wrong)
