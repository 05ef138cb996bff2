"""Fast checks of a survey before its release: its file, the names of the input files and a few headers.

Errors stop a release before it starts; warnings are printed, and the release continues without the missing parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from astropy.io import fits

from dmu0.files.catalogue_files import without_warnings
from dmu0.files.checksums import refuse_irregular
from dmu0.files.coadd_files import coadd_files
from dmu0.files.expected import Input, find_inputs, unmatched_patterns
from dmu0.published.plane_names import image_of, named_planes
from dmu0.published.planes import OpticalError
from dmu0.published.zero_point import CasuScale, published_zero_point
from dmu0.sky.cells import why_not_divisible
from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys.keys import Optical, Survey, SurveyError, Vista
from dmu0.surveys.messages import nearest
from dmu0.surveys.placement import elsewhere


class Finding(NamedTuple):
    """A problem with a survey.

    Attributes
    ----------
    key
        Key of the survey file.
    text
        Description of the problem, and what to do.
    stops
        Whether the problem prevents the release.
    """

    key: str
    text: str
    stops: bool


def check_survey(survey: Survey) -> list[str]:
    """Check a survey before its release.

    Returns
    -------
    list of str
        Warnings about missing parts of the release.

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
    wrong = [f"{item.key}: {item.text}" for item in findings if item.stops]
    if len(wrong) == 1:
        raise SurveyError(f"{survey.path} cannot be released: {wrong[0]}")
    if wrong:
        raise SurveyError(f"{survey.path} cannot be released:\n  " + "\n  ".join(wrong))
    return [f"{survey.path}: {item.key}: {item.text}" for item in findings]


def survey_warnings(survey: Survey) -> list[str]:
    """Warnings about missing parts, for the page of a release, without the names of this machine's folders.

    If files of the survey no longer exist, the reasons why it could not be released now.
    """
    try:
        said = check_survey(survey)
    except SurveyError as error:
        said = str(error).splitlines()
    inputs, own = f"{survey.input_folder}{os.sep}", f"{survey.path.parent}{os.sep}"
    return [
        line.strip().replace(inputs, "").replace(str(survey.input_folder), "inputs").replace(own, "") for line in said
    ]


def _check_tracts(survey: Survey) -> Iterator[Finding]:
    """Check that tracts and patches are on the sky map."""
    try:
        sky_map = make_sky_map(survey.sky_map)
    except ValueError as error:
        yield Finding("sky_map", str(error), stops=True)
        return
    if why := why_not_divisible(survey.sky_map):
        yield Finding("sky_map", why, stops=True)
    for number, patches in survey.tracts.items():
        try:
            tract = sky_map.tract(number)
            for patch in () if patches == "all" else patches:
                tract.patch(patch)
        except ValueError as error:
            yield Finding(f"tracts.{number}", str(error), stops=True)


def _check_patterns(survey: Survey) -> Iterator[Finding]:
    """Check that each band has a pattern, and that no two bands have the same file."""
    if survey.inputs.source == "simulate":
        return
    if survey.vista is not None:
        if survey.vista.stack_bands and not survey.vista.stacks:
            yield Finding("vista.stacks", "no file pattern is given; list at least one", stops=True)
        yield from _check_coadds("vista", survey.vista, survey.vista.coadd_bands)
    for optical in survey.optical:
        if optical.butler is None:
            yield from _check_coadds("optical", optical, optical.bands)


def _check_coadds(section: str, half: Vista | Optical, bands: Sequence[str]) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for band in bands:
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
    """Check that local files exist: at least one stack, and one coadd of each band; each pattern matches a file."""
    folder = survey.input_folder
    if not folder.is_dir():
        yield Finding("inputs.folder", f"{folder} is not there{_nearest_name(folder)}", stops=True)
        return
    inputs = find_inputs(survey)
    # Path.exists raises where it is not allowed to look.
    there = {item for item in inputs if os.path.exists(item.path) and not os.path.isdir(item.path)}  # noqa: PTH110, PTH112
    if survey.vista is not None and survey.vista.stack_bands and not any(x.kind == "vista_stack" for x in there):
        patterns = ", ".join(survey.vista.stacks)
        near = _nearest_name(folder / survey.vista.stacks[0])
        yield Finding("vista.stacks", f"no file in {folder} matches {patterns}{near}", stops=True)
    else:
        for key, pattern in unmatched_patterns(survey):
            yield Finding(key, f"no file in {folder} matches {pattern}{_nearest_name(folder / pattern)}", stops=False)
    halves: list[tuple[str, Vista | Optical, str]] = [("optical", half, "optical_coadd") for half in survey.optical]
    halves += [("vista", survey.vista, "vista_coadd")] if survey.vista is not None else []
    for section, half, kind in halves:
        yield from _check_unused(section, half)
        yield from _check_shared(section, survey, half)
        yield from _check_bands(section, half, [item for item in inputs if item.kind == kind], there)
        yield from _check_places(section, survey, half, [item for item in there if item.kind == kind])
    yield from _check_companions(survey, inputs, there)


def _check_bands(section: str, half: Vista | Optical, wanted: list[Input], there: set[Input]) -> Iterator[Finding]:
    """Check the coadds of one section: warn of bands without any, count missing ones, and stop if there are none."""
    bands = half.coadd_bands if isinstance(half, Vista) else half.bands
    by_band = {band: [item for item in wanted if item.band == band] for band in bands}
    none_at_all = bool(wanted) and not any(item in there for item in wanted)
    for band, items in by_band.items():
        found = [item for item in items if item in there]
        missing = [item for item in items if item not in there]
        if not missing:
            yield from _check_zero_point(section, half, found[0]) if found else ()
            continue
        near = _nearest_name(missing[0].path)
        said = f"{missing[0].path} {_why_missing(missing[0].path)}{near}"
        if not found:
            yield Finding(f"{section}.coadds", f"{band} has no file: {said}", stops=none_at_all)
            continue
        yield Finding(f"{section}.coadds", f"{band} lacks {len(missing)} of {len(items)} files: {said}", stops=False)
        yield from _check_zero_point(section, half, found[0])


