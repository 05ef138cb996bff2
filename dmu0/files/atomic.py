"""Files and folders that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SUFFIX = ".part"
"""What names of unfinished files and folders end with."""

JOURNAL = "FUSION_PARTS"
"""Environment variable with a file that lists unfinished folders, so that those of a killed process are found."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file or a folder its name when it is finished.

    The caller writes to the path that is yielded. It has the name of the target, because many writers choose a format
    by it, in a hidden folder beside the target, so that renaming is atomic. Each caller has a folder of its own: of
    several processes that write the same target at once, the last one to finish prevails, and readers see one whole
    result or another. Missing parents are created.

    Parameters
    ----------
    path
        The target. A file of that name is replaced; so is a folder, though for a moment neither the old one nor the
        new one is there, because no file system exchanges folders portably.

    Yields
    ------
    pathlib.Path
        Where to write. After an exception what was written there is removed, and the target stays as it was.

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
    """Append an unfinished folder to the journal, if there is one: a line that short is written at once or not at all.

    For folders that nobody continues; those of `unfinished` that are continued must not be listed.
    """
    journal = os.environ.get(JOURNAL)
    if journal:
        with Path(journal).open("a", errors="surrogateescape") as stream:
            stream.write(f"{Path.cwd() / folder}\n")


def remove_parts(journal: Path) -> int:
    """Remove what processes that are gone have left unfinished, and the journal that lists it.

    Parameters
    ----------
    journal
        A file that was given by the environment variable `JOURNAL`; it need not exist.

    Returns
    -------
    int
        How many folders were removed.
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
    """The one hidden name beside a target under which a process continues what an earlier one began.

    For downloads and folders that are built up under a lock; everything else is `written_whole`.
    """
    return path.with_name(f".{path.name}{SUFFIX}")
