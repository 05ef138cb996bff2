"""Halos of bright stars: circles about stars of the reference catalogue in which objects and fluxes may be wrong.

The mask plane BRIGHT_OBJECT of the coadds (`dmu4.coadds.halos`) and the column ``brightStar_flag`` of the catalogue are
made from the same circles.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import astropy.units as u
import numpy as np
from astropy.table import Table
from lsst.sphgeom import ConvexPolygon
from scipy.spatial import cKDTree

from dmu0.sky.sphere import unit_vectors
from dmu2.refcat import read_shard, sky_positions
from obs_vista.photometry import magnitude_of

FAINTEST = 17.5
"""Magnitude of the faintest star with a halo: where HSC saturates (HSC-SSP data release, Bright Star Masks)."""

PS1_SATURATED = 13.5
"""Magnitude above which PSF fluxes of PanSTARRS are believed, a choice: it saturates at about this brightness."""

REDDER = 0.5
"""G - J (AB) assumed for a star without an optical magnitude, a choice: redder stars get larger halos than G gives."""

OPTICAL = ("gaia_g", "ps1_r", "ps1_i", "ps1_g")
"""Fluxes that stand for G, the first that is known."""


class BrightStars(NamedTuple):
    """Bright stars and their halos; every array has one value per star.

    Attributes
    ----------
    ra, dec
        Positions, ICRS deg, at the epoch of the reference catalogue.
    radius
        Radii of the halos, arcsec.
    """

    ra: np.ndarray
    dec: np.ndarray
    radius: np.ndarray

    @classmethod
    def of_shard(cls, table: Table) -> Self:
        """The stars of a shard from `dmu2.refcat.read_shard` that are bright enough."""
        magnitude = star_magnitudes(table)
        bright = (magnitude < FAINTEST) & ~np.asarray(table["extended"], bool)
        ra, dec = sky_positions(table)
        return cls(ra[bright], dec[bright], halo_radius(magnitude[bright]))

    @classmethod
    def joined(cls, parts: Iterable[BrightStars]) -> Self:
        """The stars of all parts, in their order."""
        nothing = np.zeros(0)
        return cls(*(np.concatenate(columns) for columns in zip((nothing, nothing, nothing), *parts, strict=True)))

    @classmethod
    def of_catalogue(cls, shards: Iterable[Path]) -> Self:
        """The stars of the files of a reference catalogue that are bright enough.

        Raises
        ------
        ReferenceCatalogueError
            If a file is unreadable.
        """
        return cls.joined(cls.of_shard(read_shard(path)) for path in shards)

    @classmethod
    def from_table(cls, table: Table) -> Self:
        """The stars of a table from `to_table`."""
        return cls(*(np.asarray(table[name], float) for name in cls._fields))

    def to_table(self) -> Table:
        """A table with the columns ra, dec (ICRS deg) and radius (arcsec)."""
        return Table(list(self), names=self._fields, units=(u.deg, u.deg, u.arcsec))

    def reaching(self, region: ConvexPolygon) -> Self:
        """The stars inside and outside of a part of the sky whose halos reach the circle around it."""
        circle = region.getBoundingCircle()
        chord = np.linalg.norm(unit_vectors(self.ra, self.dec) - np.array(list(circle.getCenter())), axis=1)
        gap = 2 * np.arcsin(np.clip(chord / 2, 0, 1)) - circle.getOpeningAngle().asRadians()
        near = gap < np.radians(self.radius / 3600)
        return type(self)(self.ra[near], self.dec[near], self.radius[near])

    def distances(self, ra: np.ndarray, dec: np.ndarray, *, reach: float = 2.0) -> np.ndarray:
        """Distance of each position (ICRS deg) from the star whose halo matters most, in units of its radius.

        Parameters
        ----------
        ra, dec
            Positions.
        reach
            Largest distance that is looked for, in the same units; NaN beyond.
        """
        nearest = np.full(len(ra), np.inf)
        if len(self.ra) and len(nearest):
            places = unit_vectors(np.asarray(ra, float), np.asarray(dec, float))
            tree = cKDTree(places)
            for centre, radius in zip(unit_vectors(self.ra, self.dec), np.radians(self.radius / 3600), strict=True):
                inside = tree.query_ball_point(centre, 2 * np.sin(min(reach * radius, np.pi) / 2))
                chord = np.linalg.norm(places[inside] - centre, axis=1)
                angle = 2 * np.arcsin(np.clip(chord / 2, 0, 1))
                nearest[inside] = np.minimum(nearest[inside], angle / radius)
        return np.where(np.isfinite(nearest), nearest, np.nan)


def star_magnitudes(table: Table) -> np.ndarray:
    """Magnitude G, or what is nearest to it, of the stars of a shard of `dmu2.refcat`; NaN if no flux is known.

    PanSTARRS saturates: of a star with J + `REDDER` brighter than `PS1_SATURATED` its fluxes are not used.
    """
    magnitudes = {name: _magnitude(table, name) for name in (*OPTICAL, "tmass_j")}
    infrared = magnitudes["tmass_j"] + REDDER
    saturated = infrared < PS1_SATURATED
    best = np.full(len(table), np.nan)
    for name in OPTICAL:
        usable = np.isfinite(magnitudes[name]) & ~(saturated & name.startswith("ps1"))
        best = np.where(np.isnan(best) & usable, magnitudes[name], best)
    return np.where(np.isnan(best), infrared, best)


def _magnitude(table: Table, name: str) -> np.ndarray:
    """AB magnitudes of a flux of a shard in nJy; NaN where it is missing, for all if there is no such column."""
    if f"{name}_flux" not in table.colnames:
        return np.full(len(table), np.nan)
    return magnitude_of(np.asarray(table[f"{name}_flux"], float))


def halo_radius(magnitude: np.ndarray) -> np.ndarray:
    """Radius in arcsec of the halo of a star of magnitude G.

    That of the masks of HSC-SSP (its data release, Bright Star Masks; the method of Coupon et al. 2018, PASJ 70, S7):
    where the density of detected sources around stars differs from that of the field. One radius serves all bands, as
    there; it was not measured for VISTA.
    """
    return 200 * 10 ** (0.25 * (7 - magnitude)) + 12 * 10 ** (0.05 * (16 - magnitude))
