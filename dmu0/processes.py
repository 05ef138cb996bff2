"""Processes that this one starts: they end when it does, however it ends."""

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
    """A pool of processes that start afresh: forked ones inherit the locks of a notebook's or a Butler's threads."""
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let this process of a pool end when the one that has the pool was killed: it would wait for work for ever."""

    def watch() -> None:
        parent_process().join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def guarded_environment(mark: str | None = None) -> Iterator[dict[str, str]]:
    """An environment for processes to start: all that have it end with the context, or when this process is killed.

    A guard sees to that, a process of its own that waits for the end of this one. It finds them by a variable in their
    environment, and so also what they started in turn (Linux; elsewhere only the guard itself is started and ended).

    Parameters
    ----------
    mark
        The variable, ``NAME=value``; a new one unless told. None of the processes that exist may have it.

    Yields
    ------
    dict
        This process's environment with the variable, and one that keeps it readable.
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
