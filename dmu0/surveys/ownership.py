"""Ownership of data folders: two survey files with the same name would overwrite each other's products."""

from __future__ import annotations

from pathlib import Path

from dmu0.files.atomic import written_whole
from dmu0.files.paths import PROJECT
from dmu0.surveys.keys import Survey, SurveyError
from dmu0.surveys.yaml_file import YamlError, read_yaml

OWNER = "survey_file.txt"
"""File in a survey's data folder of dmu0 that names the survey file of the data."""


def claim_data_folders(survey: Survey) -> None:
    """Record that the data folders of a survey's name belong to its file, unless they belong to another.

    Folders whose survey file no longer exists, or now defines another name, are taken over, since files are moved and
    renamed.

    Raises
    ------
    SurveyError
        If another existing survey file has this name; the message gives its path.
    """
    note = survey.folders[0] / OWNER
    owner = _read_owner(note)
    if owner is not None and owner != survey.path and _name_in(owner) == survey.name:
        raise SurveyError(
            f"{survey.path}: the name {survey.name!r} belongs to {owner}, whose products are in {note.parent}; "
            "choose another name, or remove those."
        )
    if owner != survey.path:
        with written_whole(note) as part:
            part.write_text(f"{_written(survey.path)}\n", encoding="utf-8", errors="surrogateescape")


def _written(path: Path) -> str:
    """A path in its recorded form: relative if it is in this project, which may be moved."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _read_owner(note: Path) -> Path | None:
    if not note.is_file():
        return None
    text = note.read_text(encoding="utf-8", errors="surrogateescape").strip()
    return (PROJECT / text).resolve() if text else None


def _name_in(path: Path) -> str | None:
    """The name in a survey file; None if there is no such file, or it cannot be read."""
    try:
        content, _ = read_yaml(path)
    except YamlError:
        return None
    return str(content.get("name"))
