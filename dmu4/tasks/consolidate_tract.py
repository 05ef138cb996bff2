"""Task: combine the objects of the patches of a tract, with one primary row per object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
from astropy.table import Table
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
from lsst.pipe.base.connectionTypes import Input, Output, PrerequisiteInput

from dmu0.sky.skymap import RingsSkyMap, SingleSkyMap, make_sky_map
from dmu0.sky.tract import Tract
from dmu0.surveys import SkyMapConfig
from dmu4.objects.consolidate import stack_patches
from dmu4.objects.kinds import kind_columns
from dmu4.objects.primary import assign_primaries, distance_inside
from dmu4.objects.spurious import spurious_probability


class ConsolidateTractConnections(PipelineTaskConnections, dimensions=("skymap", "tract")):
    """Inputs and outputs of the task."""

    patches = Input(
        doc="Objects of the patches.",
        name="object_patch",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
        multiple=True,
        deferLoad=True,
    )
    sky_map = PrerequisiteInput(
        doc="Definition of the sky map, which gives the area owned by each patch.",
        name="sky_map",
        storageClass="StructuredDataDict",
        dimensions=("skymap",),
    )
    objects = Output(
        doc="Objects of the tract; detect_isPrimary is true in one row of each.",
        name="object",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )


class ConsolidateTractConfig(PipelineTaskConfig, pipelineConnections=ConsolidateTractConnections):
    """Settings for identifying rows of overlapping patches with one object, and for the kinds of objects."""

    detectionBands = ListField[str](
        doc="Bands whose sizes and colours tell stars from galaxies together; each of the others is judged alone. "
        "They alone tell artefacts from sources. Empty: all.",
        default=[],
    )
    matchRadius = RangeField[float](
        doc="Largest distance in arcsec between two rows of one object.", default=0.5, min=0
    )


class ConsolidateTractTask(PipelineTask):
    """Combine the objects of a tract.

    1. All rows of all patches are kept, with the same columns.
    2. Where patches overlap, rows that are mutual nearest neighbours are one object; exactly one of them is primary.
    3. The probabilities of point sources and stars follow from the sizes and colours of all objects of the tract,
       that of artefacts from their fluxes and fits.
    """

    ConfigClass = ConsolidateTractConfig
    _DefaultName = "consolidate_tract"

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read the patches, merge them, write the table."""
        sky_map = make_sky_map(SkyMapConfig(**butlerQC.get(inputRefs.sky_map)))
        tract = sky_map.tract(butlerQC.quantum.dataId["tract"])
        tables = [handle.get() for handle in butlerQC.get(inputRefs.patches)]
        butlerQC.put(self.run(tables, tract, sky_map), outputRefs)

    def run(self, tables: Iterable[Table], tract: Tract, sky_map: RingsSkyMap | SingleSkyMap) -> Struct:
        """Merge the tables of patches.

        Parameters
        ----------
        tables
            Tables of `dmu4.objects.columns`, one per patch.
        tract
            The tract.
        sky_map
            The sky map, which defines the area owned by the tract.

        Returns
        -------
        Struct
            ``objects``: one table.

        Raises
        ------
        NoWorkFound
            If there is no table.
        """
        config, tables = cast("ConsolidateTractConfig", self.config), list(tables)
        if not tables:
            raise NoWorkFound(f"no patch of tract {tract.id} was measured")
        objects = stack_patches(tables)
        scale = tract.wcs.proj_plane_pixel_scales()[0].to_value("arcsec")
        radius = config.matchRadius / scale
        before = np.asarray(objects["detect_isPrimary"])
        objects["detect_isPrimary"][:] = assign_primaries(
            x=np.asarray(objects["x"]),
            y=np.asarray(objects["y"]),
            patch=np.asarray(objects["patch"]),
            primary=before.copy(),
            inside=distance_inside(objects, tract, sky_map, margin=radius),
            radius=radius,
        )
        bands = [name.removesuffix("_psfFlux") for name in objects.colnames if name.endswith("_psfFlux")]
        for name, values in kind_columns(objects, bands, detection=config.detectionBands).items():
            objects[name][:] = values
        objects["spuriousProbability"][:] = spurious_probability(objects, bands, detection=config.detectionBands)
        primary = int(np.sum(objects["detect_isPrimary"]))
        self.log.info("tract %d: %d rows of %d patches, %d primary", tract.id, len(objects), len(tables), primary)
        self.metadata["objects"], self.metadata["primary"] = len(objects), primary
        return Struct(objects=objects)
