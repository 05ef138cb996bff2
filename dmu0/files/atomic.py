"""Files and folders that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SUFFIX = ".part"
"""What names of unfinished files and folders end with."""


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


def unfinished(path: Path) -> Path:
    """The one hidden name beside a target under which a process continues what an earlier one began.

    For downloads and folders that are built up under a lock; everything else is `written_whole`.
    """
    return path.with_name(f".{path.name}{SUFFIX}")
