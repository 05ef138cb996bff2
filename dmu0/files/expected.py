"""The input files that a survey has, or should have, from the patterns of its survey file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dmu0.files.integrity import CATALOGUE_KINDS, KINDS
from dmu0.sky.skymap import survey_patches
from dmu0.sky.tract import Patch
from dmu0.surveys import Survey
from obs_vista.bands import get_band

_DATA_NAME = re.compile(r"\.(fits?(\.fz|\.gz)?|parquet|csv|ecsv|vot|xml|votable|tbl|tsv|txt)$", re.IGNORECASE)
_SUFFIX = re.compile(r"\.fits?(\.fz)?$")


class Input(NamedTuple):
    """An input file that a survey has or should have.

    Attributes
    ----------
    path
        Path of the file.
    kind
        Type of file (`dmu0.files.integrity.KINDS`).
    band
        Label of the band; empty if unknown or not applicable.
    tract, patch
        Numbers of tract and patch; -1 if not applicable.
    """

    path: Path
    kind: str
    band: str = ""
    tract: int = -1
    patch: int = -1


def find_inputs(survey: Survey) -> list[Input]:
    """The input files of a survey: those that match its patterns, and those that must exist.

    Coadds and PSFs of the survey's patches and confidence maps of stacks are listed whether they exist or not. Each
    file is listed once, even if two patterns or links lead to it.
    """
    found: dict[str, Input] = {}
    for item in (*_vista_inputs(survey), *_optical_inputs(survey), *_catalogues(survey)):
        found.setdefault(os.path.realpath(item.path), item)
    return sorted(found.values(), key=lambda item: (KINDS.index(item.kind), str(item.path)))


def unmatched_patterns(survey: Survey) -> list[tuple[str, str]]:
    """Key and pattern of stacks and reference catalogues without any file; coadds are listed by `find_inputs`."""
    references = survey.references
    patterns = [(f"references.{name}", getattr(references, name)) for name in ("ps1", "twomass", "gaia", "vista")]
    if survey.vista is not None and survey.vista.kind == "stacks":
        patterns += [("vista.stacks", pattern) for pattern in survey.vista.stacks]
    return [(key, pattern) for key, pattern in patterns if pattern and not _glob(survey.input_folder, (pattern,))]


def confidence_path(survey: Survey, stack: Path) -> Path | None:
    """The path of the confidence map of a stack, whether it exists or not; None if the survey has none."""
    if survey.vista is None or survey.vista.confidence is None:
        return None
    stem = _SUFFIX.sub("", stack.name)
    return stack.with_name(stem + survey.vista.confidence + stack.name.removeprefix(stem))


def _vista_inputs(survey: Survey) -> Iterator[Input]:
    if survey.vista is None:
        return
    if survey.vista.kind == "coadds":
        yield from _coadds(survey, "vista_coadd", survey.vista.bands, survey.vista.coadds)
        return
    suffix = survey.vista.confidence
    for path in _glob(survey.input_folder, survey.vista.stacks):
        if suffix is not None and _SUFFIX.sub("", path.name).endswith(suffix):
            continue
        yield Input(path, "vista_stack")
        confidence = confidence_path(survey, path)
        if confidence is not None:
            yield Input(confidence, "vista_confidence")


def _optical_inputs(survey: Survey) -> Iterator[Input]:
    # Coadds of kind lsst stay in their Butler repository: there are no files to check.
    if survey.optical is not None and survey.optical.kind != "lsst":
        yield from _coadds(survey, "optical_coadd", survey.optical.bands, survey.optical.coadds)
        yield from _coadds(survey, "optical_psf", survey.optical.bands, survey.optical.psf_stamps)


def _catalogues(survey: Survey) -> Iterator[Input]:
    references = survey.references
    patterns = (references.ps1, references.twomass, references.gaia, references.vista)
    for kind, pattern in zip(CATALOGUE_KINDS, patterns, strict=True):
        for path in _glob(survey.input_folder, () if pattern is None else (pattern,)):
            yield Input(path, kind)


def _coadds(survey: Survey, kind: str, bands: Iterable[str], patterns: dict[str, str]) -> Iterator[Input]:
    """One file per band and patch, or one per band if the pattern does not name the patch."""
    patches = survey_patches(survey)
    for band in bands:
        pattern = patterns.get(band, patterns.get("default"))
        if pattern is None:
            continue
        if "{tract}" not in pattern and "{patch" not in pattern:
            where = (patches[0].tract.id, patches[0].id) if len(patches) == 1 else (-1, -1)
            yield Input(survey.input_folder / _choose(survey.input_folder, pattern, band), kind, band, *where)
            continue
        for patch in patches:
            name = _choose(survey.input_folder, pattern, band, patch)
            yield Input(survey.input_folder / name, kind, band, patch.tract.id, patch.id)


def fill_pattern(pattern: str, *, band: str, filter_name: str, patch: Patch | None = None) -> str:
    """A file pattern or address with the names of band and patch filled in.

    Raises
    ------
    KeyError
        If a placeholder is not one of {band}, {filter}, {tract}, {patch}, {patch_x}, {patch_y}.
    """
    names: dict[str, str | int] = {"band": band, "filter": filter_name}
    if patch is not None:
        names |= {"tract": patch.tract.id, "patch": patch.id, "patch_x": patch.index[0], "patch_y": patch.index[1]}
    try:
        return pattern.format(**names)
    except KeyError as error:
        raise KeyError(f"The pattern {pattern!r} has the unknown placeholder {error}.") from error


def _choose(folder: Path, pattern: str, band: str, patch: Patch | None = None) -> str:
    """The file of a band: that of the first filter name for which a file exists, or else of the usual name.

    `os.path` is used because it treats inaccessible files as missing; `pathlib` raises an error.
    """
    properties = get_band(band)
    filters = dict.fromkeys((properties.physical_filter, *properties.aliases))
    names = [fill_pattern(pattern, band=band, filter_name=name, patch=patch) for name in filters]
    return next((name for name in names if os.path.lexists(folder / name)), names[0])


def _glob(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Files that match any of some patterns, which are absolute or relative to a folder."""
    found: list[Path] = []
    for pattern in patterns:
        root = Path(Path(pattern).anchor) if Path(pattern).is_absolute() else folder
        found += (path for path in root.glob(str(Path(pattern).relative_to(root)) if root != folder else pattern))
    # Folders are no input, unless they have the name of a file: that is told of, as are links that lead nowhere.
    return sorted(path for path in set(found) if _DATA_NAME.search(path.name) or not os.path.isdir(path))  # noqa: PTH112
