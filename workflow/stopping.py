"""Interruption of a release: all processes end within a second, and unfinished files are removed."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from dmu0.files.atomic import remove_parts
from dmu0.guard import stop_marked
from workflow.progress import say
from workflow.records import parts_file, progress_file, worker_mark

STOPPED = "stopped; run it again to go on"
"""Message after Ctrl-C."""

_OF_MAKE = re.compile(
    r"make(\[\d+\])?: (\*\*\* (\[.*\] (Error \d+|Interrupt|Terminated|Killed)|Waiting for unfinished jobs|Deleting )"
    r"|Target .* not remade because of errors)"
)


def die_with_parent() -> None:
    """Ask Linux to stop this process when make is killed, so that no notebook continues unnoticed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # <sys/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() == 1:  # the parent died before the request
            raise SystemExit(1)


def stop_step_on_signals(record: Path) -> None:
    """Install handlers of SIGINT and SIGTERM that stop this process and all others of a record at once.

    Notebooks are killed without being asked first, which would take seconds; the files that they have begun to write
    are listed, and removed here.

    Parameters
    ----------
    record
        Record of the step that this process runs.
    """

    def stop(number: int, frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)
        stop_marked(worker_mark(record))
        remove_parts(parts_file(record))

        progress_file(record).unlink(missing_ok=True)
        if "MAKELEVEL" not in os.environ:  # else make's parent says so
            say(STOPPED, sys.stderr)
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def end_stopped(number: int) -> NoReturn:
    """End this process, an interrupted release, after its one line, without taking the interpreter down.

    That would free hundreds of modules one by one, which takes up to a second. Make, which runs this process, is
    interrupted as well, as by Ctrl-C, so that it prints no error message.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if number == signal.SIGINT and "MAKELEVEL" in os.environ:
        os.kill(os.getppid(), signal.SIGINT)
        os._exit(0)
    os._exit(128 + number)


def run_make(command: list[str], *, folder: Path, at_stop: Callable[[], None]) -> tuple[int, int]:
    """Run make as a child that ends with this process, and pass on its output except the names of its targets.

    Parameters
    ----------
    command
        The command.
    folder
        Folder to run it in.
    at_stop
        Function to call when a signal stops it.

    Returns
    -------
    code, stopped
        The exit code, and the signal that stopped it, or 0.
    """
    # The jobserver's pipe stays open. Make ends with this process, and what make runs ends with make.
    child = subprocess.Popen(
        command, cwd=folder, close_fds=False, preexec_fn=die_with_parent, stderr=subprocess.PIPE, text=True
    )
    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        at_stop()
        child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)  # from a terminal make and its steps get it as well

    def pass_on() -> None:
        for line in child.stderr:
            if not _OF_MAKE.match(line):
                say(line.rstrip("\n"), sys.stderr)

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    code = child.wait()
    reader.join(timeout=10)  # until the last step has closed its end
    return code, stopped[0] if stopped else 0
