"""The table of the objects of a patch; the source of each column is defined only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from astropy.table import Table, vstack
from lsst.images import SkyProjection
from scipy.spatial import cKDTree

from dmu4.measurement.companions import THRESHOLD, Companions
from dmu4.measurement.epochs import CellEpochs
from dmu4.measurement.measure import BandMeasurement, Measurements
from dmu4.measurement.motion import Motion
from dmu4.measurement.object_models import ObjectShapes
from dmu4.measurement.structure import Structure
from dmu4.objects.columns import APERTURES, GAAP_NAMES, make_object_table, object_id
from dmu4.objects.missing_bands import missing_band
from dmu4.patches.cube import PatchData
from obs_vista.photometry import magnitude_error, magnitude_of


@dataclass(frozen=True)
class Positions:
    """Positions of N objects.

    Attributes
    ----------
    x, y
        Positions in pixels of the tract.
    ra, dec
        ICRS coordinates in degrees.
    ra_error, dec_error
        Errors in degrees; that of the right ascension includes the factor cos(dec).
    covariance
        Covariance of right ascension, times cos(dec), and declination, in square degrees.
    """

    x: np.ndarray
    y: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    ra_error: np.ndarray
    dec_error: np.ndarray
    covariance: np.ndarray


def find_positions(shapes: ObjectShapes, patch: PatchData, projection: SkyProjection) -> Positions:
    """Positions in the tract and on the sky from array positions; the axes of a tract point west and north."""
    place = {
        "x": shapes.x + patch.x0,
        "y": shapes.y + patch.y0,
    }
    sky = projection.pixel_to_sky(**place)
    return Positions(
        **place,
        ra=sky.ra.deg,
        dec=sky.dec.deg,
        ra_error=shapes.x_error * patch.pixel_scale / 3600,
        dec_error=shapes.y_error * patch.pixel_scale / 3600,
        covariance=-shapes.xy_covariance * (patch.pixel_scale / 3600) ** 2,  # x points west
    )


def absorb(detections: Table, kept: np.ndarray, absorbed: np.ndarray) -> Table:
    """The peaks that are objects; one that stands for two was detected in the bands of both.

    Parameters
    ----------
    detections
        Peaks as `dmu4.tasks.detect_patch` writes them.
    kept
        Numbers of the peaks that are objects.
    absorbed
        Pairs (pair, 2): a peak and another that is the same star.
    """
    merged = detections.copy()
    for name in (name for name in merged.colnames if name.endswith("_detected")):
        merged[name][absorbed[:, 0]] |= detections[name][absorbed[:, 1]]
    return merged[kept]


def with_companions(objects: Table, peaks: Table, companions: Companions, patch: PatchData) -> Table:
    """The peaks that are objects, and after them the companions, which belong to the blends of their hosts.

    Parameters
    ----------
    objects
        Peaks that are objects, from `absorb`.
    peaks
        All peaks, by whose numbers the companions know their hosts.
    companions
        The companions.
    patch
        The patch.
    """
    rows, labels = peaks[companions.host], np.array(patch.bands)
    rows["x"], rows["y"] = companions.x + patch.x0, companions.y + patch.y0
    rows["refBand"] = labels[companions.reference]
    rows["chi2_height"], rows["footprint_area"] = companions.combined, companions.area
    for number, band in enumerate(patch.bands):
        rows[f"{band}_height"] = companions.height[:, number]
        rows[f"{band}_detected"] = companions.height[:, number] >= THRESHOLD
    every = vstack([objects, rows], metadata_conflicts="silent")
    blends = np.asarray(rows["blend"])
    more = np.bincount(blends[blends >= 0], minlength=max(np.max(every["blend"], initial=0), 0) + 1)
    every["blend_size"] += np.where(every["blend"] >= 0, more[np.maximum(every["blend"], 0)], 0)
    return every


def object_rows(
    measured: Measurements,
    positions: Positions,
    detections: Table,
    *,
    primary: np.ndarray,
    tract: int,
    patch: int,
    pixel_scale: float,
    bands: Sequence[str],
    epochs: Mapping[str, CellEpochs] = MappingProxyType({}),
) -> Table:
    """One row per object, with the columns of `dmu4.objects.columns`.

    Parameters
    ----------
    measured
        Measurements of the objects.
    positions
        Positions of the objects.
    detections
        Peaks of the objects, from `dmu4.tasks.detect_patch`.
    primary
        Whether each object lies in the area owned by the patch.
    tract, patch
        Numbers of tract and patch.
    pixel_scale
        Pixel size in arcsec.
    bands
        Bands of the columns; the values of bands that were not measured are missing in every row.
    epochs
        Band -> epochs of its cells, for bands whose inputs are known.
    """
    n = len(detections)
    ids = object_id(tract=tract, patch=patch, number=np.arange(1, n + 1))
    values = {
        "objectId": ids,
        "tract": np.full(n, tract),
        "patch": np.full(n, patch),
        "detect_isPrimary": primary,
        **_of_detection(detections),
        **_of_positions(positions),
        **_of_shapes(measured.shapes, pixel_scale),
        **_of_structure(measured.objects.structure, pixel_scale),
        **_of_motion(measured.objects.motion, pixel_scale),
        **_of_neighbours(measured.shapes, ids, pixel_scale),
    }
    for band in bands:
        if band in measured.bands:
            values[f"{band}_detected"] = np.asarray(detections[f"{band}_detected"])
            values |= of_band(band, measured.bands[band])
        else:
            values |= missing_band(band, n)
        if band in epochs:
            values[f"{band}_epoch"] = epochs[band].at(x=positions.x, y=positions.y)
    return make_object_table(values, bands, length=n)


def empty_rows(bands: Sequence[str]) -> Table:
    """The table of a patch in which nothing was detected."""
    return make_object_table({}, bands, length=0)


def _of_detection(detections: Table) -> dict[str, np.ndarray]:
    blend_size = np.asarray(detections["blend_size"])
    return {
        "refBand": np.asarray(detections["refBand"]).astype(str),
        "footprintArea": np.asarray(detections["footprint_area"]),
        "deblend_blendNChild": blend_size,
        "detect_fromBlend": blend_size > 1,
    }


def _of_positions(positions: Positions) -> dict[str, np.ndarray]:
    return {
        "x": positions.x,
        "y": positions.y,
        "coord_ra": positions.ra,
        "coord_dec": positions.dec,
        "coord_raErr": positions.ra_error,
        "coord_decErr": positions.dec_error,
        "coord_ra_dec_Cov": positions.covariance,
    }


def _of_shapes(shapes: ObjectShapes, pixel_scale: float) -> dict[str, np.ndarray]:
    moments = shapes.covariance * pixel_scale**2
    xx, yy, xy = moments.T
    half_sum, half_difference = 0.5 * (xx + yy), 0.5 * (xx - yy)
    major = np.sqrt(half_sum + np.hypot(half_difference, xy))
    return {
        "shape_xx": xx,
        "shape_yy": yy,
        "shape_xy": xy,
        "shape_flag": shapes.failed,
        "refExtendedness": shapes.extendedness,
        "kronRad": shapes.kron * major,
    }


def _of_structure(structure: Structure, pixel_scale: float) -> dict[str, np.ndarray]:
    """The half-light ellipse; position angles count from north to east, and the x axis of a tract points west."""
    return {
        "cModel_fracDev": np.where(structure.fitted, structure.bulge_fraction, np.nan),
        "cModel_halfLightRad": structure.radius * pixel_scale,
        "cModel_halfLightRadErr": structure.radius_error * pixel_scale,
        "cModel_axisRatio": structure.axis_ratio,
        "cModel_axisRatioErr": structure.axis_ratio_error,
        "cModel_posAngle": np.mod(np.degrees(structure.angle) - 90, 180),
        "cModel_posAngleErr": np.degrees(structure.angle_error),
        "cModel_deltaChi2": structure.chi2_over_point,
    }


def _of_neighbours(shapes: ObjectShapes, ids: np.ndarray, pixel_scale: float) -> dict[str, np.ndarray]:
    """The nearest other object of the patch."""
    if len(ids) < 2:
        return {}
    place = np.column_stack([shapes.x, shapes.y])
    distance, number = cKDTree(place).query(place, k=2)
    # Of two objects at one place either may come first.
    second = np.where(number[:, 0] == np.arange(len(ids)), 1, 0)
    nearest = np.take_along_axis(number, second[:, None], axis=1)[:, 0]
    return {"neighbourId": ids[nearest], "neighbourDistance": distance[:, 1] * pixel_scale}


def _of_motion(motion: Motion, pixel_scale: float) -> dict[str, np.ndarray]:
    """Offsets on the sky; the x axis of a tract points west."""
    return {
        "vistaOffset_ra": -motion.x * pixel_scale,
        "vistaOffset_dec": motion.y * pixel_scale,
        "vistaOffset_raErr": motion.x_error * pixel_scale,
        "vistaOffset_decErr": motion.y_error * pixel_scale,
        "vistaOffset_used": motion.used,
        "vistaOffset_flag": motion.lost,
    }


def of_band(band: str, measured: BandMeasurement) -> dict[str, np.ndarray]:
    """The columns of one band, except ``detected``.

    Parameters
    ----------
    band
        Label of the band.
    measured
        Measurements in this band.
    """
    fluxes = {"psfFlux": measured.psf, "kronFlux": measured.kron, "cModelFlux": measured.cmodel}
    fluxes |= dict(zip(GAAP_NAMES, measured.gaap, strict=True))
    fluxes |= {f"ap{radius:02d}Flux": flux for radius, flux in zip(APERTURES, measured.circles, strict=True)}
    values = {
        f"{band}_kronFraction": measured.kron_fraction,
        f"{band}_fluxFloor": measured.flux_floor,
        f"{band}_zeroPointErr": measured.zero_point_error,
        f"{band}_extendedness": measured.extendedness,
        f"{band}_sizeExcess": measured.excess,
        f"{band}_sizeExcessErr": measured.excess_error,
        f"{band}_neighbourFraction": measured.neighbours,
        f"{band}_modelChi2": measured.chi2,
        f"{band}_modelResidual": measured.residual,
        f"{band}_inputCount": measured.input_count,
        f"{band}_coverage": measured.coverage,
        f"{band}_depth5": measured.depth5,
        f"{band}_pixelFlags_inexact_psfCenter": measured.inexact_psf,
        f"{band}_usable": measured.usable,
    }
    for radius, fraction in zip(APERTURES, measured.circle_fraction.T, strict=True):
        values[f"{band}_ap{radius:02d}Fraction"] = fraction
    for name, flux in fluxes.items():
        values[f"{band}_{name}"] = flux.value
        values[f"{band}_{name}Err"] = flux.error
        values[f"{band}_{name}_flag"] = flux.flag
    values[f"{band}_psfMag"] = magnitude_of(measured.psf.value)
    values[f"{band}_psfMagErr"] = magnitude_error(measured.psf.value, measured.psf.error)
    return values
