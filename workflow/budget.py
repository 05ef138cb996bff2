"""What a release will cost, step by step, before anything runs: from measured costs and the size of the survey."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dmu0.surveys import Survey
from workflow.graph import load_steps
from workflow.progress import in_words
from workflow.survey_size import SurveySize, survey_size

COSTS = Path(__file__).with_name("costs.yaml")
"""The measured costs, and how they were measured."""


NOT_MEASURED = {"fixed": 10.0}
"""Seconds of a notebook that is not in the table of costs, one that was added for example: its start and imports."""

FIRST = "dmu0/1_Get_inputs"
"""The step that gets or makes the inputs."""


class StepCost(NamedTuple):
    """The expected cost of one step.

    Attributes
    ----------
    step
        Name of the step.
    quanta
        Number of quanta of its tasks; 0 for a notebook without.
    cpu
        CPU hours.
    memory
        Peak memory of one process in GB.
    storage
        GB written.
    wall
        Seconds on the given number of cores.
    """

    step: str
    quanta: int
    cpu: float
    memory: float
    storage: float
    wall: float


def read_costs() -> dict[str, Any]:
    """The table of measured costs."""
    return yaml.safe_load(COSTS.read_text())


def task_cost(size: SurveySize, task: dict[str, Any]) -> tuple[int, float, float, float]:
    """Quanta, CPU seconds, memory of one process in GB, and storage in GB of a task.

    Parameters
    ----------
    size
        Size of the survey.
    task
        Entry of the task in the table of costs.
    """
    quanta = round(getattr(size, task["quanta"]))
    if not quanta:
        return 0, 0.0, 0.0, 0.0
    memory = size.of_one(task["quanta"]).cost(task["memory"]) / 1000
    return quanta, size.cost(task["cpu"]), memory, size.cost(task["storage"]) / 1000


def budget(size: SurveySize, *, cores: int, simulate: bool = False) -> list[StepCost]:
    """The cost of each step of a release.

    Quanta are shared by the cores; what a notebook does beside them runs on one.

    Parameters
    ----------
    size
        Size of the survey.
    cores
        Number of cores.
    simulate
        Whether the inputs are simulated; otherwise the first step takes as long as the download, which is not known.
    """
    costs, found = read_costs(), []
    for step in load_steps():
        alone = size.cost(costs["notebooks"].get(step, NOT_MEASURED))
        if simulate and step == FIRST:
            alone += size.cost(costs["notebooks"]["simulate"])
        tasks = [task_cost(size, task) for task in costs["tasks"].values() if task["step"] == step]
        cpu = sum(task[1] for task in tasks)
        stage = step.split("/")[0]
        first = step.split("/")[1].startswith("1_")
        kept = size.cost(costs["storage"].get(stage, {})) / 1000 if first else 0.0
        found.append(
            StepCost(
                step,
                sum(task[0] for task in tasks),
                (alone + cpu) / 3600,
                max((task[2] for task in tasks), default=0.6),
                kept + sum(task[3] for task in tasks),
                alone + cpu / cores,
            )
        )
    return found


def plan_steps(survey: Survey, tracts: str = "", *, cores: int, stacks: int = 0) -> tuple[SurveySize, list[StepCost]]:
    """The size of a release, and the cost of each of its steps; parameters are those of `plan_release`."""
    size = survey_size(survey, read_costs()["sizes"].get(survey.name, {}), tracts=tracts, stacks=stacks)
    return size, budget(size, cores=cores, simulate=survey.inputs.source == "simulate")


def plan_release(survey: Survey, tracts: str, *, cores: int, stacks: int) -> list[str]:
    """The plan of a release as lines for the terminal.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to process; empty: all.
    cores
        Number of cores.
    stacks
        Number of stacks if they are not here yet; 0: count them, or take the number in the table of costs.
    """
    known = read_costs()["sizes"].get(survey.name, {})
    size, steps = plan_steps(survey, tracts, cores=cores, stacks=stacks)
    lines = [
        f"{survey.name}: {size.patches:,.0f} patches in {size.tracts:,.0f} tracts, {len(survey.bands)} bands, "
        f"{size.stacks:,.0f} stacks, {size.detectors:,.0f} detector images",
        f"{'step':30s} {'quanta':>9s} {'CPU h':>9s} {'GB memory':>9s} {'GB disk':>9s} {f'on {cores} cores':>12s}",
    ]
    lines += [
        f"{row.step:30s} {row.quanta or '-':>9} {row.cpu:9.2f} {row.memory:9.1f} {row.storage:9.1f} "
        f"{in_words(row.wall):>12s}"
        for row in steps
    ]
    memory = max(row.memory for row in steps)
    total = (sum(row.quanta for row in steps), sum(row.cpu for row in steps), sum(row.storage for row in steps))
    wall = sum(row.wall for row in steps)
    lines.append(f"{'all':30s} {total[0]:>9} {total[1]:9.2f} {memory:9.1f} {total[2]:9.1f} {in_words(wall):>12s}")
    if survey.vista is not None and survey.vista.stack_bands and not size.stacks:
        lines.append("No stack is here yet, and none is counted: give their number, STACKS=5000.")
    if "earlier_cpu_hours" in known and not tracts:
        lines.append(f"CPU hours of the earlier processing: {known['earlier_cpu_hours']}.")
    lines.append(f"From {COSTS.name}, measured {str(read_costs()['measured']).split(':')[0]}.")
    return lines
