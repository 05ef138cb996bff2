"""The Butler repository of a survey: made from the products of dmu0 to dmu2, and opened for reading."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.time import Time, TimeDelta
from lsst.daf.butler import Butler, CollectionType, Config, DatasetRef, DatasetType, FileDataset, Timespan
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from dmu0.files.manifest import read_manifest
from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys import Survey
from dmu2.refcat import read_shard
from obs_vista import VIRCAM
from obs_vista.formatters import ConfidenceFormatter, PawprintFormatter
from obs_vista.optical_filters import OpticalFilters

INPUTS = "inputs"
"""Collection that the pipeline starts from."""

RELEASE = "release"
"""Collection in which the newest product of every step is found."""

DATASET_TYPES = {
    "vircam_pawprint": (("instrument", "exposure", "detector"), "ImageV2"),
    "vircam_confidence": (("instrument", "exposure", "detector"), "ImageV2"),
    "refcat": (("htm7",), "ArrowAstropy"),
    "sky_map": (("skymap",), "StructuredDataDict"),
    "optical_coadd_source": (("skymap", "tract", "patch", "band"), "StructuredDataDict"),
}
"""Name of each input dataset type, its dimensions and storage class."""


@dataclass
class RepositoryReport:
    """What went into a repository, by dataset type, and what was left out and why."""

    counts: dict[str, int] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def repository_folder(survey: Survey) -> Path:
    """The folder of the survey's repository."""
    return survey.folders[4] / "repo"


def open_butler(survey: Survey, *, collections: str = RELEASE, writeable: bool = False) -> Butler:
    """The survey's Butler, looking for datasets in ``collections``.

    Raises
    ------
    FileNotFoundError
        If the repository has not been made.
    """
    folder = repository_folder(survey)
    if not (folder / "butler.yaml").exists():
        raise FileNotFoundError(f"{folder} is not a Butler repository: run dmu4/1_Butler_repository for {survey.name}.")
    return Butler.from_config(
        str(folder),
        collections=collections,
        skymap=survey.sky_map.name,
        instrument=VIRCAM.getName(),
        writeable=writeable,
    )


_PIXELS = "obs_vista.formatters.PixelsAsTheyAre"
REPOSITORY_CONFIG = {"datastore": {"formatters": {"CellCoadd": _PIXELS, "VisitImage": _PIXELS}}}
"""What differs from the Butler's defaults."""


def _create(survey: Survey) -> None:
    """Create an empty repository, whole or not at all."""
    folder = repository_folder(survey)
    if (folder / "butler.yaml").exists():
        return
    part = folder.with_name("repo_part")
    shutil.rmtree(part, ignore_errors=True)
    config = Config(REPOSITORY_CONFIG)
    if survey.engine.registry is not None:
        config["registry", "db"] = survey.engine.registry
    Butler.makeRepo(str(part), config=config)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def _convex(ra: np.ndarray, dec: np.ndarray) -> ConvexPolygon:
    """The convex hull of positions in ICRS degrees."""
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(float(a), float(d))) for a, d in zip(ra, dec, strict=True)])


def chosen_patches(survey: Survey, tracts: str = "") -> dict[int, list[int]]:
    """Tract -> patch ids that a release works on.

    Parameters
    ----------
    survey
        Its key ``tracts`` names patches as numbers or as ``"x,y"``, or says ``all``.
    tracts
        Tracts to keep, separated by spaces; empty keeps all.

    Raises
    ------
    ValueError
        If ``tracts`` names one that the survey does not have.
    """
    chosen: dict[int, list[int]] = {}
    for patch in survey_patches(survey, tracts):
        chosen.setdefault(patch.tract.id, []).append(patch.id)
    return chosen


