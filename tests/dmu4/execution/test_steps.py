"""The repository of a survey, and the accounting of what is run on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetType

from dmu0.files.manifest import write_manifest
from dmu0.files.paths import PROJECT, DataFolders
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey, load_survey
from dmu4.butler.repository import chosen_patches, has_collection, make_repository, open_butler
from dmu4.execution import bps, steps, workers
from dmu4.review.repository import dataset_counts, visit_table

SURVEY = """
name: tiny
title: Two stacks of four detectors
inputs: {source: simulate}
vista: {bands: [vj], programme: TEST}
sky_map: {name: tiny_map, patch_inner: 400, patch_border: 20}
tracts: {8524: ["44,44", "45,44"]}
"""


def stack_rows(path: Path, *, exposure: int, centre: tuple[float, float], accepted: bool) -> list[dict]:
    """Rows of the selection for four detectors side by side."""
    rows = []
    for detector in range(1, 5):
        ra, dec = centre[0] + 0.02 * (detector - 2.5), centre[1]
        x, y = ra + 0.01 * np.array([-1, 1, 1, -1]), dec + 0.01 * np.array([-1, -1, 1, 1])
        corners = {f"ra{k}": x[k] for k in range(4)} | {f"dec{k}": y[k] for k in range(4)}
        common = {"path": str(path), "hdu": detector, "detector": detector, "exposure": exposure, "band": "vj"}
        timing = {"mjd": 56200.0 + exposure / 1000, "exptime": 10.0, "ndit": 6, "nicomb": 7}
        state = {"accepted": accepted, "rejected_because": "" if accepted else "OBSTATUS is Aborted"}
        paths = {"confidence_path": "", "confidence_hdu": -1, "physical_filter": "VIRCAM-J"}
        rows.append(common | timing | state | paths | corners | {"ra": ra, "dec": dec})
    return rows


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """A survey in a folder of its own, with what dmu0 to dmu2 would have left."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path)))
    monkeypatch.setenv("FUSION_RUN_ID", "first")
    (tmp_path / "tiny.yaml").write_text(SURVEY)
    tiny = load_survey(str(tmp_path / "tiny.yaml"))
    rows = []
    for number, accepted in ((100, True), (200, False)):
        path = tiny.folders[0] / f"v20121019_{number:05d}_st.fit"
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros((8, 8), np.float32)) for _ in range(4))]
        fits.HDUList(hdus).writeto(path)
        rows += stack_rows(path, exposure=number, centre=(35.6, -5.1), accepted=accepted)
    Table(rows=rows).write(tiny.folders[1] / "selected.parquet")
    names = ("path", "kind", "band", "tract", "patch", "bytes", "sha256", "state", "reason")
    types = (str, str, str, int, int, int, str, str, str)
    write_manifest(tiny.folders, Table(names=names, dtype=types))
    return tiny


def test_only_what_was_accepted_is_ingested(survey: Survey) -> None:
    """Accepted detectors are in, rejected ones are out with their reason, files are as they were."""
    files = sorted(survey.folders[0].glob("*.fit"))
    before = [path.read_bytes() for path in files]
    report = make_repository(survey, run="one")
    assert report.counts == {"vircam_pawprint": 4}
    assert report.left_out == [(f"v20121019_00200_st.fit[{k}]", "OBSTATUS is Aborted") for k in range(1, 5)]
    with open_butler(survey) as butler:
        assert dataset_counts(butler)["vircam_pawprint"] == 4
        visits = visit_table(butler)
        assert list(visits["visit"]) == [100]
        assert visits["exposure_time"][0] == 10.0 * 6 * 7
    assert [path.read_bytes() for path in files] == before


