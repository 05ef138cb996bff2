"""Processes end with the one that started them, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from dmu0.guard import marked_processes, stop_marked
from dmu0.processes import guarded_environment

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.setsid()
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, "-c", open(__file__).read().replace("__file__", repr(__file__))])
    if sys.argv[1] == "orphan":
        os._exit(0)
time.sleep(100)
"""
"""A process in a session of its own that ignores what can be ignored, and starts another one like it."""

OWNER = """
import subprocess, sys, time
from dmu0.processes import guarded_environment
with guarded_environment() as environment:
    for what in ("stay", "orphan"):
        subprocess.Popen([sys.executable, sys.argv[1], what], env=environment)
    time.sleep(100)
"""

POOL = """
import time
from dmu0.processes import process_pool
if __name__ == "__main__":
    with process_pool(2) as pool:
        list(pool.map(abs, range(20)))
        print("ready", flush=True)
        time.sleep(100)
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> Path:
    """The program of a process that is hard to stop."""
    path = tmp_path / "stubborn.py"
    path.write_text(STUBBORN)
    return path


def wait_for(number: int, mark: str, *, seconds: float = 60.0) -> list[int]:
    """Wait until so many processes have a mark; what is there at the end of the time is returned."""
    deadline = time.monotonic() + seconds
    while len(found := marked_processes(mark)) != number and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_nothing_outlives_a_killed_owner(stubborn: Path) -> None:
    """Children, their children and orphans, in sessions of their own, end when the owner is killed."""
    mark = f"TEST_MARK={uuid4().hex}"
    name, _, value = mark.partition("=")
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(stubborn)], env=os.environ | {name: value})
    # The owner, its guard, a child with its child, and one whose parent is gone.
    assert len(wait_for(5, mark)) == 5
    owner.kill()
    owner.wait()
    assert wait_for(0, mark, seconds=10) == []


def test_nothing_outlives_the_context(stubborn: Path) -> None:
    """What still runs when its owner has done its work is stopped; processes of others are not."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    with guarded_environment() as environment:
        [name] = set(environment) - set(os.environ) - {"SPT_NOENV"}
        child = subprocess.Popen([sys.executable, str(stubborn)], env=environment)
        assert marked_processes(f"{name}={environment[name]}")
    assert child.wait(timeout=1) == -9
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_killed_guard_is_stood_in_for(stubborn: Path) -> None:
    """Where the guard itself was killed, its owner stops what is left."""
    mark = f"TEST_GUARDED={uuid4().hex}"
    with guarded_environment(mark) as environment:
        child = subprocess.Popen([sys.executable, str(stubborn)], env=environment)
        [guard] = [
            int(entry.parent.name)
            for entry in Path("/proc").glob("[0-9]*/cmdline")
            if mark.encode() in entry.read_bytes() and int(entry.parent.name) != child.pid
        ]
        os.kill(guard, 9)
    assert child.wait(timeout=1) == -9


def test_stopped_processes_are_counted(stubborn: Path) -> None:
    """Every process with the mark is stopped and counted, and none without."""
    mark = f"TEST_MARK={uuid4().hex}"
    name, _, value = mark.partition("=")
    children = [subprocess.Popen([sys.executable, str(stubborn)], env=os.environ | {name: value}) for _ in range(3)]
    assert len(wait_for(3, mark)) == 3
    assert stop_marked(mark) == 3
    assert [child.wait(timeout=1) for child in children] == [-9, -9, -9]
    assert stop_marked(mark) == 0


def test_a_pool_ends_with_its_owner(tmp_path: Path) -> None:
    """The processes of a pool end when the process that has it is killed."""
    mark = f"TEST_MARK={uuid4().hex}"
    name, _, value = mark.partition("=")
    program = tmp_path / "pool.py"
    program.write_text(POOL)
    with subprocess.Popen([sys.executable, program], env=os.environ | {name: value}, stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline() == b"ready\n"
        assert len(marked_processes(mark)) >= 3
        owner.kill()
    assert wait_for(0, mark, seconds=10) == []
