"""The input files that a survey has, or should have, from the patterns of its survey file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dmu0.files.coadd_files import coadd_files, stamp_files
from dmu0.files.integrity import CATALOGUE_KINDS, KINDS
from dmu0.surveys import Optical, Survey, Vista

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
    """Key and pattern of stacks, reference catalogues and tables of objects without any file; coadds are listed by
    `find_inputs`."""
    references = survey.references
    patterns = [(f"references.{name}", getattr(references, name)) for name in ("ps1", "twomass", "gaia", "vista")]
    if survey.vista is not None and survey.vista.stack_bands:
        patterns += [("vista.stacks", pattern) for pattern in survey.vista.stacks]
    unmatched = [(key, pattern) for key, pattern in patterns if pattern and not _glob(survey.input_folder, (pattern,))]
    objects = [("optical.objects", optical.objects) for optical in survey.optical if optical.objects is not None]
    return unmatched + [(key, pattern) for key, pattern in objects if not find_object_tables(survey)]


def find_object_tables(survey: Survey) -> list[Path]:
    """The files of LSST's table of objects, or the folder of its HATS catalogue; none if the survey names none."""
    pattern = next((optical.objects for optical in survey.optical if optical.objects is not None), None)
    if pattern is None:
        return []
    root = Path(Path(pattern).anchor) if Path(pattern).is_absolute() else survey.input_folder
    return sorted(root.glob(str(Path(pattern).relative_to(root)) if root != survey.input_folder else pattern))


def find_stacks(survey: Survey) -> list[Path]:
    """The stacks that the patterns of a survey find, without their confidence maps; none if it has no such bands."""
    if survey.vista is None or not survey.vista.stack_bands:
        return []
    suffix = survey.vista.confidence
    found = _glob(survey.input_folder, survey.vista.stacks)
    return [path for path in found if suffix is None or not _SUFFIX.sub("", path.name).endswith(suffix)]


def confidence_path(survey: Survey, stack: Path) -> Path | None:
    """The path of the confidence map of a stack, whether it exists or not; None if the survey has none."""
    if survey.vista is None or survey.vista.confidence is None:
        return None
    stem = _SUFFIX.sub("", stack.name)
    return stack.with_name(stem + survey.vista.confidence + stack.name.removeprefix(stem))


def _vista_inputs(survey: Survey) -> Iterator[Input]:
    if survey.vista is None:
        return
    yield from _coadd_inputs(survey, "vista_coadd", survey.vista)
    if not survey.vista.stack_bands:
        return
    for path in find_stacks(survey):
        yield Input(path, "vista_stack")
        confidence = confidence_path(survey, path)
        if confidence is not None:
            yield Input(confidence, "vista_confidence")


def _optical_inputs(survey: Survey) -> Iterator[Input]:
    for optical in survey.optical:
        # Coadds in a Butler repository stay there: there are no files to check.
        if optical.butler is None:
            yield from _coadd_inputs(survey, "optical_coadd", optical)
            for stamp in stamp_files(survey, optical):
                yield Input(stamp.path, "optical_psf", stamp.band, stamp.tract, stamp.patch)


def _coadd_inputs(survey: Survey, kind: str, half: Optical | Vista) -> Iterator[Input]:
    """Coadds, and the weight and variance maps that belong to them."""
    for coadd in coadd_files(survey, half):
        where = (coadd.band, coadd.tract, coadd.patch)
        yield Input(coadd.path, kind, *where)
        for path, map_kind in ((coadd.weight, "coadd_weight"), (coadd.variance, "coadd_variance")):
            if path is not None:
                yield Input(path, map_kind, *where)


def _catalogues(survey: Survey) -> Iterator[Input]:
    references = survey.references
    patterns = (references.ps1, references.twomass, references.gaia, references.vista)
    for kind, pattern in zip(CATALOGUE_KINDS, patterns, strict=True):
        for path in _glob(survey.input_folder, () if pattern is None else (pattern,)):
            yield Input(path, kind)


def _glob(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Files that match any of some patterns, which are absolute or relative to a folder."""
    found: list[Path] = []
    for pattern in patterns:
        root = Path(Path(pattern).anchor) if Path(pattern).is_absolute() else folder
        found += (path for path in root.glob(str(Path(pattern).relative_to(root)) if root != folder else pattern))
    # Folders are no input, unless they have the name of a file: that is told of, as are links that lead nowhere.
    return sorted(path for path in set(found) if _DATA_NAME.search(path.name) or not os.path.isdir(path))  # noqa: PTH112
