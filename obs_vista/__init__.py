"""The instrument package, which describes VIRCAM on VISTA to the LSST middleware."""

from __future__ import annotations

from typing import Any

__all__ = ("VIRCAM", "VircamTranslator")


def __getattr__(name: str) -> Any:
    # The middleware finds these two here by name; imported on demand, because with them comes all of the Butler.
    match name:
        case "VIRCAM":
            from obs_vista.instrument import VIRCAM

            return VIRCAM
        case "VircamTranslator":
            from obs_vista.translator import VircamTranslator

            return VircamTranslator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
