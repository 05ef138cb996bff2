"""Means, offsets and flat coordinates of positions on the sphere, right across RA 0 and at the poles.

Right ascensions are not to be averaged, subtracted or sorted as numbers are: 359.9 and 0.1 deg are neighbours, and at a
pole all of them are. These functions are the ones to use instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T", float, np.ndarray)

POLAR = 80.0
"""Declination, deg, beyond which a map in RA and Dec is too distorted to be read, and offsets are drawn instead."""


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Cartesian unit vectors, shape (n, 3), of positions in degrees."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _full_circle(angle: T) -> T:
    """Degrees from 0 to 360, 360 itself left out: the remainder of a tiny negative number is 360."""
    return angle % 360 % 360


def mean_position(ra: np.ndarray, dec: np.ndarray) -> tuple[float, float]:
    """The middle of positions: RA (0 to 360) and Dec of the mean of their unit vectors, deg.

    Parameters
    ----------
    ra, dec
        Positions in degrees; those that are not finite are left out.

    Returns
    -------
    ra, dec
        NaN if there is no position.
    """
    ra, dec = np.ravel(np.asarray(ra, float)), np.ravel(np.asarray(dec, float))
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return float("nan"), float("nan")
    x, y, z = unit_vectors(ra[known], dec[known]).mean(axis=0)
    return _full_circle(float(np.degrees(np.arctan2(y, x)))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def tangent_offsets(ra: np.ndarray, dec: np.ndarray, *, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets east and north of a point in the plane that touches the sphere there (gnomonic projection), deg.

    Parameters
    ----------
    ra, dec
        Positions in degrees, of any shape.
    centre
        RA and Dec of the point, deg.

    Returns
    -------
    east, north
        NaN for positions 90 deg or more away, which the plane does not have.
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
    """RA (0 to 360) and Dec, deg, of offsets as `tangent_offsets` gives."""
    a0, d0 = np.radians(centre)
    x, y = np.radians(east), np.radians(north)
    denominator = np.cos(d0) - y * np.sin(d0)
    ra = a0 + np.arctan2(x, denominator)
    dec = np.arctan2(np.sin(d0) + y * np.cos(d0), np.hypot(x, denominator))
    return _full_circle(np.degrees(ra)), np.degrees(dec)


def sky_area(ra: np.ndarray, dec: np.ndarray) -> float:
    """Area in square degrees of the rectangle, along east and north of their mean, that holds some positions."""
    east, north = tangent_offsets(ra, dec, centre=mean_position(ra, dec))
    return float((np.nanmax(east) - np.nanmin(east)) * (np.nanmax(north) - np.nanmin(north)))


def unwrapped(ra: np.ndarray, *, about: float | None = None) -> np.ndarray:
    """Right ascensions without the jump from 360 to 0 deg, for drawing and binning; they may be negative or above 360.

    Parameters
    ----------
    ra
        Degrees, of any shape.
    about
        RA that is to be in the middle; that of the positions if None. Where there is no jump they stay as they are.
    """
    ra = np.asarray(ra, float)
    known = ra[np.isfinite(ra)]
    if about is None and (known.size == 0 or np.ptp(known) <= 180):
        return ra
    middle = mean_position(known, np.zeros(known.shape))[0] if about is None else about
    return (ra - middle + 180) % 360 - 180 + middle


@dataclass(frozen=True)
class SkyPlane:
    """Flat coordinates of a part of the sky for maps: RA and Dec, or near a pole offsets from the middle.

    Attributes
    ----------
    ra, dec
        Middle of the part, deg.
    polar
        Whether the coordinates are offsets east and north of the middle instead of RA and Dec.
    """

    ra: float
    dec: float
    polar: bool

    @classmethod
    def around(cls, ra: np.ndarray, dec: np.ndarray) -> SkyPlane:
        """The plane for some positions, deg: of RA and Dec unless one of them is beyond `POLAR`."""
        dec = np.asarray(dec, float)
        known = dec[np.isfinite(dec)]
        middle = mean_position(ra, dec)
        return cls(*middle, polar=bool(known.size and np.abs(known).max() > POLAR))

    def place(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y, deg: x grows with RA and does not jump, y grows with Dec (at the middle, if polar)."""
        if self.polar:
            return tangent_offsets(ra, dec, centre=(self.ra, self.dec))
        ra = np.asarray(ra, float)
        jumps = np.abs(ra - self.ra) > 180
        return np.where(jumps, unwrapped(ra, about=self.ra), ra), np.asarray(dec, float)

    def sky(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RA (0 to 360) and Dec, deg, of places in the plane."""
        if self.polar:
            return tangent_positions(x, y, centre=(self.ra, self.dec))
        return _full_circle(np.asarray(x, float)), np.asarray(y, float)
