"""Checksums of input files, computed once per state of a file, so that thousands are compared in a second.

A file is read again if its size, its modification or change time, or its inode differ. The modification time can be set
when a file is copied; the change time of the inode cannot, so that replacing a file by another one of the same name,
size and date is noticed.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
from pathlib import Path
from typing import NamedTuple

from dmu0.files.atomic import written_whole
from dmu0.files.paths import DataFolders

CACHE = "checksums.json"
"""File in a survey's data folder of dmu0."""

# A file that changed so shortly before it was read may change again within the same tick of its clock, ns.
_TICK = 10_000_000


class FileState(NamedTuple):
    """Properties of a file from which a change is noticed without reading it.

    Attributes
    ----------
    bytes
        Size of the file.
    modified
        Time of the last change of the content in ns since 1970; programs can set it.
    changed
        Time of the last change of the inode in ns since 1970.
    inode
        Number of the inode.
    """

    bytes: int
    modified: int
    changed: int
    inode: int


def file_state(path: Path) -> FileState:
    """The state of a file, or of the target of a link.

    Raises
    ------
    OSError
        If the file does not exist or cannot be accessed.
    """
    found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file; reading a pipe would never return."""
    return stat.S_ISREG(path.stat().st_mode)


def refuse_irregular(path: Path) -> None:
    """Refuse what is no regular file before it is read.

    Raises
    ------
    OSError
        If it is a folder, a pipe, a socket or a device, or is not there.
    """
    if not is_regular(path):
        raise OSError("it is a folder, a pipe, a socket or a device, not a file")


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Checksums:
    """The checksums of a survey's input files, kept between runs.

    Parameters
    ----------
    folders
        Data folders of the survey.
    """

    def __init__(self, folders: DataFolders) -> None:
        self._path = folders[0] / CACHE
        self._known: dict[str, tuple[FileState, str]] = {}
        self._is_new = False
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._known = {path: (FileState(*state), str(digest)) for path, (state, digest) in content.items()}
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, AttributeError):
            self._is_new = True  # cut short by a full disk, say: written anew

    def known(self, path: Path, state: FileState) -> str:
        """The checksum of a file in the given state; None if the file has to be read."""
        before, digest = self._known.get(str(path), (None, ""))
        return digest if before == state else ""

    def remember(self, path: Path, state: FileState, digest: str) -> None:
        """Store the checksum of a file with the state in which it was read."""
        if time.time_ns() - max(state.changed, state.modified) > _TICK and self.known(path, state) != digest:
            self._known[str(path)] = state, digest
            self._is_new = True

    def digest(self, path: Path) -> str:
        """The checksum of a file, which is read if its state is new.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        state = file_state(path)
        found = self.known(path, state)
        if not found:
            found = sha256(path)
            self.remember(path, state, found)
        return found

    def write(self) -> None:
        """Write the new checksums, atomically."""
        if self._is_new:
            with written_whole(self._path) as part:
                part.write_text(json.dumps(self._known, indent=0), encoding="utf-8")
            self._is_new = False
