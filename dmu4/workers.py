"""Share the quanta of a task among processes of this machine: each starts Python once and asks for work to the end."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from lsst.daf.butler import Butler
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph
from tqdm.auto import tqdm

from dmu4.quanta import QuantumRunner

SHARED_BY = {
    "calibrate_detector": "detector",
    "import_optical": "band",
    "coadd_patch": "band",
    "detect_patch": "patch",
    "measure_patch": "patch",
}
"""Task -> the dimension by whose values its quanta are grouped: those of a group read the same files.

Other tasks run in one process."""

LEAST_QUANTA = 4
"""For fewer quanta the start of processes does not pay."""


class WorkerFailed(RuntimeError):
    """A worker ended before its work was done, and not because of single quanta."""


class WorkQueue:
    """Which quantum a worker takes next: one of its group; else of a group that is nobody's; else of the longest group.

    Parameters
    ----------
    groups
        Group of each quantum, in the order in which the quanta of a group are to be done.
    """

    def __init__(self, groups: Mapping[UUID, object]) -> None:
        self._todo: dict[object, list[UUID]] = {}
        for quantum, group in groups.items():
            self._todo.setdefault(group, []).append(quantum)
        self._owned: dict[int, object] = {}
        self._lock = threading.Lock()

    def take(self, worker: int) -> UUID | None:
        """The next quantum for a worker, or None if there are no more."""
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


def groups(graph: PredictedQuantumGraph, task: str, processes: int) -> dict[UUID, object]:
    """The group of each quantum of a task; empty where it is not worth while to share them among processes."""
    quanta, key = graph.quanta_by_task[task], SHARED_BY.get(task)
    if key is None or processes < 2 or len(quanta) < LEAST_QUANTA:
        return {}
    return {quantum_id: data_id[key] for data_id, quantum_id in sorted(quanta.items())}


def run_shared(repository: Path, graph: Path, quanta: Mapping[UUID, object], processes: int, *, title: str) -> None:
    """Run quanta in several processes, and wait for all of them.

    Parameters
    ----------
    repository
        Folder of the Butler repository.
    graph
        File of the graph.
    quanta
        Id of each quantum, and the group that it belongs to.
    processes
        How many processes.
    title
        What the progress bar is called.

    Raises
    ------
    WorkerFailed
        If a process ends with an error; the others have done the rest by then. Failed quanta are no such error, they
        are found in their logs.
    """
    queue = WorkQueue(quanta)
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=len(quanta), desc=title, mininterval=1.0, leave=False) as bar,
        ThreadPoolExecutor(processes) as pool,
    ):
        logs = [Path(folder) / f"{number}.log" for number in range(processes)]
        command = [sys.executable, "-m", "dmu4.workers", str(repository), str(graph)]
        fed = [pool.submit(_feed, command, number, queue, logs[number], bar) for number in range(processes)]
        codes = [future.result() for future in fed]
        for code, log in zip(codes, logs, strict=True):
            if code != 0:
                last = [line for line in log.read_text().split("\n") if line.strip()][-1:]
                raise WorkerFailed(f"{title}: a process ended with {code}: {''.join(last)}")


def _feed(command: list[str], number: int, queue: WorkQueue, log: Path, bar: tqdm) -> int:
    """Start a worker, give it one quantum after the other, and return what it ends with."""
    environment = os.environ | {"NUMBA_NUM_THREADS": os.environ.get("NUMBA_NUM_THREADS", "2")}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        with contextlib.suppress(BrokenPipeError):  # it has died; the code that it ended with is told
            # A worker says a line when it is ready, and one after each quantum.
            while process.stdout.readline() and (quantum := queue.take(number)) is not None:
                process.stdin.write(f"{quantum}\n")
                process.stdin.flush()
                bar.update()
            process.stdin.close()
        return process.wait()


def main(repository: str, graph: str) -> None:
    """Run the quanta whose ids are read from standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log, not among the answers
    with Butler.from_config(repository, writeable=True) as butler:
        runner = QuantumRunner(butler, PredictedQuantumGraph.read_execution_quanta(graph))
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            runner.run(UUID(line.strip()))
            print("done", file=answers, flush=True)
        runner.register()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", help="folder of the Butler repository")
    parser.add_argument("graph", help="file of the quantum graph")
    main(**vars(parser.parse_args()))
