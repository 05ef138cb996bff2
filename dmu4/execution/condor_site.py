"""An HTCondor pool as a site of BPS's Parsl service, which has classes for other batch systems only."""

from __future__ import annotations

from lsst.ctrl.bps.parsl.configuration import get_bps_config_value
from lsst.ctrl.bps.parsl.job import ParslJob
from lsst.ctrl.bps.parsl.site import SiteConfig
from parsl.executors import HighThroughputExecutor
from parsl.executors.base import ParslExecutor
from parsl.providers import CondorProvider

LABEL = "htcondor"


class Condor(SiteConfig):
    """A pool in which every slot runs one job at a time per core.

    Notes
    -----
    Keys of the site: ``slots`` (their largest number), ``cores_per_slot``, ``mem_per_slot`` (GB) and ``walltime``
    (HH:MM:SS) are required; ``requirements`` (a ClassAd expression) is not.
    """

    def get_executors(self) -> list[ParslExecutor]:
        """The executor of all jobs."""
        cores = get_bps_config_value(self.site, "cores_per_slot", int, required=True)
        memory = get_bps_config_value(self.site, "mem_per_slot", int, required=True)
        provider = CondorProvider(
            cores_per_slot=cores,
            mem_per_slot=memory,
            init_blocks=1,
            max_blocks=get_bps_config_value(self.site, "slots", int, required=True),
            walltime=get_bps_config_value(self.site, "walltime", str, required=True),
            requirements=get_bps_config_value(self.site, "requirements", str, ""),
        )
        return [
            HighThroughputExecutor(
                LABEL, provider=provider, max_workers_per_node=cores, address=self.get_address(), cores_per_worker=1
            )
        ]

    def select_executor(self, job: ParslJob) -> str:
        """The label of the executor of a job: there is one."""
        return LABEL
