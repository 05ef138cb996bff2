"""Expected duration and disk space of a release, from measurements on the same survey or on the sample."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from dmu0.files.expected import find_stacks
from dmu0.files.paths import PROJECT, DataFolders
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey, load_survey
from dmu0.surveys.first_look import NotAnImageError, look_at
from workflow.graph import load_steps, read_cells
from workflow.progress import in_words
from workflow.records import Record, read_record

SAMPLE = "sample"
"""The survey with known cost."""

SAMPLE_DISK = 1210.0
"""MB in all data folders of the sample, measured on 2026-11-28; this includes 260 MB of simulated inputs."""

OVERHEAD = 5.0
"""Seconds for the kernel and the imports of a notebook, measured on two busy cores."""

OF_DETECTORS = re.compile(r"dmu0/2_.*|dmu1/[12]_.*|dmu2/1_.*|dmu4/[12]_.*")
"""Steps whose time scales with the pixels of single images; the others scale with those of patches and bands."""

_RUNS_IN = re.compile(r"^\|\s*Runs in\s*\|[^|\d]*(\d+) s\b", re.M)


class Work(NamedTuple):
    """The size of a release.

    Attributes
    ----------
    detectors
        Millions of pixels of single images.
    patches
        Millions of pixels of patches, times bands.
    """

    detectors: float
    patches: float


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

    Times are taken from the records of the survey itself if all its steps were done before; else from those of the
    sample in this checkout, scaled by the number of pixels; else from the first cells of the notebooks, which give
    times measured on the sample.

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
    sample = load_survey(SAMPLE)
    known = _records(sample.folders)
    times = card_seconds() if known is None else {name: record.seconds for name, record in known.items()}
    disk = _disk(sample.folders) if known else SAMPLE_DISK
    whole, ours = _SAMPLE_WORK, work(survey, tracts)
    ratios = (ours.detectors / whole.detectors, ours.patches / whole.patches)
    total = sum(
        OVERHEAD + max(0.0, time - OVERHEAD) * ratios[0 if OF_DETECTORS.fullmatch(name) else 1]
        for name, time in times.items()
    )
    source = "by the sample's records" if known else "by the times on the notebooks' cards"
    return Outlook(total, disk * sum(ratios) / 2, free, source)


_SAMPLE_WORK = Work(detectors=16 * 16 * 388**2 / 1e6, patches=4 * 10 * 900**2 / 1e6)
"""Size of the sample: 16 stacks of 16 detectors, and 4 patches in 10 bands."""


def card_seconds() -> dict[str, float]:
    """Step -> seconds on the sample, from the first cell of each notebook."""
    found = {}
    for name, step in load_steps().items():
        match = _RUNS_IN.search(read_cells(step.path)[0][1])
        if match:
            found[name] = float(match[1])
    return found


def work(survey: Survey, tracts: str = "") -> Work:
    """The number of pixels that a release has to process; only existing single images are counted."""
    patches = survey_patches(survey, tracts)
    stacks = find_stacks(survey)
    detectors = 0.0
    for path in stacks[:3]:
        try:
            look = look_at(path)
        except NotAnImageError:
            continue
        detectors = max(detectors, look.images * look.shape[0] * look.shape[1] / 1e6)
    return Work(
        detectors=detectors * len(stacks),
        patches=sum(patch.image_bbox.area for patch in patches) * len(survey.bands) / 1e6,
    )


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
