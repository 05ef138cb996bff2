"""Processes that a killed run left behind: found by a variable in their environment, and stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "FUSION_RECORD"
"""Environment variable that holds the record which a process works for; children inherit it."""


def leftovers(record: Path) -> list[int]:
    """Ids of other processes that work for a record (Linux; elsewhere none are found)."""
    wanted = f"{MARK}={record}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or another user's
            continue
        if wanted in variables:
            found.append(int(entry.name))
    return found


def stop_leftovers(record: Path, *, patience: float = 10.0) -> int:
    """Stop what a killed run left behind, so that nothing else writes while it is run again.

    Returns
    -------
    int
        How many processes were stopped.

    Raises
    ------
    TimeoutError
        If one of them is still there after ``patience`` seconds.
    """
    found = leftovers(record)
    for process in found:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + patience
    while leftovers(record):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Processes {leftovers(record)} still work for {record}: stop them and try again.")
        time.sleep(0.05)
    return len(found)