def _register_sky_map(butler: Butler, survey: Survey, tracts: str) -> None:
    """Insert the sky map, its tracts and all their patches."""
    sky_map = make_sky_map(survey.sky_map)
    definition = survey.sky_map.model_dump(mode="json")
    numbers = list(chosen_patches(survey, tracts))
    with butler.transaction():
        nx, ny = (max(sky_map.tract(n).num_patches[axis] for n in numbers) for axis in (0, 1))
        record = {
            "name": sky_map.name,
            "hash": hashlib.sha1(repr(sorted(definition.items())).encode()).digest(),
            "tract_max": 200_000,
            "patch_nx_max": nx,
            "patch_ny_max": ny,
        }
        butler.registry.syncDimensionData("skymap", record, update=True)
        for number in numbers:
            tract = sky_map.tract(number)
            common = {"skymap": sky_map.name, "tract": number}
            butler.registry.syncDimensionData(
                "tract", {"skymap": sky_map.name, "id": number, "region": tract.outer_polygon}, update=True
            )
            patches = [
                common
                | {"id": patch.id, "cell_x": patch.index[0], "cell_y": patch.index[1], "region": _convex(*_sky(patch))}
                for patch in tract.patches
            ]
            butler.registry.insertDimensionData("patch", *patches, replace=True)


def _sky(patch) -> tuple[np.ndarray, np.ndarray]:
    corners = patch.outer_corners()
    return np.asarray(corners.ra.deg), np.asarray(corners.dec.deg)


def _corners(rows: Table) -> list[ConvexPolygon]:
    return [_convex([row[f"ra{k}"] for k in range(4)], [row[f"dec{k}"] for k in range(4)]) for row in rows]


def _register_visit(butler: Butler, rows: Table, programme: str) -> None:
    """Insert one stack as an exposure and as a visit, with the regions of its detectors."""
    first = rows[0]
    number, instrument = int(first["exposure"]), VIRCAM.getName()
    begin = Time(float(first["mjd"]), format="mjd", scale="tai")
    seconds = float(first["exptime"]) * max(int(first["ndit"]), 1) * max(int(first["nicomb"]), 1)
    span = Timespan(begin, begin + TimeDelta(max(seconds, 1.0), format="sec"))
    day = int((begin - TimeDelta(0.5, format="jd")).strftime("%Y%m%d"))
    regions = _corners(rows)
    hull = _convex(
        np.concatenate([np.asarray(rows[f"ra{k}"]) for k in range(4)]),
        np.concatenate([np.asarray(rows[f"dec{k}"]) for k in range(4)]),
    )
    common = {
        "instrument": instrument,
        "physical_filter": str(first["physical_filter"]),
        "day_obs": day,
        "seq_num": number % 100_000,
        "exposure_time": seconds,
        "target_name": programme,
        "observation_reason": "science",
        "science_program": programme,
        "azimuth": None,
        "zenith_angle": None,
        "timespan": span,
    }
    exposure = {
        "id": number,
        "obs_id": Path(str(first["path"])).stem,
        "group": str(number),
        "dark_time": seconds,
        "observation_type": "science",
        "seq_start": common["seq_num"],
        "seq_end": common["seq_num"],
        "tracking_ra": float(np.mean(rows["ra"])),
        "tracking_dec": float(np.mean(rows["dec"])),
        "sky_angle": None,
        "has_simulated": False,
        "can_see_sky": True,
    }
    sync = butler.registry.syncDimensionData
    sync("day_obs", {"instrument": instrument, "id": day}, update=True)
    sync("group", {"instrument": instrument, "name": str(number)}, update=True)
    sync("exposure", common | exposure, update=True)
    sync("visit", common | {"id": number, "name": str(number), "region": hull}, update=True)
    sync("visit_definition", {"instrument": instrument, "exposure": number, "visit": number})
    sync("visit_system_membership", {"instrument": instrument, "visit": number, "visit_system": 0})
    for row, region in zip(rows, regions, strict=True):
        key = {"instrument": instrument, "visit": number, "detector": int(row["detector"])}
        sync("visit_detector_region", key | {"region": region}, update=True)


def _references(butler: Butler, name: str, rows: Table, run: str) -> list[DatasetRef]:
    dataset_type = butler.get_dataset_type(name)
    return [
        DatasetRef(
            dataset_type,
            butler.registry.expandDataId(
                instrument=VIRCAM.getName(), exposure=int(row["exposure"]), detector=int(row["detector"])
            ),
            run=run,
        )
        for row in rows
    ]


