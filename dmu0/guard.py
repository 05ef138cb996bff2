"""Stop processes with a variable in their environment; as a program, stop them when the parent process has ended.

Children inherit the environment, including those in their own sessions and process groups and those whose parent died,
so that none is missed. Linux shows it in /proc; on other systems no process is found. Only the standard library is
used, so that the program starts in a few hundredths of a second.
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
    """Stop the other processes that have a variable in their environment, and those that they start in the meantime.

    Parameters
    ----------
    mark
        The variable, ``NAME=value``.
    patience
        Seconds within which they must end.

    Returns
    -------
    int
        Number of stopped processes.

    Raises
    ------
    TimeoutError
        If one of them still exists.
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
    """Wait until standard input ends, because its owner closed it or died; then stop the marked processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whatever stops the owner must not stop its guard
    sys.stdin.buffer.read()
    stop_marked(mark)


if __name__ == "__main__":
    main(sys.argv[1])
