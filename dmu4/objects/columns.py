"""The object table: its columns, the same for every band, and how object numbers are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Column, Table

REFERENCE_PIXEL = 0.168
"""Pixel of HSC coadds in arcsec: the unit that the names of the apertures count in, on any pixel grid."""

APERTURES = (3, 6, 9, 12, 17, 25)
"""Radii of the circular apertures in `REFERENCE_PIXEL`, that is 0.50, 1.01, 1.51, 2.02, 2.86 and 4.20 arcsec."""

GAAP_SIGMA = 1.0
"""Sigma in arcsec of the Gaussian aperture of GAaP fluxes, before the seeing."""

COVERAGE_RADIUS = 12 * REFERENCE_PIXEL
"""Radius in arcsec of the circle whose filled fraction is ``{band}_coverage``."""


@dataclass(frozen=True)
class ObjectColumn:
    """One column of the object table.

    Parameters
    ----------
    name
        Name in the table; names stay distinct when case is ignored.
    dtype
        numpy type.
    unit
        astropy unit string, empty for none.
    description
        What the column holds, in one sentence.
    """

    name: str
    dtype: str
    unit: str
    description: str

    @property
    def missing(self) -> object:
        """The value that stands for "none": NaN, an empty string, False or -1."""
        kind = np.dtype(self.dtype).kind
        return {"f": np.nan, "U": "", "b": False}.get(kind, -1)


def common_columns() -> list[ObjectColumn]:
    """The columns that an object has once, whatever its bands."""
    return [
        ObjectColumn("objectId", "i8", "", "Number of the object: tract x 10^11 + patch x 10^7 + running number"),
        ObjectColumn("coord_ra", "f8", "deg", "Right ascension, ICRS, measured in refBand"),
        ObjectColumn("coord_dec", "f8", "deg", "Declination, ICRS, measured in refBand"),
        ObjectColumn("coord_raErr", "f4", "deg", "Error of coord_ra on the sky, that is times cos(coord_dec)"),
        ObjectColumn("coord_decErr", "f4", "deg", "Error of coord_dec"),
        ObjectColumn("tract", "i4", "", "Tract of the sky map"),
        ObjectColumn("patch", "i4", "", "Patch of the tract"),
        ObjectColumn(
            "refBand", "U2", "", "Band of the highest signal to noise, in which position and shape are measured"
        ),
        ObjectColumn("x", "f8", "pixel", "Position along the x axis of the tract; pixel centres are integers"),
        ObjectColumn("y", "f8", "pixel", "Position along the y axis of the tract; pixel centres are integers"),
        ObjectColumn(
            "detect_isPrimary", "?", "", "The one row of this object: inside its patch's and tract's own area"
        ),
        ObjectColumn("detect_fromBlend", "?", "", "The footprint holds more than one object"),
        ObjectColumn("footprint_area", "i4", "pixel2", "Pixels of the footprint that belong to the object"),
        ObjectColumn("blend_size", "i4", "", "Number of objects in the connected footprint"),
        ObjectColumn(
            "shape_xx", "f4", "arcsec2", "Adaptive moment along the tract's x axis in refBand, PSF not removed"
        ),
        ObjectColumn(
            "shape_yy", "f4", "arcsec2", "Adaptive moment along the tract's y axis in refBand, PSF not removed"
        ),
        ObjectColumn("shape_xy", "f4", "arcsec2", "Mixed adaptive moment in refBand, PSF not removed"),
        ObjectColumn("shape_flag", "?", "", "The adaptive moments did not converge: the shape is that of the PSF"),
        ObjectColumn("refExtendedness", "f4", "", "0 point-like, 1 extended in refBand; NaN where it cannot be told"),
        ObjectColumn(
            "kronRad", "f4", "arcsec", "Semi-major axis of the Kron ellipse, from refBand, used in every band"
        ),
    ]


def flux_names(band: str) -> list[tuple[str, str]]:
    """Name and meaning of each flux of a band."""
    circles = [
        (
            f"{band}_ap{radius:02d}Flux",
            f"flux in a circle of {radius * REFERENCE_PIXEL:.2f} arcsec, neighbours subtracted",
        )
        for radius in APERTURES
    ]
    return [
        (f"{band}_psfFlux", "point-source flux at the position of refBand, fitted together with all neighbours"),
        *circles,
        (f"{band}_kronFlux", "flux in the Kron ellipse of refBand, neighbours subtracted"),
        (f"{band}_gaap1p0Flux", "flux in a Gaussian aperture of sigma 1.0 arcsec before the seeing: for colours"),
    ]


def band_columns(band: str) -> list[ObjectColumn]:
    """The columns of one band."""
    columns = [ObjectColumn(f"{band}_detected", "?", "", f"A peak above the threshold in {band}")]
    for name, meaning in flux_names(band):
        columns += [
            ObjectColumn(name, "f4", "nJy", meaning[0].upper() + meaning[1:]),
            ObjectColumn(f"{name}Err", "f4", "nJy", f"Statistical error of {name}, correlated noise included"),
            ObjectColumn(f"{name}_flag", "?", "", f"{name} is missing, or rests on too few or on saturated pixels"),
        ]
    return [
        *columns,
        ObjectColumn(f"{band}_fluxFloor", "f4", "", f"Fraction of a {band} flux to add to its error in quadrature"),
        ObjectColumn(f"{band}_extendedness", "f4", "", f"0 point-like, 1 extended in {band}; NaN below 5 sigma"),
        ObjectColumn(f"{band}_inputCount", "i4", "", f"Number of images that make up {band} at the position"),
        ObjectColumn(f"{band}_coverage", "f4", "", f"Fraction of the 2.02-arcsec circle that has data in {band}"),
        ObjectColumn(
            f"{band}_depth5", "f4", "mag(AB)", f"Magnitude of a 5-sigma point source in {band} at the position"
        ),
        ObjectColumn(
            f"{band}_pixelFlags_inexact_psfCenter",
            "?",
            "",
            f"An image of {band} begins or ends at the object: its PSF there is not exact",
        ),
        ObjectColumn(f"{band}_usable", "?", "", f"{band} has data, a PSF and no saturation at the object"),
    ]


def object_columns(bands: Sequence[str]) -> list[ObjectColumn]:
    """All columns of the object table, in order: the common ones, then band by band."""
    return common_columns() + [column for band in bands for column in band_columns(band)]


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


def make_object_table(values: dict[str, np.ndarray], bands: Sequence[str], *, length: int) -> Table:
    """A table with exactly the columns of `object_columns`, with units and descriptions.

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
    columns = object_columns(bands)
    unknown = values.keys() - {column.name for column in columns}
    if unknown:
        raise KeyError(f"The object table of bands {', '.join(bands)} has no column {sorted(unknown)[0]!r}.")
    table = Table()
    for column in columns:
        data = values.get(column.name)
        if data is None:
            data = np.full(length, column.missing, dtype=column.dtype)
        table.add_column(
            Column(
                np.asarray(data).astype(column.dtype),
                name=column.name,
                unit=column.unit or None,
                description=column.description,
            )
        )
    return table
