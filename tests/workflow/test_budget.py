"""What a release is planned to cost: counted from the survey, with costs that were measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from dmu0.files.paths import DataFolders
from dmu0.surveys import load_survey
from dmu4.butler.repository import open_butler
from dmu4.execution.bps import COMMANDS
from dmu4.execution.steps import STEPS
from workflow.budget import NOT_MEASURED, budget, plan_release, plan_steps, read_costs, task_cost
from workflow.commands import main
from workflow.graph import load_steps
from workflow.measure_costs import task_uses
from workflow.records import read_record
from workflow.survey_size import VISTA_PIXEL, SurveySize, _overlaps, survey_size


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data folders in which nothing is."""
    monkeypatch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=tmp_path))
    return tmp_path


def test_every_task_and_notebook_has_a_cost() -> None:
    """The table has the tasks of the pipeline and the notebooks, each under its step, in units that are counted."""
    costs, size = read_costs(), SurveySize()
    assert list(costs["tasks"]) == [task for tasks in STEPS.values() for task in tasks]
    assert set(costs["notebooks"]) - {"simulate"} == set(load_steps())
    for task in costs["tasks"].values():
        assert task["step"] in load_steps()
        assert hasattr(size, task["quanta"])
    units = [entry for task in costs["tasks"].values() for entry in (task["cpu"], task["memory"], task["storage"])]
    for entry in (*units, *costs["notebooks"].values(), *costs["storage"].values()):
        assert set(entry) <= {"fixed", *SurveySize.__annotations__}


def test_sizes_are_counted(nowhere: Path) -> None:
    """The shipped surveys have the sizes known for them; patches and bands multiply."""
    sizes = read_costs()["sizes"]
    video = survey_size(load_survey("video"), sizes["video"])
    assert (video.patches, video.stacks, video.detectors, video.tracts) == (219, 5073, 5073 * 16, 9)
    assert video.vista_patch_bands == video.optical_patch_bands == 219 * 5
    assert video.patch_mpix == pytest.approx(219 * 4.2**2, rel=0.02)  # those at the edge of a tract are smaller
    one = survey_size(load_survey("video"), sizes["video"], tracts="8524", stacks=10)
    assert (one.patches, one.stacks, one.tracts) == (81, 10, 1)
    assert survey_size(load_survey("video"), {}).stacks == 0


def test_overlaps_are_those_of_squares_on_a_grid(rng: np.random.Generator) -> None:
    """The expected number of patches under a detector, and the covered area, are those of squares thrown at random."""
    survey = load_survey("video")
    grid = survey.sky_map
    pitch = grid.patch_inner * grid.pixel_scale
    outer = (grid.patch_inner + 2 * grid.patch_border) * grid.pixel_scale
    side = 2048 * VISTA_PIXEL
    low = rng.uniform(0, pitch, (20_000, 2)) + 10 * pitch
    edges = np.arange(30) * pitch - grid.patch_border * grid.pixel_scale
    common = np.minimum(low[..., None] + side, edges + outer) - np.maximum(low[..., None], edges)
    area = np.prod(np.sum(common.clip(0), axis=-1), axis=-1)
    touched = np.prod(np.sum(common > 0, axis=-1), axis=-1)
    pairs, covered = _overlaps(survey, 1.0, 2048, limit=1e9)
    assert pairs == pytest.approx(touched.mean(), rel=0.02)
    assert covered == pytest.approx(area.mean() / outer**2, rel=0.02)


def test_costs_grow_with_the_survey() -> None:
    """Twice the survey has twice the quanta and CPU time; more cores shorten what quanta take, and nothing else."""
    size = survey_size(load_survey("video"), read_costs()["sizes"]["video"])
    twice = replace(size, **{name: 2 * getattr(size, name) for name in SurveySize.__annotations__})
    one, two = budget(size, cores=4), budget(twice, cores=4)
    for before, after in zip(one, two, strict=True):
        assert after.quanta == 2 * before.quanta
        assert before.cpu <= after.cpu <= 2 * before.cpu
        assert after.memory == pytest.approx(before.memory)
    many = {row.step: row for row in budget(size, cores=400)}
    few = {row.step: row for row in one}
    assert many["dmu4/2_Single_frame"].wall < 0.1 * few["dmu4/2_Single_frame"].wall
    assert many["dmu3/1_Baseline_images"].wall == few["dmu3/1_Baseline_images"].wall
    assert few["dmu4/2_Single_frame"].quanta == 5073 * 17


