"""Quanta shared among processes of this machine."""

from __future__ import annotations

from uuid import uuid4

import pytest

from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from dmu4.execution import steps, workers
from tests.scenes.toy_results import PRODUCTS, STATES, products_of, states_of


def test_processes_share_the_work(shared_step: Survey) -> None:
    """Two processes end with the same report and the same products as one."""
    report = steps.run_step(shared_step, "toy_step", progress=False)
    assert states_of(report) == STATES
    assert products_of(shared_step) == PRODUCTS


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