def test_coadds_of_another_butler_are_named(survey: Survey, tmp_path: Path) -> None:
    """Of two patches one has a deep_coadd in an LSST repository: it is named and can be read, the other is left out."""
    theirs = str(tmp_path / "theirs")
    Butler.makeRepo(theirs)
    inside, outside = (patch.id for patch in survey_patches(survey))
    where = {"skymap": "tiny_map", "tract": 8524, "patch": inside, "band": "i"}
    with Butler.from_config(theirs, writeable=True, run="coadds") as butler:
        registry = butler.registry
        sizes = {"tract_max": 9000, "patch_nx_max": 99, "patch_ny_max": 99}
        registry.insertDimensionData("skymap", {"name": "tiny_map", "hash": b"1", **sizes})
        registry.insertDimensionData("tract", {"skymap": "tiny_map", "id": 8524})
        cell = {"cell_x": 44, "cell_y": 44}
        registry.insertDimensionData("patch", {"skymap": "tiny_map", "tract": 8524, "id": inside, **cell})
        instrument = {"detector_max": 1, "visit_max": 1, "exposure_max": 1}
        registry.insertDimensionData("instrument", {"name": "X", **instrument})
        registry.insertDimensionData("physical_filter", {"instrument": "X", "name": "i", "band": "i"})
        dimensions = ("skymap", "tract", "patch", "band")
        kind = DatasetType("deep_coadd", dimensions, "StructuredDataDict", universe=butler.dimensions)
        registry.registerDatasetType(kind)
        butler.put({"a": 1}, kind, where)
    content = yaml.safe_load(survey.path.read_text())
    content["optical"] = {"kind": "lsst", "bands": ["i"], "butler": theirs, "collection": "coadds"}
    survey.path.write_text(yaml.safe_dump(content))
    optical = load_survey(str(survey.path))
    report = make_repository(optical, run="one")
    assert report.counts["optical_coadd_source"] == 1
    assert [name for name, _ in report.left_out if name.startswith("deep_coadd")] == [
        f"deep_coadd of tract 8524, patch {outside}, i"
    ]
    with open_butler(optical, collections="inputs") as butler:
        source = butler.get("optical_coadd_source", where)
    assert source["kind"] == "lsst"
    with Butler.from_config(source["path"], collections=source["collection"]) as butler:
        assert butler.get("deep_coadd", where) == {"a": 1}


def test_made_again_it_is_the_same(survey: Survey) -> None:
    """A run that is made twice is not doubled; a newer run takes the place of an older one."""
    first = make_repository(survey, run="one")
    assert make_repository(survey, run="one").counts == first.counts
    make_repository(survey, run="two")
    with open_butler(survey) as butler:
        assert dataset_counts(butler)["vircam_pawprint"] == 4
        assert has_collection(butler, "inputs/two")
        assert not has_collection(butler, "inputs/one")


def test_missing_repository_says_what_to_run(survey: Survey) -> None:
    """Opening a repository that was not made names the notebook that makes it."""
    with pytest.raises(FileNotFoundError, match="1_Butler_repository"):
        open_butler(survey)


def test_tracts_are_chosen_by_name(survey: Survey) -> None:
    """Tracts may be narrowed; one that the survey does not have is named."""
    assert list(chosen_patches(survey)) == [8524]
    assert chosen_patches(survey, "8524") == chosen_patches(survey)
    assert len(chosen_patches(survey)[8524]) == 2
    with pytest.raises(ValueError, match="9999"):
        chosen_patches(survey, "9999")


STATES = {
    "exposure=100 detector=1 band=vj": ("done", ""),
    "exposure=100 detector=2 band=vj": ("skipped", "there are no stars on it"),
    "exposure=100 detector=3 band=vj": ("failed", "ValueError: the seeing is 9.9 arcsec"),
    "exposure=100 detector=4 band=vj": ("done", ""),
}
"""How the quanta of the toy task end, by their data ids: state and reason."""


def states_of(report: Table) -> dict[str, tuple[str, str]]:
    """State and reason of each quantum of a report, by its data id."""
    return {row["data_id"]: (row["state"], row["reason"]) for row in report}


