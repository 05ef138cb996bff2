"""Visibility of the field from Paranal: sidereal time, altitude, azimuth, airmass."""

from __future__ import annotations

import numpy as np

LATITUDE = -24.6157
"""Latitude of VISTA, deg."""

LONGITUDE = -70.3976
"""Longitude of VISTA, deg east."""


def sidereal_time(mjd: float) -> float:
    """Local mean sidereal time at VISTA in deg for an MJD in UTC (Meeus 1998, eq. 12.4, without its small terms)."""
    return float((280.46061837 + 360.98564736629 * (mjd - 51544.5) + LONGITUDE) % 360)


def time_of_hour_angle(night: float, *, ra: float, hour_angle: float) -> float:
    """The MJD (UTC), in the day starting at MJD ``night``, at which a right ascension has an hour angle (both deg)."""
    wait = (ra + hour_angle - sidereal_time(night)) % 360
    return night + wait / 360.98564736629


def altitude_azimuth(mjd: float, *, ra: float, dec: float) -> tuple[float, float]:
    """Altitude, and azimuth in the convention of ESO (south 0, west 90), in deg."""
    hour, delta, phi = np.radians([sidereal_time(mjd) - ra, dec, LATITUDE])
    altitude = np.arcsin(np.sin(phi) * np.sin(delta) + np.cos(phi) * np.cos(delta) * np.cos(hour))
    azimuth = np.arctan2(np.sin(hour), np.cos(hour) * np.sin(phi) - np.tan(delta) * np.cos(phi))
    return float(np.degrees(altitude)), float(np.degrees(azimuth) % 360)


def airmass(mjd: float, *, ra: float, dec: float) -> float:
    """Airmass: the secant of the zenith distance."""
    return float(1 / np.sin(np.radians(altitude_azimuth(mjd, ra=ra, dec=dec)[0])))
