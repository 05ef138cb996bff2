"""Sky maps of tracts in rings of constant declination, as HSC and LSST number them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod

import numpy as np
from lsst.sphgeom import LonLat

from dmu0.sky.tract import Region, Tract, sky_polygon, tangent_wcs


class SkyMap(ABC):
    """The common interface of sky maps: a name, tracts by number, and tracts and patches by position."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tracts: dict[int, Tract] = {}

    def tract(self, tract: int) -> Tract:
        """The tract of a number.

        Raises
        ------
        ValueError
            If the sky map has no such tract.
        """
        if not 0 <= tract < len(self):
            raise ValueError(f"sky map {self.name!r} has no tract {tract}; tracts are 0 to {len(self) - 1}.")
        if tract not in self._tracts:
            self._tracts[tract] = self._make_tract(int(tract))
        return self._tracts[tract]

    def find_patches(self, region: Region) -> list[tuple[int, int]]:
        """Every patch whose outer box overlaps a region of the sky.

        Parameters
        ----------
        region
            A convex polygon, or its vertices as (RA, Dec) pairs in ICRS deg.

        Returns
        -------
        patches
            Numbers (tract, patch) in order; empty if the region is outside the map.
        """
        polygon = sky_polygon(region)
        return [(tract, patch) for tract in self._near(polygon) for patch in self.tract(tract).find_patches(polygon)]

    def digest(self) -> bytes:
        """A hash of everything that defines the map, the same in every run; it differs from that of LSST's classes."""
        content = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        content["kind"] = type(self).__name__
        return hashlib.sha1(json.dumps(content, sort_keys=True).encode()).digest()

    @abstractmethod
    def __len__(self) -> int:
        """Number of tracts."""

    @abstractmethod
    def find_tract(self, ra: float, dec: float) -> Tract:
        """The tract that owns a position (ICRS deg), which is one of those that overlap there."""

    def owns(self, tract: int, *, ra: float, dec: float) -> bool:
        """Whether a position (ICRS deg) is in the area owned by a tract."""
        return self.find_tract(ra, dec).id == tract

    @abstractmethod
    def _make_tract(self, tract: int) -> Tract: ...

    @abstractmethod
    def _near(self, polygon: Region) -> list[int]:
        """Numbers of tracts that may overlap a polygon."""