def test_the_plan_is_printed(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step and the sum, the earlier figures beside them, and what is missing is asked for; nothing is written."""
    assert main(["plan", "--survey", "video", "--cores", "64"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("video: 219 patches in 9 tracts, 10 bands, 5,073 stacks, 81,168 detector images\n")
    assert "on 64 cores" in said
    assert "CPU hours of the earlier processing: 1.8 for each stack" in said
    assert all(step in said for step in load_steps())
    lines = plan_release(load_survey("video"), "8524", cores=2, stacks=0)
    assert "give their number, STACKS=5000" in lines[-2]
    assert main(["plan", "--survey", "video", "--cores", "0"]) == 2
    assert "CORES is 0" in capsys.readouterr().err


@pytest.mark.release
def test_the_plan_of_the_sample_is_right() -> None:
    """Every step and the whole took what is planned, within 30%."""
    sample = load_survey("sample")
    size = survey_size(sample, read_costs()["sizes"]["sample"])
    ratios = {}
    for row in budget(size, cores=2, simulate=True):
        ratios[row.step] = row.wall / read_record(load_steps()[row.step].record(sample.folders)).seconds
    whole = sum(row.wall for row in budget(size, cores=2, simulate=True)) / sum(
        read_record(step.record(sample.folders)).seconds for step in load_steps().values()
    )
    print(f"planned over measured: {whole:.2f} (0.7 to 1.3); by step {ratios}")
    assert whole == pytest.approx(1, abs=0.3)


@pytest.mark.release
def test_cpu_and_disk_of_the_sample_are_right() -> None:
    """CPU time, memory and storage of every task of the sample are those that its quanta report, within 30%."""
    sample = load_survey("sample")
    size, costs = survey_size(sample, read_costs()["sizes"]["sample"]), read_costs()["tasks"]
    with open_butler(sample) as butler:
        for use in task_uses(butler):
            quanta, cpu, memory, storage = task_cost(size, costs[use.task])
            print(f"{use.task}: planned {quanta, cpu, memory, storage}, measured {use}")
            assert quanta == pytest.approx(use.quanta, abs=1)
            if use.cpu > 10:
                assert cpu == pytest.approx(use.cpu, rel=0.3)
            assert 1000 * memory == pytest.approx(use.memory, rel=0.3)
            if use.storage > 3:
                assert 1000 * storage == pytest.approx(use.storage, rel=0.3)


def test_known_sizes_are_those_of_the_sample() -> None:
    """What the table says about the sample before it is made is what dmu1 counts afterwards."""
    sample = load_survey("sample")
    if not (sample.folders[1] / "coverage.parquet").exists():
        pytest.skip("the sample is not made here: make sample")
    known = read_costs()["sizes"]["sample"]
    found = survey_size(sample, {})
    assert (found.stacks, found.detectors, found.overlaps) == (known["stacks"], known["detectors"], known["overlaps"])
    assert found.resampled_mpix == pytest.approx(known["covered"] * 0.81, rel=0.01)
    assert found.detector_mpix == pytest.approx(known["detectors"] * known["side"] ** 2 / 1e6, rel=0.01)


def test_jobs_ask_for_what_was_measured(nowhere: Path) -> None:
    """Jobs of a batch system ask for a fifth to a half more than full-size quanta take, in memory and time."""
    size, costs = survey_size(load_survey("video"), read_costs()["sizes"]["video"]), read_costs()["tasks"]
    asked = yaml.safe_load(COMMANDS.read_text())["pipetask"]
    assert list(asked) == list(costs)
    for task, given in asked.items():
        quanta, cpu, memory, _ = task_cost(size, costs[task])
        if task != "consolidate_tract":
            assert 1.2 < given["requestMemory"] / (1000 * memory) < 1.55, task
        together = {"calibrate_detector": 16, "coadd_patch": 5, "import_optical": 5}.get(task, 1)  # in a job
        assert given["requestWalltime"] * 60 > 1.2 * together * cpu / quanta, task


def test_a_notebook_of_ones_own_has_a_cost(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is not in the table of costs takes as long as its start."""
    steps = load_steps()
    monkeypatch.setattr("workflow.budget.load_steps", lambda: {**steps, "dmu5/9_Mine": None})
    size, found = plan_steps(load_survey("sample"), cores=2)
    assert size.patches == 4
    assert {row.step: row.wall for row in found}["dmu5/9_Mine"] == NOT_MEASURED["fixed"]
