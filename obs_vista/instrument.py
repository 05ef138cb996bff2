"""The instrument class of the Butler: detectors, filters, and formatters."""

from __future__ import annotations

from typing import Any, ClassVar

from lsst.daf.butler import FormatterV2, Registry
from lsst.pipe.base import Instrument
from lsst.utils.introspection import get_full_type_name

from obs_vista.bands import VISTA_BANDS
from obs_vista.camera import DETECTORS, NAME
from obs_vista.translator import VircamTranslator


class VIRCAM(Instrument):
    """The VISTA InfraRed CAMera: ``butler register-instrument REPO obs_vista.VIRCAM``."""

    policyName = NAME
    raw_definition = ("vircam_pawprint", ("instrument", "exposure", "detector"), "ImageV2")
    translatorClass: ClassVar[type] = VircamTranslator

    # ESO DET EXP NO is a number of up to seven digits; no registry stores less than 32 bits for it.
    exposure_max: ClassVar[int] = 2**31 - 1

    @classmethod
    def getName(cls) -> str:
        """Name of the instrument in data ids."""
        return NAME

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the instrument, its detectors and its filters; existing records are not changed."""
        with registry.transaction():
            for element, record in self._records():
                registry.syncDimensionData(element, record, update=update)

    def _records(self) -> list[tuple[str, dict[str, Any]]]:
        """Dimension element and record of everything that is registered."""
        instrument = {
            "name": NAME,
            "class_name": get_full_type_name(self),
            "detector_max": max(DETECTORS) + 1,
            "visit_max": self.exposure_max,
            "exposure_max": self.exposure_max,
            "visit_system": 0,
        }
        detectors = [
            {
                "instrument": NAME,
                "id": detector.id,
                "full_name": detector.name,
                "name_in_raft": f"{detector.id:02d}",
                "raft": "VIRCAM",
                "purpose": "SCIENCE",
            }
            for detector in DETECTORS.values()
        ]
        filters = [
            {"instrument": NAME, "name": band.physical_filter, "band": band.name} for band in VISTA_BANDS.values()
        ]
        return [
            ("instrument", instrument),
            *(("detector", record) for record in detectors),
            *(("physical_filter", record) for record in filters),
            ("visit_system", {"instrument": NAME, "id": 0, "name": "one-to-one"}),
        ]

    def getRawFormatter(self, dataId: Any) -> type[FormatterV2]:
        """The formatter for pawprint stacks."""
        from obs_vista.formatters import PawprintFormatter

        return PawprintFormatter
