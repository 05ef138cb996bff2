"""The baseline images of a survey: every band on the grid of each patch, with one state per patch and band."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from astropy.table import Column, Table

from dmu0.files.atomic import written_whole
from dmu0.files.metadata import CARDS
from dmu0.files.provenance import gather_provenance
from dmu0.published.coadds import plain_file, survey_source
from dmu0.sky.skymap import Patch, survey_patches
from dmu0.surveys import Survey
from dmu1.mosaics import coadds_of_patches
from dmu1.steps import skipped_patches
from dmu3.inputs import (
    InputError,
    OpenFiles,
    patch_detectors,
    place_on_grid,
    read_coadd,
    read_detector_row,
    without_outliers,
)
from dmu3.swarp import Coadd, CoaddError, InputImage, choose_engine, coadd
from dmu3.swarp_projection import wcs_header
from obs_vista.photometry import AB_ZERO_POINT

log = logging.getLogger(__name__)

MANIFEST_KINDS = ("optical_coadd", "vista_coadd")


@dataclass(frozen=True)
class PatchBand:
    """The outcome of one band of one patch.

    Attributes
    ----------
    tract, patch, band
        Tract, patch and band of the image.
    state
        ``done``, ``skipped`` or ``failed``.
    reason
        Reason, if the image is not done.
    source
        ``stacks`` (coadded here), ``coadd`` (published, copied) or ``resampled`` (published on another grid).
    n_images
        Number of input images.
    coverage
        Fraction of the pixels of the patch with data.
    noise
        Scatter of the pixels, nJy.
    noise_ratio
        Ratio of the scatter to the prediction of the weights; below one because resampling correlates pixels.
    seconds
        Wall-clock time.
    """

    tract: int
    patch: int
    band: str
    state: str
    reason: str = ""
    source: str = ""
    n_images: int = 0
    coverage: float = 0.0
    noise: float = float("nan")
    noise_ratio: float = float("nan")
    seconds: float = 0.0


def image_path(folder: Path, *, tract: int, patch: int, band: str) -> Path:
    """The path of the baseline image of a band of a patch; its weights are in ``<band>.weight.fits``."""
    return folder / "images" / str(tract) / str(patch) / f"{band}.fits"


def weight_path(image: Path) -> Path:
    """The path of the weight map of a baseline image."""
    return image.with_name(image.stem + ".weight.fits")


def write_coadd(coadd: Coadd, path: Path, patch: Patch, *, cards: dict[str, object]) -> None:
    """Write image and weights of a patch; each file appears complete or not at all."""
    header = wcs_header(patch.wcs)
    for key, value in cards.items():
        header[key] = value
    for target, pixels, unit in ((weight_path(path), coadd.weight, "nJy-2"), (path, coadd.image, "nJy")):
        header["BUNIT"] = unit
        with written_whole(target) as part:
            fits.writeto(part, pixels.astype(np.float32), header)


def read_baseline(folder: Path, *, tract: int, patch: int, band: str) -> Coadd:
    """Read a baseline image and its weights.

    Raises
    ------
    FileNotFoundError
        If the band of the patch was not made.
    """
    path = image_path(folder, tract=tract, patch=patch, band=band)
    image = fits.getdata(path).astype(np.float32)
    return Coadd(image, fits.getdata(weight_path(path)).astype(np.float32))


def make_images(
    survey: Survey, manifest: Table, selected: Table, coverage: Table, *, tracts: str = "", engine: str = "auto"
) -> Iterator[PatchBand]:
    """Make the baseline images of a survey, one patch and band at a time.

    Patches that dmu1 skipped, because they lack the images of one half of the survey, are skipped as in the pipeline.

    Parameters
    ----------
    survey
        The survey.
    manifest
        Input files (``dmu0``).
    selected, coverage
        Accepted detector images, and the patches that they overlap (``dmu1``).
    tracts
        Tracts to process, separated by spaces; all if empty.
    engine
        Engine, ``auto``, ``swarp`` or ``reproject``.
    """
    with OpenFiles() as files:
        cards = {CARDS[name]: value for name, value in gather_provenance(survey).words().items()}
        patches = survey_patches(survey, tracts)
        coadds = {
            (patch.tract.id, patch.id, band): rows for patch, band, rows in coadds_of_patches(manifest, survey, patches)
        }
        skipped = skipped_patches(survey)
        sources = _Sources(survey, manifest, selected, coverage, choose_engine(engine), files, cards, coadds, skipped)
        # Neighbouring patches share images: one band after the other, the files of a band are opened once.
        for band in survey.bands:
            for patch in patches:
                yield _make_image(sources, patch=patch, band=band)


@dataclass(frozen=True)
class _Sources:
    """The inputs of the baseline images."""

    survey: Survey
    manifest: Table
    selected: Table
    coverage: Table
    engine: str
    files: OpenFiles
    cards: dict[str, str]
    coadds: dict[tuple[int, int, str], list[Table.Row]]
    skipped: dict[tuple[int, int], str]


@dataclass(frozen=True)
class _Made:
    """A coadd (None without inputs), its source, the number of images, and the reason."""

    coadd: Coadd | None
    source: str = ""
    count: int = 0
    reason: str = ""


def _make_image(sources: _Sources, *, patch: Patch, band: str) -> PatchBand:
    start = time.perf_counter()
    where: dict[str, Any] = {"tract": patch.tract.id, "patch": patch.id, "band": band}
    survey = sources.survey
    path = image_path(survey.folders[3], **where)
    for old in (path, weight_path(path)):
        old.unlink(missing_ok=True)
    if (reason := sources.skipped.get((patch.tract.id, patch.id))) is not None:
        return PatchBand(patch.tract.id, patch.id, band, "skipped", f"dmu1 skipped the patch: {reason}")
    stacks = survey.vista is not None and band in survey.vista.stack_bands
    try:
        made = (_from_stacks if stacks else _from_coadd)(sources, patch=patch, band=band)
    except (InputError, CoaddError, OSError) as error:
        log.warning("%s, band %s: failed: %s", patch, band, error)
        return PatchBand(**where, state="failed", reason=str(error), seconds=time.perf_counter() - start)
    if made.coadd is None:
        return PatchBand(**where, state="skipped", reason=made.reason, seconds=time.perf_counter() - start)
    good = made.coadd.weight > 0
    if not good.any():
        return PatchBand(**where, state="skipped", reason="no pixel of the patch has data", source=made.source)
    cards = {"BAND": band, "SOURCE": made.source, "NCOMBINE": made.count, "ZEROPNT": AB_ZERO_POINT}
    cards |= {"ENGINE": sources.engine} | sources.cards
    write_coadd(made.coadd, path, patch, cards=cards)
    values = made.coadd.image[good][::5]
    return PatchBand(
        **where,
        state="done",
        reason=made.reason,
        source=made.source,
        n_images=made.count,
        coverage=float(good.mean()),
        noise=float(mad_std(values)),
        noise_ratio=float(mad_std(values * np.sqrt(made.coadd.weight[good][::5]))),
        seconds=time.perf_counter() - start,
    )


def _from_stacks(sources: _Sources, *, patch: Patch, band: str) -> _Made:
    """Coadd the accepted detectors; those that cannot be read are excluded."""
    survey = sources.survey
    rows = patch_detectors(sources.selected, sources.coverage, tract=patch.tract.id, patch=patch.id, band=band)
    if not len(rows):
        return _Made(None, reason="no accepted VISTA image overlaps the patch")
    inputs, problems = [], []
    for row in rows:
        try:
            inputs.append(
                read_detector_row(row, survey.folders[0], magnitudes=survey.vista.magnitudes, files=sources.files)
            )
        except (InputError, OSError) as error:
            log.warning("%s, band %s: left out: %s", patch, band, error)
            problems.append(str(error))
    inputs, odd = without_outliers(inputs)
    for problem in odd:
        log.warning("%s, band %s: left out: %s", patch, band, problem)
    problems += odd
    reason = f"{len(problems)} images left out: {problems[0]}" if problems else ""
    if not inputs:
        raise InputError(reason)
    result = coadd(inputs, wcs=patch.wcs, shape=patch.image_bbox.shape, engine=sources.engine)
    return _Made(result, "stacks", len(inputs), reason)


def _from_coadd(sources: _Sources, *, patch: Patch, band: str) -> _Made:
    """Convert the published coadd of the patch."""
    survey = sources.survey
    rows = sources.coadds.get((patch.tract.id, patch.id, band))
    if rows is None:
        row = find_coadd(sources.manifest, tract=patch.tract.id, patch=patch.id, band=band)
        if row is None:
            return _Made(None, reason="the inputs have no coadd of this band and patch")
        if row["state"] == "ok":
            return _Made(None, reason=f"{row['path']} does not reach the patch")
        return _Made(None, reason=f"{row['path']} is {row['state']}: {row['reason']}")
    grid = {"wcs": patch.wcs, "shape": patch.image_bbox.shape}
    placed = []
    for row in rows:
        path = survey.folders.input_path(str(row["path"]))
        pixels = read_coadd(path, file=plain_file(survey_source(survey, path, band)))
        placed.append(place_on_grid(pixels, **grid, name=path.name))
    if len(placed) == 1 and isinstance(placed[0], Coadd):
        return _Made(placed[0], "coadd", 1)
    images = [
        one if isinstance(one, InputImage) else InputImage(one.image, one.weight, patch.wcs, "a tile on the grid")
        for one in placed
    ]
    return _Made(coadd(images, **grid, engine=sources.engine), "resampled", len(images))


def find_coadd(manifest: Table, *, tract: int, patch: int, band: str) -> Table.Row | None:
    """The row of a published coadd in the manifest; a file with an unknown patch (-1) applies to every patch."""
    for row in manifest:
        same = row["tract"] in (tract, -1) and row["patch"] in (patch, -1) and row["band"] == band
        if same and row["kind"] in MANIFEST_KINDS:
            return row
    return None


def states_table(states: Sequence[object], kind: type = PatchBand) -> Table:
    """States as a table with units, with one row per state and the columns of their class, even without rows."""
    units = {"noise": "nJy", "seconds": "s"}
    table = Table()
    for field in fields(kind):
        dtype = {"int": np.int64, "float": np.float64, "str": str}[str(field.type)]
        values: np.ndarray = np.array([getattr(state, field.name) for state in states], dtype=dtype)
        table.add_column(Column(values, name=field.name, unit=units.get(field.name)))
    return table
