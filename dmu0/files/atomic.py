"""Files and folders that appear complete or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SUFFIX = ".part"
"""Suffix of the names of unfinished files and folders."""

JOURNAL = "FUSION_PARTS"
"""Environment variable with a file that lists unfinished folders, so that those of a killed process are found."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file or a folder its name when it is finished.

    The caller writes to the path that is yielded. It has the name of the target, because many writers choose a format
    by it, and is in a hidden folder next to the target, so that renaming is atomic. Each caller has its own folder: if
    several processes write the same target at the same time, the last one to finish prevails, and readers always see a
    complete result. Missing parents are created.

    Parameters
    ----------
    path
        The target. An existing file is replaced; so is a folder, but for a moment neither the old nor the new one
        exists, because folders cannot be exchanged portably.

    Yields
    ------
    pathlib.Path
        Path to write to. After an exception it is removed, and the target is unchanged.

    Raises
    ------
    FileNotFoundError
        If nothing was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}.", suffix=SUFFIX, dir=path.parent) as folder:
        list_part(folder)
        part = Path(folder) / path.name
        yield part
        if not (part.is_dir() and path.is_dir()):
            part.replace(path)
            return
        old = Path(folder) / f"old.{path.name}"
        path.rename(old)
        try:
            part.rename(path)
        except OSError:
            old.rename(path)
            raise


def list_part(folder: str | Path) -> None:
    """Append an unfinished folder to the journal, if there is one; such a short line is written atomically.

    Only for folders that are not continued later: those of `unfinished` must not be listed.
    """
    journal = os.environ.get(JOURNAL)
    if journal:
        with Path(journal).open("a", errors="surrogateescape") as stream:
            stream.write(f"{Path.cwd() / folder}\n")


def remove_parts(journal: Path) -> int:
    """Remove the unfinished folders left by processes that have ended, and the journal that lists them.

    Parameters
    ----------
    journal
        File given by the environment variable `JOURNAL`; it need not exist.

    Returns
    -------
    int
        Number of folders removed.
    """
    if not journal.exists():
        return 0
    folders = [Path(line) for line in journal.read_text(errors="surrogateescape").splitlines()]
    left = [folder for folder in folders if folder.name.endswith(SUFFIX) and folder.is_dir()]
    for folder in left:
        shutil.rmtree(folder)
    journal.unlink()
    return len(left)


def unfinished(path: Path) -> Path:
    """The hidden path next to a target under which a process continues the work of an earlier one.

    For downloads and for folders that are filled under a lock; everything else uses `written_whole`.
    """
    return path.with_name(f".{path.name}{SUFFIX}")