def _stacks(selected: Table) -> Iterator[Table]:
    """The accepted detectors of each stack that has any."""
    accepted = selected[np.asarray(selected["accepted"], bool)]
    for path in sorted(set(map(str, accepted["path"]))):
        yield accepted[np.asarray(accepted["path"]).astype(str) == path]


def _ingest_stacks(butler: Butler, survey: Survey, run: str, report: RepositoryReport) -> None:
    selected = Table.read(survey.folders[1] / "selected.parquet")
    files: list[FileDataset] = []
    for rows in _stacks(selected):
        with butler.transaction():
            _register_visit(butler, rows, survey.vista.programme or survey.name)
        path = survey.folders.input_path(str(rows["path"][0]))
        files.append(
            FileDataset(str(path), _references(butler, "vircam_pawprint", rows, run), formatter=PawprintFormatter)
        )
        report.counts["vircam_pawprint"] = report.counts.get("vircam_pawprint", 0) + len(rows)
        with_map = rows[np.asarray(rows["confidence_path"]).astype(str) != ""]
        if len(with_map):
            path = survey.folders.input_path(str(with_map["confidence_path"][0]))
            references = _references(butler, "vircam_confidence", with_map, run)
            files.append(FileDataset(str(path), references, formatter=ConfidenceFormatter))
            report.counts["vircam_confidence"] = report.counts.get("vircam_confidence", 0) + len(with_map)
    rejected = selected[~np.asarray(selected["accepted"], bool)]
    for row in rejected:
        report.left_out.append((f"{Path(str(row['path'])).name}[{row['hdu']}]", str(row["rejected_because"])))
    if files:
        butler.ingest(*files, transfer="direct")


def _put_references(butler: Butler, survey: Survey, run: str, report: RepositoryReport) -> None:
    for path in sorted((survey.folders[2] / "refcat").glob("*.parquet")):
        butler.put(read_shard(path), "refcat", htm7=int(path.stem), run=run)
        report.counts["refcat"] = report.counts.get("refcat", 0) + 1


def _put_coadd_sources(butler: Butler, survey: Survey, tracts: str, run: str, report: RepositoryReport) -> None:
    """Name the file of each published coadd, its PSF stamp and its zero point."""
    manifest = read_manifest(survey.folders)
    usable = manifest[np.asarray(manifest["state"]).astype(str) == "ok"]
    stamps = {
        (str(row["band"]), int(row["tract"]), int(row["patch"])): str(survey.folders.input_path(str(row["path"])))
        for row in usable
        if str(row["kind"]) == "optical_psf"
    }
    patches = chosen_patches(survey, tracts)
    for row in usable:
        if str(row["kind"]) not in {"optical_coadd", "vista_coadd"}:
            continue
        band, tract, patch = str(row["band"]), int(row["tract"]), int(row["patch"])
        if patch not in patches.get(tract, []):
            report.left_out.append((Path(str(row["path"])).name, f"tract {tract}, patch {patch} is not asked for"))
            continue
        half = survey.optical if str(row["kind"]) == "optical_coadd" else survey.vista
        source = {
            "kind": getattr(half, "kind", "fits") if half is survey.optical else "fits",
            "path": str(survey.folders.input_path(str(row["path"]))),
            "psf_path": stamps.get((band, tract, patch)),
            "zero_point": half.zero_points.get(band),
            "psf": "stamps" if (band, tract, patch) in stamps else "stars",
        }
        _put_source(butler, source, report, tract=tract, patch=patch, band=band, run=run)
    if survey.optical is not None and survey.optical.kind == "lsst":
        _put_butler_sources(butler, survey, tracts, run, report)


