"""What the running steps of a release are doing: one line that is rewritten on a terminal, a line a minute in a log."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from workflow.records import is_running, progress_file

_CLEAR = "\r\x1b[K"
_ON_TERMINAL, _IN_LOG = 1.0, 60.0
"""Seconds between two looks."""


def in_words(seconds: float) -> str:
    """A duration as a person says it: 8 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def read_progress(record: Path) -> str:
    """Where the outermost progress bar of a running step stands: what, how many of how many, time left.

    Parameters
    ----------
    record
        The record of the step, an executed notebook that is being made.

    Returns
    -------
    str
        Empty if the step shows no bar at the moment.
    """
    try:
        note = json.loads(progress_file(record).read_text())
    except FileNotFoundError:
        return ""
    count = f"{note['done']}" if note["total"] is None else f"{note['done']} of {note['total']}"
    left = "" if note["left"] is None else f", {in_words(note['left'])} left"
    return " ".join(filter(None, (note["title"], count))) + left


def running_steps(records: Mapping[str, Path]) -> list[str]:
    """The steps that run, each with where its progress bar stands, as lines.

    Parameters
    ----------
    records
        Name of a step -> its record.
    """
    return [f"{name} {read_progress(record)}".rstrip() for name, record in records.items() if is_running(record)]


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line; on a terminal the line of progress makes room for it."""
    stream = sys.stdout if stream is None else stream
    print(f"{_CLEAR if stream.isatty() else ''}{text}", file=stream, flush=True)


@contextlib.contextmanager
def shown_progress(records: Mapping[str, Path], *, name: str, stream: TextIO | None = None) -> Iterator[None]:
    """Show what the running steps of a release are doing, as long as the context lasts.

    Parameters
    ----------
    records
        Name of a step -> its record, of the steps that may run.
    name
        Name of the survey.
    stream
        Where to show it; standard output unless told.
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
        yield
    finally:
        ended.set()
        thread.join()
        if stream.isatty():
            stream.write(_CLEAR)
            stream.flush()
