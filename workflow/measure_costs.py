"""Print what a finished release took, to bring ``costs.yaml`` up to date: ``python -m workflow.measure_costs``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from lsst.daf.butler import Butler
from lsst.pipe.base import TaskMetadata

from dmu0.surveys import Survey, load_survey
from dmu4.butler.repository import open_butler
from dmu4.execution.steps import STEPS
from workflow.graph import load_steps
from workflow.records import read_record


class TaskUse(NamedTuple):
    """What the quanta of a task took.

    Attributes
    ----------
    task
        Label of the task.
    quanta
        Number of quanta.
    cpu
        CPU seconds of all of them.
    memory
        Largest peak memory of a process, MB.
    storage
        MB of their products.
    """

    task: str
    quanta: int
    cpu: float
    memory: float
    storage: float


def task_uses(butler: Butler) -> Iterator[TaskUse]:
    """What the quanta of each task of a release took, from the metadata that each of them left.

    Parameters
    ----------
    butler
        Butler whose collections are those of the release.
    """
    for task in (task for tasks in STEPS.values() for task in tasks):
        if not butler.registry.queryDatasetTypes(f"{task}_metadata"):
            continue
        quanta = [
            butler.get(ref)["quantum"] for ref in butler.query_datasets(f"{task}_metadata", explain=False, limit=None)
        ]
        if not quanta:
            continue
        cpu = sum(float(quantum["endCpuTime"]) - float(quantum["prepCpuTime"]) for quantum in quanta)
        memory = max(float(quantum["endMaxResidentSetSize"]) for quantum in quanta) / 1e6
        yield TaskUse(task, len(quanta), cpu, memory, sum(_bytes(butler, quantum) for quantum in quanta) / 1e6)


def _bytes(butler: Butler, quantum: TaskMetadata) -> int:
    """Size of the products that the metadata of a quantum names."""
    found = 0
    for identity in quantum.getArray("outputs") if "outputs" in quantum else []:
        ref = butler.get_dataset(identity)
        found += butler.getURI(ref).size() if ref is not None else 0
    return found


def main(survey: Survey) -> None:
    """Print what tasks and notebooks took."""
    print(f"{'task':24s} {'quanta':>7s} {'CPU s':>9s} {'peak MB':>8s} {'MB kept':>9s}")
    with open_butler(survey) as butler:
        for use in task_uses(butler):
            print(f"{use.task:24s} {use.quanta:7d} {use.cpu:9.1f} {use.memory:8.0f} {use.storage:9.1f}")
    for name, step in load_steps().items():
        record = read_record(step.record(survey.folders))
        print(f"{name:30s} {record.seconds if record else float('nan'):7.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--survey", default="sample", help="a name in dmu0/surveys, or a path to a YAML file")
    main(load_survey(parser.parse_args().survey))
