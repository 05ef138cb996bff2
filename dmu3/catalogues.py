"""The baseline catalogues: one table per patch, with the same columns for every band of the survey."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table

from dmu0.files.atomic import written_whole
from dmu0.files.provenance import gather_provenance
from dmu0.files.tables import read_table, write_table
from dmu0.sky.skymap import Patch, survey_patches
from dmu0.surveys import Survey
from dmu3.detection import chi_square_image, signal_to_noise
from dmu3.point_sources import aperture_corrections, local_errors
from dmu3.sextractor import SExtractorError, choose_engine, measure_bands
from dmu3.steps import image_path, read_baseline, states_table
from dmu3.swarp import Coadd
from obs_vista.photometry import POGSON, magnitude_of

log = logging.getLogger(__name__)

DIAMETERS = (1.0, 2.0, 3.0)
"""Diameters of the circular apertures in arcsec; 2" is customary in the VISTA surveys."""
SMOOTHING = 0.35
"""Sigma in arcsec of the Gaussian that smooths the detection image, for a seeing of 0.8"."""
THRESHOLD = 4.0
"""Detection threshold in sigma of the smoothed chi-square image."""

SELECTING = ("i", "vk")
"""Bands in which dual-image catalogues are selected too, besides the chi-square image of all bands."""


@dataclass(frozen=True)
class PatchCatalogue:
    """The outcome of the catalogue of one patch.

    Attributes
    ----------
    tract, patch
        Numbers of tract and patch.
    state
        ``done``, ``skipped`` or ``failed``.
    reason
        Reason, if the catalogue is not done.
    bands
        Bands with an image, separated by spaces.
    n_objects
        Number of rows.
    seconds
        Wall-clock time.
    """

    tract: int
    patch: int
    state: str
    reason: str = ""
    bands: str = ""
    n_objects: int = 0
    seconds: float = 0.0


def aperture_name(diameter: float) -> str:
    """The form of a diameter in arcsec in column names: 2.0 -> ``2p0``."""
    return f"{diameter:.1f}".replace(".", "p")


def catalogue_path(folder: Path, *, tract: int, patch: int, selection: str = "") -> Path:
    """The path of the baseline catalogue of a patch: detected in all bands together, or in one band."""
    name = f"catalogue_{selection}" if selection else "catalogue"
    return folder / name / f"{tract}_{patch}.parquet"


def make_catalogues(
    survey: Survey, *, tracts: str = "", engine: str = "auto", jobs: int = 2
) -> Iterator[PatchCatalogue]:
    """Make the baseline catalogues of a survey, patch by patch, some patches at once.

    Patches that an interrupted run of the same code on the same inputs has finished are kept.

    Parameters
    ----------
    survey
        The survey, whose baseline images exist.
    tracts
        Tracts to process, separated by spaces; all if empty.
    engine
        Engine, ``auto``, ``sextractor`` or ``sep``.
    jobs
        Number of patches processed at once.
    """
    engine = choose_engine(engine)
    words = gather_provenance(survey).words()
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda patch: _make_patch(survey, patch, engine, words), survey_patches(survey, tracts))


def _make_patch(survey: Survey, patch: Patch, engine: str, words: dict[str, str]) -> PatchCatalogue:
    """Make the catalogues of one patch: that of all bands, and one for each band of `SELECTING` that has an image."""
    start, folder = time.perf_counter(), survey.folders[3]
    where: dict[str, Any] = {"tract": patch.tract.id, "patch": patch.id}
    path = catalogue_path(folder, **where)
    mark, run = path.with_suffix(".run"), os.environ.get("FUSION_RUN_ID", "")
    have = [band for band in survey.bands if image_path(folder, band=band, **where).exists()]
    state: dict[str, Any] = {**where, "bands": " ".join(have)}
    if run and path.exists() and mark.exists() and mark.read_text() == run:
        return PatchCatalogue(**state, state="done", reason="made before", n_objects=len(read_table(path)))
    for selection in ("", *SELECTING):
        catalogue_path(folder, **where, selection=selection).unlink(missing_ok=True)
    mark.unlink(missing_ok=True)
    if not have:
        return PatchCatalogue(**where, state="skipped", reason="no band of the patch has an image")
    coadds = {band: read_baseline(folder, band=band, **where) for band in have}
    try:
        for selection in (*(band for band in SELECTING if band in have), ""):
            table = patch_catalogue(coadds, survey.bands, patch, engine=engine, selection=selection)
            write_table(table, catalogue_path(folder, **where, selection=selection), words)
    except SExtractorError as error:
        log.warning("%s: failed: %s", patch, error)
        return PatchCatalogue(**state, state="failed", reason=str(error))
    with written_whole(mark) as part:
        part.write_text(run)
    return PatchCatalogue(**state, state="done", n_objects=len(table), seconds=time.perf_counter() - start)


def catalogues_table(states: list[PatchCatalogue]) -> Table:
    """The states as a table with one row per patch."""
    return states_table(states, PatchCatalogue)


