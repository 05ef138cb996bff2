"""Tasks for the tests of execution: they do nothing but succeed, find no work, or fail, by detector."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import lsst.pipe.base as pipe_base
import lsst.pipe.base.connectionTypes as connection_types
import numpy as np
from lsst.pex.config import Field

DIMENSIONS = ("instrument", "exposure", "detector")


def _take_too_much_memory() -> None:
    """Ask for 2 GB more than this process has, when it may have 1 GB more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, limits[1]))
    try:
        np.ones(2**28)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


class ToyConnections(pipe_base.PipelineTaskConnections, dimensions=DIMENSIONS):
    """One image in, one dictionary out."""

    raw = connection_types.Input(
        doc="An image.", name="vircam_pawprint", storageClass="ImageV2", dimensions=DIMENSIONS, deferLoad=True
    )
    product = connection_types.Output(
        doc="A number.", name="toy_product", storageClass="StructuredDataDict", dimensions=DIMENSIONS
    )


class ToyConfig(pipe_base.PipelineTaskConfig, pipelineConnections=ToyConnections):
    """What to do with which detector."""

    empty = Field[int](doc="Detector for which there is no work.", default=2)
    broken = Field[int](doc="Detector that fails.", default=3)
    deadly = Field[int](doc="Detector at which the process dies.", default=0)
    deadlyOnce = Field[int](doc="Detector at which the process dies if the file $TOY_STARTED is new.", default=0)
    hungry = Field[int](doc="Detector that needs more memory than the process may have.", default=0)
    slow = Field[int](doc="Detector that takes 40 s, and writes the file $TOY_STARTED when it begins.", default=0)


class ToyTask(pipe_base.PipelineTask):
    """Succeed, find no work, or fail."""

    ConfigClass = ToyConfig
    _DefaultName = "toy"

    def runQuantum(self, butlerQC, inputRefs, outputRefs):
        """Do what the configuration says for the detector."""
        detector = butlerQC.quantum.dataId["detector"]
        if detector == self.config.empty:
            raise pipe_base.NoWorkFound("there are no stars on it")
        if detector == self.config.deadly:
            os._exit(9)
        if detector == self.config.deadlyOnce and not Path(os.environ["TOY_STARTED"]).exists():
            Path(os.environ["TOY_STARTED"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if detector == self.config.hungry:
            _take_too_much_memory()
        if detector == self.config.slow:
            Path(os.environ["TOY_STARTED"]).touch()
            time.sleep(40)
        butlerQC.put({"detector": detector}, outputRefs.product)
        if detector == self.config.broken:  # after it has written something, which must not be taken for a product
            raise ValueError("the seeing is 9.9 arcsec")
