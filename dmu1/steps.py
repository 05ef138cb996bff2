"""The steps of dmu1, applied to the files of a survey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table, vstack

from dmu0.files.manifest import read_manifest
from dmu0.files.tables import read_table, write_table
from dmu0.sky.skymap import Patch, chosen_patches, survey_patches
from dmu0.surveys import Survey, SurveyError
from dmu1.coverage import coadd_jobs, jobs_to_do, judge_patches, patch_overlaps, vista_jobs
from dmu1.inventory import empty_inventory, stack_files, update_inventory
from dmu1.mosaics import Outlines, with_mosaics
from dmu1.selection import select
from dmu1.sky_maps import BandMaps, band_maps, map_nside, patches_moc, point_source_depth, write_maps, write_moc


def has_stacks(survey: Survey) -> bool:
    """Whether a survey has single VISTA images, rather than only coadds or optical images."""
    return survey.vista is not None and bool(survey.vista.stack_bands)


def make_inventory(survey: Survey, *, workers: int = 2, progress: Any = None) -> Table:
    """Update the inventory of a survey with the new stacks in the manifest.

    Reads the manifest of dmu0; writes ``inventory.parquet``, which is empty for a survey without stacks.

    Parameters
    ----------
    survey
        The survey.
    workers
        Number of processes.
    progress
        Function that wraps the iterator over files, like tqdm.
    """
    path = survey.folders[1] / "inventory.parquet"
    inventory = empty_inventory()
    if has_stacks(survey):
        files = stack_files(
            read_manifest(survey.folders), confidence=survey.vista.confidence, resolve=survey.folders.input_path
        )
        previous = read_table(path) if path.exists() else None
        inventory = update_inventory(previous, files, workers=workers, progress=progress)
    else:
        inventory.meta |= {"read": 0, "kept": 0}
    write_table(inventory, path)
    return inventory


def make_selection(survey: Survey) -> tuple[Table, Table]:
    """Apply the cuts of a survey to its inventory.

    Reads ``inventory.parquet``; writes ``selected.parquet`` and ``cuts.parquet``, and returns both tables. The
    selection of a survey without stacks is empty.
    """
    inventory = read_table(survey.folders[1] / "inventory.parquet")
    if has_stacks(survey):
        selected, cuts = select(inventory, survey.vista)
    else:
        selected = inventory
        selected["accepted"] = np.zeros(0, bool)
        selected["rejected_because"] = np.zeros(0, str)
        cuts = Table(rows=[("all images", "", 0, 0, 0)], names=("cut", "limit", "n_failed", "n_first", "n_left"))
    write_table(selected, survey.folders[1] / "selected.parquet")
    write_table(cuts, survey.folders[1] / "cuts.parquet")
    return selected, cuts


class Coverage(NamedTuple):
    """The results of the coverage step.

    Attributes
    ----------
    images
        Accepted images.
    patches
        Patches of the survey.
    overlaps
        Overlaps of images and patches, as in ``coverage.parquet``.
    jobs
        Patches and bands to be processed by the pipeline, as in ``jobs.parquet``.
    judged
        State of every patch, job or skipped, with the reason, as in ``patches.parquet``.
    """

    images: Table
    patches: list[Patch]
    overlaps: Table
    jobs: Table
    judged: Table


def make_coverage(survey: Survey, tracts: str = "") -> Coverage:
    """Find the images that overlap each patch of a survey, and the jobs of the pipeline.

    Reads ``selected.parquet`` and the manifest of dmu0; writes ``coverage.parquet``, ``jobs.parquet`` and
    ``patches.parquet``.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to keep, separated by spaces; empty keeps all.
    """
    selected = read_table(survey.folders[1] / "selected.parquet")
    manifest = read_manifest(survey.folders)
    images = selected[selected["accepted"]]
    patches = survey_patches(survey, tracts)
    overlaps = patch_overlaps(images, patches)
    mosaics, outline = with_mosaics(manifest, survey), Outlines(survey)
    parts = [vista_jobs(images, overlaps, patches)]
    for kind, source in (("vista_coadd", "vista"), ("optical_coadd", "optical")):
        parts.append(coadd_jobs(mosaics, kind, source, patches, outline=outline))
    parts.append(_served_jobs(survey, patches))
    jobs = vstack(parts)
    jobs.sort(["tract", "patch", "source", "band"])
    judged = judge_patches(jobs, patches, survey)
    jobs = jobs_to_do(jobs, judged)
    for table, name in ((overlaps, "coverage"), (jobs, "jobs"), (judged, "patches")):
        write_table(table, survey.folders[1] / f"{name}.parquet")
    return Coverage(images, patches, overlaps, jobs, judged)


def patches_to_make(survey: Survey, tracts: str = "") -> dict[int, list[int]]:
    """The patches that the pipeline makes: those that a survey asks for, without those that `make_coverage` skipped.

    Reads ``patches.parquet``; where it has not been made, nothing is skipped.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to keep, separated by spaces; empty keeps all.

    Returns
    -------
    dict
        Tract -> numbers of its patches; tracts without any are not there.

    Raises
    ------
    SurveyError
        If all are skipped.
    """
    chosen = chosen_patches(survey, tracts)
    path = survey.folders[1] / "patches.parquet"
    if not path.exists():
        return chosen
    judged = read_table(path)
    made = {(int(row["tract"]), int(row["patch"])) for row in judged if row["state"] == "job"}
    found = {tract: [patch for patch in patches if (tract, patch) in made] for tract, patches in chosen.items()}
    found = {tract: patches for tract, patches in found.items() if patches}
    if not found:
        reasons = ", ".join(sorted({str(row["reason"]) for row in judged if row["state"] != "job"}))
        raise SurveyError(
            f"{survey.path}: tracts: none of the patches has both halves of the survey ({reasons}): choose patches "
            "that the images reach (dmu1/3_Coverage shows them), or leave one of vista and optical out."
        )
    return found


def skipped_patches(survey: Survey) -> dict[tuple[int, int], str]:
    """The patches that `make_coverage` skipped: tract and patch -> reason.

    Reads ``patches.parquet``; where it has not been made, nothing is skipped.
    """
    path = survey.folders[1] / "patches.parquet"
    rows = read_table(path) if path.exists() else ()
    return {(int(row["tract"]), int(row["patch"])): str(row["reason"]) for row in rows if row["state"] != "job"}


def _served_jobs(survey: Survey, patches: Sequence[Patch]) -> Table:
    """The optical coadds that a Butler serves: one per patch and band."""
    served = [band for band, optical in survey.optical_bands.items() if optical.butler is not None]
    names, types = ("kind", "band", "tract", "patch", "state"), (str, str, int, int, str)
    rows = [("optical_coadd", band, -1, -1, "ok") for band in served]
    return coadd_jobs(Table(rows=rows or None, names=names, dtype=types), "optical_coadd", "optical", patches)


def make_maps(survey: Survey, coverage: Coverage) -> dict[str, BandMaps]:
    """Make maps of the sky for each VISTA band with single images, and coverage maps for all bands.

    Writes to ``maps``: HEALPix maps of the number of images, depth and seeing, and a MOC for every band, including
    optical bands.

    Returns
    -------
    maps
        Band -> maps, from blue to red; empty for a survey without stacks.
    """
    folder = survey.folders[1] / "maps"
    folder.mkdir(exist_ok=True)
    nside = map_nside(coverage.images)
    maps = {}
    for band in survey.vista.stack_bands if has_stacks(survey) else ():
        images = coverage.images[coverage.images["band"] == band]
        depths = np.full(len(images), np.nan)
        if survey.vista.noise == "confidence":  # otherwise the pixels may be in another unit than SKYNOISE
            depths = point_source_depth(images, magnitudes=survey.vista.magnitudes)
        maps[band] = band_maps(images, depths, nside=nside)
        write_maps(folder, band, maps[band])
    for band in survey.bands:
        if band not in maps:
            rows = coverage.jobs[coverage.jobs["band"] == band]
            where = {(int(row["tract"]), int(row["patch"])) for row in rows}
            here = [patch for patch in coverage.patches if (patch.tract.id, patch.id) in where]
            write_moc(folder / f"{band}.moc.fits", patches_moc(here, nside=nside))
    return maps
