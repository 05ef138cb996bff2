"""Share the quanta of a task among processes of this machine: each starts Python once, and works on its share."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from dmu0.surveys import Survey, load_survey

SHARED_BY = {
    "calibrate_detector": "detector",
    "import_optical": "band",
    "coadd_patch": "band",
    "detect_patch": "patch",
    "measure_patch": "patch",
}
"""Task -> the dimension by whose values its quanta are shared out; other tasks run in one process."""

LEAST_QUANTA = 4
"""For fewer quanta the start of processes does not pay."""


class WorkerFailed(RuntimeError):
    """A worker ended before its share was done, and not because of single quanta."""


def shares(task: str, data_ids: Sequence, processes: int) -> list[str]:
    """Conditions that share the quanta of a task among processes; empty where it is not worth while.

    Parameters
    ----------
    task
        Label of the task.
    data_ids
        Data ids of its quanta.
    processes
        How many processes there may be.

    Returns
    -------
    list of str
        One condition of the Butler's query language for each process.
    """
    key = SHARED_BY.get(task)
    if key is None or processes < 2 or len(data_ids) < LEAST_QUANTA:
        return []
    values = sorted({data_id[key] for data_id in data_ids})
    groups = [values[first::processes] for first in range(min(processes, len(values)))]
    if len(groups) < 2:
        return []
    return [f"{key} IN ({', '.join(map(repr, group))})" for group in groups]


def run_shares(
    survey: Survey, task: str, conditions: Sequence[str], *, run: str, where: str, inputs: Sequence[str]
) -> None:
    """Run the shares of a task, each in a process of its own, and wait for all of them.

    Raises
    ------
    WorkerFailed
        If a process ends with an error; failed quanta are no such error, they are found in their logs.
    """
    environment = os.environ | {"NUMBA_NUM_THREADS": os.environ.get("NUMBA_NUM_THREADS", "2")}
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for number, condition in enumerate(conditions):
            order = {
                "survey": str(survey.path),
                "task": task,
                "run": run,
                "where": f"({where}) AND {condition}",
                "inputs": list(inputs),
            }
            command = [sys.executable, "-m", "dmu4.workers", json.dumps(order)]
            log = Path(folder) / f"{number}.log"
            with log.open("w") as handle:
                started.append((subprocess.Popen(command, env=environment, stdout=handle, stderr=handle), log))
        for process, log in tqdm(started, desc=f"{task}, processes", leave=False):
            if process.wait() != 0:
                last = [line for line in log.read_text().split("\n") if line.strip()][-1:]
                raise WorkerFailed(f"a process of {task} ended with {process.returncode}: {''.join(last)}")


def main(order: dict) -> None:
    """Work on one share."""
    from dmu4.execution import run_quanta
    from dmu4.repository import open_butler

    survey = load_survey(order["survey"])
    with open_butler(survey, collections=(), writeable=True) as butler:
        chained = butler.clone(collections=order["inputs"], run=order["run"])
        run_quanta(chained, survey, order["task"], where=order["where"], share=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("order", type=json.loads, help="survey, task, run, where and inputs, as JSON")
    main(parser.parse_args().order)
