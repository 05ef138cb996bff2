"""Distribution of quanta among processes of this machine, which start once and request work until none is left."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Self
from uuid import UUID

from lsst.pipe.base.quantum_graph import PredictedQuantumGraph, PredictedQuantumGraphComponents

from dmu0.processes import guarded_environment
from dmu0.progress import tqdm
from dmu4.execution.worker_process import WorkerProcess

SHARED_BY = {
    "calibrate_detector": "detector",
    "import_optical": "band",
    "coadd_patch": "band",
    "detect_patch": "patch",
    "measure_patch": "patch",
}
"""Task -> dimension by whose values its quanta are grouped: the quanta of a group read the same files.

Other tasks run in one process."""

_DEATHS_IN_A_ROW = 3
"""Deaths before its first quantum after which a process is not started again."""

_NO_MEMORY = "there was not enough memory for it beside other quanta"


class WorkerFailed(RuntimeError):
    """No worker process can be kept alive: whatever ends them is not a quantum."""


class WorkQueue:
    """The queue of quanta: a worker takes one of its own group, else of an unclaimed group, else of the longest group.

    Parameters
    ----------
    groups
        Group of each quantum, in the order in which the quanta of a group are executed.
    """

    def __init__(self, groups: Mapping[UUID, object]) -> None:
        self._groups = groups
        self._todo: dict[object, list[UUID]] = {}
        for quantum, group in groups.items():
            self._todo.setdefault(group, []).append(quantum)
        self._owned: dict[int, object] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._todo.values()))

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

    def give_back(self, quanta: Iterable[UUID]) -> None:
        """Put quanta back whose outputs were lost."""
        with self._lock:
            for quantum in quanta:
                self._todo.setdefault(self._groups[quantum], []).append(quantum)


def groups(graph: PredictedQuantumGraph, task: str) -> dict[UUID, object]:
    """The group of each quantum of a task; empty if the task runs in one process."""
    quanta, key = graph.quanta_by_task[task], SHARED_BY.get(task)
    if key is None or len(quanta) < 2:
        return {}
    return {quantum_id: data_id[key] for data_id, quantum_id in sorted(quanta.items())}


class Workers:
    """Worker processes that execute the quanta of one task after another; they start while the first graph is built.

    A process that dies costs the quantum that it was executing, which is tried once more when no other quantum runs;
    the quanta whose outputs it had not registered are executed again by the others and by its successor.

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
        self._workers: list[WorkerProcess] = []
        self._guard = contextlib.ExitStack()
        if processes > 1:
            environment = self._guard.enter_context(guarded_environment())
            logs = [Path(self._folder.name) / f"{number}.log" for number in range(processes)]
            self._workers += [WorkerProcess(repository, tasks, log, environment) for log in logs]

    def __len__(self) -> int:
        return len(self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            self._kill()
        for worker in self._workers:
            worker.close()
        self._guard.close()
        self._folder.cleanup()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    def run(
        self, components: PredictedQuantumGraphComponents, quanta: Mapping[UUID, object], *, title: str
    ) -> dict[UUID, str]:
        """Execute quanta, and wait until all of them have ended and their outputs are registered.

        Parameters
        ----------
        components
            Graph of the quanta.
        quanta
            Id and group of each quantum.
        title
            Title of the progress bar.

        Returns
        -------
        dict
            Quanta at which a process died twice, and how it did. The reasons of other failures are in their logs.

        Raises
        ------
        WorkerFailed
            If processes die before their first quantum, however often they are started, and quanta remain.
        """
        share = _Share(WorkQueue(quanta), Path(self._folder.name) / f"{title}.qg")
        components.write(share.graph)
        with (
            tqdm(total=len(quanta), desc=title, mininterval=1.0, leave=False) as bar,
            ThreadPoolExecutor(len(self._workers)) as pool,
        ):
            fed = [pool.submit(share.feed, number, worker) for number, worker in enumerate(self._workers)]
            try:
                # The bar is moved by this thread alone: an error in another one would leave it locked.
                while wait(fed, timeout=0.5).not_done:
                    bar.update(len(share.ended) - bar.n)
                bar.update(len(share.ended) - bar.n)
            except BaseException:  # interrupted, or nobody is there to see the bar
                share.stopped = True
                self._kill()  # the threads of the pool wait for their answers
                raise
        for future in fed:
            future.result()
        if share.queue:
            raise WorkerFailed(f"{title}: {len(share.queue)} quanta remain: {share.given_up[-1]}")
        return self._again(share)

    def _again(self, share: _Share) -> dict[UUID, str]:
        """Execute the quanta at which a process died once more, each alone on this machine."""
        if not share.again:
            return {}
        for worker in self._workers[1:]:
            worker.close()  # with the memory that it holds
        lost = {}
        for quantum, cause in share.again.items():
            alone = self._workers[0]
            alone.start()
            answer = alone.ask(f"graph {share.graph}") and alone.run(quantum, last=True) and alone.register()
            if not answer:
                lost[quantum] = f"{cause}; tried once more alone, {alone.cause()}"
                alone.unregistered.clear()
        for worker in self._workers:
            worker.start()  # for the tasks to come
        return lost


class _Share:
    """The quanta of a task, shared among processes, and what became of them.

    Parameters
    ----------
    queue
        The quanta.
    graph
        File of their graph.
    """

    def __init__(self, queue: WorkQueue, graph: Path) -> None:
        self.queue, self.graph = queue, graph
        self.ended: set[UUID] = set()
        self.again: dict[UUID, str] = {}
        self.given_up: list[str] = []
        self.stopped = False

    def feed(self, number: int, worker: WorkerProcess) -> None:
        """Send a worker one quantum after the other; one that dies is started again, unless it always dies."""
        deaths = 0
        while not self.stopped:
            worker.start()
            quantum = self._feed_until_death(number, worker)
            if quantum is None and worker.register():
                return
            if self.stopped:
                return
            cause = worker.cause()
            self.ended.difference_update(worker.unregistered)
            self.queue.give_back(worker.unregistered)
            worker.unregistered.clear()
            if quantum is not None:
                self.again[quantum] = cause
            deaths = deaths + 1 if quantum is None else 0
            if deaths >= _DEATHS_IN_A_ROW:
                self.given_up.append(f"{cause}, {deaths} times in a row")
                return

    def _feed_until_death(self, number: int, worker: WorkerProcess) -> UUID | None:
        """The quantum at which the worker died; None if none is left, or it died without one."""
        if not worker.ask(f"graph {self.graph}"):
            return None
        while (quantum := self.queue.take(number)) is not None:
            answer = worker.run(quantum)
            if not answer:
                return quantum
            if answer == "memory":
                self.again[quantum] = _NO_MEMORY
            self.ended.add(quantum)
        return None