class RingsSkyMap(SkyMap):
    """Tracts in rings of constant declination, as HSC and LSST number them.

    The range of declination from pole to pole is divided into ``num_rings + 1`` equal steps: each ring occupies one,
    each polar cap half of one. A ring has as many tracts as are needed to cover its edge nearest to the equator,
    equally spaced eastwards from RA = 0. Tract 0 is the south polar cap; numbers increase along a ring, then to the
    next ring in the north, and end with the north polar cap.

    A tract is a gnomonic projection about its centre. It extends half a step plus the overlap in each direction, and is
    enlarged to whole patches.

    Parameters
    ----------
    name
        Name of the map in data ids.
    num_rings
        Number of rings, positive.
    pixel_scale
        Pixel size at the centre of a tract, arcsec.
    tract_overlap
        Extension of a tract beyond half a step, deg.
    patch_inner
        Side of the inner box of a patch in pixels.
    patch_border
        Number of pixels by which images of a patch are larger on each side, except at the edge of the tract.

    Notes
    -----
    The numbering is that of LSST's rings since 2018; earlier, tracts centred on RA = 0 were numbered differently.
    """

    _clip_border = True

    def __init__(
        self,
        *,
        name: str,
        num_rings: int = 120,
        pixel_scale: float = 0.168,
        tract_overlap: float = 1 / 60,
        patch_inner: int = 4000,
        patch_border: int = 100,
    ) -> None:
        super().__init__(name)
        if num_rings < 1:
            raise ValueError(f"num_rings must be positive; got {num_rings}.")
        if not pixel_scale > 0:
            raise ValueError(f"pixel_scale must be positive; got {pixel_scale}.")
        if patch_inner < 1 or patch_border < 0:
            raise ValueError(f"a patch needs pixels and no negative border; got {patch_inner} and {patch_border}.")
        self.num_rings = num_rings
        self.pixel_scale = pixel_scale
        self.tract_overlap = tract_overlap
        self.patch_inner = patch_inner
        self.patch_border = patch_border
        step = np.pi / (num_rings + 1)
        edges = (np.arange(num_rings + 1) + 0.5) * step - np.pi / 2
        nearest_equator = np.minimum(np.abs(edges[:-1]), np.abs(edges[1:]))
        self._step = np.degrees(step)
        self._tracts_in_ring = (2 * np.pi * np.cos(nearest_equator) / step).astype(int) + 1
        self._first_tract = 1 + np.concatenate([[0], np.cumsum(self._tracts_in_ring)])

    def __len__(self) -> int:
        return int(self._first_tract[-1]) + 1

    def find_tract(self, ra: float, dec: float) -> Tract:
        """The tract that owns a position: the nearest in Dec among the rings, then in RA within the ring.

        Parameters
        ----------
        ra, dec
            Position, ICRS deg.

        Raises
        ------
        ValueError
            If the position is not finite, or the declination not between -90 and 90.
        """
        if not (np.isfinite(ra) and -90 <= dec <= 90):
            raise ValueError(f"({ra}, {dec}) is not a position on the sky.")
        ring = int(np.floor((dec + 90) / self._step - 0.5))
        if ring < 0:
            return self.tract(0)
        if ring >= self.num_rings:
            return self.tract(len(self) - 1)
        count = int(self._tracts_in_ring[ring])
        return self.tract(int(self._first_tract[ring]) + int(np.floor(ra % 360 / 360 * count + 0.5)) % count)

    def _center(self, tract: int) -> tuple[float, float]:
        """RA and Dec of the centre of a tract, deg."""
        if tract == 0:
            return 0.0, -90.0
        if tract == len(self) - 1:
            return 0.0, 90.0
        ring = int(np.searchsorted(self._first_tract, tract, side="right")) - 1
        ra = 360 * (tract - self._first_tract[ring]) / self._tracts_in_ring[ring]
        return float(ra), self._step * (ring + 1) - 90

    def _make_tract(self, tract: int) -> Tract:
        ra, dec = self._center(tract)
        reach = np.degrees(np.tan(np.radians(self._step / 2 + self.tract_overlap))) * 3600 / self.pixel_scale
        half = int(np.ceil(reach - 0.5))  # whole pixels on each side of the one at the centre
        needed = 2 * half + 1
        count = -(-needed // self.patch_inner)
        centre = half + (count * self.patch_inner - needed) // 2
        wcs = tangent_wcs(ra=ra, dec=dec, pixel_scale=self.pixel_scale, x=centre, y=centre)
        inner = (self.patch_inner, self.patch_inner)
        return Tract(tract, ra, dec, wcs, (count, count), inner, self.patch_border, self._clip_border)

    def _near(self, polygon: Region) -> list[int]:
        circle = sky_polygon(polygon).getBoundingCircle()
        middle = LonLat(circle.getCenter())
        ra, dec = middle.getLon().asRadians(), middle.getLat().asDegrees()
        half_diagonal = np.sqrt(2) * (self._step / 2 + self.tract_overlap + self._patch_size())
        radius = circle.getOpeningAngle().asDegrees() + half_diagonal
        near = [0] if dec + 90 <= radius else []
        for ring in range(self.num_rings):
            ring_dec = self._step * (ring + 1) - 90
            if abs(ring_dec - dec) > radius:
                continue
            count = int(self._tracts_in_ring[ring])
            offsets = 2 * np.pi * np.arange(count) / count - ra
            sin_dec, cos_dec = np.sin(np.radians([ring_dec, dec])), np.cos(np.radians([ring_dec, dec]))
            cosine = sin_dec.prod() + cos_dec.prod() * np.cos(offsets)
            hits = np.flatnonzero(cosine >= np.cos(np.radians(min(radius, 180))))
            near.extend((int(self._first_tract[ring]) + hits).tolist())
        if 90 - dec <= radius:
            near.append(len(self) - 1)
        return near

    def _patch_size(self) -> float:
        """Side of a patch with its border, deg: more than the enlargement of a tract to whole patches."""
        return (self.patch_inner + self.patch_border) * self.pixel_scale / 3600
