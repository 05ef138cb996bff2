"""Getting the input files of a survey: simulated, already on disk, or from the archives."""

from __future__ import annotations

from pathlib import Path

from astropy.table import Table

from dmu0.files.expected import find_inputs
from dmu0.files.integrity import KINDS
from dmu0.sample.make import make_sample
from dmu0.surveys import Survey, SurveyError


def get_inputs(survey: Survey, *, tracts: str = "", progress: bool = True) -> Table:
    """Bring the input files of a survey into place.

    The files of a simulated survey are made unless they exist; missing files from archives are downloaded; local files
    must exist.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Numbers of the tracts to fetch from archives, separated by spaces; empty: all of the survey.
    progress
        Whether to show progress bars.

    Returns
    -------
    Table
        The files that the survey has or should have, see `list_inputs`.

    Raises
    ------
    SurveyError
        If the folder of a local survey does not exist.
    ArchiveError
        If no archive could be queried; single files that fail are logged, and listed as missing.
    """
    if survey.inputs.source == "simulate":
        make_sample(survey, progress=progress)
    elif survey.inputs.source == "archive":
        # Imported here: the archive clients bring network libraries that no other survey needs.
        from dmu0.archives import fetch_inputs

        fetch_inputs(survey, tracts=tracts, progress=progress)
    return list_inputs(survey)


def list_inputs(survey: Survey) -> Table:
    """The files named by a survey definition.

    Parameters
    ----------
    survey
        The survey.

    Returns
    -------
    Table
        Table with one row per file: kind, band ("" if it is in the file), path (relative to `Survey.input_folder`, or
        absolute) and bytes, which is -1 for a missing file.

    Raises
    ------
    SurveyError
        If the input folder does not exist.
    """
    folder = survey.input_folder
    if not folder.is_dir():
        raise SurveyError(f"{survey.path}: inputs.folder {folder} is not there; correct it, or put the files there.")
    rows = []
    for item in find_inputs(survey):
        path = item.path.relative_to(folder) if item.path.is_relative_to(folder) else item.path
        rows.append((item.kind, item.band, str(path), _size(item.path)))
    longest = max((len(row[2]) for row in rows), default=1)
    return Table(rows=rows or None, names=["kind", "band", "path", "bytes"], dtype=["U16", "U8", f"U{longest}", "i8"])


def _size(path: Path) -> int:
    """Size of a file in bytes; -1 if it does not exist or is not accessible."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def summarise(files: Table) -> Table:
    """Number of existing and missing files of each type, and their total size."""
    kinds = [kind for kind in KINDS if kind in files["kind"]]
    chosen = [files[files["kind"] == kind] for kind in kinds]
    return Table(
        {
            "kind": kinds,
            "files": [int((part["bytes"] >= 0).sum()) for part in chosen],
            "missing": [int((part["bytes"] < 0).sum()) for part in chosen],
            "MB": [round(float(part["bytes"].clip(0).sum()) / 1e6, 1) for part in chosen],
        }
    )