def _put_butler_sources(butler: Butler, survey: Survey, tracts: str, run: str, report: RepositoryReport) -> None:
    """Name the repository and the collection of each coadd that another Butler has; those it lacks are left out."""
    from dmu0.archives import Archives  # astroquery is slow to import
    from dmu0.archives.optical import butler_coadds

    repository, collection = str(survey.optical.butler), str(survey.optical.collection)
    for (tract, patch, band), where in butler_coadds(Archives(survey, tracts)).items():
        if not where:
            report.left_out.append(
                (f"deep_coadd of tract {tract}, patch {patch}, {band}", f"{repository} has none in {collection}")
            )
            continue
        source = {"kind": "lsst", "path": repository, "collection": collection, "psf_path": None, "psf": "cells"}
        _put_source(butler, source, report, tract=tract, patch=patch, band=band, run=run)


def _put_source(butler: Butler, source: dict, report: RepositoryReport, **data_id: int | str) -> None:
    butler.put(source, "optical_coadd_source", **data_id)
    report.counts["optical_coadd_source"] = report.counts.get("optical_coadd_source", 0) + 1


def make_repository(survey: Survey, *, run: str, tracts: str = "") -> RepositoryReport:
    """Make the repository, or bring an existing one up to date, from what dmu0 to dmu2 left.

    Image files stay where they are and are only read. A run of the same name that was broken off is made again.

    Parameters
    ----------
    survey
        The survey.
    run
        Name of this set of inputs; it becomes part of a collection name.
    tracts
        Tracts to work on, separated by spaces; empty: those of the survey.

    Returns
    -------
    RepositoryReport
        How many datasets of each type there are, and what was left out.
    """
    _create(survey)
    report = RepositoryReport()
    collection = f"{INPUTS}/{run}"
    # The defaults of open_butler name an instrument and a sky map, which have to be there first.
    with Butler.from_config(str(repository_folder(survey)), writeable=True) as butler:
        VIRCAM().register(butler.registry, update=True)
        OpticalFilters().register(butler.registry, update=True)
        _register_sky_map(butler, survey, tracts)
        for name, (dimensions, storage) in DATASET_TYPES.items():
            butler.registry.registerDatasetType(DatasetType(name, dimensions, storage, universe=butler.dimensions))
    with open_butler(survey, collections=(), writeable=True) as butler:
        if has_collection(butler, collection):
            remove_runs(butler, [collection])
        butler.collections.register(collection, CollectionType.RUN)
        butler.put(survey.sky_map.model_dump(mode="json"), "sky_map", run=collection)
        if survey.vista is not None and survey.vista.kind == "stacks":
            _ingest_stacks(butler, survey, collection, report)
        _put_references(butler, survey, collection, report)
        _put_coadd_sources(butler, survey, tracts, collection, report)
        newest(butler, INPUTS, collection)
    return report


def has_collection(butler: Butler, name: str) -> bool:
    """Whether a repository has a collection of that name, of whatever kind."""
    return name in butler.collections.query("*", include_chains=True)


def remove_runs(butler: Butler, runs: list[str]) -> None:
    """Remove run collections with all their datasets; ingested files stay."""
    chains = [info.name for info in butler.collections.query_info("*", collection_types={CollectionType.CHAINED})]
    for chain in chains:
        children = butler.collections.get_info(chain).children
        kept = [child for child in children if child not in runs]
        if len(kept) != len(children):
            butler.collections.redefine_chain(chain, kept)
    butler.removeRuns(runs, unlink_from_chains=True)


def newest(butler: Butler, family: str, run: str) -> None:
    """Make ``run`` the one that its family stands for in the release, and remove its predecessors.

    Parameters
    ----------
    butler
        A writeable Butler.
    family
        Name of a kind of run: `INPUTS` or a step of the pipeline; runs are called ``<family>/<id>``.
    run
        The run collection that was completed.
    """
    butler.collections.register(RELEASE, CollectionType.CHAINED)
    kept = [child for child in butler.collections.get_info(RELEASE).children if not child.startswith(f"{family}/")]
    butler.collections.redefine_chain(RELEASE, [run, *kept])
    if family == INPUTS:
        butler.collections.register(INPUTS, CollectionType.CHAINED)
        butler.collections.redefine_chain(INPUTS, [run])
    old = [name for name in butler.collections.query(f"{family}/*") if name != run]
    if old:
        remove_runs(butler, old)
