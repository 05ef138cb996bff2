"""Task: the zero points of all detectors of a band over a tract, from the stars that they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Row, Table
from lsst.daf.butler import DeferredDatasetHandle
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

from dmu4.detectors.common_stars import fit_common_zero_points
from dmu4.detectors.star_lists import list_stars, zero_point_table


class TieZeroPointsConnections(PipelineTaskConnections, dimensions=("skymap", "tract", "band")):
    """Inputs and outputs of the task."""

    sources = Input(
        doc="Sources of the detectors that overlap the tract, with their references.",
        name="source",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    summaries = Input(
        doc="Zero points of the detectors of each visit, and whether each is accepted.",
        name="visit_summary",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit"),
        multiple=True,
    )
    zero_points = Output(
        doc="Zero points of the accepted detectors, with their errors.",
        name="common_zero_points",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "band"),
    )


class TieZeroPointsConfig(PipelineTaskConfig, pipelineConnections=TieZeroPointsConnections):
    """Settings: there are none."""


class TieZeroPointsTask(PipelineTask):
    """Fit the zero points of all detectors of a band together.

    1. Each detector has a zero point from its own reference stars, whose error is that of few references.
    2. Stars seen by several detectors give the differences of their zero points, far more accurately.
    3. The detectors of a visit scatter about a common value, by an amount that is fitted; one that deviates keeps its
       own zero point.
    4. Coadds use the results; the images of detectors are not changed. A detector without a result keeps its own.
    """

    ConfigClass = TieZeroPointsConfig
    _DefaultName = "tie_zero_points"

    def runQuantum(
        self, butlerQC: QuantumContext, inputRefs: InputQuantizedConnection, outputRefs: OutputQuantizedConnection
    ) -> None:
        """Read the tables, fit, write."""
        sources, summaries = butlerQC.get(inputRefs.sources), butlerQC.get(inputRefs.summaries)
        butlerQC.put(self.run(sources, summaries), outputRefs)

    def run(self, sources: Sequence[DeferredDatasetHandle], summaries: Sequence[Table]) -> Struct:
        """Fit the zero points of one band.

        Parameters
        ----------
        sources
            Handles of the source tables, in any order.
        summaries
            Tables of the visits.

        Raises
        ------
        NoWorkFound
            If no detector is accepted.
        """
        rows: dict[tuple[int, int], Row] = {
            (int(row["visit"]), int(row["detector"])): row
            for table in summaries
            for row in table
            if row["accepted"] and np.isfinite(row["zero_point"])
        }
        found = {(int(one.dataId["visit"]), int(one.dataId["detector"])): one for one in sources}
        keys = sorted(rows.keys() & found.keys())
        if not keys:
            raise NoWorkFound(f"none of {len(found)} detectors is accepted")
        accepted = [rows[key] for key in keys]
        stars = list_stars([found[key].get() for key in keys], accepted)
        fit = fit_common_zero_points(stars)
        table = zero_point_table(fit, stars, accepted)
        self.metadata["detectors"], self.metadata["stars"] = len(keys), len(stars.reference)
        self.metadata["common_error"] = fit.common_error
        self.log.info(
            "%d detectors, %d stars: corrections of %.4f mag rms, errors %.4f mag (before: %.4f)",
            len(keys),
            len(stars.reference),
            float(np.sqrt(np.mean(fit.correction**2))),
            float(np.median(table["zero_point_err"])),
            float(np.median([row["zero_point_err"] for row in accepted])),
        )
        return Struct(zero_points=table)
