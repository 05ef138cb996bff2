"""Recovery of injected sources: detection and measurement of the pipeline, run unchanged on patches with sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from lsst.daf.butler import Butler, DatasetRef
from lsst.pipe.base import NoWorkFound
from scipy.spatial import cKDTree

from dmu0.files.tables import write_table
from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.sky.tract import Patch
from dmu0.surveys import Survey
from dmu0.truth import MATCH_RADIUS
from dmu1.steps import patches_to_make
from dmu4.butler.repository import open_butler
from dmu4.patches.load import StoredPatch
from dmu4.patches.sky import SkySubtracted, meshes_of
from dmu4.tasks.detect_patch import DetectPatchTask
from dmu4.tasks.measure_patch import MeasurePatchTask
from dmu5.injection.kept_patch import KEPT, KeptPatch
from dmu5.injection.rendering import InjectedPatch
from dmu5.injection.sources import draw_sources, find_templates

FLUXES = ("psfFlux", "kronFlux", "cModelFlux", "gaap1p0Flux", "ap06Flux", "ap12Flux")
"""Fluxes of recovered sources that are kept, with their errors."""


@dataclass(frozen=True)
class InjectionSettings:
    """How sources are injected.

    Attributes
    ----------
    brighter, fainter
        Range of magnitudes above and below the depth of the band in which they are drawn.
    spacing
        Distance between the sources of one pass, arcsec.
    passes
        Number of times that sources are injected into each patch and detected.
    measured
        Number of these passes in which they are also measured.
    seed
        Seed of the random numbers.
    """

    brighter: float = 4.0
    fainter: float = 1.5
    spacing: float = 10.0
    passes: int = 3
    measured: int = 1
    seed: int = 1


def drawing_band(survey: Survey) -> str:
    """The band in which magnitudes are drawn: i, or the middle of the survey's bands."""
    return "i" if "i" in survey.bands else survey.bands[len(survey.bands) // 2]


def inject(
    survey: Survey, catalogue: Table, *, tracts: str = "", settings: InjectionSettings | None = None
) -> Iterator[Table]:
    """Inject sources into every patch of a survey and recover them, patch by patch.

    Parameters
    ----------
    survey
        The survey.
    catalogue
        The catalogue, all rows.
    tracts
        Tracts to process, separated by spaces; all if empty.
    settings
        How sources are injected; None: the defaults.

    Yields
    ------
    Table
        The sources of a patch as recovered, see `recover`; empty where nothing could be injected.
    """
    chosen, band = settings or InjectionSettings(), drawing_band(survey)
    objects = catalogue[np.asarray(catalogue["detect_isPrimary"], bool)]
    templates = find_templates(objects, band, survey.bands, rng=np.random.default_rng(chosen.seed))
    depth = np.asarray(objects[f"{band}_depth5"], float)
    if not len(templates) or not np.isfinite(depth).any():
        return
    limits = {
        "bright": float(np.nanmedian(depth)) - chosen.brighter,
        "faint": float(np.nanmedian(depth)) + chosen.fainter,
    }
    made = patches_to_make(survey, tracts)
    with open_butler(survey) as butler:
        for patch in survey_patches(survey, tracts):
            if patch.id not in made.get(patch.tract.id, ()):
                continue
            mine = catalogue[(catalogue["tract"] == patch.tract.id) & (catalogue["patch"] == patch.id)]
            pixel = float(np.sqrt(abs(np.linalg.det(patch.tract.wcs.pixel_scale_matrix)))) * 3600
            found = []
            stored = stored_patch(butler, survey, patch)
            if stored is None:
                yield Table()
                continue
            data = KeptPatch(stored)
            for number in range(chosen.passes):
                rng = np.random.default_rng((chosen.seed, patch.tract.id, patch.id, number))
                spacing = chosen.spacing / pixel
                sources = draw_sources(templates, patch, band=band, spacing=spacing, rng=rng, **limits)
                sources["pass"] = number
                measured = number < chosen.measured
                found.append(recover(survey, patch, data, sources, mine, measured=measured))
            yield (
                vstack([table for table in found if len(table)], metadata_conflicts="silent")
                if any(map(len, found))
                else Table()
            )


def recover(
    survey: Survey, patch: Patch, data: KeptPatch, sources: Table, originals: Table, *, measured: bool
) -> Table:
    """Detect, and measure if wanted, the objects of a patch with sources, and find the sources among them.

    Parameters
    ----------
    survey, patch
        The survey, and a patch of it.
    data
        The coadds of the patch.
    sources
        Sources of `dmu5.injection.sources.draw_sources`.
    originals
        Objects of the patch without the sources: an object belongs to the nearest of both.
    measured
        Whether the objects are measured too.

    Returns
    -------
    sources
        The sources with tract, patch, ra, dec (deg), found, and for every band ``<band>_detected`` (a peak of its own);
        if measured, the fluxes `FLUXES` and their errors, and refExtendedness. Empty if no pixel has data.
    """
    with_sources = InjectedPatch(data, sources, limit=KEPT if measured else 0)
    threads = max(1, survey.engine.threads)
    detect = DetectPatchTask.ConfigClass()
    detect.threads, detect.detectionBands = threads, list(survey.detection_bands)
    try:
        result = DetectPatchTask(config=detect).run(with_sources)
    except NoWorkFound:
        return Table()
    objects = detections = result.detections
    if measured:
        settings = MeasurePatchTask.ConfigClass()
        settings.threads, settings.bands = threads, list(survey.bands)
        settings.detectionBands = list(survey.detection_bands)
        flat = SkySubtracted(with_sources, sky=meshes_of(result.sky))
        task = MeasurePatchTask(config=settings)
        objects = task.run(flat, data.projection, detections, patch, make_sky_map(survey.sky_map)).objects
    found = match_sources(sources, originals, objects, radius=MATCH_RADIUS / data.pixel_scale)
    return _recovered(sources, objects, found, patch, survey, measured=measured)


def stored_patch(butler: Butler, survey: Survey, patch: Patch) -> StoredPatch | None:
    """The coadds of a patch with their maps; None if it has none."""
    where = {"skymap": survey.sky_map.name, "tract": patch.tract.id, "patch": patch.id}
    handles = {}
    for name in ("deep_coadd", "coadd_exposures", "coadd_zone_map", "coadd_zones"):
        known = list(butler.registry.queryDatasetTypes([name]))
        refs: list[DatasetRef] = butler.query_datasets(name, data_id=where, explain=False, limit=None) if known else []
        handles[name] = [butler.getDeferred(ref) for ref in refs]
    return StoredPatch(*handles.values()) if handles["deep_coadd"] else None


def match_sources(sources: Table, originals: Table, objects: Table, *, radius: float) -> np.ndarray:
    """Number of the object of each source, -1 for none.

    Sources and original objects compete: an object and a source, or an original, that are mutual nearest neighbours
    belong together, so that a source that vanishes in a neighbour is lost.

    Parameters
    ----------
    sources, originals, objects
        Tables with x and y in tract pixels.
    radius
        Largest distance in pixels.
    """
    found = np.full(len(sources), -1)
    if not len(objects) or not len(sources):
        return found
    known = np.concatenate([np.column_stack([table["x"], table["y"]]) for table in (sources, originals) if len(table)])
    seen = np.column_stack([objects["x"], objects["y"]])
    distance, nearest = cKDTree(seen).query(known[: len(sources)], distance_upper_bound=radius)
    _, back = cKDTree(known).query(seen)
    near = np.isfinite(distance)
    mutual = near.copy()
    mutual[near] = back[nearest[near]] == np.flatnonzero(near)
    found[mutual] = nearest[mutual]
    return found


def _recovered(
    sources: Table, objects: Table, found: np.ndarray, patch: Patch, survey: Survey, *, measured: bool
) -> Table:
    """The sources with what was found of them."""
    table, seen = sources.copy(), found >= 0
    table["tract"], table["patch"] = patch.tract.id, patch.id
    table["ra"], table["dec"] = patch.tract.wcs.all_pix2world(table["x"], table["y"], 0)
    table["found"], table["measured"] = seen, measured
    rows = objects[np.maximum(found, 0)] if len(objects) else objects
    for band in survey.bands:
        name = f"{band}_detected"
        table[name] = seen & np.asarray(rows[name], bool) if name in objects.colnames and len(objects) else False
        for flux in FLUXES:
            for column in (f"{band}_{flux}", f"{band}_{flux}Err"):
                values = np.full(len(table), np.nan)
                if measured and len(objects):
                    values = np.where(seen, np.asarray(rows[column], float), np.nan)
                table[column] = values.astype(np.float32)
            flag = np.zeros(len(table), bool)
            if measured and len(objects):
                flag = seen & np.asarray(rows[f"{band}_{flux}_flag"], bool)
            table[f"{band}_{flux}_flag"] = flag
        fraction = np.full(len(table), np.nan)
        if measured and len(objects):
            fraction = np.where(seen, np.asarray(rows[f"{band}_kronFraction"], float), np.nan)
        table[f"{band}_kronFraction"] = fraction.astype(np.float32)
    return table


def write_injections(tables: list[Table], path: Path) -> Table:
    """Write the sources of all patches in one table, and return it."""
    filled = [table for table in tables if len(table)]
    whole = vstack(filled, metadata_conflicts="silent") if filled else Table({"found": np.zeros(0, bool)})
    write_table(whole, path)
    return whole
