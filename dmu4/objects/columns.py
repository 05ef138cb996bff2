"""The object table of the pipeline: the measured columns of the schema, and the object ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table

from dmu0.schema.columns import SchemaColumn, schema_columns
from dmu0.schema.tables import make_table

REFERENCE_PIXEL = 0.168
"""Pixel size of HSC coadds in arcsec: the unit of the numbers in the names of apertures, on any pixel grid."""

APERTURES = (3, 6, 9, 12, 17, 25)
"""Radii of the circular apertures in `REFERENCE_PIXEL`, that is 0.50, 1.01, 1.51, 2.02, 2.86 and 4.20 arcsec."""

GAAP_SIGMAS = (0.7, 1.0, 1.5, 2.5)
"""Sigmas in arcsec of the Gaussian apertures of GAaP fluxes, before the seeing; one more has the size of the PSF."""

GAAP_NAMES = (*(f"gaap{sigma:.1f}Flux".replace(".", "p", 1) for sigma in GAAP_SIGMAS), "gaapPsfFlux")
"""Names of the fluxes in these apertures."""

COVERAGE_RADIUS = 12 * REFERENCE_PIXEL
"""Radius in arcsec of the aperture whose fraction with data is ``{band}_coverage``."""

ADDED_LATER = ("ebv", "brightStar_flag", "brightStar_distance")
"""Columns of the schema that are not measured but added by dmu5."""


def flux_names(band: str) -> list[str]:
    """Names of the fluxes of a band; each has an error (name + ``Err``) and a flag (name + ``_flag``)."""
    circles = [f"ap{radius:02d}Flux" for radius in APERTURES]
    return [f"{band}_{flux}" for flux in ("psfFlux", *circles, "kronFlux", "cModelFlux", *GAAP_NAMES)]


def object_columns(bands: Sequence[str]) -> list[SchemaColumn]:
    """All columns of the object table in the order of the schema: the common ones, then those of each band."""
    return [column for column in schema_columns(bands) if column.name not in ADDED_LATER]


def object_id(*, tract: int, patch: int, number: np.ndarray) -> np.ndarray:
    """Object ids that are human-readable and exact in float64: tract x 10^11 + patch x 10^7 + number.

    Raises
    ------
    ValueError
        If the number of objects in a patch, or of patches in a tract, exceeds the range of the id.
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
        Column name -> values; columns that are not given are filled with their value for missing data.
    bands
        Bands of the survey, including those without data here.
    length
        Number of objects.

    Raises
    ------
    KeyError
        If a name in ``values`` is not a column.
    """
    return make_table(values, object_columns(bands), length=length)
