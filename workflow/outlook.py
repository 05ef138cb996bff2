"""Expected duration and disk space of a release, as it took before or as planned."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from dmu0.files.paths import PROJECT, DataFolders
from dmu0.surveys import Survey
from workflow.budget import plan_steps
from workflow.graph import load_steps
from workflow.progress import in_words
from workflow.records import Record, read_record

CORES = 2
"""Number of cores for which the duration is given."""


class Outlook(NamedTuple):
    """The expected cost of a release.

    Attributes
    ----------
    seconds
        Duration of all notebooks on two cores.
    disk
        MB in its data folders.
    free
        MB free on that disk.
    source
        Origin of the estimate.
    """

    seconds: float
    disk: float
    free: float
    source: str

    def line(self) -> str:
        """One line for the terminal."""
        cost = f"about {in_words(self.seconds)} on two cores and {megabytes(self.disk)} of disk"
        return f"  expected  {cost} ({self.source}); {megabytes(self.free)} are free"

    def warning(self) -> str:
        """A warning if the disk is too small; empty otherwise."""
        if self.disk <= self.free:
            return ""
        return f"about {megabytes(self.disk)} of disk are needed below {PROJECT}, where {megabytes(self.free)} are free"


def megabytes(size: float) -> str:
    """A size given in MB in readable form: 12 MB, 3.4 GB, 5.6 TB."""
    if size >= 1e6:
        return f"{size / 1e6:.1f} TB"
    return f"{size / 1000:.1f} GB" if size >= 1000 else f"{size:.0f} MB"


def outlook(survey: Survey, tracts: str = "") -> Outlook:
    """Estimate time and disk of a release.

    Times are taken from the records of the survey itself if all its steps were done before, else from the plan, see
    `workflow.budget`.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to process; empty: all of the survey.
    """
    free = shutil.disk_usage(PROJECT).free / 1e6
    own = _records(survey.folders)
    if own is not None and not tracts:
        return Outlook(
            sum(record.seconds for record in own.values()), _disk(survey.folders), free, "as measured before"
        )
    _, steps = plan_steps(survey, tracts, cores=CORES)
    return Outlook(sum(step.wall for step in steps), 1000 * sum(step.storage for step in steps), free, "by make plan")


def _records(folders: DataFolders) -> dict[str, Record] | None:
    """The records of all steps of a survey; None if one is missing."""
    found = {name: read_record(step.record(folders)) for name, step in load_steps().items()}
    return None if None in found.values() else found


def _disk(folders: DataFolders) -> float:
    """MB of the files in the data folders of a survey."""
    total = 0
    for stage in range(6):
        for folder, _, names in os.walk(folders[stage]):
            total += sum(os.lstat(Path(folder) / name).st_size for name in names)
    return total / 1e6
