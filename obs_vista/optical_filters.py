"""The filters of published optical coadds, since the Butler defines a band only by a filter of an instrument."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lsst.daf.butler import FormatterV2, Registry
from lsst.pipe.base import Instrument
from lsst.utils.introspection import get_full_type_name

from obs_vista.bands import OPTICAL_BANDS, get_band


class OpticalFilters(Instrument):
    """A placeholder for the cameras of optical coadds: it has filters, but neither detectors nor exposures."""

    @classmethod
    def getName(cls) -> str:
        """Name of the instrument in data ids."""
        return "OpticalCoadds"

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Insert the instrument and its filters; existing records are not changed."""
        name = self.getName()
        record = {
            "name": name,
            "class_name": get_full_type_name(self),
            "detector_max": 0,
            "visit_max": 0,
            "exposure_max": 0,
            "visit_system": None,
        }
        with registry.transaction():
            registry.syncDimensionData("instrument", record, update=update)
            self.register_bands(registry, OPTICAL_BANDS, update=update)

    def register_bands(self, registry: Registry, labels: Iterable[str], *, update: bool = False) -> None:
        """Insert the filters of some bands, whose labels may be a survey's own, into a registry with the instrument."""
        for band in map(get_band, labels):
            record = {"instrument": self.getName(), "name": band.physical_filter, "band": band.name}
            registry.syncDimensionData("physical_filter", record, update=update)

    def getRawFormatter(self, dataId: Any) -> type[FormatterV2]:
        """Not available, since there are no raw images.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("Published coadds have no raw images; they are read by dmu4.tasks.import_optical.")
