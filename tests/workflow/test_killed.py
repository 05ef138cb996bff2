"""Whatever of a running release is killed, nothing of it lives on, and the next make completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dmu0.guard import marked_processes
from tests.scenes.toy_project import WRITE, command, environment, make, write_notebook

SLOW = """
import subprocess, sys, time
from pathlib import Path
first = not Path("finish").exists()
child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({60 if first else 0})"])
_ = (Path("started").write_text("x"), time.sleep(60 if first else 0))
"""
"""A cell that takes long, with a process that it started, until a file says that it is to finish."""

VICTIMS = {
    "make": lambda words: words[0] == "make" and "records" not in words,
    "the workflow": lambda words: words[-1] != "make" and "release" in words and "workflow" in words,
    "the inner make": lambda words: words[0] == "make" and "records" in words,
    "the step": lambda words: "run" in words and "workflow" in words,
    "the kernel": lambda words: any("ipykernel" in word for word in words),
}
"""Process -> how it is told by its command line."""


def find(mark: str, is_it: Callable[[list[str]], bool]) -> int:
    """The process with a mark that a function recognises by its command line."""
    lines = {
        process: Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")[:-1]
        for process in marked_processes(mark)
    }
    [found] = [process for process, words in lines.items() if words and is_it(words)]
    return found


def start(folder: Path, mark: str, *target: str) -> subprocess.Popen:
    """Start make, and wait until the slow notebook is at work."""
    started = folder / "dmu3" / "started"
    started.unlink(missing_ok=True)
    name, _, value = mark.partition("=")
    running = subprocess.Popen(
        command(*target),
        cwd=folder,
        env=environment(folder) | {name: value},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not started.exists():
        assert time.monotonic() < deadline, "the slow notebook did not start"
        assert running.poll() is None, "make ended"
        time.sleep(0.05)
    return running


def wait_until_gone(mark: str) -> list[int]:
    """Processes that still have a mark after ten seconds; none if all of them ended."""
    deadline = time.monotonic() + 10
    while (found := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.fixture
def slow(toy: Path) -> Path:
    """The toy project with a notebook to run that takes long."""
    body = SLOW + WRITE.format(stage=3, value=3)
    write_notebook(toy / "dmu3/1_C.ipynb", reads="[dmu0/1_A](../dmu0/1_A.ipynb)", imports="", body=body)
    return toy


@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_outlives_a_killed_process(slow: Path, mark: str, victim: str) -> None:
    """After kill -9 of any process of a run, all the others end within seconds, and none is half done."""
    running = start(slow, mark, "release", "SURVEY=toy")
    os.kill(find(mark, VICTIMS[victim]), signal.SIGKILL)
    assert wait_until_gone(mark) == []
    assert running.wait() != 0
    assert not (slow / "dmu3/data/toy/runs/1_C.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_an_interrupted_run(slow: Path, mark: str, number: int) -> None:
    """Ctrl-C or the end of a batch job stops everything; what was done stays done, the next make does the rest."""
    running = start(slow, mark, "release", "SURVEY=toy")
    os.killpg(running.pid, number)
    assert wait_until_gone(mark) == []
    assert running.wait() != 0
    (slow / "dmu3/finish").touch()
    result = make(slow, "release", "SURVEY=toy")
    assert "3 of 4 steps are done, 1 to run" in result.stdout
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_killed_sample_resumes(slow: Path, mark: str) -> None:
    """The same holds for `make sample`: after kill -9 of make the release is completed by the next."""
    (slow / "dmu0/surveys/toy.yaml").rename(slow / "dmu0/surveys/sample.yaml")
    running = start(slow, mark, "sample")
    running.kill()
    running.wait()
    assert wait_until_gone(mark) == []
    (slow / "dmu3/finish").touch()
    result = make(slow, "sample")
    assert result.returncode == 0, result.stdout + result.stderr
    state = make(slow, "status", "SURVEY=sample")
    assert state.returncode == 0
    assert "4 done" in state.stdout
