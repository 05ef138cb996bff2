"""Reference stars around a detector, at the epoch of its exposure and in its band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS

from dmu0.sky.sphere import mean_position, tangent_offsets
from dmu2.refcat import sky_positions
from dmu4.detectors.astrometry import Positions

RADIAN_IN_MAS = np.degrees(1) * 3.6e6
DAYS_PER_YEAR = 365.25

UNKNOWN_POSITION_ERROR = 100.0
"""Position error of references without quoted errors, mas."""

UNKNOWN_MOTION = 4.0
"""Typical proper motion, along one axis, of faint stars whose motion is not measured, mas/yr."""


@dataclass(frozen=True)
class References:
    """Reference stars; every array has one value per star.

    Attributes
    ----------
    id
        Identifier in the reference catalogue.
    positions
        Positions at the epoch of the exposure.
    flux, flux_error
        Flux in the band and its error, in nJy; NaN if there is none.
    point_like
        Whether the star is not extended in any catalogue.
    """

    id: np.ndarray
    positions: Positions
    flux: np.ndarray
    flux_error: np.ndarray
    point_like: np.ndarray

    def __len__(self) -> int:
        return len(self.id)


def no_references() -> References:
    """An empty catalogue."""
    nothing = np.empty(0)
    return References(np.empty(0, np.int64), Positions(nothing, nothing, nothing), nothing, nothing, np.empty(0, bool))


def around_detector(
    shards: list[Table], *, band: str, mjd: float, wcs: WCS, shape: tuple[int, int], margin: float = 10.0
) -> References:
    """Point-like references on a detector and its immediate surroundings.

    Parameters
    ----------
    shards
        Tables with the columns of `dmu2.refcat`.
    band
        Label of the band; a catalogue without fluxes in this band still provides positions.
    mjd
        Epoch of the exposure, MJD (TAI).
    wcs, shape
        Transformation of the header, and size (ny, nx) of the image.
    margin
        Margin around the detector in arcsec.
    """
    parts = []
    corners = wcs.all_pix2world([[0, 0], [shape[1] - 1, 0], [shape[1] - 1, shape[0] - 1], [0, shape[0] - 1]], 0)
    centre, reach = mean_position(*corners.T), margin / 3600
    bounds = np.array(tangent_offsets(*corners.T, centre=centre))
    for shard in shards:
        ra, dec = sky_positions(shard, mjd)
        east, north = tangent_offsets(ra, dec, centre=centre)
        inside = (east > bounds[0].min() - reach) & (east < bounds[0].max() + reach)
        inside &= (north > bounds[1].min() - reach) & (north < bounds[1].max() + reach)
        if inside.any():
            part = shard[inside]
            part["ra_now"], part["dec_now"] = ra[inside], dec[inside]
            parts.append(part)
    if not parts:
        return no_references()
    table = vstack(parts, metadata_conflicts="silent")
    count = len(table)
    flux, flux_error = np.full(count, np.nan), np.full(count, np.nan)
    if f"{band}_flux" in table.colnames:
        flux, flux_error = (np.asarray(table[f"{band}_{name}"], float) for name in ("flux", "fluxErr"))
    extended = np.asarray(table["extended"], bool) if "extended" in table.colnames else np.zeros(count, bool)
    return References(
        id=np.asarray(table["id"], np.int64),
        positions=Positions(np.asarray(table["ra_now"]), np.asarray(table["dec_now"]), _position_error(table, mjd)),
        flux=flux,
        flux_error=flux_error,
        point_like=~extended,
    )


def _position_error(table: Table, mjd: float) -> np.ndarray:
    """Standard error along one axis at a date in mas, from the catalogue and the motion since its epoch."""
    errors = np.stack([np.asarray(table[name], float) for name in ("coord_ra_err", "coord_dec_err")]) * RADIAN_IN_MAS
    errors = np.where(np.isfinite(errors) & (errors > 0), errors, UNKNOWN_POSITION_ERROR)
    years = np.abs(np.nan_to_num((mjd - np.asarray(table["epoch"], float)) / DAYS_PER_YEAR))
    motion = np.stack([np.asarray(table[name], float) for name in ("pm_ra_err", "pm_dec_err")]) * RADIAN_IN_MAS
    motion = np.where(np.isfinite(motion), motion, UNKNOWN_MOTION)
    return np.sqrt((errors**2 + (motion * years) ** 2).mean(axis=0))
