"""Means, offsets and plane coordinates of positions on the sphere, also across RA 0 and at the poles.

Right ascensions must not be averaged, subtracted or sorted like numbers: 359.9 and 0.1 deg are neighbours, and at a
pole all of them are. Use these functions instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T", float, np.ndarray)

POLAR = 80.0
"""Absolute declination in deg above which maps show offsets, because RA and Dec would be too distorted."""


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Cartesian unit vectors, shape (n, 3), of positions in degrees."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _full_circle(angle: T) -> T:
    """Degrees in the range 0 <= x < 360; the remainder of a tiny negative number would be 360."""
    return angle % 360 % 360


def mean_position(ra: np.ndarray, dec: np.ndarray) -> tuple[float, float]:
    """The mean of positions: RA (0 to 360) and Dec of the mean of their unit vectors, deg.

    Parameters
    ----------
    ra, dec
        Positions in degrees; those that are not finite are ignored.

    Returns
    -------
    ra, dec
        Mean position; NaN if there are no positions.
    """
    ra, dec = np.ravel(np.asarray(ra, float)), np.ravel(np.asarray(dec, float))
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return float("nan"), float("nan")
    x, y, z = unit_vectors(ra[known], dec[known]).mean(axis=0)
    return _full_circle(float(np.degrees(np.arctan2(y, x)))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def tangent_offsets(ra: np.ndarray, dec: np.ndarray, *, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets east and north of a point in the tangent plane at this point (gnomonic projection), deg.

    Parameters
    ----------
    ra, dec
        Positions in degrees, of any shape.
    centre
        RA and Dec of the point, deg.

    Returns
    -------
    east, north
        Offsets; NaN for positions 90 deg or more away, which have no projection.
    """
    a0, d0 = np.radians(centre)
    a, d = np.radians(np.asarray(ra, float)) - a0, np.radians(np.asarray(dec, float))
    along = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    scale = 1 / np.where(along > 0, along, np.nan)
    east = np.cos(d) * np.sin(a) * scale
    north = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) * scale
    return np.degrees(east), np.degrees(north)


def tangent_positions(
    east: np.ndarray, north: np.ndarray, *, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """RA (0 to 360) and Dec, deg, of offsets from `tangent_offsets`."""
    a0, d0 = np.radians(centre)
    x, y = np.radians(east), np.radians(north)
    denominator = np.cos(d0) - y * np.sin(d0)
    ra = a0 + np.arctan2(x, denominator)
    dec = np.arctan2(np.sin(d0) + y * np.cos(d0), np.hypot(x, denominator))
    return _full_circle(np.degrees(ra)), np.degrees(dec)


def sky_area(ra: np.ndarray, dec: np.ndarray) -> float:
    """Area in square degrees of the rectangle, along east and north of their mean, that contains some positions."""
    east, north = tangent_offsets(ra, dec, centre=mean_position(ra, dec))
    return float((np.nanmax(east) - np.nanmin(east)) * (np.nanmax(north) - np.nanmin(north)))


def unwrapped(ra: np.ndarray, *, about: float | None = None) -> np.ndarray:
    """Right ascensions without the jump from 360 to 0 deg, for drawing and binning; they may be negative or above 360.

    Parameters
    ----------
    ra
        Right ascensions in degrees, of any shape.
    about
        RA at the centre of the range; by default that of the positions. Without a jump they are unchanged.
    """
    ra = np.asarray(ra, float)
    known = ra[np.isfinite(ra)]
    if about is None and (known.size == 0 or np.ptp(known) <= 180):
        return ra
    middle = mean_position(known, np.zeros(known.shape))[0] if about is None else about
    return (ra - middle + 180) % 360 - 180 + middle


@dataclass(frozen=True)
class SkyPlane:
    """Plane coordinates for maps of a part of the sky: RA and Dec, or offsets from the centre near a pole.

    Attributes
    ----------
    ra, dec
        Centre of the map in deg.
    polar
        Whether the coordinates are offsets east and north of the centre instead of RA and Dec.
    """

    ra: float
    dec: float
    polar: bool

    @classmethod
    def around(cls, ra: np.ndarray, dec: np.ndarray) -> SkyPlane:
        """The plane for some positions (deg): RA and Dec unless a declination is beyond `POLAR`."""
        dec = np.asarray(dec, float)
        known = dec[np.isfinite(dec)]
        middle = mean_position(ra, dec)
        return cls(*middle, polar=bool(known.size and np.abs(known).max() > POLAR))

    def place(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y in deg: x increases with RA and does not jump, y increases with Dec (at the centre, if polar)."""
        if self.polar:
            return tangent_offsets(ra, dec, centre=(self.ra, self.dec))
        ra = np.asarray(ra, float)
        jumps = np.abs(ra - self.ra) > 180
        return np.where(jumps, unwrapped(ra, about=self.ra), ra), np.asarray(dec, float)

    def sky(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RA (0 to 360) and Dec in deg of positions in the plane."""
        if self.polar:
            return tangent_positions(x, y, centre=(self.ra, self.dec))
        return _full_circle(np.asarray(x, float)), np.asarray(y, float)
