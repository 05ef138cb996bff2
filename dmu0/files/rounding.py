"""Positions that were rounded: in single precision or by a few decimals they are off by more than stars are.

Single precision rounds a right ascension of 359 deg to steps of 0.11 arcsec, four decimals to 0.36 arcsec, and seconds
of time with one decimal to 1.5 arcsec. The error is that of a uniform distribution, the step over the root of 12.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from dmu0.files.catalogue_files import CatalogueError
from dmu0.files.columns import DEGREES, numbers, position_columns, text, unit_of

LARGEST_STEP = 10.0
"""Largest step of rounding in arcsec: with larger ones, stars are confused with their neighbours."""

FEWEST = 30
"""Smallest number of different values from which on decimals are counted: a few may be round by chance."""

_MOST_DECIMALS = 6
_SECONDS = re.compile(r"\d+(?:\s*[:hd\u00b0]\s*|\s+)\d{1,2}(?:\s*[:m'\u2032]\s*|\s+)\d{1,2}(?:\.(\d*))?\D*$")
_MAS = 3.6e6
"""Milliarcseconds per degree."""


def rounding_errors(table: Table, preferred: Sequence[tuple[str, str]] = ()) -> tuple[float, float]:
    """Standard errors in mas, of longitude and latitude as coordinates, by which the positions of a table were rounded.

    Parameters
    ----------
    table, preferred
        As for `dmu0.files.columns.positions`.

    Raises
    ------
    CatalogueError
        If a step is larger than `LARGEST_STEP`.
    """
    errors = []
    for name, hours in zip(position_columns(table, preferred), (True, False), strict=True):
        step = _step(table, name, hours=hours and name.upper() != "GLON")
        if step * 3600 > LARGEST_STEP:
            raise CatalogueError(
                f"gives {name!r} in steps of {step * 3600:.2g} arcsec: as a reference it must be exact"
            )
        errors.append(step * _MAS / np.sqrt(12))
    return errors[0], errors[1]


def _step(table: Table, name: str, *, hours: bool) -> float:
    """Step in degrees to which a coordinate was rounded; 0 if it is too small to matter, or not known."""
    column = np.ma.asarray(table[name])
    unit = unit_of(table, name).lower()
    if column.dtype.kind in "USO":
        words = [word for word in set(text(table, name).tolist()) if word]
        decimals = [len(match[1] or "") for word in words if (match := _SECONDS.search(word))]
        if decimals:
            factor = 1.0 if unit in ("d:m:s", "dms", "dd:mm:ss") or not hours else 15.0
            return factor * 10.0 ** -max(decimals) / 3600 if len(decimals) >= FEWEST else 0.0
    values = numbers(table, (name,))
    values = np.unique(values[np.isfinite(values)])
    factor = DEGREES.get(unit, 1.0)
    if not len(values):
        return 0.0
    if column.dtype.kind == "f" and column.dtype.itemsize < 8:
        return factor * float(np.spacing(np.abs(values).max().astype(column.dtype.newbyteorder("="))))
    if len(values) < FEWEST:
        return 0.0
    if (values == values.astype(np.float32)).all():
        return factor * float(np.spacing(np.float32(np.abs(values).max())))
    for decimals_of_all in range(_MOST_DECIMALS + 1):
        scaled = values * 10.0**decimals_of_all
        if (np.abs(scaled - np.round(scaled)) < 1e-4).all():
            return factor * 10.0**-decimals_of_all
    return 0.0