@pytest.fixture
def toy_step(survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
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
    make_repository(survey, run="one")
    return survey


def test_every_quantum_ends_in_one_state(toy_step: Survey) -> None:
    """Done, skipped with its reason, failed with its reason; the counts add up."""
    report = steps.run_step(toy_step, "toy_step", progress=False)
    assert states_of(report) == STATES
    [row] = steps.summary(report)
    assert (row["quanta"], row["done"], row["skipped"], row["failed"]) == (4, 2, 1, 1)


@pytest.fixture
def shared_step(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The same step, shared among two processes."""
    monkeypatch.setitem(workers.SHARED_BY, "toy", "detector")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{PROJECT}")
    assert toy_step.engine.processes == 2
    return toy_step


def test_processes_share_the_work(shared_step: Survey) -> None:
    """Two processes end with the same report and the same products as one."""
    report = steps.run_step(shared_step, "toy_step", progress=False)
    assert states_of(report) == STATES
    with open_butler(shared_step) as butler:
        made = {ref.dataId["detector"]: butler.get(ref) for ref in butler.query_datasets("toy_product")}
    assert made == {1: {"detector": 1}, 4: {"detector": 4}}


def test_bps_accounts_for_quanta_as_the_local_engine_does(shared_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted to BPS, every quantum ends in the same state for the same reason; products are registered."""
    monkeypatch.setenv("FUSION_ENGINE", "bps")
    report = steps.run_step(shared_step, "toy_step", progress=False)
    assert states_of(report) == STATES
    with open_butler(shared_step) as butler:
        made = {ref.dataId["detector"]: butler.get(ref) for ref in butler.query_datasets("toy_product")}
    assert made == {1: {"detector": 1}, 4: {"detector": 4}}
    again = steps.run_step(shared_step, "toy_step", progress=False)
    assert states_of(again) == STATES


def test_a_submission_that_fails_says_where_to_look(
    shared_step: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has bps's last line and its log, and names the Python if that cannot read parts of a graph."""
    site = tmp_path / "site.yaml"
    site.write_text(bps.find_site("local").read_text().replace("sites.local.Local", "sites.local.Nowhere"))
    engine = shared_step.engine.model_copy(update={"kind": "bps", "site": str(site)})
    monkeypatch.setattr(bps, "reads_parts_of_zips", lambda: False)
    with pytest.raises(bps.BpsFailed, match=r"bps submit of toy ended with 1: .*Nowhere.*bps\.log\).*127847"):
        steps.run_step(shared_step.model_copy(update={"engine": engine}), "toy_step", progress=False)


def test_a_process_that_dies_costs_only_its_work(shared_step: Survey) -> None:
    """The step ends with an error; the other process does the rest, and what it made is registered."""
    pipeline = steps.PIPELINE.read_text()
    steps.PIPELINE.write_text(f"{pipeline}    config:\n      deadly: 1\n")
    with pytest.raises(workers.WorkerFailed, match="toy: a process ended with 9"):
        steps.run_step(shared_step, "toy_step", progress=False)
    with open_butler(shared_step, collections="toy_step/first") as butler:
        kept = {ref.dataId["detector"]: ref.id for ref in butler.query_datasets("toy_product")}
    assert set(kept) == {4}


def test_the_queue_keeps_groups_together_and_shares_the_last() -> None:
    """A worker stays with its group, takes a free one next, and helps with the longest when none is free."""
    quanta = {name: uuid4() for name in ("a1", "a2", "b1", "b2", "b3", "b4")}
    queue = workers.WorkQueue({quanta[name]: name[0] for name in quanta})
    taken = [queue.take(0), queue.take(1), queue.take(1), queue.take(1), queue.take(0), queue.take(1), queue.take(0)]
    assert taken == [quanta[name] for name in ("b1", "a1", "a2", "b2", "b3", "b4")] + [None]


def test_resume_runs_only_what_is_missing(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same result made again keeps what was done and tries only what failed; a new one starts afresh."""
    steps.run_step(toy_step, "toy_step", progress=False)
    with open_butler(toy_step) as butler:
        kept = {ref.dataId["detector"]: ref.id for ref in butler.query_datasets("toy_product")}
    report = steps.run_step(toy_step, "toy_step", progress=False)
    assert list(steps.summary(report)["failed"]) == [1]
    with open_butler(toy_step) as butler:
        assert {ref.dataId["detector"]: ref.id for ref in butler.query_datasets("toy_product")} == kept
    monkeypatch.setenv("FUSION_RUN_ID", "second")
    steps.run_step(toy_step, "toy_step", progress=False)
    with open_butler(toy_step) as butler:
        fresh = {ref.dataId["detector"]: ref.id for ref in butler.query_datasets("toy_product")}
        assert not has_collection(butler, "toy_step/first")
    assert set(fresh) == set(kept)
    assert not set(fresh.values()) & set(kept.values())


def test_a_step_of_failures_only_stops(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every quantum fails, the step does, and says why."""
    monkeypatch.setattr(steps, "_where", lambda survey, tracts: "instrument = 'VIRCAM' AND detector = 3")
    with pytest.raises(steps.StepFailed, match=r"all 1 quanta of toy failed.*9\.9 arcsec"):
        steps.run_step(toy_step, "toy_step", progress=False)


def test_unknown_step_and_engine_are_named(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step or an engine that does not exist is refused, with those that do."""
    with pytest.raises(ValueError, match="toy_step"):
        steps.run_step(toy_step, "nothing")
    monkeypatch.setenv("FUSION_ENGINE", "abacus")
    with pytest.raises(ValueError, match="local or bps"):
        steps.engine_kind(toy_step)
