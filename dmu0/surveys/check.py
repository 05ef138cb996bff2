"""What can be known of a survey in its first second: from its file, the names of the input files and a few headers.

Errors stop a release before it begins; warnings are said, and the release goes on without what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from astropy.io import fits

from dmu0.files.expected import Input, find_inputs, unmatched_patterns
from dmu0.published.planes import OpticalError
from dmu0.published.zero_point import published_zero_point
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys.keys import Optical, Survey, SurveyError, Vista
from dmu0.surveys.messages import nearest


class Finding(NamedTuple):
    """Something that is wrong with a survey.

    Attributes
    ----------
    key
        The key of the survey file that it is about.
    text
        What is wrong, and what to do.
    stops
        Whether the release cannot succeed.
    """

    key: str
    text: str
    stops: bool


def check_survey(survey: Survey) -> list[str]:
    """Check a survey before its release.

    Returns
    -------
    list of str
        Warnings: what the release will have to do without.

    Raises
    ------
    SurveyError
        If the release cannot succeed; the message names the survey file and each key.
    """
    findings = list(_check_tracts(survey))
    if not findings:
        findings += _check_patterns(survey)
    if not findings and survey.inputs.source == "local":
        findings += _check_files(survey)
    wrong = [f"  {item.key}: {item.text}" for item in findings if item.stops]
    if wrong:
        raise SurveyError(f"{survey.path} cannot be released:\n" + "\n".join(wrong))
    return [f"{survey.path}: {item.key}: {item.text}" for item in findings]


def _check_tracts(survey: Survey) -> Iterator[Finding]:
    """Tracts and patches are on the sky map."""
    try:
        sky_map = make_sky_map(survey.sky_map)
    except ValueError as error:
        yield Finding("sky_map", str(error), stops=True)
        return
    for number, patches in survey.tracts.items():
        try:
            tract = sky_map.tract(number)
            for patch in () if patches == "all" else patches:
                tract.patch(patch)
        except ValueError as error:
            yield Finding(f"tracts.{number}", str(error), stops=True)


def _check_patterns(survey: Survey) -> Iterator[Finding]:
    """Each band of files has a pattern, and no two bands have the same file."""
    if survey.inputs.source == "simulate":
        return
    if survey.vista is not None and survey.vista.kind == "stacks":
        if not survey.vista.stacks:
            yield Finding("vista.stacks", "no file pattern is given; list at least one", stops=True)
    elif survey.vista is not None:
        yield from _check_coadds("vista", survey.vista)
    if survey.optical is not None and survey.optical.kind != "lsst":
        yield from _check_coadds("optical", survey.optical)


def _check_coadds(section: str, half: Vista | Optical) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for band in half.bands:
        pattern = half.coadds.get(band, half.coadds.get("default"))
        if pattern is None:
            yield Finding(f"{section}.coadds", f"no file pattern for {band}, and no default", stops=True)
        elif "{band" not in pattern and "{filter" not in pattern:
            if pattern in taken:
                yield Finding(
                    f"{section}.coadds", f"{taken[pattern]} and {band} have the same file {pattern!r}", stops=True
                )
            taken[pattern] = band


def _check_files(survey: Survey) -> Iterator[Finding]:
    """Local files are there: at least one stack, and one coadd of each band; each pattern matches something."""
    folder = survey.input_folder
    if not folder.is_dir():
        yield Finding("inputs.folder", f"{folder} is not there{_nearest_name(folder)}", stops=True)
        return
    inputs = find_inputs(survey)
    there = [item for item in inputs if os.path.exists(item.path)]  # noqa: PTH110 - Path.exists raises where not allowed
    if survey.vista is not None and survey.vista.kind == "stacks" and not any(x.kind == "vista_stack" for x in there):
        patterns = ", ".join(survey.vista.stacks)
        near = _nearest_name(folder / survey.vista.stacks[0])
        yield Finding("vista.stacks", f"no file in {folder} matches {patterns}{near}", stops=True)
    else:
        for key, pattern in unmatched_patterns(survey):
            yield Finding(key, f"no file in {folder} matches {pattern}{_nearest_name(folder / pattern)}", stops=False)
    for section, half, kind in (("vista", survey.vista, "vista_coadd"), ("optical", survey.optical, "optical_coadd")):
        for band in () if half is None else half.bands:
            wanted = [item for item in inputs if (item.kind, item.band) == (kind, band)]
            found = [item for item in wanted if item in there]
            if wanted and not found:
                near = _nearest_name(wanted[0].path)
                only = len(half.bands) == 1
                yield Finding(
                    f"{section}.coadds", f"{band} has no file: {wanted[0].path} is not there{near}", stops=only
                )
            elif found:
                yield from _check_zero_point(section, half, found[0])


def _check_zero_point(section: str, half: Vista | Optical, item: Input) -> Iterator[Finding]:
    """The coadds of a band have a zero point, in the survey file or in the headers of the first that is there."""
    try:
        with fits.open(item.path, memmap=True, lazy_load_hdus=True) as hdus:
            image = next((hdu.header for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2), hdus[0].header)
            published_zero_point(image, hdus[0].header, path=item.path, survey=half.zero_points.get(item.band))
    except OpticalError as error:
        yield Finding(f"{section}.zero_points", f"{item.band}: {error}", stops=True)
    except (OSError, ValueError, TypeError, IndexError, KeyError, fits.VerifyError):
        return  # a file that cannot be read is told of by dmu0/2_Check_inputs, with its reason


def _nearest_name(path: Path) -> str:
    """The name that is most like the first part of a path that is not there, among those that are."""
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except OSError:
        return ""
    if missing.exists():
        return ""
    hint = nearest(missing.name, names)
    return f".{hint}" if hint else f"; {missing.parent} holds {', '.join(names[:5]) or 'nothing'}"