def patch_catalogue(
    coadds: dict[str, Coadd], bands: tuple[str, ...], patch: Patch, *, engine: str = "auto", selection: str = ""
) -> Table:
    """Detect objects on the chi-square image of all bands or on one band, and measure each band at their positions.

    Parameters
    ----------
    coadds
        Band -> image on the grid of the patch; bands may be missing.
    bands
        Bands of the columns, with or without an image.
    patch
        The patch.
    engine
        Engine, ``auto``, ``sextractor`` or ``sep``.
    selection
        Band whose image is the detection image; empty: the chi-square image of all bands.

    Returns
    -------
    table
        Table with the columns `column_names`. Fluxes are in nJy, NaN if a band has no data at the position.
    """
    pixel = float(np.sqrt(np.abs(np.linalg.det(patch.wcs.pixel_scale_matrix)))) * 3600
    if selection:
        image = signal_to_noise(coadds[selection], sigma=SMOOTHING / pixel)
        counts = (coadds[selection].weight > 0).astype(np.int16)
    else:
        image, counts = chi_square_image(list(coadds.values()), sigma=SMOOTHING / pixel)
    diameters = tuple(diameter / pixel for diameter in DIAMETERS)
    found, measured = measure_bands(image, counts, coadds, threshold=THRESHOLD, diameters=diameters, engine=engine)
    covered = {band: _covered(coadd, found) for band, coadd in coadds.items()}
    x, y, position_band = _positions(found, coadds, measured, covered)
    ra, dec = patch.wcs.all_pix2world(x, y, 0) if len(found) else (np.zeros(0), np.zeros(0))
    table = Table(meta={"tract": patch.tract.id, "patch": patch.id, "engine": choose_engine(engine)})
    _add(table, "number", np.arange(len(found), dtype=np.int64), "", "Running number in the patch")
    _add(table, "tract", np.full(len(found), patch.tract.id, np.int32), "", "Tract of the sky map")
    _add(table, "patch", np.full(len(found), patch.id, np.int32), "", "Patch of the tract")
    _add(table, "ra", ra, "deg", "Right ascension, ICRS")
    _add(table, "dec", dec, "deg", "Declination, ICRS")
    _add(table, "x", x + patch.image_bbox.x.min, "pix", "Position along the x axis of the tract")
    _add(table, "y", y + patch.image_bbox.y.min, "pix", "Position along the y axis of the tract")
    _add(table, "position_band", position_band, "", "Band of the windowed centroid; empty: from the detection image")
    _add(table, "a", np.asarray(found["a"]) * pixel, "arcsec", "Major rms axis on the detection image")
    _add(table, "b", np.asarray(found["b"]) * pixel, "arcsec", "Minor rms axis on the detection image")
    _add(table, "theta", np.asarray(found["theta"]), "rad", "Angle from the x axis to the major axis")
    _add(table, "kron_radius", np.asarray(found["kron_radius"]), "", "Kron ellipse in units of a and b")
    for band in bands:
        _add_band(table, band, measured.get(band), covered.get(band))
        at = {"x": np.asarray(found["x"], float), "y": np.asarray(found["y"], float)}
        _add_point_sources(table, band, coadds.get(band), measured.get(band), diameters=diameters, pixel=pixel, **at)
    return table


def _add_point_sources(
    table: Table,
    band: str,
    coadd: Coadd | None,
    rows: Table | None,
    *,
    x: np.ndarray,
    y: np.ndarray,
    diameters: tuple[float, ...],
    pixel: float,
) -> None:
    """The columns that make point-source fluxes of circles: corrections from stars, and errors from empty circles."""
    corrections, errors = np.full(len(diameters), np.nan), np.full((len(table), len(diameters)), np.nan)
    if coadd is not None and rows is not None:
        corrections, _ = aperture_corrections(coadd, x, y, rows, diameters=diameters, pixel=pixel)
        errors = local_errors(coadd, x, y, diameters=diameters, pixel=pixel)
    for number, diameter in enumerate(DIAMETERS):
        end = aperture_name(diameter)
        factor = np.full(len(table), corrections[number], np.float32)
        _add(
            table,
            f"{band}_apCorr_{end}",
            factor,
            "",
            f"Total flux of stars over {band}_apFlux_{end}; NaN: too few stars",
        )
        meaning = f"Error of {band}_apFlux_{end} from the nearest empty circles"
        _add(table, f"{band}_apErrLocal_{end}", errors[:, number].astype(np.float32), "nJy", meaning)


