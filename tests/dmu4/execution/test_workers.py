"""Quanta shared among processes of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from dmu0.surveys import Survey
from dmu4.execution import steps, workers
from dmu4.execution.worker_process import cause_of_death
from tests.scenes.toy_results import PRODUCTS, STATES, products_of, states_of


def test_processes_share_the_work(shared_step: Survey) -> None:
    """Two processes end with the same report and the same products as one."""
    report = steps.run_step(shared_step, "toy_step", progress=False)
    assert states_of(report) == STATES
    assert products_of(shared_step) == PRODUCTS


def set_config(**settings: int) -> None:
    """Configure the toy task."""
    lines = [f"      {key}: {value}" for key, value in settings.items()]
    steps.PIPELINE.write_text("\n".join([steps.PIPELINE.read_text() + "    config:", *lines, ""]))


@pytest.mark.parametrize("detector", [1, 4])
def test_a_process_that_dies_costs_its_quantum(shared_step: Survey, detector: int) -> None:
    """The quantum is failed with the reason after a second attempt; what the process did before is not lost."""
    set_config(deadly=detector)
    report = steps.run_step(shared_step, "toy_step", progress=False)
    reason = "its process ended with 9; tried once more alone, its process ended with 9"
    name = f"exposure=100 detector={detector} band=vj"
    found = states_of(report)
    assert found[name] == ("failed", reason)
    assert {key: value for key, value in found.items() if key != name} == {
        key: value for key, value in STATES.items() if key != name
    }
    assert products_of(shared_step) == {number: value for number, value in PRODUCTS.items() if number != detector}
    again = steps.run_step(shared_step, "toy_step", progress=False)  # as after a repair, it is tried again
    assert states_of(again) == found


def test_a_process_killed_once_costs_nothing(
    shared_step: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9 of a process at work, its quantum is done at the second attempt."""
    monkeypatch.setenv("TOY_STARTED", str(tmp_path / "started"))
    set_config(deadlyOnce=4)
    report = steps.run_step(shared_step, "toy_step", progress=False)
    assert (tmp_path / "started").exists()
    assert states_of(report) == STATES
    assert products_of(shared_step) == PRODUCTS


def test_want_of_memory_costs_the_quantum(shared_step: Survey) -> None:
    """A quantum that needs more than there is, alone too, is failed with that reason; the others are done."""
    set_config(hungry=1)
    found = states_of(steps.run_step(shared_step, "toy_step", progress=False))
    state, reason = found.pop("exposure=100 detector=1 band=vj")
    assert state == "failed"
    assert "Unable to allocate 2.00 GiB" in reason
    assert found == {key: value for key, value in STATES.items() if "detector=1" not in key}


def test_processes_that_cannot_start_are_given_up(shared_step: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no process lives until its first quantum, the step ends with what ends them."""
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"].split(os.pathsep)[-1])  # without the toy task
    with pytest.raises(workers.WorkerFailed, match=r"toy: 4 quanta remain: .* with 1: .*toy_tasks.*3 times"):
        steps.run_step(shared_step, "toy_step", progress=False)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "its process was killed with SIGKILL, as the kernel does when memory runs out"),
        (-11, "its process crashed with SIGSEGV, a fault in compiled code: last words"),
        (-15, "its process was ended by SIGTERM: last words"),
        (3, "its process ended with 3: last words"),
    ],
)
def test_causes_of_death(code: int, words: str) -> None:
    """Signals have their names and meaning, and the last line of the log is given where it may tell more."""
    assert cause_of_death(code, "first\nlast words \n\n") == words


def test_the_queue_keeps_groups_together_and_shares_the_last() -> None:
    """A worker stays with its group, takes a free one next, and helps with the longest when none is free."""
    quanta = {name: uuid4() for name in ("a1", "a2", "b1", "b2", "b3", "b4")}
    queue = workers.WorkQueue({quanta[name]: name[0] for name in quanta})
    assert len(queue) == 6
    taken = [queue.take(0), queue.take(1), queue.take(1), queue.take(1), queue.take(0), queue.take(1), queue.take(0)]
    assert taken == [quanta[name] for name in ("b1", "a1", "a2", "b2", "b3", "b4")] + [None]
    queue.give_back([quanta["a2"]])
    assert (len(queue), queue.take(1), queue.take(1)) == (1, quanta["a2"], None)
