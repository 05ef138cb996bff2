"""Getting the input files of a survey: simulated, already on disk, or from the archives."""

from __future__ import annotations

import re
from collections.abc import Iterator

from astropy.table import Table

from dmu0.sample.make import make_sample
from dmu0.surveys import Survey, SurveyError


def get_inputs(survey: Survey, *, progress: bool = True) -> Table:
    """Bring the input files of a survey into place.

    A simulated survey is made, unless it is there already; one from archives is downloaded, as far as it is not
    there; a local one has to be there.

    Parameters
    ----------
    survey
        The survey.
    progress
        Show progress bars.

    Returns
    -------
    Table
        The files that are there: see `list_inputs`.

    Raises
    ------
    SurveyError
        If the folder of a local survey is not there.
    """
    if survey.inputs.source == "simulate":
        make_sample(survey, progress=progress)
    elif survey.inputs.source == "archive":
        # Imported here: the archive clients bring network libraries that no other survey needs.
        from dmu0.archives import fetch_inputs

        fetch_inputs(survey, progress=progress)
    return list_inputs(survey)


def list_inputs(survey: Survey) -> Table:
    """The files that a survey definition names and that are there.

    Parameters
    ----------
    survey
        The survey.

    Returns
    -------
    Table
        One row a file: kind, path (below `Survey.input_folder`) and bytes.

    Raises
    ------
    SurveyError
        If the input folder is not there.
    """
    folder = survey.input_folder
    if not folder.is_dir():
        raise SurveyError(f"{survey.path}: inputs.folder {folder} is not there; correct it, or put the files there.")
    found = {}
    for kind, pattern in _patterns(survey):
        for path in folder.glob(pattern):
            if path.is_file():
                found.setdefault(str(path.relative_to(folder)), (kind, path.stat().st_size))
    rows = [(kind, path, size) for path, (kind, size) in found.items()]
    return Table(rows=sorted(rows), names=["kind", "path", "bytes"], dtype=["U16", "U256", "i8"])


def _patterns(survey: Survey) -> Iterator[tuple[str, str]]:
    """Kinds of files and where the survey says that they are, as glob patterns."""
    vista, optical = survey.vista, survey.optical
    if vista:
        for pattern in vista.stacks:
            if vista.confidence:
                stem, dot, suffix = pattern.rpartition(".")
                yield "vista_confidence", f"{stem}{vista.confidence}{dot}{suffix}"
            yield "vista_stack", pattern
        for pattern in vista.coadds.values():
            yield "vista_coadd", _any(pattern)
    if optical:
        for pattern in optical.coadds.values():
            yield "optical_coadd", _any(pattern)
        for pattern in optical.psf_stamps.values():
            yield "optical_psf", _any(pattern)
    for kind in ("ps1", "twomass", "gaia"):
        if pattern := getattr(survey.references, kind):
            yield kind, pattern
    if survey.references.vista:
        yield "vista_catalogue", survey.references.vista


def _any(pattern: str) -> str:
    """A file pattern of the survey file as a glob pattern: what is filled in may be anything."""
    return re.sub(r"\{[^}]*\}", "*", pattern)


def summarise(files: Table) -> Table:
    """How many files and bytes (MB) there are of each kind."""
    kinds = sorted(set(files["kind"]))
    chosen = [files[files["kind"] == kind] for kind in kinds]
    return Table(
        {
            "kind": kinds,
            "files": [len(part) for part in chosen],
            "MB": [round(float(part["bytes"].sum()) / 1e6, 1) for part in chosen],
        }
    )
