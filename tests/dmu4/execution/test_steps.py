"""The steps of the pipeline: every quantum in one state, and what a step keeps when it is run again."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from dmu0.files.metadata import from_lines
from dmu0.files.provenance import gather_provenance
from dmu0.surveys import Survey
from dmu4.butler.repository import has_collection, open_butler
from dmu4.execution import report, steps
from dmu4.execution.outcomes import read_outcomes
from tests.scenes.toy_results import PRODUCTS, STATES, products_of, states_of


def test_every_quantum_ends_in_one_state(toy_step: Survey) -> None:
    """Done, skipped with its reason, failed with its reason; the counts add up; the run says who made it."""
    rows = steps.run_step(toy_step, "toy_step", progress=False)
    assert states_of(rows) == STATES
    [row] = report.summary(rows)
    assert (row["quanta"], row["done"], row["skipped"], row["failed"]) == (4, 2, 1, 1)
    with open_butler(toy_step) as butler:
        [info] = butler.collections.query_info("toy_step/*", include_doc=True)
    assert from_lines(info.doc) == gather_provenance(toy_step).words()
    assert states_of(read_outcomes(toy_step)["toy_step"]) == STATES  # what `make status` reads


def test_cycles_are_collected_after_a_graph() -> None:
    """The pause of the collection ends with the graph, also if it fails, and does not begin one that was off."""
    assert gc.isenabled()
    with pytest.raises(KeyError), steps._without_cyclic_collection():
        raise KeyError(gc.isenabled())
    assert gc.isenabled()
    with steps._without_cyclic_collection():
        with steps._without_cyclic_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_step_that_breaks_off_has_no_outcomes(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes of an earlier run are not taken for those of one that did not come to its end."""
    steps.run_step(toy_step, "toy_step", progress=False)

    def break_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "_run_task", break_off)
    with pytest.raises(KeyboardInterrupt):
        steps.run_step(toy_step, "toy_step", progress=False)
    assert read_outcomes(toy_step) == {}


def test_resume_runs_only_what_is_missing(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same result made again keeps what was done and tries only what failed; a new one starts afresh."""
    steps.run_step(toy_step, "toy_step", progress=False)
    with open_butler(toy_step) as butler:
        kept = {ref.dataId["detector"]: ref.id for ref in butler.query_datasets("toy_product")}
    rows = steps.run_step(toy_step, "toy_step", progress=False)
    assert list(report.summary(rows)["failed"]) == [1]
    with open_butler(toy_step) as butler:
        assert {ref.dataId["detector"]: ref.id for ref in butler.query_datasets("toy_product")} == kept
    monkeypatch.setenv("FUSION_RUN_ID", "second")
    steps.run_step(toy_step, "toy_step", progress=False)
    with open_butler(toy_step) as butler:
        fresh = {ref.dataId["detector"]: ref.id for ref in butler.query_datasets("toy_product")}
        assert not has_collection(butler, "toy_step/first")
    assert set(fresh) == set(kept)
    assert not set(fresh.values()) & set(kept.values())


def test_broken_products_are_made_again(toy_step: Survey) -> None:
    """A product that was deleted, and one that was cut short, are made again; the others are kept."""
    steps.run_step(toy_step, "toy_step", progress=False)
    with open_butler(toy_step) as butler:
        files = {ref.dataId["detector"]: butler.getURI(ref) for ref in butler.query_datasets("toy_product")}
        log = butler.getURI(butler.query_datasets("toy_log", where="instrument = 'VIRCAM' AND detector = 2")[0])
    Path(files[1].ospath).unlink()
    Path(files[4].ospath).write_bytes(files[4].read()[:-3])
    before = log.read()
    rows = steps.run_step(toy_step, "toy_step", progress=False)
    assert states_of(rows) == STATES
    assert products_of(toy_step) == PRODUCTS
    assert log.read() == before, "what was sound was made again"


def test_a_step_of_failures_only_stops(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every quantum fails, the step does, and says why."""
    monkeypatch.setattr(steps, "_where", lambda survey, tracts: "instrument = 'VIRCAM' AND detector = 3")
    with pytest.raises(report.StepFailed, match=r"all 1 quanta of toy failed.*9\.9 arcsec"):
        steps.run_step(toy_step, "toy_step", progress=False)


def test_unknown_step_and_engine_are_named(toy_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step or an engine that does not exist is refused, with those that do."""
    with pytest.raises(ValueError, match="toy_step"):
        steps.run_step(toy_step, "nothing")
    monkeypatch.setenv("FUSION_ENGINE", "abacus")
    with pytest.raises(ValueError, match="local or bps"):
        steps.engine_kind(toy_step)
