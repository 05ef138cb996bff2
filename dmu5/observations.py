"""The images of a release as records of ObsCore, by which services of the Virtual Observatory find them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetRef, MissingDatasetTypeError

from dmu0.files.paths import PROJECT
from dmu0.files.tables import read_table
from dmu0.schema.columns import SchemaColumn
from dmu0.schema.tables import make_table
from dmu0.sky.skymap import Patch, survey_patches
from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from obs_vista.bands import VISTA_BANDS, get_band

OBSCORE = Path(__file__).with_name("obscore.yaml")
"""Definition of the columns, in Felis."""

_NUMPY = {"int": "i4", "long": "i8", "double": "f8"}


def obscore_columns() -> list[SchemaColumn]:
    """The columns of ``ivoa.obscore``."""
    (table,) = yaml.safe_load(OBSCORE.read_text())["tables"]
    return [
        SchemaColumn(
            name=column["name"],
            dtype=_NUMPY.get(column["datatype"], f"U{column.get('length', 1)}"),
            unit=column.get("ivoa:unit", ""),
            ucd=column["ivoa:ucd"],
            description=column["description"],
            nullable=column.get("nullable", True),
        )
        for column in table["columns"]
    ]


def obscore_records(survey: Survey) -> Table:
    """One record per image of a survey: calibrated detectors (level 2) and coadds (level 3).

    Paths are relative to the folder of the project.

    Parameters
    ----------
    survey
        The survey; its Butler repository is that of dmu4.
    """
    with open_butler(survey) as butler:
        exposures = _exposures(survey)
        records = [*_detectors(butler, survey, exposures), *_coadds(butler, survey, exposures)]
    columns = obscore_columns()
    values = {
        column.name: np.array([record.get(column.name, column.missing) for record in records], column.dtype)
        for column in columns
    }
    return make_table(values, columns, length=len(records))


def _exposures(survey: Survey) -> dict[tuple[int, int], tuple[float, float]]:
    """Exposure and detector -> start in MJD and total exposure time in s, from the inventory."""
    path = survey.folders[1] / "inventory.parquet"
    if not path.exists():
        return {}
    table = read_table(path)
    times = np.asarray(table["exptime"] * table["ndit"] * table["nicomb"], float)
    keys = zip(table["exposure"].tolist(), table["detector"].tolist(), strict=True)
    return dict(zip(keys, zip(np.asarray(table["mjd"], float).tolist(), times.tolist(), strict=True), strict=True))


def _references(butler: Butler, name: str) -> list[DatasetRef]:
    try:
        return butler.query_datasets(name, limit=None, explain=False)
    except MissingDatasetTypeError:
        return []


def _common(butler: Butler, survey: Survey, reference: DatasetRef) -> dict[str, Any]:
    """What all images have: the file, the band, the pixels."""
    path = Path(butler.getURI(reference).ospath)
    band = str(reference.dataId["band"])
    low, high = (wavelength * 1e-9 for wavelength in get_band(band).range)
    vista = band in VISTA_BANDS
    return {
        "dataproduct_type": "image",
        "obs_collection": survey.name,
        "access_url": os.path.relpath(path, PROJECT),
        "access_format": "image/fits",
        "access_estsize": max(path.stat().st_size // 1024, 1),
        "em_min": low,
        "em_max": high,
        "em_res_power": (low + high) / 2 / (high - low),
        "em_xel": 1,
        "o_ucd": "phot.flux.density",
        "facility_name": "VISTA" if vista else "",
        "instrument_name": "VIRCAM" if vista else "",
        "band": band,
    }


def outline(ra: np.ndarray, dec: np.ndarray) -> dict[str, Any]:
    """Centre, diameter and region of an image with corners at these ICRS positions in deg.

    The centre is the mean of the corners on the sphere, the diameter that of the circle around it through the farthest
    corner.
    """
    a, d = np.radians(ra), np.radians(dec)
    corners = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    middle = corners.mean(axis=1) / np.linalg.norm(corners.mean(axis=1))
    apart = 2 * np.arcsin(np.linalg.norm(corners - middle[:, None], axis=0).max() / 2)
    words = " ".join(f"{x:.6f} {y:.6f}" for x, y in zip(ra, dec, strict=True))
    return {
        "s_ra": float(np.degrees(np.arctan2(middle[1], middle[0])) % 360),
        "s_dec": float(np.degrees(np.arcsin(middle[2]))),
        "s_fov": float(np.degrees(2 * apart)),
        "s_region": f"POLYGON ICRS {words}",
    }


def _detectors(
    butler: Butler, survey: Survey, exposures: dict[tuple[int, int], tuple[float, float]]
) -> Iterator[dict[str, Any]]:
    """Records of the calibrated detector images."""
    summaries = {}
    for reference in _references(butler, "visit_summary"):
        for row in butler.get(reference):
            summaries[int(row["visit"]), int(row["detector"])] = row
    for reference in sorted(_references(butler, "visit_image")):
        key = int(reference.dataId["visit"]), int(reference.dataId["detector"])
        name = f"{key[0]}-{key[1]:02d}"
        record = _common(butler, survey, reference) | {
            "calib_level": 2,
            "obs_id": name,
            "obs_publisher_did": f"{survey.name}/visit_image/{name}",
        }
        if key in summaries:
            row = summaries[key]
            record |= outline(*(np.array([row[f"{axis}{k}"] for k in range(4)], float) for axis in ("ra", "dec")))
            record |= {"s_resolution": row["seeing"], "s_xel1": row["nx"], "s_xel2": row["ny"]}
        if key in exposures:
            start, seconds = exposures[key]
            record |= {"t_min": start, "t_max": start + seconds / 86400, "t_exptime": seconds}
        yield record


def _coadds(
    butler: Butler, survey: Survey, exposures: dict[tuple[int, int], tuple[float, float]]
) -> Iterator[dict[str, Any]]:
    """Records of the coadds."""
    patches = {(patch.tract.id, patch.id): patch for patch in survey_patches(survey)}
    times = _times_of_coadds(survey, exposures)
    for reference in sorted(_references(butler, "deep_coadd")):
        tract, patch, band = (reference.dataId[key] for key in ("tract", "patch", "band"))
        name = f"{tract}-{patch}-{band}"
        record = _common(butler, survey, reference) | {
            "calib_level": 3,
            "obs_id": name,
            "obs_publisher_did": f"{survey.name}/deep_coadd/{name}",
            "target_name": f"{tract} {patch}",
            "tract": int(tract),
            "patch": int(patch),
        }
        if (int(tract), int(patch)) in patches:
            record |= _box(patches[int(tract), int(patch)])
        yield record | times.get((int(tract), int(patch), str(band)), {})


def _box(patch: Patch) -> dict[str, Any]:
    box = patch.outer_bbox
    x = np.array([box.x.start, box.x.stop, box.x.stop, box.x.start]) - 0.5
    y = np.array([box.y.start, box.y.start, box.y.stop, box.y.stop]) - 0.5
    ra, dec = patch.tract.wcs.wcs_pix2world(x, y, 0)
    return outline(ra, dec) | {"s_xel1": box.x.size, "s_xel2": box.y.size}


def _times_of_coadds(
    survey: Survey, exposures: dict[tuple[int, int], tuple[float, float]]
) -> dict[tuple[int, int, str], dict[str, float]]:
    """Tract, patch and band -> first start, last end, and exposure time of the images that overlap the patch."""
    path = survey.folders[1] / "coverage.parquet"
    found: dict[tuple[int, int, str], list[tuple[float, float]]] = {}
    for row in read_table(path) if path.exists() else []:
        key = (int(row["exposure"]), int(row["detector"]))
        if key in exposures:
            where = (int(row["tract"]), int(row["patch"]), str(row["band"]))
            found.setdefault(where, []).append(exposures[key])
    return {
        where: {
            "t_min": min(start for start, _ in these),
            "t_max": max(start + seconds / 86400 for start, seconds in these),
            "t_exptime": sum(seconds for _, seconds in these),
        }
        for where, these in found.items()
    }
