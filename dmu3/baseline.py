"""The baseline images of a survey: every band on the grid of each patch, each patch and band in exactly one state."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from astropy.table import Table

from dmu0.paths import DataFolders
from dmu0.skymap import Patch, make_sky_map
from dmu0.surveys import Survey
from dmu3.inputs import InputError, patch_detectors, place_on_grid, read_coadd, read_detectors
from dmu3.swarp import Coadd, CoaddError, choose_engine, coadd, wcs_header

log = logging.getLogger(__name__)

MANIFEST_KINDS = ("optical_coadd", "vista_coadd")


@dataclass(frozen=True)
class PatchBand:
    """What became of one band of one patch.

    Parameters
    ----------
    tract, patch, band
        Which.
    state
        ``done``, ``skipped`` or ``failed``.
    reason
        Why, if not done.
    source
        ``stacks`` (coadded here), ``coadd`` (published, copied) or ``resampled`` (published on another grid).
    n_images
        Images that went in.
    coverage
        Fraction of the patch's pixels with data.
    noise
        Scatter of the pixels, nJy.
    noise_ratio
        Scatter over what the weights say; resampling correlates pixels and takes it below one.
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
    """Where the baseline image of a band of a patch is; its weights are in ``<band>.weight.fits`` beside it."""
    return folder / "images" / str(tract) / str(patch) / f"{band}.fits"


def weight_path(image: Path) -> Path:
    """The weight map of a baseline image."""
    return image.with_name(image.stem + ".weight.fits")


def survey_patches(survey: Survey, tracts: str = "") -> list[Patch]:
    """The patches of a survey, in order.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to keep, separated by spaces; all of the survey if empty.

    Raises
    ------
    ValueError
        If a tract is not one of the survey's.
    """
    wanted = [int(tract) for tract in tracts.split()] or list(survey.tracts)
    unknown = [tract for tract in wanted if tract not in survey.tracts]
    if unknown:
        raise ValueError(
            f"Survey {survey.name} has no tract {unknown[0]}; it has {', '.join(map(str, survey.tracts))}."
        )
    sky_map = make_sky_map(survey.sky_map)
    patches = []
    for number in wanted:
        tract = sky_map.tract(number)
        names = survey.tracts[number]
        chosen = list(tract.patches) if names == "all" else [tract.patch(name) for name in names]
        patches += sorted(chosen, key=lambda patch: patch.id)
    return patches


