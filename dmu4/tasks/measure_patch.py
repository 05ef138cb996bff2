"""Task: measure the objects of a patch, with the same columns for every band."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from lsst.images import SkyProjection
from lsst.pex.config import ListField, RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)
from lsst.pipe.base.connectionTypes import Input, Output, PrerequisiteInput

from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.measurement.object_shapes import ShapeSettings
from dmu4.objects.columns import flux_names, make_object_table, object_id
from dmu4.patches.cube import PatchCube, load_cube
from dmu4.patches.sky import subtract_sky
from obs_vista.bands import BAND_ORDER


class MeasurePatchConnections(PipelineTaskConnections, dimensions=("skymap", "tract", "patch")):
    """What the task reads and writes."""

    coadds = Input(
        doc="Coadds of all bands of the patch.",
        name="deep_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        deferLoad=True,
    )
    exposures = Input(
        doc="Number of images in each pixel, for the bands that have such a map.",
        name="coadd_exposures",
        storageClass="ImageV2",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        deferLoad=True,
        minimum=0,
    )
    detections = Input(
        doc="Merged peaks of the patch.",
        name="object_detection",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )
    sky_map = PrerequisiteInput(
        doc="Definition of the sky map, for the area that belongs to the patch alone.",
        name="sky_map",
        storageClass="StructuredDataDict",
        dimensions=("skymap",),
    )
    objects = Output(
        doc="Objects of the patch.",
        name="object_patch",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )


class MeasurePatchConfig(PipelineTaskConfig, pipelineConnections=MeasurePatchConnections):
    """How to measure."""

    bands = ListField[str](
        doc="Bands that get columns, also where there is no coadd; empty: those with a coadd.", default=[]
    )
    skyBox = RangeField[int](doc="Side in pixels of the mesh of the residual sky; 0: none.", default=128, min=0)
    extendedLimit = RangeField[float](
        doc="Squared width before the seeing over that of the PSF above which an object is extended.",
        default=0.1,
        min=0.0,
    )
    shapeSignalToNoise = RangeField[float](doc="Fainter objects keep the shape of the PSF.", default=7.0, min=3.0)
    fluxFloor = RangeField[float](
        doc="Relative error floor to assume where bright stars are too few to measure it.", default=0.01, min=0.0
    )
    threads = RangeField[int](doc="Bands worked on at once.", default=2, min=1)


class MeasurePatchTask(PipelineTask):
    """Measure the objects of a patch.

    1. The residual sky is subtracted as in detection.
    2. How much correlated noise adds to errors is measured on noise realizations, for each kind of flux.
    3. Position, shape and kind (point or extended) come from each object's band of highest signal to noise, with its
       neighbours subtracted, in two rounds.
    4. In each band all objects are fitted together, points by the PSF, extended ones by a disc convolved with it.
    5. Every other flux is measured on the image less the models of the neighbours: circles, the Kron ellipse, the
       Gaussian aperture of GAaP. Where an aperture has no data the flux is NaN and flagged.
    6. Exactly one patch of one tract holds an object as primary: the one whose inner area contains it.
    """

    ConfigClass = MeasurePatchConfig
    _DefaultName = "measure_patch"

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read coadds and peaks, measure, write the table."""
        exposures = butlerQC.get(inputRefs.exposures) if inputRefs.exposures else []
        cube, projection = load_cube(butlerQC.get(inputRefs.coadds), exposures)
        sky_map = make_sky_map(SkyMapConfig(**butlerQC.get(inputRefs.sky_map)))
        data_id = butlerQC.quantum.dataId
        patch = sky_map.tract(data_id["tract"]).patch(data_id["patch"])
        detections = butlerQC.get(inputRefs.detections)
        butlerQC.put(self.run(cube, projection, detections, patch, sky_map), outputRefs)

    def run(self, cube: PatchCube, projection: SkyProjection, detections: Table, patch: Patch, sky_map) -> Struct:
        """Measure the objects of a cube.

        Parameters
        ----------
        cube
            All bands of the patch.
        projection
            From tract pixels to the sky.
        detections
            Peaks as `dmu4.tasks.detect_patch` writes them.
        patch
            The patch.
        sky_map
            The sky map, which tells whose inner area a position is in.

        Returns
        -------
        Struct
            ``objects``: the table of `dmu4.objects.columns`.
        """
        bands = [band for band in BAND_ORDER if band in self.config.bands or band in cube.bands]
        values = {}
        if len(detections):
            values = self._measure(cube, detections)
            values |= sky_columns(values, projection, cube.pixel_scale)
            values["detect_isPrimary"] = is_primary(values, patch, sky_map)
            for name in ("x_error", "y_error"):
                del values[name]
        n = len(detections)
        values |= missing_bands([band for band in bands if band not in cube.bands], n)
        values |= {
            "objectId": object_id(tract=patch.tract.id, patch=patch.id, number=np.arange(1, n + 1)),
            "tract": np.full(n, patch.tract.id),
            "patch": np.full(n, patch.id),
        }
        self.log.info("%d objects, %d primary", n, int(np.sum(values.get("detect_isPrimary", 0))))
        self.metadata["objects"] = n
        return Struct(objects=make_object_table(values, bands, length=n))

    def _measure(self, cube: PatchCube, detections: Table) -> dict[str, np.ndarray]:
        """All columns that need pixels, and those that detection has filled."""
        settings = MeasurementSettings(
            shapes=ShapeSettings(
                extended_limit=self.config.extendedLimit, min_signal_to_noise=self.config.shapeSignalToNoise
            ),
            flux_floor=self.config.fluxFloor,
            threads=self.config.threads,
        )
        if self.config.skyBox:
            cube = subtract_sky(cube, box=self.config.skyBox, threads=self.config.threads)
        labels = [str(label) for label in detections["refBand"]]
        values = measure(
            cube,
            x=np.asarray(detections["x"]) - cube.x0,
            y=np.asarray(detections["y"]) - cube.y0,
            reference=np.array([cube.bands.index(label) for label in labels]),
            settings=settings,
        )
        found = {f"{band}_detected": np.asarray(detections[f"{band}_detected"]) for band in cube.bands}
        return (
            values
            | found
            | {
                "refBand": np.array(labels),
                "footprint_area": np.asarray(detections["footprint_area"]),
                "blend_size": np.asarray(detections["blend_size"]),
                "detect_fromBlend": np.asarray(detections["blend_size"]) > 1,
            }
        )


