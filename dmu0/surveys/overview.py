"""Overview of a survey in a few lines for the terminal: files, pixel grids, zero points, bands, patches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dmu0.files.expected import Input, find_inputs
from dmu0.files.integrity import CATALOGUE_KINDS
from dmu0.published.on_patch import MAX_MISALIGNMENT
from dmu0.sky.skymap import survey_patches
from dmu0.sky.tract import Patch
from dmu0.surveys.first_look import FirstLook, NotAnImageError, look_at, vista_filter
from dmu0.surveys.keys import Optical, Survey, Vista
from obs_vista.bands import vista_band

MOST_STACKS = 100
"""Largest number of stacks whose headers are read: those of a large survey would take minutes."""


def overview(survey: Survey) -> list[str]:
    """Describe a survey from its file and its existing inputs.

    Parameters
    ----------
    survey
        A survey that passed `check_survey`.

    Returns
    -------
    list of str
        Lines on its files, its sky map, each band, and each reference catalogue.
    """
    patches = survey_patches(survey)
    # Of a large survey in the archives there are a hundred thousand names, and mostly no file yet.
    inputs = find_inputs(survey) if _has_files(survey.input_folder) else []
    there = {item for item in inputs if item.path.is_file()}
    lines = [f"{survey.name}: {survey.title}", _row("inputs", _inputs(survey, there)), _row("sky map", _grid(patches))]
    for optical in survey.optical:
        lines += _coadd_lines(optical, "optical_coadd", inputs, there, patches)
    if survey.vista is not None:
        vista = survey.vista
        if vista.stack_bands:
            lines += _stack_lines(vista, sorted(item.path for item in there if item.kind == "vista_stack"))
        lines += _coadd_lines(vista, "vista_coadd", inputs, there, patches)
    for kind in CATALOGUE_KINDS:
        count = sum(item.kind == kind for item in there)
        lines += [_row(kind.removesuffix("_catalogue"), f"{_counted(count, 'reference catalogue')}")] if count else []
    return lines


def _has_files(folder: Path) -> bool:
    """Whether there is a folder with input files in an input folder, or a file of a local survey."""
    own = {"runs", "quarantine", "survey_file.txt", "plan.mk", "checksums.json", "manifest.parquet"}
    return folder.is_dir() and any(entry.name not in own for entry in folder.iterdir())


def _row(name: str, text: str) -> str:
    return f"  {name:9s} {text}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _inputs(survey: Survey, there: set[Input]) -> str:
    """The source, number and size of the files."""
    size = sum(item.path.stat().st_size for item in there) / 1e6
    found = f"{_counted(len(there), 'file')}, {size:.0f} MB"
    match survey.inputs.source:
        case "simulate":
            return f"a synthetic sky, made at the first run; {found} are there"
        case "archive":
            return f"archives ({', '.join(sorted(survey.inputs.query))}); {found} are there, the rest is fetched"
        case _:
            return f"{survey.input_folder}: {found}"


def _grid(patches: list[Patch]) -> str:
    """Tracts, patches, and the pixels of a patch."""
    tracts = sorted({patch.tract.id for patch in patches})
    ny, nx = patches[0].image_bbox.shape
    scale = 3600 * abs(float(patches[0].tract.wcs.wcs.cd[1, 1]))
    named = ", ".join(map(str, tracts[:6])) + (", ..." if len(tracts) > 6 else "")
    count = "1 patch" if len(patches) == 1 else f"{len(patches)} patches"
    return f'{_counted(len(tracts), "tract")} ({named}), {count} of {nx} x {ny} px of {scale:.4g}"'


def _coadd_lines(
    half: Optical | Vista, kind: str, inputs: list[Input], there: set[Input], patches: list[Patch]
) -> Iterator[str]:
    """One line per band with published coadds."""
    if half.kind == "lsst" and half.butler is not None:
        for band in half.bands:
            yield _row(band, f"coadds of the Butler repository {half.butler}, {half.collection}")
        return
    for band in half.coadd_bands if isinstance(half, Vista) else half.bands:
        wanted = [item for item in inputs if (item.kind, item.band) == (kind, band)]
        found = [item for item in wanted if item in there]
        if not found:
            yield _row(band, f"none of {_counted(len(wanted), 'coadd')}" if wanted else "coadds that are not here yet")
        else:
            yield _row(band, f"{len(found)} of {_counted(len(wanted), 'coadd')}, {_describe(half, found[0], patches)}")


def _describe(half: Optical | Vista, item: Input, patches: Iterable[Patch]) -> str:
    """Pixels and zero point of a coadd."""
    try:
        look = look_at(item.path)
    except NotAnImageError as error:
        return f"the first of which {error}"
    ny, nx = look.shape
    given = half.zero_points.get(item.band)
    zero_point = f"AB zero point {look.zero_point if given is None else given:.3f}"
    source = "by its header" if given is None else "by the survey file"
    patch = next((one for one in patches if (one.tract.id, one.id) == (item.tract, item.patch)), None)
    return f"{nx} x {ny} px {grid_of(look, patch)}, {zero_point} {source}"


def grid_of(look: FirstLook, patch: Patch | None) -> str:
    """Text that says whether the pixels of an image are those of the sky map."""
    if look.wcs is None:
        return "without world coordinates"
    own = f'of {look.pixel_scale:.4g}"'
    if patch is None:
        return own
    return f"{own} on the sky map" if is_on_grid(look, patch) else f"{own} on a grid of its own, to be resampled"


def is_on_grid(look: FirstLook, patch: Patch) -> bool:
    """Whether the corners of an image coincide with pixels of the tract of a patch, within `MAX_MISALIGNMENT`."""
    ny, nx = look.shape
    x, y = np.array([0, nx - 1, 0, nx - 1], float), np.array([0, 0, ny - 1, ny - 1], float)
    a, b = patch.tract.wcs.all_world2pix(*look.projection.all_pix2world(x, y, 0), 0, quiet=True)
    off = np.hypot(a - x - np.round(np.mean(a - x)), b - y - np.round(np.mean(b - y)))
    return bool((off <= MAX_MISALIGNMENT).all())


def _stack_lines(vista: Vista, stacks: list[Path]) -> Iterator[str]:
    """One line per band with stacks; if there are many, only some headers are read."""
    chosen = stacks[:: max(1, -(-len(stacks) // MOST_STACKS))]
    counts: Counter[str] = Counter()
    images: Counter[str] = Counter()
    unread = 0
    for path in chosen:
        try:
            look = look_at(path)
        except NotAnImageError:
            unread += 1
            continue
        physical = vista_filter(look)
        band = "" if physical is None else vista_band(physical)
        counts[band] += 1
        images[band] += look.images
    part = "" if len(chosen) == len(stacks) else f" of {len(chosen)} whose headers were read, of {len(stacks)}"
    for band in vista.stack_bands:
        yield _row(band, f"{_counted(counts[band], 'stack')}{part}, {images[band]} detector images")
    for band in sorted(set(counts) - set(vista.stack_bands)):
        why = "of a band that is not used" if band else "without a filter"
        yield _row(band or "?", f"{_counted(counts[band], 'stack')} {why}")
    if unread:
        yield _row("?", f"{_counted(unread, 'stack')} that cannot be read")
