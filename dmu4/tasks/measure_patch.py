"""Task: measure the objects of a patch, with the same columns for every band."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

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

from dmu0.sky.skymap import RingsSkyMap, SingleSkyMap, make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu4.measurement.epochs import CellEpochs, cell_epochs
from dmu4.measurement.iterations import ShapeSettings
from dmu4.measurement.measure import Measurements, MeasurementSettings, measure
from dmu4.measurement.object_rows import absorb, empty_rows, find_positions, object_rows, with_companions
from dmu4.objects.primary import in_own_area
from dmu4.patches.cube import PatchData
from dmu4.patches.detection_bands import DetectionBandsFirst
from dmu4.patches.load import StoredPatch
from dmu4.patches.sky import SkySubtracted, meshes_of
from obs_vista.bands import in_band_order


class MeasurePatchConnections(PipelineTaskConnections, dimensions=("skymap", "tract", "patch")):
    """Inputs and outputs of the task."""

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
    zone_maps = Input(
        doc="Number of the PSF of each pixel, for the bands that have such a map.",
        name="coadd_zone_map",
        storageClass="ImageV2",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        deferLoad=True,
        minimum=0,
    )
    zones = Input(
        doc="PSFs of the zones, for the bands that have such a map.",
        name="coadd_zones",
        storageClass="ArrowAstropy",
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
    sky = Input(
        doc="Residual sky of each coadd measured by the detection.",
        name="sky_mesh",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )
    sky_map = PrerequisiteInput(
        doc="Definition of the sky map, which gives the area owned by the patch.",
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
    """Settings of the measurement."""

    bands = ListField[str](doc="Bands of the columns, with or without a coadd; empty: those with a coadd.", default=[])
    detectionBands = ListField[str](
        doc="Bands from which positions, shapes, models and motions follow; the others are only measured. Empty: all.",
        default=[],
    )
    extendedLimit = RangeField[float](
        doc="Squared intrinsic width relative to that of the PSF above which an object is extended.",
        default=0.1,
        min=0.0,
    )
    shapeSignalToNoise = RangeField[float](
        doc="Smallest signal to noise for a shape; fainter objects keep that of the PSF.", default=7.0, min=3.0
    )
    fluxFloor = RangeField[float](
        doc="Relative error floor to assume if there are too few bright stars to measure it.", default=0.01, min=0.0
    )
    maxMotion = RangeField[float](
        doc="Largest motion in arcsec between the optical and the VISTA images; 0: motions are not measured.",
        default=5.0,
        min=0.0,
    )
    threads = RangeField[int](doc="Number of bands processed in parallel.", default=2, min=1)


class MeasurePatchTask(PipelineTask):
    """Measure the objects of a patch.

    1. The residual sky measured by the detection is subtracted.
    2. The error inflation due to correlated noise is measured on noise realizations, for each type of flux.
    3. Position, shape and morphology (point or extended) are measured in the detection band of highest signal to noise
       of each object, with its neighbours subtracted, in two iterations. After the first one, bright galaxies are
       fitted with a disc and a bulge, and companions of stars and galaxies are added; after the second one, all
       objects are fitted.
    4. In each band all objects are fitted simultaneously, point sources with the PSF, extended ones with a disc and a
       bulge convolved with the PSF. Saturated pixels take no part.
    5. Point sources with different positions in the VISTA and optical bands have moved between the images: each band is
       measured at its own position.
    6. All other fluxes are measured on the image minus the models of the neighbours: circular apertures, the Kron
       ellipse, the Gaussian aperture of GAaP. If an aperture has no data the flux is NaN and flagged.
    7. An object is primary in exactly one patch of one tract: the one whose inner area contains it.
    """

    ConfigClass = MeasurePatchConfig
    _DefaultName = "measure_patch"

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read coadds and peaks, measure, write the table."""
        counts, zone_maps, zones = (
            butlerQC.get(refs) if refs else [] for refs in (inputRefs.exposures, inputRefs.zone_maps, inputRefs.zones)
        )
        stored = StoredPatch(butlerQC.get(inputRefs.coadds), counts, zone_maps, zones)
        flat = SkySubtracted(stored, sky=meshes_of(butlerQC.get(inputRefs.sky)))
        sky_map = make_sky_map(SkyMapConfig(**butlerQC.get(inputRefs.sky_map)))
        data_id = butlerQC.quantum.dataId
        patch = sky_map.tract(data_id["tract"]).patch(data_id["patch"])
        detections = butlerQC.get(inputRefs.detections)
        epochs = {
            str(handle.dataId["band"]): found
            for handle in butlerQC.get(inputRefs.coadds)
            if (found := cell_epochs(handle.get(component="provenance"), patch)) is not None
        }
        butlerQC.put(self.run(flat, stored.projection, detections, patch, sky_map, epochs), outputRefs)

    def run(
        self,
        data: PatchData,
        projection: SkyProjection,
        detections: Table,
        patch: Patch,
        sky_map: RingsSkyMap | SingleSkyMap,
        epochs: Mapping[str, CellEpochs] = MappingProxyType({}),
    ) -> Struct:
        """Measure the objects of a patch.

        Parameters
        ----------
        data
            All bands of the patch, minus their residual sky.
        projection
            Projection from tract pixels to the sky.
        detections
            Peaks from `dmu4.tasks.detect_patch`.
        patch
            The patch.
        sky_map
            The sky map, which defines the area owned by each tract and patch.
        epochs
            Band -> mean epochs of the cells of its coadd, where its inputs are known.

        Returns
        -------
        Struct
            ``objects``: the table of `dmu4.objects.columns`.
        """
        config = cast("MeasurePatchConfig", self.config)
        bands = list(in_band_order((*config.bands, *data.bands)))
        self.metadata["objects"] = len(detections)
        if not len(detections):
            self.log.info("no objects")
            return Struct(objects=empty_rows(bands))
        ordered = DetectionBandsFirst(data, config.detectionBands)
        measured = self._measure(ordered, detections)
        at = find_positions(measured.shapes, ordered, projection)
        objects = absorb(detections, measured.objects.kept, measured.objects.absorbed)
        companions = measured.objects.companions
        objects = with_companions(objects, detections, companions, ordered)
        self.metadata["objects"] = len(objects)
        objects["refBand"] = np.array(ordered.bands)[measured.objects.reference]
        primary = in_own_area(x=at.x, y=at.y, ra=at.ra, dec=at.dec, patch=patch, sky_map=sky_map)
        numbers = len(objects), len(companions.x), int(np.sum(primary))
        self.log.info("%d objects, %d of them companions; %d primary", *numbers)
        place = {"tract": patch.tract.id, "patch": patch.id, "pixel_scale": ordered.pixel_scale}
        rows = object_rows(measured, at, objects, primary=primary, **place, bands=bands, epochs=epochs)
        return Struct(objects=rows)

    def _measure(self, data: DetectionBandsFirst, detections: Table) -> Measurements:
        """All measurements on pixels."""
        config = cast("MeasurePatchConfig", self.config)
        shapes = ShapeSettings(
            extended_limit=config.extendedLimit,
            min_signal_to_noise=config.shapeSignalToNoise,
            max_motion=config.maxMotion,
        )
        return measure(
            data,
            x=np.asarray(detections["x"]) - data.x0,
            y=np.asarray(detections["y"]) - data.y0,
            reference=np.array([data.bands.index(str(label)) for label in detections["refBand"]]),
            settings=MeasurementSettings(shapes, config.fluxFloor, config.threads, data.count),
        )
