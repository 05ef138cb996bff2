"""Distribution of quanta among processes of this machine, which start once and request work until none is left."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Self
from uuid import UUID

from lsst.daf.butler import Butler
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph, PredictedQuantumGraphComponents

from dmu0.files.paths import PROJECT
from dmu0.processes import guarded_environment
from dmu0.progress import tqdm
from dmu4.execution.quantum_runner import QuantumRunner
from dmu4.execution.zip_parts import mend_zip_reading

SHARED_BY = {
    "calibrate_detector": "detector",
    "import_optical": "band",
    "coadd_patch": "band",
    "detect_patch": "patch",
    "measure_patch": "patch",
}
"""Task -> dimension by whose values its quanta are grouped: the quanta of a group read the same files.

Other tasks run in one process."""


class WorkerFailed(RuntimeError):
    """A worker process ended before its work was done, for a reason other than the failure of a quantum."""


class WorkQueue:
    """The queue of quanta: a worker takes one of its own group, else of an unclaimed group, else of the longest group.

    Parameters
    ----------
    groups
        Group of each quantum, in the order in which the quanta of a group are executed.
    """

    def __init__(self, groups: Mapping[UUID, object]) -> None:
        self._todo: dict[object, list[UUID]] = {}
        for quantum, group in groups.items():
            self._todo.setdefault(group, []).append(quantum)
        self._owned: dict[int, object] = {}
        self._lock = threading.Lock()

    def take(self, worker: int) -> UUID | None:
        """The next quantum for a worker, or None if none is left."""
        with self._lock:
            group = self._owned.get(worker)
            if group not in self._todo:
                taken = self._owned.values()
                free = [name for name in self._todo if name not in taken]
                group = max(free or self._todo, key=lambda name: len(self._todo[name]), default=None)
                if group is None:
                    return None
                self._owned[worker] = group
            quanta = self._todo[group]
            quantum = quanta.pop(0)
            if not quanta:
                del self._todo[group]
            return quantum


def groups(graph: PredictedQuantumGraph, task: str) -> dict[UUID, object]:
    """The group of each quantum of a task; empty if the task runs in one process."""
    quanta, key = graph.quanta_by_task[task], SHARED_BY.get(task)
    if key is None or len(quanta) < 2:
        return {}
    return {quantum_id: data_id[key] for data_id, quantum_id in sorted(quanta.items())}


class Workers:
    """Worker processes that execute the quanta of one task after another; they start while the first graph is built.

    Parameters
    ----------
    repository
        Folder of the Butler repository.
    processes
        Number of processes; a single one would be no faster than the caller, and is not started.
    tasks
        Labels of the tasks to come, whose modules the processes import in the meantime.
    """

    def __init__(self, repository: Path, processes: int, tasks: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._logs = [Path(self._folder.name) / f"{number}.log" for number in range(processes if processes > 1 else 0)]
        command = [sys.executable, "-m", "dmu4.execution.workers", str(repository), *tasks]
        self._processes: list[subprocess.Popen] = []
        self._guard = contextlib.ExitStack()
        if self._logs:
            environment = self._guard.enter_context(guarded_environment())
            self._processes += [_start(command, log, environment) for log in self._logs]

    def __len__(self) -> int:
        return len(self._processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            self._kill()
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # the end of its work
            process.wait()
            process.stdout.close()
        self._guard.close()
        self._folder.cleanup()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def run(self, components: PredictedQuantumGraphComponents, quanta: Mapping[UUID, object], *, title: str) -> None:
        """Execute quanta, and wait until all of them have ended and their outputs are registered.

        Parameters
        ----------
        components
            Graph of the quanta.
        quanta
            Id and group of each quantum.
        title
            Title of the progress bar.

        Raises
        ------
        WorkerFailed
            If a process dies; the others have completed the remaining quanta by then. Failed quanta do not raise this
            error; their reasons are in their logs.
        """
        queue, graph = WorkQueue(quanta), Path(self._folder.name) / f"{title}.qg"
        components.write(graph)
        with (
            tqdm(total=len(quanta), desc=title, mininterval=1.0, leave=False) as bar,
            ThreadPoolExecutor(len(self._processes)) as pool,
        ):
            ended: list[UUID] = []
            fed = [pool.submit(self._feed, number, graph, queue, ended) for number in range(len(self._processes))]
            try:
                # The bar is moved by this thread alone: an error in another one would leave it locked.
                while wait(fed, timeout=0.5).not_done:
                    bar.update(len(ended) - bar.n)
                bar.update(len(ended) - bar.n)
            except BaseException:  # interrupted, or nobody is there to see the bar
                self._kill()  # the threads of the pool wait for their answers
                raise
        broken_off = [number for number, future in enumerate(fed) if not future.result()]
        if broken_off:
            last = [line for line in self._logs[broken_off[0]].read_text().split("\n") if line.strip()][-1:]
            code = self._processes[broken_off[0]].wait()
            raise WorkerFailed(f"{title}: a process ended with {code}: {''.join(last)}")

    def _feed(self, number: int, graph: Path, queue: WorkQueue, ended: list[UUID]) -> bool:
        """Send a worker one quantum after the other, and list those that ended; returns whether it survived."""
        alive = self._ask(number, f"graph {graph}")
        while alive and (quantum := queue.take(number)) is not None:
            alive = self._ask(number, f"run {quantum}")
            ended.append(quantum)
        return alive and self._ask(number, "register")

    def _ask(self, number: int, order: str) -> bool:
        """Send a command and wait for the answer; False if the process has ended."""
        process = self._processes[number]
        try:
            process.stdin.write(f"{order}\n")
        except BrokenPipeError:
            return False
        return bool(process.stdout.readline())


def _start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    """Start a worker that runs the code of this checkout."""
    paths = [str(PROJECT), *filter(None, [environment.get("PYTHONPATH")])]
    threads = environment.get("NUMBA_NUM_THREADS", "2")
    with log.open("w") as errors:
        return subprocess.Popen(
            command,
            env={**environment, "PYTHONPATH": os.pathsep.join(paths), "NUMBA_NUM_THREADS": threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            bufsize=1,  # a line
        )


def main(repository: str, tasks: Sequence[str]) -> None:
    """Execute commands from standard input, one per line: load a graph, run a quantum, register outputs."""
    mend_zip_reading()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log, not among the answers
    for task in tasks:
        if importlib.util.find_spec(f"dmu4.tasks.{task}"):
            importlib.import_module(f"dmu4.tasks.{task}")
    with contextlib.ExitStack() as stack:
        butler = runner = None
        for line in sys.stdin:
            order, _, what = line.strip().partition(" ")
            if order == "graph":
                # Not before the first graph is there: by then its dataset types and the run are known.
                butler = butler or stack.enter_context(Butler.from_config(repository, writeable=True))
                butler.registry.refresh()
                if runner is not None:
                    runner.close()
                runner = QuantumRunner(Path(repository), butler, PredictedQuantumGraph.read_execution_quanta(what))
            elif order == "run":
                runner.run(UUID(what))
            elif order == "register":
                runner.register()
            print("done", file=answers, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", help="folder of the Butler repository")
    parser.add_argument("tasks", nargs="*", help="labels of the tasks that will come")
    main(**vars(parser.parse_args()))
