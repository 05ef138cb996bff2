"""Matching catalogues on the sphere: mutual nearest neighbours, the rate of chance matches, and proper motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

DAYS_PER_YEAR = 365.25
"""Julian year, the unit of time of proper motions."""


@dataclass(frozen=True)
class Matches:
    """Pairs of sources, each source in at most one pair.

    Attributes
    ----------
    first, second
        Row numbers in the two catalogues, in order of ``first``.
    separation
        Distance of the pair in arcsec.
    candidates
        Number of sources of the second catalogue within the radius of the first source: 1 for an unambiguous match.
    """

    first: np.ndarray
    second: np.ndarray
    separation: np.ndarray
    candidates: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class FalseMatches:
    """The rate of chance matches, measured by matching displaced positions.

    Attributes
    ----------
    chance
        Probability that a source without a counterpart is matched by chance.
    rate
        Expected fraction of chance pairs among the pairs.
    rate_err
        Standard error of the rate, from the Poisson noise of the displaced matches.
    """

    chance: float
    rate: float
    rate_err: float


def match(ra1: np.ndarray, dec1: np.ndarray, ra2: np.ndarray, dec2: np.ndarray, *, radius: float) -> Matches:
    """Pairs of mutual nearest neighbours within a radius.

    Sources are sorted into strips of declination divided into cells of right ascension, so that only a few cells are
    searched for each source; distances use haversines, which are correct at the poles and across right ascension zero.

    Parameters
    ----------
    ra1, dec1, ra2, dec2
        Positions in degrees; rows that are not finite never match.
    radius
        Matching radius in arcsec, positive and at most a degree.

    Raises
    ------
    ValueError
        If the radius is out of range, or a declination is beyond a pole.
    """
    if not 0 < radius <= 3600:
        raise ValueError(f"The matching radius must be in (0, 3600] arcsec; got {radius}.")
    ra1, dec1 = _radians(ra1, dec1, "first")
    ra2, dec2 = _radians(ra2, dec2, "second")
    if not (np.isfinite(ra1 + dec1).any() and np.isfinite(ra2 + dec2).any()):
        nothing = np.empty(0, np.int64)
        return Matches(nothing, nothing, np.empty(0), nothing)
    limit = np.radians(radius / 3600)
    bottom, height, origin, extent, cyclic = _extent(ra2, dec2, limit)
    cells, spans = _lay_out(bottom, height, extent, cyclic, float(np.nanmax(dec2)), limit)
    start, order, ra_sorted, dec_sorted = _fill_cells(ra2, dec2, bottom, height, origin, extent, cells)
    nearest1, nearest2, distance, candidates = _search(
        ra1, dec1, start, order, ra_sorted, dec_sorted, bottom, height, origin, extent, cyclic, cells, spans, limit
    )
    first = np.flatnonzero(nearest1 >= 0)
    first = first[nearest2[nearest1[first]] == first]
    separation = 2 * np.arcsin(np.sqrt(distance[first]))
    return Matches(first, nearest1[first], np.degrees(separation) * 3600, candidates[first].astype(np.int64))


def false_match_rate(
    ra1: np.ndarray,
    dec1: np.ndarray,
    ra2: np.ndarray,
    dec2: np.ndarray,
    *,
    radius: float,
    shift: float = 30.0,
    directions: int = 8,
) -> FalseMatches:
    """The rate of chance matches, measured by matching displaced positions of the first catalogue.

    With p the fraction of displaced sources that match, N1 and N2 sources and M pairs, the number T of genuine pairs
    follows from M = T + (N1 - T) (1 - T / N2) p: neither a source with a genuine counterpart, nor a counterpart in a
    genuine pair, forms a chance pair (except for confusion within the radius).

    Parameters
    ----------
    ra1, dec1, ra2, dec2
        Positions in degrees.
    radius
        The matching radius in arcsec.
    shift
        Displacement in arcsec, larger than twice the radius, and small compared to the field.
    directions
        Number of position angles, evenly spread.
    """
    if shift <= 2 * radius:
        raise ValueError(f"The shift must exceed twice the radius of {radius} arcsec; got {shift}.")
    found = len(match(ra1, dec1, ra2, dec2, radius=radius))
    moved = 0
    for angle in np.arange(directions) * (360 / directions):
        moved_ra, moved_dec = offset_positions(ra1, dec1, distance=shift, angle=float(angle))
        moved += len(match(moved_ra, moved_dec, ra2, dec2, radius=radius))
    number = len(np.atleast_1d(ra1)) * directions
    if number == 0 or found == 0:
        return FalseMatches(0.0 if number == 0 else moved / number, 0.0, 0.0)
    chance = moved / number
    n1, n2 = number / directions, len(np.atleast_1d(ra2))
    half = (1 - chance - n1 * chance / n2) / 2
    # The root between 0 and the size of the smaller catalogue, written so that zero chance gives the number of pairs.
    root = np.sqrt(max(half**2 - chance / n2 * (n1 * chance - found), 0.0))
    genuine = (found - n1 * chance) / (half + root) if half + root > 0 else 0.0
    rate = float(np.clip(1 - genuine / found, 0, 1))
    return FalseMatches(chance, rate, rate / np.sqrt(moved) if moved else 1 / (found * directions))


def offset_positions(
    ra: np.ndarray, dec: np.ndarray, *, distance: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in degrees, displaced by a distance in arcsec at a position angle in degrees (north through east)."""
    along = np.radians(angle)
    step = np.tan(np.radians(distance / 3600))
    return _displace(np.asarray(ra, float), np.asarray(dec, float), step * np.sin(along), step * np.cos(along))


