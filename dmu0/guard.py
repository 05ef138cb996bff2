"""Stop processes by a variable in their environment; as a program, stop them when whoever started it is gone.

Children inherit the environment, also those in sessions and process groups of their own and those whose parent died, so
that none is missed. Linux shows it in /proc; elsewhere no process is found. Standard library only: the program starts
in a few hundredths of a second.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def marked_processes(mark: str) -> list[int]:
    """Ids of the other processes that were started with a variable of the environment, ``NAME=value``."""
    wanted, found = mark.encode(), []
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


def stop_marked(mark: str, *, patience: float = 10.0) -> int:
    """Stop the other processes that have a variable in their environment, and those that they start meanwhile.

    Parameters
    ----------
    mark
        The variable, ``NAME=value``.
    patience
        Seconds until they have to be gone.

    Returns
    -------
    int
        How many were stopped.

    Raises
    ------
    TimeoutError
        If one of them is still there.
    """
    stopped: set[int] = set()
    deadline, clear = time.monotonic() + patience, 0
    while clear < 2:  # one may have been between fork and exec when the others were looked for
        found = marked_processes(mark)
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        stopped.update(found)
        clear = 0 if found else clear + 1
        if found and time.monotonic() > deadline:
            raise TimeoutError(f"Processes {found} with {mark} cannot be stopped: stop them and try again.")
        if stopped and clear < 2:
            time.sleep(0.05)
    return len(stopped)


def main(mark: str) -> None:
    """Wait until standard input ends, as it does when its owner closes it or dies; then stop what has the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whatever stops the owner must not stop its guard
    sys.stdin.buffer.read()
    stop_marked(mark)


if __name__ == "__main__":
    main(sys.argv[1])
