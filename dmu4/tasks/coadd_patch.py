"""Task: the coadd of one band of a patch from calibrated detector images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from lsst.daf.butler import DeferredDatasetHandle
from lsst.images import Image
from lsst.pex.config import ChoiceField, DictField, Field, ListField, RangeField
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

from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu2.bright_stars import BrightStars
from dmu4.coadds.artefacts import RejectionLimits
from dmu4.coadds.cell_coadd import cell_size, make_cell_coadd, make_provenance
from dmu4.coadds.inputs import OpenInput, open_input, shared_error, weight_of
from dmu4.coadds.planes import CoaddPlanes, CoaddSettings
from dmu4.coadds.psf import InputPsfs, cell_psfs, mark_inexact, nominal_inputs
from dmu4.coadds.psf_zones import find_zones
from dmu4.coadds.stack import make_coadd
from dmu4.coadds.visit_quality import UnusableInput, accepted_quality
from obs_vista.masks import bits
from obs_vista.photometry import POGSON


class CoaddPatchConnections(PipelineTaskConnections, dimensions=("skymap", "tract", "patch", "band")):
    """Inputs and outputs of the task."""

    visit_images = Input(
        doc="Calibrated detector images that overlap the patch.",
        name="visit_image",
        storageClass="VisitImage",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    summaries = Input(
        doc="Acceptance, seeing and noise of the detectors of each visit.",
        name="visit_summary",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit"),
        multiple=True,
    )
    zero_points = Input(
        doc="Common zero points of the detectors; without it each keeps its own.",
        name="common_zero_points",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "band"),
        minimum=0,
        deferGraphConstraint=True,
    )
    sky_map = PrerequisiteInput(
        doc="Definition of the sky map, which gives the pixels of the patch.",
        name="sky_map",
        storageClass="StructuredDataDict",
        dimensions=("skymap",),
    )
    bright_stars = PrerequisiteInput(
        doc="Bright stars whose halos reach the tract, for the mask plane BRIGHT_OBJECT.",
        name="bright_stars",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract"),
    )
    coadd = Output(
        doc="The coadd in nJy with mask, variance, cell PSFs, noise and provenance.",
        name="deep_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    exposures = Output(
        doc="Number of detector images in each pixel.",
        name="coadd_exposures",
        storageClass="ImageV2",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    zone_map = Output(
        doc="Number of the PSF of each pixel: that of its cell, or of a zone with different inputs.",
        name="coadd_zone_map",
        storageClass="ImageV2",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    zones = Output(
        doc="PSFs of the zones, and the inputs of cells and zones.",
        name="coadd_zones",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
    )


class CoaddPatchConfig(PipelineTaskConfig, pipelineConnections=CoaddPatchConnections):
    """Settings of the coaddition."""

    order = RangeField[int](doc="Order of the Lanczos kernel.", default=3, min=1, max=8)
    gridStep = RangeField[int](
        doc="Spacing in pixels of exact coordinates, which are interpolated; halved if that is too coarse.",
        default=32,
        min=4,
    )
    weighting = ChoiceField[str](
        doc="Weight of a detector image.",
        allowed={
            "variance": "inverse of its median variance: the deepest coadd for extended sources",
            "point_source": "inverse of variance times seeing squared: the deepest coadd for point sources",
            "uniform": "the same for all",
        },
        default="variance",
    )
    visitWeights = DictField[int, float](doc="Factors applied to the weights of individual visits.", default={})
    drop = ListField[str](doc="Mask planes of excluded input pixels.", default=["NO_DATA", "BAD", "CR", "STREAK"])
    propagate = ListField[str](
        doc="Mask planes that are propagated from any input to the coadd.",
        default=["SAT", "INTRP", "SUSPECT", "EDGE"],
    )
    reject = Field[bool](
        doc="Whether to reject features that appear in one epoch only (three epochs or more).", default=True
    )
    rejectSigma = RangeField[float](
        doc="Deviation from the median at which a rejected region starts.", default=5.0, min=1.0
    )
    growSigma = RangeField[float](doc="Deviation of connected pixels that are included in it.", default=2.5, min=0.5)
    amplitude = RangeField[float](
        doc="Fraction of the local brightness by which epochs may differ in addition to noise and seeing.",
        default=0.2,
        min=0.0,
    )
    dilate = RangeField[int](doc="Widening of rejected regions, in units of two pixels.", default=2, min=0)
    noisePlanes = RangeField[int](doc="Number of noise realizations in the coadd.", default=1, min=0)
    threads = RangeField[int](doc="Number of threads, which process rows of cells.", default=2, min=1)
    memory = RangeField[float](doc="Largest amount of input pixels in memory at once, in GB.", default=1.0, min=0.01)

    def settings(self) -> CoaddSettings:
        """The settings of `make_coadd`."""
        limits = RejectionLimits(self.rejectSigma, self.growSigma, self.amplitude, self.dilate)
        return CoaddSettings(
            order=self.order,
            drop=int(bits(*self.drop)),
            propagate=int(bits(*self.propagate)),
            rejection=limits if self.reject else None,
            n_noise=self.noisePlanes,
            threads=self.threads,
            memory=int(self.memory * 1e9),
        )


class CoaddPatchTask(PipelineTask):
    """Coadd one band of a patch.

    1. Only detectors accepted in the visit summary are used; each input is used or excluded with a reason.
    2. Each input has a single weight, measured on the whole image when it was calibrated, so that the PSF of the coadd
       is a weighted mean of the input PSFs.
    3. Only the rows that overlap the patch are read; pixels are resampled once, on the fly, and no warp is stored.
    4. With three epochs or more, features that appear in one epoch only are rejected.
    5. Noise realizations with the variance and correlation of each input are averaged in the same way as the image, for
       the errors of fluxes.
    6. An input contributes to the cells that it fills, so that each cell has a single PSF with the same weights. Pixels
       near cells with different inputs, and in cells that no input fills, are marked INEXACT_PSF, because their PSF is
       not that of the cell. Parts of a cell with different inputs are zones, whose PSFs are stored with the coadd.
    7. Pixels in the halos of bright stars of the reference catalogue are marked BRIGHT_OBJECT, and used as all others.
    """

    ConfigClass = CoaddPatchConfig
    _DefaultName = "coadd_patch"
    config: CoaddPatchConfig

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Open the inputs, coadd, write."""
        data_id = butlerQC.quantum.dataId
        sky_map = make_sky_map(SkyMapConfig(**butlerQC.get(inputRefs.sky_map)))
        patch = sky_map.tract(data_id["tract"]).patch(data_id["patch"])
        common = butlerQC.get(inputRefs.zero_points) if hasattr(inputRefs, "zero_points") else None
        inputs = self.open_inputs(
            butlerQC.get(inputRefs.visit_images), butlerQC.get(inputRefs.summaries), patch, common=common
        )
        stars = BrightStars.from_table(butlerQC.get(inputRefs.bright_stars))
        names = {"skymap": str(data_id["skymap"]), "band": str(data_id["band"])}
        butlerQC.put(self.run(inputs, patch, **names, common=common, stars=stars), outputRefs)

    def open_inputs(
        self,
        handles: Sequence[DeferredDatasetHandle],
        summaries: Sequence[Table],
        patch: Patch,
        *,
        common: Table | None = None,
    ) -> list[OpenInput]:
        """The images that can be used in the coadd, in order of visit and detector.

        Parameters
        ----------
        handles
            Handles of the visit images.
        summaries
            Summaries of their visits.
        patch
            The patch.
        common
            Common zero points of the detectors, from `TieZeroPointsTask`; None: each keeps its own.

        Raises
        ------
        NoWorkFound
            If there is none; the message counts the reasons.
        OutdatedSummary
            If a summary was made by an older version and does not contain the noise of its images.
        """
        settings = self.config.settings()
        rows = {(int(row["visit"]), int(row["detector"])): row for table in summaries for row in table}
        ties = {} if common is None else {(int(row["visit"]), int(row["detector"])): row for row in common}
        reasons, opened = Counter(), []
        for handle in sorted(handles, key=lambda one: (one.dataId["visit"], one.dataId["detector"])):
            key = (int(handle.dataId["visit"]), int(handle.dataId["detector"]))
            try:
                quality = accepted_quality(rows.get(key), ties.get(key))
                weight = weight_of(quality.noise.variance, quality.seeing, weighting=self.config.weighting)
                weight *= self.config.visitWeights.get(key[0], 1.0)
                one = open_input(handle, patch, quality, weight=weight, settings=settings, step=self.config.gridStep)
            except UnusableInput as reason:
                reasons[str(reason)] += 1
                self.log.info("Visit %d detector %d is left out: %s.", *key, reason)
            else:
                opened.append(one)
        summary = ", ".join(f"{count} because {reason}" for reason, count in sorted(reasons.items()))
        self.log.info("%d of %d images are used%s.", len(opened), len(handles), f"; {summary}" if summary else "")
        if not opened:
            raise NoWorkFound(f"none of {len(handles)} images can be used: {summary or 'there are none'}")
        return opened

    def run(
        self,
        inputs: Sequence[OpenInput],
        patch: Patch,
        *,
        skymap: str,
        band: str,
        common: Table | None = None,
        stars: BrightStars | None = None,
    ) -> Struct:
        """Coadd images.

        Parameters
        ----------
        inputs
            The images, in the order in which they are added.
        patch
            The patch.
        skymap, band
            Names of the sky map and the band.
        common
            Common zero points of the detectors, whose common error is stored with the coadd.
        stars
            Bright stars whose halos are marked in the mask; None: none are known.

        Returns
        -------
        Struct
            ``coadd`` (`CellCoadd`), ``exposures`` (`Image`), ``zone_map`` (`Image`) and ``zones`` (`Table`), see
            `dmu4.coadds.psf_zones.PsfZones`.

        Raises
        ------
        NoWorkFound
            If no pixel of the patch has a value.
        """
        settings, box = self.config.settings(), patch.image_bbox
        cell, sources = cell_size(patch), [one.source for one in inputs]
        planes = make_coadd(sources, box, cell=cell, settings=settings)
        if not planes.count.any():
            raise NoWorkFound(f"{len(inputs)} images touch the patch, but none has a usable pixel in it")
        nominal = nominal_inputs(planes.cell_counts)
        mark_inexact(planes, nominal, cell=cell)
        psfs = InputPsfs(sources, [one.nodes for one in inputs], box, order=settings.order)
        stamps = cell_psfs(psfs, nominal, cell=cell)
        zones = find_zones(planes, psfs, nominal, cell=cell)
        provenance = make_provenance(sources, [one.record for one in inputs], planes, nominal, box)
        metadata = self._metadata(inputs, planes, common)
        coadd = make_cell_coadd(
            planes, stamps, patch, skymap=skymap, band=band, provenance=provenance, stars=stars, metadata=metadata
        )
        covered = float((planes.count > 0).mean())
        self.log.info("%.1f%% of the patch has data, %d images at most.", 100 * covered, planes.count.max())
        maps = {"exposures": planes.count, "zone_map": zones.number}
        images = {key: Image(array, bbox=box, sky_projection=coadd.sky_projection) for key, array in maps.items()}
        return Struct(coadd=coadd, zones=zones.to_table(), **images)

    def _metadata(
        self, inputs: Sequence[OpenInput], planes: CoaddPlanes, common: Table | None
    ) -> dict[str, int | float | str | bool]:
        """What the coadd says of its inputs and of its zero point."""
        weights = np.array([one.source.weight for one in inputs])
        zero_points, positions = (
            np.array([getattr(one, name) for one in inputs]) for name in ("zero_point_error", "position_error")
        )
        shares = planes.cell_counts.sum(axis=(0, 1)) * weights
        metadata: dict[str, int | float | str | bool] = {
            "n_inputs": len(inputs),
            "psf_correction": float(np.average([one.psf_correction for one in inputs], weights=shares)),
            "flux_scale_error": shared_error(planes.cell_counts, weights, zero_points / POGSON),
            "clipped_fraction": float(planes.clipped.sum() / max(planes.cell_counts.sum(), 1)),
            "lanczos_order": self.config.order,
            "weighting": str(self.config.weighting),
        }
        if np.isfinite(positions).any():
            metadata["position_error"] = shared_error(planes.cell_counts, weights, positions)
        if common is not None and len(common):
            metadata["zero_point_error"] = float(common["common_err"][0])
        return metadata
