"""The columns of a band that was not measured, for all object tables."""

from __future__ import annotations

import numpy as np

from dmu4.objects.columns import flux_names


def missing_band(band: str, length: int) -> dict[str, np.ndarray]:
    """The columns of a band without a coadd that differ from missing values: all fluxes flagged, zero coverage.

    Parameters
    ----------
    band
        Label of the band.
    length
        Number of objects.
    """
    flags = {f"{name}_flag": np.ones(length, bool) for name in flux_names(band)}
    return flags | {f"{band}_inputCount": np.zeros(length, int), f"{band}_coverage": np.zeros(length)}