def _check_shared(section: str, survey: Survey, half: Vista | Optical) -> Iterator[Finding]:
    """Check that no file is found by the patterns of two bands, unless both name the band, or as image and map."""
    named = all("{band" in pattern or "{filter" in pattern for pattern in half.coadds.values())
    if named and not half.weights and not half.variances:
        return
    bands: dict[str, str] = {}
    files = list(coadd_files(survey, half))
    for found in files:
        path = os.path.realpath(found.path)
        other = bands.setdefault(path, found.band)
        if other != found.band and os.path.exists(path):  # noqa: PTH110
            text = f"{found.path} is found by the patterns of {other} and of {found.band}, but is of one band"
            yield Finding(f"{section}.coadds", text, stops=True)
            return
    for found in files:
        for key, named_map in (("weights", found.weight), ("variances", found.variance)):
            image = None if named_map is None else bands.get(os.path.realpath(named_map))
            if image is not None:
                text = f"{named_map} is the map of {found.band} here, and the image of {image} in coadds"
                yield Finding(f"{section}.{key}", text, stops=True)
                return


def _check_unused(section: str, half: Vista | Optical) -> Iterator[Finding]:
    """Name the bands that have a file or a number, but are not among the bands."""
    for key in ("coadds", "weights", "variances", "psf_stamps", "zero_points", "ab_offsets"):
        unused = sorted(set(getattr(half, key, None) or ()) - {*half.bands, "default"})
        if unused:
            text = f"{', '.join(unused)} is not used, because bands has only {', '.join(half.bands)}"
            yield Finding(f"{section}.{key}", text, stops=False)


def _check_places(section: str, survey: Survey, half: Vista | Optical, there: list[Input]) -> Iterator[Finding]:
    """Check that bands of images on grids of their own have one at the patches; if none has, stop."""
    if not there or (isinstance(half, Optical) and half.kind != "fits"):
        return
    regions = [patch.outer_polygon for patch in survey_patches(survey)]
    bands = dict.fromkeys(item.band for item in there)
    paths = {band: sorted(item.path for item in there if item.band == band) for band in sorted(bands)}
    off = {band: found for band in paths if (found := elsewhere(paths[band], regions)) is not None}
    for band, (path, ra, dec) in off.items():
        text = (
            f"{band}: none of its {len(paths[band])} images is at the patches of this survey; {path} is at "
            f"RA {ra:.4f}, Dec {dec:+.4f}. Is the sky map (centre, shape, pixel_scale) or the file the right one?"
        )
        yield Finding(f"{section}.coadds", text, stops=len(off) == len(paths))


def _check_companions(survey: Survey, inputs: list[Input], there: set[Input]) -> Iterator[Finding]:
    """Check that the confidence maps and PSF stamps named by patterns exist."""
    for kind, key, without in (
        ("vista_confidence", "vista.confidence", "their stacks are not used; null says that there are none"),
        ("optical_psf", "optical.psf_stamps", "the PSF is made of stars there"),
        ("coadd_weight", "weights", "their coadds are not used"),
        ("coadd_variance", "variances", "their coadds are not used"),
    ):
        wanted = [item for item in inputs if item.kind == kind]
        missing = [item for item in wanted if item not in there]
        if missing:
            near = _nearest_name(missing[0].path)
            text = f"{len(missing)} of {len(wanted)} files are not there, as {missing[0].path}: {without}{near}"
            yield Finding(key, text, stops=False)


def _check_zero_point(section: str, half: Vista | Optical, item: Input) -> Iterator[Finding]:
    """Check that the coadds of a band have a zero point, in the survey file or in the headers of the first file."""
    casu = CasuScale(item.band, half.magnitudes) if isinstance(half, Vista) else None
    zero_point = half.zero_points.get(item.band)
    try:
        refuse_irregular(item.path)
        with without_warnings(), fits.open(item.path, memmap=True, lazy_load_hdus=True) as hdus:
            try:
                image = image_of(hdus, named_planes(hdus), path=item.path).header
            except OpticalError:
                return  # as below
            published_zero_point(image, hdus[0].header, path=item.path, survey=zero_point, casu=casu)
    except OpticalError as error:
        yield Finding(f"{section}.zero_points", f"{item.band}: {error}", stops=True)
    except (OSError, ValueError, TypeError, IndexError, KeyError, fits.VerifyError):
        return  # unreadable files are reported by dmu0/2_Check_inputs, with the reason


def _why_missing(path: Path) -> str:
    if os.path.isdir(path):  # noqa: PTH112
        return "is a folder"
    if os.path.islink(path):  # noqa: PTH114
        return f"is a link to {os.readlink(path)}, which is not there"  # noqa: PTH115
    return "is not there"


def _nearest_name(path: Path) -> str:
    """The existing name most similar to the first part of a path that does not exist."""
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except OSError:
        return ""
    if os.path.lexists(missing):
        return ""
    hint = nearest(missing.name, names)
    return f".{hint}" if hint else f"; {missing.parent} holds {', '.join(names[:5]) or 'nothing'}"