def colour(table: Table, blue: str, red: str, *, diameter: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Colour of each object as a point source, and its error, AB mag: corrected fluxes in circles, local errors.

    Parameters
    ----------
    table
        A baseline catalogue.
    blue, red
        Bands; the colour is blue minus red.
    diameter
        Diameter of the circles in arcsec.
    """
    end = aperture_name(diameter)
    flux = {b: np.asarray(table[f"{b}_apFlux_{end}"], float) * table[f"{b}_apCorr_{end}"] for b in (blue, red)}
    error = {b: np.asarray(table[f"{b}_apErrLocal_{end}"], float) * table[f"{b}_apCorr_{end}"] for b in (blue, red)}
    value = magnitude_of(flux[blue]) - magnitude_of(flux[red])
    relative = np.hypot(*(error[b] / np.where(flux[b] > 0, flux[b], np.nan) for b in (blue, red)))
    return value, POGSON * relative


def _covered(coadd: Coadd, found: Table) -> np.ndarray:
    """Whether an image has data at the pixel nearest to each object."""
    ny, nx = coadd.weight.shape
    columns = np.clip(np.rint(np.asarray(found["x"])).astype(int), 0, nx - 1)
    rows = np.clip(np.rint(np.asarray(found["y"])).astype(int), 0, ny - 1)
    return coadd.weight[rows, columns] > 0


def _positions(
    found: Table, coadds: dict[str, Coadd], measured: dict[str, Table], covered: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windowed centroid in the band of the highest signal to noise, if it is within a pixel or so of the peak."""
    x, y = np.array(found["x"], float), np.array(found["y"], float)
    name = np.full(len(found), "", dtype="U8")
    best = np.zeros(len(found))
    for band in coadds:
        rows = measured[band]
        flux, error = np.asarray(rows["apFlux"][:, 0]), np.asarray(rows["apFluxErr"][:, 0])
        ratio = np.divide(flux, error, out=np.zeros_like(flux), where=error > 0)
        x_win, y_win = np.asarray(rows["x_win"]), np.asarray(rows["y_win"])
        near = np.hypot(x_win - found["x"], y_win - found["y"]) < 2
        better = covered[band] & near & (ratio > np.maximum(best, 5))
        x[better], y[better], name[better], best[better] = x_win[better], y_win[better], band, ratio[better]
    return x, y, name


def _add_band(table: Table, band: str, rows: Table | None, covered: np.ndarray | None) -> None:
    """The columns of one band; without an image, NaN and the flag -1."""
    missing = np.full(len(table), np.nan)

    def fluxes(values: np.ndarray) -> np.ndarray:
        return np.where(covered & (np.abs(values) < 1e20), values, np.nan).astype(np.float32)

    for number, diameter in enumerate(DIAMETERS):
        end = aperture_name(diameter)
        meaning = f'Flux in a circle of {diameter}" diameter'
        flux = missing if rows is None else fluxes(rows["apFlux"][:, number])
        error = missing if rows is None else fluxes(rows["apFluxErr"][:, number])
        _add(table, f"{band}_apFlux_{end}", flux.astype(np.float32), "nJy", meaning)
        _add(table, f"{band}_apFluxErr_{end}", error.astype(np.float32), "nJy", f"Error of {band}_apFlux_{end}")
    for name, meaning in (("kronFlux", "Flux in the Kron ellipse"), ("kronFluxErr", f"Error of {band}_kronFlux")):
        values = missing if rows is None else fluxes(np.asarray(rows[name]))
        _add(table, f"{band}_{name}", values.astype(np.float32), "nJy", meaning)
    flags = np.full(len(table), -1) if rows is None else np.where(covered, np.asarray(rows["flags"]), -1)
    _add(table, f"{band}_flags", flags.astype(np.int32), "", "SExtractor's flags; -1 where the band has no data")


def _add(table: Table, name: str, values: np.ndarray, unit: str, description: str) -> None:
    table.add_column(Column(values, name=name, unit=unit or None, description=description))


def column_names(bands: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a baseline catalogue: those of the object, then the same columns for each band."""
    common = ("number", "tract", "patch", "ra", "dec", "x", "y", "position_band", "a", "b", "theta", "kron_radius")
    circles = [f"{kind}_{aperture_name(d)}" for d in DIAMETERS for kind in ("apFlux", "apFluxErr")]
    points = [f"{kind}_{aperture_name(d)}" for d in DIAMETERS for kind in ("apCorr", "apErrLocal")]
    names = (*circles, "kronFlux", "kronFluxErr", "flags", *points)
    return (*common, *(f"{band}_{name}" for band in bands for name in names))


def read_catalogues(survey: Survey, *, primary: bool = False, selection: str = "") -> Table | None:
    """The baseline catalogues of all patches in one table; None if there is none.

    Parameters
    ----------
    survey
        The survey.
    primary
        Whether to keep only objects inside the inner box of their patch, so that none appears twice.
    selection
        Band in which the objects were detected; empty: all bands together.
    """
    tables = []
    for patch in survey_patches(survey):
        path = catalogue_path(survey.folders[3], tract=patch.tract.id, patch=patch.id, selection=selection)
        if not path.exists():
            continue
        table = Table.read(path, format="parquet")
        if primary:
            table = table[patch.inner_bbox.contains(x=np.asarray(table["x"]), y=np.asarray(table["y"]))]
        tables.append(table)
    if not tables:
        return None
    joined = Table({name: np.concatenate([table[name] for table in tables]) for name in tables[0].colnames})
    for name in joined.colnames:
        joined[name].unit, joined[name].description = tables[0][name].unit, tables[0][name].description
    return joined
