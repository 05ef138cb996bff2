"""What to say when a disk is full: which one, how much is free, and how much is needed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from dmu0.surveys import Survey
from workflow.outlook import megabytes, outlook

_FULL = re.compile(r"No space left on device|disk is full|Disk quota exceeded", re.IGNORECASE)
"""What the system, SQLite and file servers say."""


def is_full(error: str) -> bool:
    """Whether the text of an error says that a disk is full."""
    return bool(_FULL.search(error))


def mount_point(path: Path) -> Path:
    """The folder at which the disk of a path is mounted."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    while not path.is_mount():
        path = path.parent
    return path


def full_disk(path: Path) -> str:
    """The disk of a path, and how much of it is free."""
    mount = mount_point(path)
    usage = shutil.disk_usage(mount)
    return f"the disk of {mount} is full: {megabytes(usage.free / 1e6)} of {megabytes(usage.total / 1e6)} are free"


def remedy(survey: Survey, tracts: str) -> str:
    """How much a release needs, and what to do."""
    needed = megabytes(outlook(survey, tracts).disk)
    return f"The whole release needs about {needed}. Make room, and give the same command again: what is done stays so."
