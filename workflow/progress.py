"""Progress of the running steps of a release: one updated line on a terminal, one line per minute in a log."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from workflow.records import is_running, progress_file

_CLEAR = "\r\x1b[K"
_ON_TERMINAL, _IN_LOG = 1.0, 60.0
"""Seconds between updates."""


def in_words(seconds: float) -> str:
    """A duration in readable form: 8 s, 3 min, 2.5 h, 9 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 86400:.0f} days"


def read_progress(record: Path) -> str:
    """The state of the outermost progress bar of a running step: title, count, total, time left.

    Parameters
    ----------
    record
        Record of the step: the executed notebook that is being made.

    Returns
    -------
    str
        Text of the state; empty if the step currently shows no bar.
    """
    try:
        note = json.loads(progress_file(record).read_text())
    except FileNotFoundError:
        return ""
    count = f"{note['done']}" if note["total"] is None else f"{note['done']} of {note['total']}"
    left = "" if note["left"] is None else f", {in_words(note['left'])} left"
    return " ".join(filter(None, (note["title"], count))) + left


def running_steps(records: Mapping[str, Path]) -> list[str]:
    """One line per running step, with the state of its progress bar.

    Parameters
    ----------
    records
        Name of a step -> its record.
    """
    return [f"{name} {read_progress(record)}".rstrip() for name, record in records.items() if is_running(record)]


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line above the line of progress on a terminal."""
    stream = sys.stdout if stream is None else stream
    print(f"{_CLEAR if stream.isatty() else ''}{text}", file=stream, flush=True)


@contextlib.contextmanager
def shown_progress(
    records: Mapping[str, Path], *, name: str, stream: TextIO | None = None
) -> Iterator[Callable[[], None]]:
    """Show the progress of the running steps of a release within a context.

    Parameters
    ----------
    records
        Name of a step -> its record, for the steps that may run.
    name
        Name of the survey.
    stream
        Stream to write to; by default standard output.

    Yields
    ------
    callable
        Function that ends the display early, so that nothing is shown of a release that is being stopped.
    """
    stream = sys.stdout if stream is None else stream
    ended = threading.Event()

    def watch() -> None:
        begun = time.monotonic()
        while not ended.wait(_ON_TERMINAL if stream.isatty() else _IN_LOG):
            lines = running_steps(records)
            if lines and not ended.is_set():
                text = f"[{name}] {'; '.join(lines)} ({in_words(time.monotonic() - begun)})"
                if stream.isatty():
                    width = shutil.get_terminal_size().columns - 1
                    stream.write(f"{_CLEAR}{text[:width]}")
                    stream.flush()
                else:
                    say(text, stream)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield ended.set
    finally:
        ended.set()
        thread.join()
        if stream.isatty():
            stream.write(_CLEAR)
            stream.flush()
