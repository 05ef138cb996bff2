"""Make the repository of a survey from the products of dmu0 to dmu2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import batched, pairwise
from pathlib import Path

import numpy as np
from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, DataCoordinate, DatasetRef, DatasetType, FileDataset

from dmu0.files.manifest import read_manifest
from dmu0.files.metadata import in_lines
from dmu0.files.provenance import gather_provenance
from dmu0.published.coadds import Source, survey_source
from dmu0.published.lsst_butler import find_coadds
from dmu0.sky.skymap import chosen_patches, make_sky_map, survey_patches
from dmu0.surveys import Survey
from dmu1.mosaics import COADD_KINDS, coadds_of_patches
from dmu1.steps import patches_to_make
from dmu2.bright_stars import BrightStars
from dmu2.refcat import read_shard
from dmu4.butler.repository import (
    INPUTS,
    create_repository,
    has_collection,
    newest,
    open_butler,
    remove_runs,
    repository_folder,
)
from dmu4.butler.sky_records import register_sky_map, register_visits
from obs_vista import VIRCAM
from obs_vista.formatters import ConfidenceFormatter, PawprintFormatter
from obs_vista.optical_filters import OpticalFilters

DATASET_TYPES = {
    "vircam_pawprint": (("instrument", "exposure", "detector"), "ImageV2"),
    "vircam_confidence": (("instrument", "exposure", "detector"), "ImageV2"),
    "refcat": (("htm7",), "ArrowAstropy"),
    "bright_stars": (("skymap", "tract"), "ArrowAstropy"),
    "sky_map": (("skymap",), "StructuredDataDict"),
    "optical_coadd_source": (("skymap", "tract", "patch", "band"), "StructuredDataDict"),
}
"""Name, dimensions and storage class of each input dataset type."""

STACKS_AT_ONCE = 200
"""Stacks whose records are inserted and queried together: few enough for one transaction to be short."""


@dataclass
class RepositoryReport:
    """The contents of a repository.

    Attributes
    ----------
    counts
        Number of datasets of each type.
    left_out
        Files that were not ingested, each with the reason.
    """

    counts: dict[str, int] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def make_repository(survey: Survey, *, run: str, tracts: str = "") -> RepositoryReport:
    """Make the repository, or update an existing one, from the products of dmu0 to dmu2.

    Image files stay where they are and are not modified. An interrupted run of the same name is made again.

    Parameters
    ----------
    survey
        The survey.
    run
        Name of this set of inputs, used in the name of a collection.
    tracts
        Tracts to process, separated by spaces; empty: those of the survey.

    Returns
    -------
    RepositoryReport
        Number of datasets of each type, and excluded files.
    """
    create_repository(survey)
    report = RepositoryReport()
    collection = f"{INPUTS}/{run}"
    # The defaults of open_butler include an instrument and a sky map, which must be registered first.
    with Butler.from_config(str(repository_folder(survey)), writeable=True) as butler:
        VIRCAM().register(butler.registry, update=True)
        OpticalFilters().register(butler.registry, update=True)
        OpticalFilters().register_bands(butler.registry, survey.optical_bands, update=True)
        register_sky_map(butler, survey, tracts)
        for name, (dimensions, storage) in DATASET_TYPES.items():
            butler.registry.registerDatasetType(DatasetType(name, dimensions, storage, universe=butler.dimensions))
    with open_butler(survey, collections=(), writeable=True) as butler:
        if has_collection(butler, collection):
            remove_runs(butler, [collection])
        butler.collections.register(collection, CollectionType.RUN, doc=in_lines(gather_provenance(survey).words()))
        butler.put(survey.sky_map.model_dump(mode="json"), "sky_map", run=collection)
        if survey.vista is not None and survey.vista.stack_bands:
            _ingest_stacks(butler, survey, collection, report)
        stars = _put_references(butler, survey, collection, report)
        _put_bright_stars(butler, survey, tracts, stars, collection)
        _put_coadd_sources(butler, survey, tracts, collection, report)
        newest(butler, INPUTS, collection)
    return report


def detector_data_ids(butler: Butler, exposures: Iterable[int]) -> dict[tuple[int, int], DataCoordinate]:
    """Number of an exposure and of a detector -> their data id, with the records that templates of files need.

    One query for many exposures: one for each detector takes a hundred times as long, hours for a large survey.
    """
    found = butler.query_data_ids(
        ["exposure", "detector"],
        where="exposure IN (numbers)",
        bind={"numbers": list(exposures)},
        instrument=VIRCAM.getName(),
        with_dimension_records=True,
        explain=False,
        limit=None,
    )
    return {(int(data_id["exposure"]), int(data_id["detector"])): data_id for data_id in found}


def _references(
    butler: Butler, name: str, rows: Table, run: str, data_ids: Mapping[tuple[int, int], DataCoordinate]
) -> list[DatasetRef]:
    """References to the datasets of a type for the detectors of one stack."""
    dataset_type = butler.get_dataset_type(name)
    keys = [(int(exposure), int(detector)) for exposure, detector in rows["exposure", "detector"].iterrows()]
    return [DatasetRef(dataset_type, data_ids[key], run=run) for key in keys]


def _stacks(selected: Table) -> Iterator[Table]:
    """The accepted detectors of each stack that has at least one, in order of their paths."""
    accepted = selected[np.asarray(selected["accepted"], bool)]
    paths, stack = np.unique(np.asarray(accepted["path"]).astype(str), return_inverse=True)
    # Sorted once: comparing all paths with each in turn takes minutes for ten thousand stacks.
    order = np.argsort(stack, kind="stable")
    ends = np.cumsum(np.bincount(stack, minlength=len(paths)))
    for begin, end in pairwise([0, *ends]):
        yield accepted[order[begin:end]]


def _ingest_stacks(butler: Butler, survey: Survey, run: str, report: RepositoryReport) -> None:
    selected = Table.read(survey.folders[1] / "selected.parquet")
    files: list[FileDataset] = []
    for stacks in batched(_stacks(selected), STACKS_AT_ONCE):
        with butler.transaction():
            register_visits(butler, stacks, survey.vista.programme or survey.name)
        data_ids = detector_data_ids(butler, [int(rows["exposure"][0]) for rows in stacks])
        for rows in stacks:
            with_map = rows[np.asarray(rows["confidence_path"]).astype(str) != ""]
            for name, column, these, formatter in (
                ("vircam_pawprint", "path", rows, PawprintFormatter),
                ("vircam_confidence", "confidence_path", with_map, ConfidenceFormatter),
            ):
                if len(these):
                    path = survey.folders.input_path(str(these[column][0]))
                    references = _references(butler, name, these, run, data_ids)
                    files.append(FileDataset(str(path), references, formatter=formatter))
                    report.counts[name] = report.counts.get(name, 0) + len(these)
    rejected = selected[~np.asarray(selected["accepted"], bool)]
    for row in rejected:
        report.left_out.append((f"{Path(str(row['path'])).name}[{row['hdu']}]", str(row["rejected_because"])))
    if files:
        butler.ingest(*files, transfer="direct")


def _put_references(butler: Butler, survey: Survey, run: str, report: RepositoryReport) -> BrightStars:
    """Store the shards of the reference catalogue; returns their bright stars."""
    stars = []
    for path in sorted((survey.folders[2] / "refcat").glob("*.parquet")):
        shard = read_shard(path)
        butler.put(shard, "refcat", htm7=int(path.stem), run=run)
        report.counts["refcat"] = report.counts.get("refcat", 0) + 1
        stars.append(BrightStars.of_shard(shard))
    return BrightStars.joined(stars)


def _put_bright_stars(butler: Butler, survey: Survey, tracts: str, stars: BrightStars, run: str) -> None:
    """Store the bright stars whose halos reach each tract; a table without rows if there are none.

    They are a dataset of their own, because those of a patch may be in shards of the reference catalogue that the
    patch does not overlap.
    """
    sky_map = make_sky_map(survey.sky_map)
    for number in chosen_patches(survey, tracts):
        tract = sky_map.tract(number)
        region = tract.box_polygon(tract.bbox.padded(tract.patch_border))
        butler.put(stars.reaching(region).to_table(), "bright_stars", tract=number, run=run)


def _put_coadd_sources(butler: Butler, survey: Survey, tracts: str, run: str, report: RepositoryReport) -> None:
    """Store the file name of each published coadd, its PSF stamp and its zero point."""
    manifest = read_manifest(survey.folders)
    usable = manifest[np.asarray(manifest["state"]).astype(str) == "ok"]
    stamps = {
        (str(row["band"]), int(row["tract"]), int(row["patch"])): str(survey.folders.input_path(str(row["path"])))
        for row in usable
        if str(row["kind"]) == "optical_psf"
    }
    used, made = set(), patches_to_make(survey, tracts)
    asked = survey_patches(survey, tracts)
    wanted = {(patch.tract.id, patch.id) for patch in asked}
    patches = [patch for patch in asked if patch.id in made.get(patch.tract.id, ())]
    for patch, band, rows in coadds_of_patches(usable, survey, patches):
        used |= {str(row["path"]) for row in rows}
        tiles = [survey_source(survey, survey.folders.input_path(str(row["path"])), band) for row in rows]
        key = (band, patch.tract.id, patch.id)
        stamp = stamps.get(key, stamps.get((band, -1, -1)))
        source = tiles[0] | {"psf_path": stamp, "psf": "stamps" if stamp else "stars"}
        if len(tiles) > 1:
            source["others"] = tiles[1:]
        _put_source(butler, source, report, tract=patch.tract.id, patch=patch.id, band=band, run=run)
    for row in usable:
        if str(row["kind"]) in COADD_KINDS and str(row["path"]) not in used:
            where = f"tract {row['tract']}, patch {row['patch']} is not asked for"
            if row["tract"] < 0 or (int(row["tract"]), int(row["patch"])) in wanted:
                where = "it reaches no patch that is asked for and has both halves of the survey"
            report.left_out.append((Path(str(row["path"])).name, where))
    if any(optical.butler is not None for optical in survey.optical):
        _put_butler_sources(butler, survey, tracts, run, report)


def _put_butler_sources(butler: Butler, survey: Survey, tracts: str, run: str, report: RepositoryReport) -> None:
    """Store the repository and collection of each coadd in another Butler; coadds that it lacks are excluded."""
    for (tract, patch, band), where in find_coadds(survey, tracts).items():
        optical = survey.optical_bands[band]
        repository, collection = str(optical.butler), str(optical.collection)
        if not where:
            report.left_out.append(
                (f"deep_coadd of tract {tract}, patch {patch}, {band}", f"{repository} has none in {collection}")
            )
            continue
        source: Source = {"kind": "lsst", "path": repository, "collection": collection}
        source |= {"psf_path": None, "psf": "cells"}
        if band in optical.ab_offsets:
            source["ab_offset"] = optical.ab_offsets[band]
        _put_source(butler, source, report, tract=tract, patch=patch, band=band, run=run)


def _put_source(butler: Butler, source: dict, report: RepositoryReport, **data_id: int | str) -> None:
    butler.put(source, "optical_coadd_source", **data_id)
    report.counts["optical_coadd_source"] = report.counts.get("optical_coadd_source", 0) + 1
