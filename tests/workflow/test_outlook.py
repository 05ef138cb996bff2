"""Time and disk that a release is expected to take: in proportion to its pixels, from what was measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dmu0.files.paths import DataFolders
from dmu0.surveys import Survey, load_survey
from workflow import outlook as module
from workflow.graph import load_steps
from workflow.outlook import OVERHEAD, Work, card_seconds, outlook, work
from workflow.records import Record, write_record


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The sample with data folders of its own, in which nothing is."""
    monkeypatch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=tmp_path))
    return load_survey("sample")


def test_every_card_gives_a_time() -> None:
    """All notebooks say how long they run on the sample, and no time is below that of an empty notebook."""
    seconds = card_seconds()
    assert list(seconds) == list(load_steps())
    assert min(seconds.values()) > OVERHEAD


def test_work_is_counted_in_pixels(sample: Survey) -> None:
    """Patches times bands; where no stack is there, no single images."""
    assert work(sample) == Work(detectors=0.0, patches=4 * 10 * 900**2 / 1e6)
    one = sample.model_copy(update={"tracts": {8524: ("22,22",)}, "vista": None})
    assert work(one).patches == pytest.approx(5 * 0.81)


def test_costs_scale_with_pixels(sample: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the pixels take twice the time but for what every notebook takes; disk that is too small is said."""
    monkeypatch.setattr(module, "card_seconds", lambda: {"dmu0/2_Check_inputs": 25.0, "dmu4/3_Coadd": 105.0})
    whole = module._SAMPLE_WORK
    monkeypatch.setattr(module, "work", lambda survey, tracts: Work(whole.detectors * 3, whole.patches * 2))
    found = outlook(sample)
    assert found.seconds == pytest.approx((5 + 3 * 20) + (5 + 2 * 100))
    assert found.disk == pytest.approx(2.5 * module.SAMPLE_DISK)
    assert found.source == "by the times on the notebooks' cards"
    assert "about 4 min on two cores and 3.0 GB of disk" in found.line()
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
    assert outlook(sample).source == "by the times on the notebooks' cards"
