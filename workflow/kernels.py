"""Where the kernel of a notebook listens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from traitlets.config import Config

from dmu0.files.atomic import SUFFIX, list_part

LONGEST_FOLDER = 70
"""Bytes of a folder for temporary files in which the path of a socket has room (103 bytes on macOS, 107 on Linux)."""


@contextlib.contextmanager
def kernel_sockets() -> Iterator[Config]:
    """Settings of a kernel manager whose kernel listens on files of a folder of its own.

    By default the five ports of a kernel are chosen by binding them for a moment; when notebooks start at the same
    time, another process may take one before the kernel does, which then ends with "Address already in use", unseen
    until the time to start it has passed. Files in a folder that nobody else knows cannot be taken. The folder is
    removed at the end, and by the next run if this one is killed.

    Yields
    ------
    traitlets.config.Config
        For the ``config`` of a notebook client.
    """
    with TemporaryDirectory(prefix="kernel", suffix=SUFFIX, dir=_short_folder()) as folder:
        list_part(folder)
        connection = Path(folder) / "k.json"
        yield Config({"KernelManager": {"transport": "ipc", "connection_file": str(connection)}})


def _short_folder() -> str:
    """Folder for temporary files, or /tmp where the names of sockets in it would become too long."""
    folder = gettempdir()
    return folder if len(folder.encode()) <= LONGEST_FOLDER else "/tmp"