def sky_columns(values: dict[str, np.ndarray], projection: SkyProjection, pixel_scale: float) -> dict[str, np.ndarray]:
    """Sky coordinates and their errors in degrees; the axes of a tract point west and north."""
    sky = projection.pixel_to_sky(x=values["x"], y=values["y"])
    return {
        "coord_ra": sky.ra.deg,
        "coord_dec": sky.dec.deg,
        "coord_raErr": values["x_error"] * pixel_scale / 3600,
        "coord_decErr": values["y_error"] * pixel_scale / 3600,
    }


def is_primary(values: dict[str, np.ndarray], patch: Patch, sky_map) -> np.ndarray:
    """Whether each object lies in the inner box of its patch and in the area that is its tract's own."""
    box, x, y = patch.inner_bbox, values["x"], values["y"]
    inside = (x >= box.x.start - 0.5) & (x < box.x.stop - 0.5) & (y >= box.y.start - 0.5) & (y < box.y.stop - 0.5)
    corners = patch.outer_corners()
    tract = patch.tract.id
    if all(sky_map.find_tract(float(c.ra.deg), float(c.dec.deg)).id == tract for c in corners):
        return inside
    for number in np.flatnonzero(inside):
        ra, dec = float(values["coord_ra"][number]), float(values["coord_dec"][number])
        inside[number] = sky_map.find_tract(ra, dec).id == tract
    return inside


def missing_bands(bands: list[str], n: int) -> dict[str, np.ndarray]:
    """Flags and counts of bands without a coadd: every flux missing, nothing covered."""
    values = {}
    for band in bands:
        values |= {f"{name}_flag": np.ones(n, bool) for name in flux_names(band)}
        values |= {f"{band}_inputCount": np.zeros(n, int), f"{band}_coverage": np.zeros(n)}
    return values