def propagate(
    ra: np.ndarray, dec: np.ndarray, pm_ra: np.ndarray, pm_dec: np.ndarray, *, years: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions at another epoch.

    The motion is a straight line in space (ESA SP-1200, vol. 1, sec. 1.5.5, with no radial velocity).

    Parameters
    ----------
    ra, dec
        Positions in degrees.
    pm_ra, pm_dec
        Proper motions in mas/yr, in right ascension including cos(dec); NaN counts as zero.
    years
        Julian years from the epoch of the positions to the new epoch.
    """
    to_radians = np.radians(1 / 3.6e6)
    east = np.nan_to_num(np.asarray(pm_ra, float)) * years * to_radians
    north = np.nan_to_num(np.asarray(pm_dec, float)) * years * to_radians
    return _displace(np.asarray(ra, float), np.asarray(dec, float), east, north)


def _displace(ra: np.ndarray, dec: np.ndarray, east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add tangent vectors (rad) to unit vectors and return to degrees."""
    lon, lat = np.radians(ra), np.radians(dec)
    sin_lon, cos_lon, sin_lat, cos_lat = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)
    x = cos_lat * cos_lon - east * sin_lon - north * sin_lat * cos_lon
    y = cos_lat * sin_lon + east * cos_lon - north * sin_lat * sin_lon
    z = sin_lat + north * cos_lat
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def _radians(ra: np.ndarray, dec: np.ndarray, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension in [0, 2 pi) and declination; NaN stays NaN."""
    ra = np.atleast_1d(np.asarray(ra, np.float64))
    dec = np.atleast_1d(np.asarray(dec, np.float64))
    if ra.shape != dec.shape or ra.ndim != 1:
        raise ValueError(f"The {which} catalogue has {ra.shape} right ascensions and {dec.shape} declinations.")
    # Comparisons with NaN are false, so that missing positions pass.
    if (np.abs(dec) > 90).any():
        raise ValueError(f"The {which} catalogue has declinations beyond a pole: are they degrees?")
    outside = (ra < 0).any() or (ra >= 360).any()
    return np.radians(ra % 360 if outside else ra), np.radians(dec)


def _extent(ra: np.ndarray, dec: np.ndarray, limit: float) -> tuple[float, float, float, float, bool]:
    """The origin of the grid, the height of its strips, and the range of right ascension that it covers (rad)."""
    finite = np.isfinite(ra) & np.isfinite(dec)
    bins = 1440
    filled = np.flatnonzero(np.bincount((ra[finite] * (bins / (2 * np.pi))).astype(np.int64), minlength=bins)[:bins])
    gaps = np.diff(filled, append=filled[0] + bins)
    widest = int(np.argmax(gaps))
    begin = filled[(widest + 1) % len(filled)]
    covered = bins - gaps[widest] + 1
    # A strip over most of the circle, or one that reaches over a pole, is laid out as a full circle.
    highest = max(abs(float(dec[finite].min())), abs(float(dec[finite].max()))) + limit
    cyclic = bool(covered > 0.9 * bins or highest > np.radians(89))
    step = 2 * np.pi / bins
    extent = 2 * np.pi if cyclic else covered * step
    origin = 0.0 if cyclic else begin * step
    bottom, top = float(dec[finite].min()), float(dec[finite].max())
    area = max((np.sin(top) - np.sin(bottom)) * extent, limit**2)
    # About one source per cell: larger cells would need more comparisons, smaller ones would not fit in the cache.
    height = max(1.001 * limit, np.sqrt(area / finite.sum()), (top - bottom) / 1e6)
    return bottom, height, origin, extent, cyclic


def _lay_out(
    bottom: float, height: float, extent: float, cyclic: bool, top: float, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """First cell of each strip of declination, and the extent of the radius in right ascension there (rad)."""
    number = int((top - bottom) / height) + 1
    edges = bottom + height * np.arange(number + 1)
    highest = np.minimum(np.maximum(np.abs(edges[:-1]), np.abs(edges[1:])), np.pi / 2)
    counts = np.maximum((extent * np.cos(highest) / height).astype(np.int64), 1)
    cells = np.concatenate([[0], np.cumsum(counts)])
    # A circle of radius r at declination d spans asin(sin r / cos d) either side, and all of the circle at a pole.
    ratio = np.sin(limit) / np.maximum(np.cos(np.minimum(highest + limit, np.pi / 2)), 1e-300)
    spans = np.where(ratio < 1, np.arcsin(np.minimum(ratio, 1)), 2 * np.pi)
    return cells, spans


@njit(cache=True, nogil=True)
def _fill_cells(ra, dec, bottom, height, origin, extent, cells):  # pragma: no cover - compiled
    """Sort sources into cells by counting: first row of each cell, row numbers, and positions in that order."""
    number = ra.size
    start = np.zeros(cells[-1] + 1, np.int64)
    cell = np.empty(number, np.int64)
    for k in range(number):
        if not (np.isfinite(ra[k]) and np.isfinite(dec[k])):
            cell[k] = -1
            continue
        band = min(int((dec[k] - bottom) / height), cells.size - 2)
        along = ra[k] - origin
        if along < 0:
            along += 2 * np.pi
        width = cells[band + 1] - cells[band]
        cell[k] = cells[band] + min(int(along * (width / extent)), width - 1)
        start[cell[k] + 1] += 1
    for c in range(start.size - 1):
        start[c + 1] += start[c]
    fill = start[:-1].copy()
    order = np.empty(start[-1], np.int64)
    ra_sorted = np.empty(start[-1])
    dec_sorted = np.empty(start[-1])
    for k in range(number):
        if cell[k] >= 0:
            place = fill[cell[k]]
            fill[cell[k]] += 1
            order[place] = k
            ra_sorted[place] = ra[k]
            dec_sorted[place] = dec[k]
    return start, order, ra_sorted, dec_sorted


@njit(cache=True, nogil=True)
def _search(ra1, dec1, start, order, ra2, dec2, bottom, height, origin, extent, cyclic, cells, spans, limit):
    """Nearest in each direction (row, or -1), sin^2 of half the distance, and number of candidates."""
    bands = cells.size - 1
    nearest1 = np.full(ra1.size, -1, np.int64)
    nearest2 = np.full(order.max() + 1 if order.size else 0, -1, np.int64)
    distance1 = np.full(ra1.size, np.inf)
    distance2 = np.full(nearest2.size, np.inf)
    candidates = np.zeros(ra1.size, np.int32)
    threshold = np.sin(limit / 2) ** 2
    # Half of the empty part of the circle belongs to either end of the strip.
    wrap = -0.5 * (2 * np.pi - extent)
    for k in range(ra1.size):
        if not (np.isfinite(ra1[k]) and np.isfinite(dec1[k])):
            continue
        low = max(int(np.floor((dec1[k] - limit - bottom) / height)), 0)
        high = min(int(np.floor((dec1[k] + limit - bottom) / height)), bands - 1)
        along = ra1[k] - origin
        if along < wrap:
            along += 2 * np.pi
        for band in range(low, high + 1):
            width = cells[band + 1] - cells[band]
            left = int(np.floor((along - spans[band]) * (width / extent)))
            right = int(np.floor((along + spans[band]) * (width / extent)))
            if cyclic:
                right = min(right, left + width - 1)
            else:
                left, right = max(left, 0), min(right, width - 1)
            for c in range(left, right + 1):
                cell = cells[band] + (c % width if cyclic else c)
                for place in range(start[cell], start[cell + 1]):
                    difference = dec2[place] - dec1[k]
                    if abs(difference) > limit:
                        continue
                    squared = (
                        np.sin(0.5 * difference) ** 2
                        + np.cos(dec1[k]) * np.cos(dec2[place]) * np.sin(0.5 * (ra2[place] - ra1[k])) ** 2
                    )
                    if squared > threshold:
                        continue
                    row = order[place]
                    candidates[k] += 1
                    if squared < distance1[k] or (squared == distance1[k] and row < nearest1[k]):
                        distance1[k], nearest1[k] = squared, row
                    if squared < distance2[row]:
                        distance2[row], nearest2[row] = squared, k
    return nearest1, nearest2, distance1, candidates
