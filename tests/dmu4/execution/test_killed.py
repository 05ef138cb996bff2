"""Whatever of a running step is killed, nothing of it lives on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from dmu0.files.paths import PROJECT
from dmu0.guard import marked_processes, stop_marked
from dmu0.surveys import Survey
from dmu4.execution import steps

PARTS = {
    "worker": "dmu4.execution.worker_process",
    "submitter": "middleware.py bps submit",
    "pool": "process_worker_pool",
}
"""Part of a step -> how its process is told by its command line."""


def find(mark: str, words: str) -> int:
    """A process with a mark whose command line has some words."""
    for process in sorted(marked_processes(mark)):
        if words in Path(f"/proc/{process}/cmdline").read_bytes().decode().replace("\0", " "):
            return process
    raise AssertionError(f"there is no process of {words}")


def descendants(process: int) -> set[int]:
    """A process and all that it started, directly or not, whatever they call themselves."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def alive(processes: set[int]) -> set[int]:
    """Those of some processes that have not ended."""
    states = {}
    for process in processes:
        with contextlib.suppress(OSError):
            states[process] = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return {process for process, state in states.items() if state != "Z"}


@pytest.fixture
def mark() -> Iterator[str]:
    """A variable of the environment, by which the processes of a test are found, and stopped at its end."""
    mark = f"TEST_MARK={uuid4().hex}"
    yield mark
    stop_marked(mark)


@pytest.fixture
def start(toy_step: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str) -> Callable:
    """A function that starts the step in a process of its own, and waits until a slow quantum is at work."""
    started = tmp_path / "started"
    monkeypatch.setenv("TOY_STARTED", str(started))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), str(Path(__file__).parent)]))
    pipeline = tmp_path / "slow.yaml"
    pipeline.write_text(f"{steps.PIPELINE.read_text()}    config:\n      slow: 4\n")

    def start(engine: str) -> subprocess.Popen:
        name, _, value = mark.partition("=")
        program = Path(__file__).with_name("toy_run.py")
        running = subprocess.Popen(
            [sys.executable, program, toy_step.path.parent, pipeline],
            env=os.environ | {"FUSION_ENGINE": engine, name: value},
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 300
        while not started.exists():
            assert time.monotonic() < deadline, "the slow quantum did not start"
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.1)
        return running

    return start


@pytest.mark.parametrize(
    ("engine", "victim", "number"),
    [
        ("local", "kernel", signal.SIGKILL),
        ("local", "kernel", signal.SIGINT),
        ("local", "worker", signal.SIGKILL),
        ("bps", "kernel", signal.SIGKILL),
        ("bps", "submitter", signal.SIGKILL),
    ],
)
def test_nothing_outlives_a_killed_step(start: Callable, mark: str, engine: str, victim: str, number: int) -> None:
    """Killed with kill -9 or interrupted, a step ends with all its processes, those of Parsl among them."""
    running = start(engine)
    if engine == "bps":
        assert find(mark, PARTS["pool"])
        assert find(mark, "interchange")
    family = descendants(running.pid)
    assert len(family) > 3
    os.kill(running.pid if victim == "kernel" else find(mark, PARTS[victim]), number)
    limit = 10 if victim != "worker" else 90  # the others finish what they are at
    deadline = time.monotonic() + limit
    while (left := alive(family) | set(marked_processes(mark))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    # A worker that had no quantum when it was killed is not missed: the others do the work.
    assert running.wait() != 0 or victim == "worker"
    if victim == "submitter":
        assert "BpsFailed: bps submit of toy ended with -9" in running.stderr.read()
    running.stderr.close()
