"""Detection and measurement of a synthetic patch in one call, with the measurements as named columns."""

from __future__ import annotations

import numpy as np
from lsst.images import SkyProjection

from dmu4.detection.detect import Detections, DetectionSettings, detect
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.measurement.object_rows import of_band
from dmu4.patches.cube import PatchCube
from dmu4.patches.filling import gather
from dmu4.patches.load import StoredPatch
from dmu4.patches.sky import SkySubtracted


def load_cube(*handles) -> tuple[PatchCube, SkyProjection]:
    """The cube of all coadds with these handles (coadds, counts, zone maps, zones), and its projection."""
    patch = StoredPatch(*handles)
    return gather(patch, noise=True, each=lambda one: None)[0], patch.projection


def less_sky(cube: PatchCube) -> PatchCube:
    """A cube less its residual sky, in boxes as large as those of the pipeline."""
    return gather(SkySubtracted(cube, box=128), noise=True, each=lambda one: None)[0]


def catalogue(cube: PatchCube) -> tuple[Detections, dict[str, np.ndarray]]:
    """Peaks of a cube and columns of its objects; ``x`` and ``y`` are pixels of the tract.

    Parameters
    ----------
    cube
        All bands, less their residual sky.
    """
    found = detect(cube, DetectionSettings())
    measured = measure(cube, x=found.x, y=found.y, reference=found.reference, settings=MeasurementSettings())
    shapes = measured.shapes
    values = {"x": shapes.x + cube.x0, "y": shapes.y + cube.y0, "x_error": shapes.x_error, "y_error": shapes.y_error}
    values["refExtendedness"] = shapes.extendedness
    for band, one in measured.bands.items():
        values |= of_band(band, one)
    return found, values
