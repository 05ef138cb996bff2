"""Fluxes of catalogues in nJy (AB), from magnitudes or fluxes in the unit and system given by their columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from dmu0.files.catalogue_files import CatalogueError
from dmu0.files.columns import conversion, find_column, numbers, unit_of
from obs_vista.photometry import POGSON, flux_of, magnitude_of

ERROR_MAX = 2.0
"""Errors in mag from this value on are placeholders for missing ones (9.999, 8.888, 99), or meaningless."""

# What archives write where there is no magnitude: 0, -1, and runs of one digit such as -9.99, 88.8, 99 and -999.
_MARKS = re.compile(r"[-+]?(0(\.0*)?|([89])\3*(\.\3*)?|\d+e[-+]?\d+)|-1(\.0*)?")
_TOO_MANY_OUTSIDE = 0.5


class System(NamedTuple):
    """The magnitude system of a catalogue.

    Attributes
    ----------
    name
        AB or Vega, for columns that do not specify it.
    valid
        Smallest and largest possible magnitude of a star in the catalogue.
    """

    name: str
    valid: tuple[float, float]


def set_flux(
    out: Table,
    name: str,
    table: Table,
    values: Sequence[str],
    errors: Sequence[str],
    *,
    system: System,
    to_ab: float | None,
    good: np.ndarray | bool = True,
    error: np.ndarray | None = None,
) -> None:
    """Add a flux and its error in nJy (AB); both are NaN unless both are known and possible.

    Parameters
    ----------
    out
        Table to which the columns ``<name>_flux`` and ``<name>_fluxErr`` are added.
    name
        Name of the flux.
    table
        The catalogue as in its file.
    values, errors
        Names of the column of magnitudes or fluxes, and of their errors.
    system
        Magnitude system of the catalogue.
    to_ab
        AB minus Vega magnitude of the band; None if it is not known.
    good
        Whether each value is good according to the flags of the catalogue.
    error
        Errors in mag for rows without one in their column; None if there are none.

    Raises
    ------
    CatalogueError
        If the unit is neither a magnitude nor a flux density, its system cannot be converted, or more than half of the
        values are outside the range of the catalogue, which indicates a wrong unit.
    """
    column = find_column(table, values)
    if column is None:
        out[f"{name}_flux"] = out[f"{name}_fluxErr"] = np.full(len(out), np.nan)
        return
    spelled = unit_of(table, column)
    unit = _magnitude_unit(spelled)
    if unit is not None:
        offset = _offset(unit[1] or system.name, to_ab, column, spelled)
        magnitude = numbers(table, (column,), factor=unit[0])
        deviation = _magnitude_errors(table, errors, error)
    else:
        offset = 0.0  # flux densities are what AB is made of
        magnitude, deviation = _magnitudes_of_fluxes(table, column, errors, spelled)
    possible = (magnitude >= system.valid[0]) & (magnitude <= system.valid[1])
    _refuse_other_units(table, column, possible, system)
    known = possible & (deviation > 0) & (deviation < ERROR_MAX) & good
    result = flux_of(offset + np.where(known, magnitude, np.nan))
    out[f"{name}_flux"] = result
    out[f"{name}_fluxErr"] = result * deviation / POGSON


def _magnitudes_of_fluxes(
    table: Table, column: str, errors: Sequence[str], spelled: str
) -> tuple[np.ndarray, np.ndarray]:
    """AB magnitudes and their errors from flux densities."""
    factor = conversion(spelled, "nJy", what=f"the flux {column!r}")
    flux = numbers(table, (column,), valid=(1e-300, np.inf), factor=factor)
    return magnitude_of(flux), _flux_errors(table, errors, spelled) / flux * POGSON


def _magnitude_unit(spelled: str) -> tuple[float, str] | None:
    """Factor to mag and system (AB, Vega, ST, or empty if unknown) of a unit; None if it is not a magnitude."""
    letters = re.sub(r"[^a-z]", "", spelled.lower())
    factor = 1e-3 if letters.startswith(("mmag", "millimag")) else 1.0
    letters = letters.removeprefix("mmag").removeprefix("milli")
    for system in ("AB", "Vega", "ST"):
        word = system.lower()
        if letters in {word, f"m{word}"} or re.fullmatch(rf"(mag\w*{word}|{word}mag\w*)", letters):
            return factor, system
    return (factor, "") if letters in {"", "mag", "mags", "magnitude", "magnitudes"} else None


def _offset(stated: str, to_ab: float | None, column: str, spelled: str) -> float:
    """Offset that converts magnitudes of a system to AB magnitudes."""
    if stated == "AB":
        return 0.0
    if stated != "Vega" or to_ab is None:
        raise CatalogueError(f"gives {column!r} in {spelled!r}, for which no conversion to AB is known")
    return to_ab


def _magnitude_errors(table: Table, names: Sequence[str], error: np.ndarray | None) -> np.ndarray:
    """Errors in mag."""
    column = find_column(table, names)
    default = np.full(len(table), np.nan) if error is None else error
    if column is None:
        return default
    unit = _magnitude_unit(unit_of(table, column))
    if unit is None:
        raise CatalogueError(f"gives the error {column!r} in {unit_of(table, column)!r}, and its values in magnitudes")
    deviation = numbers(table, (column,), factor=unit[0], valid=(1e-9, ERROR_MAX))
    return np.where(np.isfinite(deviation), deviation, default)


def _flux_errors(table: Table, names: Sequence[str], spelled: str) -> np.ndarray:
    """Errors in nJy of fluxes in some unit; an error without a unit has that of its flux."""
    column = find_column(table, names)
    if column is None:
        return np.full(len(table), np.nan)
    factor = conversion(unit_of(table, column) or spelled, "nJy", what=f"the error {column!r}")
    return numbers(table, (column,), factor=factor, valid=(0, np.inf))


def _refuse_other_units(table: Table, column: str, possible: np.ndarray, system: System) -> None:
    """Refuse a column if most of its values are impossible for stars: its unit is wrong or missing."""
    values = numbers(table, (column,))
    outside = np.isfinite(values) & ~possible
    if np.count_nonzero(outside) <= _TOO_MANY_OUTSIDE * np.count_nonzero(np.isfinite(values)):
        return
    real = [value for value in values[outside].tolist() if not _is_mark(value)]
    if len(real) > _TOO_MANY_OUTSIDE * np.count_nonzero(np.isfinite(values)):
        low, high = system.valid
        raise CatalogueError(
            f"has {min(real):.6g} to {max(real):.6g} {unit_of(table, column)} in {column!r}: stars of this catalogue "
            f"have magnitudes of {low:g} to {high:g}. Is the unit right?"
        )


def _is_mark(value: float) -> bool:
    """Whether a number is a placeholder for a missing value; in single precision -99.99 is -99.98999786."""
    return bool(_MARKS.fullmatch(f"{value:.6g}")) or abs(value) >= 1e8
