"""The object table of the pipeline: the columns of the schema that are measured, and how object numbers are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table

from dmu0.schema.columns import SchemaColumn, schema_columns
from dmu0.schema.tables import make_table

REFERENCE_PIXEL = 0.168
"""Pixel of HSC coadds in arcsec: the unit that the names of the apertures count in, on any pixel grid."""

APERTURES = (3, 6, 9, 12, 17, 25)
"""Radii of the circular apertures in `REFERENCE_PIXEL`, that is 0.50, 1.01, 1.51, 2.02, 2.86 and 4.20 arcsec."""

GAAP_SIGMA = 1.0
"""Sigma in arcsec of the Gaussian aperture of GAaP fluxes, before the seeing."""

COVERAGE_RADIUS = 12 * REFERENCE_PIXEL
"""Radius in arcsec of the circle whose filled fraction is ``{band}_coverage``."""

ADDED_LATER = ("ebv",)
"""Columns of the schema that are looked up, not measured: dmu5 adds them."""


def flux_names(band: str) -> list[str]:
    """Names of the fluxes of a band; each has an error, name + ``Err``, and a flag, name + ``_flag``."""
    circles = [f"ap{radius:02d}Flux" for radius in APERTURES]
    return [f"{band}_{flux}" for flux in ("psfFlux", *circles, "kronFlux", "gaap1p0Flux")]


def object_columns(bands: Sequence[str]) -> list[SchemaColumn]:
    """All columns of the object table, in the schema's order: the common ones, then band by band."""
    return [column for column in schema_columns(bands) if column.name not in ADDED_LATER]


def object_id(*, tract: int, patch: int, number: np.ndarray) -> np.ndarray:
    """Object numbers that can be read by eye and survive a float64: tract x 10^11 + patch x 10^7 + number.

    Raises
    ------
    ValueError
        If a patch holds more objects, or a tract more patches, than the number has room for.
    """
    number = np.asarray(number, np.int64)
    if number.size and number.max() >= 10**7:
        raise ValueError(f"Patch {patch} of tract {tract} has object {number.max()}; numbers must stay below 10^7.")
    if not 0 <= patch < 10**4 or not 0 <= tract < 90_000:
        raise ValueError(f"No object numbers for tract {tract}, patch {patch}: at most 89999 and 9999.")
    return np.int64(tract) * 10**11 + np.int64(patch) * 10**7 + number


def make_object_table(values: Mapping[str, np.ndarray], bands: Sequence[str], *, length: int) -> Table:
    """A table with exactly the columns of `object_columns`, with units, descriptions and UCDs.

    Parameters
    ----------
    values
        Column name -> values; a column that is not given is filled with its "missing" value.
    bands
        Bands of the survey, also those without data here.
    length
        Number of objects.

    Raises
    ------
    KeyError
        If a name in ``values`` is not a column.
    """
    return make_table(values, object_columns(bands), length=length)