def write_coadd(coadd: Coadd, path: Path, patch: Patch, *, cards: dict[str, object]) -> None:
    """Write image and weights of a patch, each whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = wcs_header(patch.wcs)
    for key, value in cards.items():
        header[key] = value
    for target, pixels, unit in ((weight_path(path), coadd.weight, "nJy-2"), (path, coadd.image, "nJy")):
        header["BUNIT"] = unit
        part = target.with_suffix(f".{os.getpid()}.part")
        fits.writeto(part, pixels.astype(np.float32), header, overwrite=True)
        part.replace(target)


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
    """Make the baseline images of a survey, one band of one patch at a time.

    Parameters
    ----------
    survey
        The survey.
    manifest
        Input files (``dmu0``).
    selected, coverage
        Accepted detector images, and the patches they overlap (``dmu1``).
    tracts
        Tracts to do, separated by spaces; all if empty.
    engine
        ``auto``, ``swarp`` or ``reproject``.
    """
    engine = choose_engine(engine)
    for patch in survey_patches(survey, tracts):
        for band in survey.bands:
            yield _make_image(survey, manifest, selected, coverage, patch=patch, band=band, engine=engine)


def _make_image(
    survey: Survey, manifest: Table, selected: Table, coverage: Table, *, patch: Patch, band: str, engine: str
) -> PatchBand:
    start = time.perf_counter()
    where = {"tract": patch.tract.id, "patch": patch.id, "band": band}
    folders = survey.folders
    path = image_path(folders[3], **where)
    for old in (path, weight_path(path)):
        old.unlink(missing_ok=True)
    stacks = survey.vista is not None and survey.vista.kind == "stacks" and band in survey.vista.bands
    try:
        if stacks:
            result, source, count = _from_stacks(survey, selected, coverage, patch=patch, band=band, engine=engine)
        else:
            result, source, count = _from_coadd(survey, manifest, folders, patch=patch, band=band, engine=engine)
    except (InputError, CoaddError, OSError) as error:
        log.warning("%s, band %s: failed: %s", patch, band, error)
        return PatchBand(**where, state="failed", reason=str(error), seconds=time.perf_counter() - start)
    if result is None:
        return PatchBand(**where, state="skipped", reason=source, seconds=time.perf_counter() - start)
    good = result.weight > 0
    if not good.any():
        return PatchBand(**where, state="skipped", reason="no pixel of the patch has data", source=source)
    cards = {"BAND": band, "SOURCE": source, "NCOMBINE": count, "ZEROPNT": 31.4, "ENGINE": engine}
    write_coadd(result, path, patch, cards=cards)
    values = result.image[good][::5]
    return PatchBand(
        **where,
        state="done",
        source=source,
        n_images=count,
        coverage=float(good.mean()),
        noise=float(mad_std(values)),
        noise_ratio=float(mad_std(values * np.sqrt(result.weight[good][::5]))),
        seconds=time.perf_counter() - start,
    )


def _from_stacks(
    survey: Survey, selected: Table, coverage: Table, *, patch: Patch, band: str, engine: str
) -> tuple[Coadd | None, str, int]:
    rows = patch_detectors(selected, coverage, tract=patch.tract.id, patch=patch.id, band=band)
    if not len(rows):
        return None, "no accepted VISTA image overlaps the patch", 0
    inputs = list(read_detectors(rows, survey.folders[0], magnitudes=survey.vista.magnitudes))
    result = coadd(inputs, wcs=patch.wcs, shape=patch.outer_bbox.shape, engine=engine)
    return result, "stacks", len(inputs)


def _from_coadd(
    survey: Survey, manifest: Table, folders: DataFolders, *, patch: Patch, band: str, engine: str
) -> tuple[Coadd | None, str, int]:
    row = find_coadd(manifest, tract=patch.tract.id, patch=patch.id, band=band)
    if row is None:
        return None, "the inputs have no coadd of this band and patch", 0
    if row["state"] != "ok":
        return None, f"{row['path']} is {row['state']}: {row['reason']}", 0
    path = folders.input_path(str(row["path"]))
    points = (survey.optical.zero_points if survey.optical else {}) | (survey.vista.zero_points if survey.vista else {})
    placed = place_on_grid(
        read_coadd(path, zero_point=points.get(band)), wcs=patch.wcs, shape=patch.outer_bbox.shape, name=path.name
    )
    if isinstance(placed, Coadd):
        return placed, "coadd", 1
    return coadd([placed], wcs=patch.wcs, shape=patch.outer_bbox.shape, engine=engine), "resampled", 1


def find_coadd(manifest: Table, *, tract: int, patch: int, band: str) -> Table.Row | None:
    """The manifest's row of a published coadd; a file whose patch is not told (-1) is of every patch."""
    for row in manifest:
        same = row["tract"] in (tract, -1) and row["patch"] in (patch, -1) and row["band"] == band
        if same and row["kind"] in MANIFEST_KINDS:
            return row
    return None


def states_table(states: list[PatchBand]) -> Table:
    """The states as a table with units, one row a band of a patch."""
    columns = {name: [getattr(state, name) for state in states] for name in PatchBand.__dataclass_fields__}
    text = {"band", "state", "reason", "source"}
    whole = {"tract", "patch", "n_images"}
    table = Table()
    for name, values in columns.items():
        table[name] = np.array(values, dtype=str if name in text else np.int64 if name in whole else np.float64)
    table["noise"].unit, table["seconds"].unit = "nJy", "s"
    return table
