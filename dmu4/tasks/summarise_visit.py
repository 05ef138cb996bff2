"""Task: combine the statistics of the detectors of a visit, and accept or reject each for coaddition."""

from __future__ import annotations

from lsst.pex.config import RangeField
from lsst.pipe.base import (
    InputQuantizedConnection,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)
from lsst.pipe.base.connectionTypes import Input, Output

from dmu4.detectors.acceptance import Limits, summarise


class SummariseVisitConnections(PipelineTaskConnections, dimensions=("instrument", "visit")):
    """Inputs and outputs of the task."""

    summaries = Input(
        doc="Statistics of each detector.",
        name="visit_image_summary",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
    )
    visit_summary = Output(
        doc="Statistics of all detectors, and whether each is accepted for coadds.",
        name="visit_summary",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit"),
    )


class SummariseVisitConfig(PipelineTaskConfig, pipelineConnections=SummariseVisitConnections):
    """Limits for coadding."""

    maxAstrometricScatter = RangeField[float](
        doc="Largest astrometric scatter along one axis in arcsec.", default=0.1, min=0.0
    )
    maxZeroPointError = RangeField[float](doc="Largest error of the zero point in mag.", default=0.05, min=0.0)
    maxZeroPointOffset = RangeField[float](
        doc="Largest deviation of the zero point from the median of the visit in mag.", default=0.15, min=0.0
    )
    maxPsfSizeResidual = RangeField[float](doc="Largest ``|dT/T|`` of reserved stars.", default=0.1, min=0.0)
    maxNoiseRatio = RangeField[float](
        doc="Largest ratio of measured to predicted scatter of empty pixels.", default=1.6, min=0.0
    )
    maxSeeingOffset = RangeField[float](
        doc="Largest relative deviation of the seeing from the median of the visit.", default=0.5, min=0.0
    )
    maxCrowding = RangeField[float](
        doc="Largest fraction of the light of bright stars that neighbours hide from apertures with a local sky.",
        default=0.1,
        min=0.0,
    )


class SummariseVisitTask(PipelineTask):
    """Combine the statistics of the detectors of a visit into one table, and compare them with the limits.

    1. A detector outside a limit is kept in the table, with all reasons, but excluded from the coadds.
    2. A statistic that was not measured, because of too few stars or references, does not cause a rejection.
    3. Zero point and seeing are also compared with the median of the visit, to identify single bad detectors.
    """

    ConfigClass = SummariseVisitConfig
    _DefaultName = "summarise_visit"
    config: SummariseVisitConfig

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read the summaries, write the table."""
        butlerQC.put(self.run(butlerQC.get(inputRefs.summaries)), outputRefs)

    def run(self, summaries: list) -> Struct:
        """Summarise one visit.

        Parameters
        ----------
        summaries
            Tables with one row each, in any order.
        """
        limits = Limits(
            astrometric_scatter=self.config.maxAstrometricScatter,
            zero_point_error=self.config.maxZeroPointError,
            zero_point_offset=self.config.maxZeroPointOffset,
            psf_size_residual=self.config.maxPsfSizeResidual,
            noise_ratio=self.config.maxNoiseRatio,
            seeing_offset=self.config.maxSeeingOffset,
            crowding=self.config.maxCrowding,
        )
        table = summarise(list(summaries), limits)
        self.metadata["accepted"] = int(table["accepted"].sum())
        self.log.info("%d of %d detectors accepted", int(table["accepted"].sum()), len(table))
        return Struct(visit_summary=table)
