"""Identifiers of reference stars: read from any format, complete, and unique."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from dmu0.files.columns import find_column, text

UNKNOWN = -1
"""Identifier of a star without one in its catalogue; `unique_identifiers` replaces it."""

_SAME_IDENTIFIER = 1.0  # arcsec: rows with one identifier that are further apart are different stars
_NO_IDENTIFIER = 0.05  # arcsec: rows without identifiers that are nearer than this are one star
_ARCSEC_PER_RADIAN = 206264.80624709636
_LARGEST = np.iinfo(np.int64).max
# Above this a float no longer tells neighbouring integers apart: as an identifier it is of several stars.
_LARGEST_FLOAT = 2**53


def identifiers(table: Table, names: Sequence[str]) -> np.ndarray:
    """The first existing column of identifiers as int64.

    Numbers may be text, alone or after the name of a catalogue (``Gaia DR3 4295806720``).

    Returns
    -------
    numpy.ndarray
        Positive numbers, or `UNKNOWN` for values that are masked, blank, 0, negative, too large for the type of the
        column in the file, or text without a number.
    """
    name = find_column(table, names)
    if name is None:
        return np.full(len(table), UNKNOWN, np.int64)
    column = np.ma.asarray(table[name])
    mask, values = np.ma.getmaskarray(column), np.asarray(column.data)
    if values.dtype.kind in "iu":
        good = ~mask & (values > 0) & (values <= np.asarray(_LARGEST, np.uint64 if values.dtype == np.uint64 else None))
        return np.where(good, np.where(good, values, 0).astype(np.int64), UNKNOWN)
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            good = ~mask & (values >= 1) & (values < _LARGEST_FLOAT) & (values == np.floor(values))
        return np.where(good, np.where(good, values, 0).astype(np.int64), UNKNOWN)
    return np.array([_number(word) for word in text(table, name).tolist()], np.int64)


def _number(word: str) -> int:
    """The number in a text, which is the whole text or its last word."""
    match = re.fullmatch(r"(?:.*\s)?(\d+)(?:\.0*)?", word)
    value = int(match[1]) if match and len(match[1]) < 20 else 0
    return value if 0 < value <= _LARGEST else UNKNOWN


def first_of_each(ids: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """The rows to keep so that each star occurs once, for catalogues with overlapping parts.

    A row is a duplicate if an earlier one has the same identifier within an arcsec or, if both have none, lies
    within 0.05 arcsec; distances are on the sphere. An identifier shared by stars at different positions, as in
    catalogues that number their rows, belongs to different stars.

    Parameters
    ----------
    ids
        Identifiers, `UNKNOWN` if there is none.
    ra, dec
        Positions, ICRS deg.
    """
    keep = np.ones(len(ids), bool)
    known = ids != UNKNOWN
    _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    for chosen, size in ((known & (counts[inverse] > 1), _SAME_IDENTIFIER), (~known, _NO_IDENTIFIER)):
        rows = np.flatnonzero(chosen)
        if rows.size:
            keep[rows] = ~_later_neighbours(ids[rows], ra[rows], dec[rows], size)
    return keep


def _later_neighbours(ids: np.ndarray, ra: np.ndarray, dec: np.ndarray, size: float) -> np.ndarray:
    """Rows for which an earlier one has the same identifier and lies within about a given distance in arcsec.

    Space is divided into cubes of twice this size, in eight ways shifted by half a cube: two points closer than the
    size share a cube in one of the eight. Only the distance to the nearest earlier row of the cube is computed.
    """
    lon, lat = np.radians(ra), np.radians(dec)
    xyz = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]) * _ARCSEC_PER_RADIAN
    later = np.zeros(len(ids), bool)
    for number in range(8):
        moved = np.array([number >> axis & 1 for axis in range(3)]) / 2
        cells = np.floor(xyz / (2 * size) + moved).astype(np.int64)
        order = np.lexsort((*cells.T, ids))
        same = (np.diff(cells[order], axis=0) == 0).all(axis=1) & (np.diff(ids[order]) == 0)
        near = np.linalg.norm(np.diff(xyz[order], axis=0), axis=1) < size
        # Within a cube rows keep their order, for the sort is stable: the second of a pair is the later one.
        later[order[1:][same & near]] = True
    return later


def unique_identifiers(ids: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Unique identifiers: unknown ones, and those used by an earlier row, are replaced by a number from the position.

    The number is the position in steps of 0.05 arcsec, packed into an integer, or the next free number.

    Parameters
    ----------
    ids
        Identifiers, `UNKNOWN` if there is none.
    ra, dec
        Positions, ICRS deg.
    """
    out = ids.astype(np.int64)
    _, first = np.unique(out, return_index=True)
    new = np.ones(len(out), bool)
    new[first] = False
    new |= out == UNKNOWN
    step = 3600 / 0.05
    rows = np.flatnonzero(new)
    packed = np.round(ra[rows] % 360 * step).astype(np.int64) * 2**24
    out[rows] = packed + np.round((dec[rows] + 90) * step).astype(np.int64) + 1
    return free_numbers(out, rows, step=1)


def free_numbers(ids: np.ndarray, rows: np.ndarray, *, step: int) -> np.ndarray:
    """Identifiers in which those of some rows are changed to the next free number if they are in use.

    Parameters
    ----------
    ids
        Identifiers.
    rows
        Numbers of the rows whose identifiers may change, in order of precedence.
    step
        Direction of the search, 1 for increasing and -1 for decreasing numbers.
    """
    out = ids.copy()
    fixed = np.ones(len(out), bool)
    fixed[rows] = False
    taken = set(out[fixed].tolist())
    for row in rows.tolist():
        number = int(out[row])
        while number in taken:
            number += step
        taken.add(number)
        out[row] = number
    return out
