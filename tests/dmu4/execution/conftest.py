"""A step of one toy task, on the repository of the tiny survey."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dmu0.files.paths import PROJECT
from dmu0.surveys import Survey
from dmu4.execution import steps, workers


@pytest.fixture
def toy_step(made_survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """A step of one toy task, on the repository of the tiny survey."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    sys.modules.pop("toy_tasks", None)
    pipeline = tmp_path / "toy.yaml"
    pipeline.write_text(
        "description: toy\ninstrument: obs_vista.VIRCAM\ntasks:\n  toy:\n    class: toy_tasks.ToyTask\n"
    )
    monkeypatch.setattr(steps, "PIPELINE", pipeline)
    monkeypatch.setattr(steps, "STEPS", {"toy_step": ("toy",)})
    monkeypatch.setattr(steps, "_where", lambda survey, tracts: "instrument = 'VIRCAM'")
    return made_survey


@pytest.fixture
def shared_step(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The same step, shared among two processes."""
    monkeypatch.setitem(workers.SHARED_BY, "toy", "detector")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{PROJECT}")
    assert toy_step.engine.processes == 2
    return toy_step
