"""Time and disk that a release is expected to take: as before, or as planned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dmu0.files.paths import DataFolders
from dmu0.surveys import Survey, load_survey
from workflow import outlook as module
from workflow.budget import StepCost, plan_steps
from workflow.graph import load_steps
from workflow.outlook import outlook
from workflow.records import Record, write_record


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The sample with data folders of its own, in which nothing is."""
    monkeypatch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=tmp_path))
    return load_survey("sample")


def test_a_release_costs_what_is_planned(sample: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Duration on two cores and disk are the sums of the plan's steps; disk that is too small is said."""
    _, steps = plan_steps(sample, cores=2)
    found = outlook(sample)
    assert found.seconds == pytest.approx(sum(step.wall for step in steps))
    assert found.disk == pytest.approx(1000 * sum(step.storage for step in steps))
    assert found.source == "by make plan"
    one = outlook(sample.model_copy(update={"tracts": {8524: ("22,22",)}}))
    assert one.seconds < 0.9 * found.seconds
    costs = [StepCost("a", 1, 0.1, 1.0, 2.5, 200.0), StepCost("b", 0, 0.0, 1.0, 0.5, 40.0)]
    monkeypatch.setattr(module, "plan_steps", lambda survey, tracts, *, cores: (None, costs))
    found = outlook(sample)
    assert "about 4 min on two cores and 3.0 GB of disk (by make plan)" in found.line()
    assert found.warning() == ""
    assert "3.0 GB of disk are needed" in found._replace(free=100.0).warning()
    assert "100 MB are free" in found._replace(free=100.0).warning()


def test_records_are_believed_first(sample: Survey) -> None:
    """A survey that was released before takes as long, and as much, as it did."""
    for step in load_steps().values():
        record = step.record(sample.folders)
        record.write_text("x" * 1000)
        write_record(record, Record("id", "2026-01-01T00:00:00+00:00", 7.0))
    found = outlook(sample)
    assert (found.seconds, found.source) == (7.0 * len(load_steps()), "as measured before")
    assert 0.018 < found.disk < 0.1
    shutil.rmtree(sample.folders[5])
    assert outlook(sample).source == "by make plan"
