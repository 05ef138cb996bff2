"""Child processes that end with this process, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from uuid import uuid4

from dmu0 import guard


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of spawned processes, because forked ones inherit the locks of the threads of a notebook or a Butler."""
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process of a pool when the owner of the pool was killed; otherwise it would wait for work for ever."""

    def watch() -> None:
        parent_process().join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def guarded_environment(mark: str | None = None) -> Iterator[dict[str, str]]:
    """An environment for child processes, which end with the context, or when this process is killed.

    A guard process waits for the end of this one. It finds the children, and the processes started by them, by a
    variable in their environment (on Linux; elsewhere the guard has no effect).

    Parameters
    ----------
    mark
        The variable, ``NAME=value``; by default a new one. No existing process may have it.

    Yields
    ------
    dict
        The environment of this process with the variable, and another that keeps it readable.
    """
    mark = mark or f"FUSION_OWNER_{uuid4().hex}=1"
    name, _, value = mark.partition("=")
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # it must not keep open a pipe that somebody reads to its end
        start_new_session=True,  # what is sent to all of a terminal's processes does not reach it
        env={key: text for key, text in os.environ.items() if key != name},
    )
    try:
        # A program that calls itself something else (Parsl's do) would write that over its environment.
        yield os.environ | {name: value, "SPT_NOENV": "1"}
    finally:
        watch.stdin.close()
        if watch.wait() != 0:  # the guard itself was stopped
            guard.stop_marked(mark)
