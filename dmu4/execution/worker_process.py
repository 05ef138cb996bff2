"""A process that executes quanta for its parent, one command at a time, and how it died if it did.

As a program it is that process: it reads commands from standard input and answers each with one word.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast
from uuid import UUID

from lsst.daf.butler import Butler
from lsst.pipe.base.quantum_graph import PredictedQuantumGraph

from dmu0.files.paths import PROJECT
from dmu4.execution.quantum_runner import QuantumRunner
from dmu4.execution.zip_parts import mend_zip_reading

_NAMES = {
    signal.SIGKILL: "was killed with SIGKILL, as the kernel does when memory runs out",
    signal.SIGSEGV: "crashed with SIGSEGV, a fault in compiled code",
    signal.SIGABRT: "aborted with SIGABRT, a fault in compiled code or want of memory",
    signal.SIGBUS: "crashed with SIGBUS, as when a disk is full or a file shrinks while it is mapped",
}


def cause_of_death(code: int, words: str) -> str:
    """How a process ended, in words.

    Parameters
    ----------
    code
        Its exit code; negative: the signal that ended it.
    words
        What it printed since it was given its quantum; the last line is given unless a signal from outside says enough.
    """
    if code < 0:
        how = _NAMES.get(signal.Signals(-code), f"was ended by {signal.Signals(-code).name}")
    else:
        how = f"ended with {code}"
    last = [line for line in words.split("\n") if line.strip()][-1:]
    return f"its process {how}" + (f": {last[0].strip()}" if last and -code != signal.SIGKILL else "")


class WorkerProcess:
    """A process that executes quanta; one that died can be started again.

    Parameters
    ----------
    repository
        Folder of the Butler repository.
    tasks
        Labels of the tasks to come, whose modules it imports while it waits.
    log
        File for what it prints.
    environment
        Environment of the process.

    Attributes
    ----------
    unregistered : list of UUID
        Quanta that it executed since it last registered outputs; they are lost if it dies.
    """

    def __init__(self, repository: Path, tasks: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "dmu4.execution.worker_process", str(repository), *tasks]
        paths = [str(PROJECT), *filter(None, [environment.get("PYTHONPATH")])]
        threads = environment.get("NUMBA_NUM_THREADS", "2")
        self._environment = {**environment, "PYTHONPATH": os.pathsep.join(paths), "NUMBA_NUM_THREADS": threads}
        self._log = log
        self._pipes: tuple[IO[str], IO[str]] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._said = 0
        self.unregistered: list[UUID] = []
        self.start()

    def start(self) -> None:
        """Start the process unless it is running."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._said = 0
        with self._log.open("w") as errors:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,  # a line
            )
        self._pipes = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def ask(self, order: str) -> str:
        """Send a command and wait for the answer; empty if the process has ended."""
        if self._pipes is None:
            return ""
        orders, answers = self._pipes
        try:
            orders.write(f"{order}\n")
        except BrokenPipeError:
            return ""
        return answers.readline().strip()

    def run(self, quantum: UUID, *, last: bool = False) -> str:
        """Let it execute a quantum.

        Parameters
        ----------
        quantum
            The quantum.
        last
            Whether it is the last attempt, so that want of memory is recorded as the failure of the quantum.

        Returns
        -------
        str
            ``done``, ``registered`` (done, and all outputs until then are registered), ``memory`` (there was not enough
            and it is not the last attempt), or empty if the process died.
        """
        self._said = self._log.stat().st_size
        answer = self.ask(f"{'last' if last else 'run'} {quantum}")
        if answer == "registered":
            self.unregistered.clear()
        elif answer == "done":
            self.unregistered.append(quantum)
        return answer

    def register(self) -> bool:
        """Let it register its outputs; False if it died."""
        answer = self.ask("register")
        if answer:
            self.unregistered.clear()
        return bool(answer)

    def cause(self) -> str:
        """How the process ended; waits for its end."""
        code = self._process.wait() if self._process is not None else 0
        return cause_of_death(code, self._log.read_bytes()[self._said :].decode(errors="replace"))

    def kill(self) -> None:
        """Kill the process; whoever waits for its answer gets none."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process when it has finished what it is at."""
        if self._process is None or self._pipes is None:
            return
        orders, answers = self._pipes
        with contextlib.suppress(BrokenPipeError):
            orders.close()  # the end of its work
        self._process.wait()
        answers.close()
        self._process = self._pipes = None


def _offer_to_the_kernel() -> None:
    """When memory runs out, let Linux kill this process rather than the notebook: it costs one quantum."""
    with contextlib.suppress(OSError):  # other systems, or a limit of the administrator
        Path("/proc/self/oom_score_adj").write_text("500")


def main(repository: str, tasks: Sequence[str]) -> None:
    """Execute commands from standard input, one per line: load a graph, run a quantum, register outputs."""
    _offer_to_the_kernel()
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
            answer = "done"
            if order == "graph":
                # Not before the first graph is there: by then its dataset types and the run are known.
                butler = butler or stack.enter_context(Butler.from_config(repository, writeable=True))
                butler.registry.refresh()
                if runner is not None:
                    runner.close()
                runner = QuantumRunner(Path(repository), butler, PredictedQuantumGraph.read_execution_quanta(what))
            elif runner is None:
                raise RuntimeError(f"{order!r} came before a graph")
            elif order in ("run", "last"):
                answer = runner.run(UUID(what), last=order == "last")
            elif order == "register":
                runner.register()
            print(answer, file=answers, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", help="folder of the Butler repository")
    parser.add_argument("tasks", nargs="*", help="labels of the tasks that will come")
    main(**vars(parser.parse_args()))
