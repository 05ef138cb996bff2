"""Task: detect the objects of a patch on the coadds of all bands."""

from __future__ import annotations

from typing import cast

import numpy as np
from astropy.table import Column, Table
from lsst.pex.config import ListField, RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    NoWorkFound,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)
from lsst.pipe.base.connectionTypes import Input, Output

from dmu4.detection.detect import Detections, DetectionSettings, detect_in_maps
from dmu4.detection.significance import significance_maps
from dmu4.patches.cube import PatchData
from dmu4.patches.detection_bands import DetectionBandsFirst
from dmu4.patches.load import StoredPatch
from dmu4.patches.sky import SkySubtracted, sky_table


class DetectPatchConnections(PipelineTaskConnections, dimensions=("skymap", "tract", "patch")):
    """Inputs and outputs of the task."""

    coadds = Input(
        doc="Coadds of all bands of the patch.",
        name="deep_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        deferLoad=True,
    )
    detections = Output(
        doc="Merged peaks of the patch: positions, footprints, and the bands in which each was detected.",
        name="object_detection",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )
    sky = Output(
        doc="Residual sky of each coadd: the values of a coarse mesh, for measurements on the coadds.",
        name="sky_mesh",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )


class DetectPatchConfig(PipelineTaskConfig, pipelineConnections=DetectPatchConnections):
    """Settings of the detection."""

    detectionBands = ListField[str](
        doc="Bands in which objects are searched for; the others are measured at these objects. Empty: all.", default=[]
    )
    threshold = RangeField[float](
        doc="Lowest peak, in units of the noise of the matched-filtered image.", default=5.0, min=2.0
    )
    floor = RangeField[float](doc="Threshold of footprints in the same units.", default=3.0, min=0.5)
    maxArea = RangeField[int](
        doc="Largest connected footprint in pixels; larger ones are divided at a higher threshold.",
        default=40_000,
        min=100,
    )
    skyBox = RangeField[int](
        doc="Side in pixels of a mesh cell of the residual sky; 0: it is not subtracted.", default=128, min=0
    )
    threads = RangeField[int](doc="Number of bands processed in parallel.", default=2, min=1)


class DetectPatchTask(PipelineTask):
    """Detect the objects of a patch.

    1. The residual sky of each band, clipped medians of a coarse mesh far from sources, is subtracted.
    2. Each band is filtered with its PSF; the threshold is in units of the true, correlated noise.
    3. The bands are also combined into a chi-square image, to detect objects that no single band shows.
    4. A sharper filter, for which light that changes slowly vanishes, finds objects in the light of brighter ones.
    5. Peaks are merged over the bands, the band with most peaks first, then the combination, last the sharp filter.
    6. The pixels of connected footprints are divided among their peaks; the size of a footprint is limited.
    """

    ConfigClass = DetectPatchConfig
    _DefaultName = "detect_patch"

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read the coadds, detect, write the tables."""
        butlerQC.put(self.run(StoredPatch(butlerQC.get(inputRefs.coadds))), outputRefs)

    def run(self, patch: PatchData) -> Struct:
        """Detect the objects of a patch.

        Parameters
        ----------
        patch
            All bands of the patch, which are used one after another.

        Returns
        -------
        Struct
            ``detections``: one row per object; ``sky``: the mesh of each band, see `dmu4.patches.sky.sky_table`.

        Raises
        ------
        NoWorkFound
            If no band has any data.
        """
        config = cast("DetectPatchConfig", self.config)
        settings = DetectionSettings(
            threshold=config.threshold,
            floor=config.floor,
            max_area=config.maxArea,
            threads=config.threads,
        )
        ordered = DetectionBandsFirst(patch, config.detectionBands)
        flat = SkySubtracted(ordered, box=config.skyBox)
        maps = significance_maps(flat, settings.threads)
        if not maps.good[: ordered.count].any():
            wanted = ", ".join(config.detectionBands or patch.bands)
            raise NoWorkFound(f"no pixel with data in {wanted}, in which objects are searched for")
        found = detect_in_maps(maps, settings, pixel_scale=patch.pixel_scale, count=ordered.count)
        self.log.info("%d objects; bands in order of depth: %s", len(found.x), [ordered.bands[b] for b in found.order])
        self.metadata["objects"] = len(found.x)
        sky = {band: flat.sky[band] for band in patch.bands if band in flat.sky}
        return Struct(detections=detection_table(ordered, found), sky=sky_table(sky))


def detection_table(patch: PatchData, found: Detections) -> Table:
    """Merged peaks as a table, one row per object, positions in tract pixels."""
    labels = np.array(patch.bands)
    table = Table(
        [
            Column(found.x + patch.x0, "x", unit="pixel", description="Peak along the x axis of the tract"),
            Column(found.y + patch.y0, "y", unit="pixel", description="Peak along the y axis of the tract"),
            Column(labels[found.reference], "refBand", description="Band of the highest signal to noise"),
            Column(found.combined, "chi2_height", description="Significance in the chi-square image, in sigma"),
            Column(found.footprints.area, "footprint_area", unit="pixel2", description="Pixels of the object's own"),
            Column(found.footprints.blend, "blend", description="Number of the connected footprint, -1 for none"),
            Column(found.footprints.blend_size, "blend_size", description="Objects in the connected footprint"),
        ]
    )
    for number, band in enumerate(patch.bands):
        seen, height = found.detected[:, number], found.height[:, number]
        table[f"{band}_detected"] = Column(seen, description=f"A peak of its own in {band}")
        table[f"{band}_height"] = Column(height, description=f"Matched-filter signal to noise in {band}")
    return table
