"""The sky map of a draft: patches of the HSC rings if the images are such patches, else a single grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from lsst.images import Box

from dmu0.sky.cells import common_cell
from dmu0.sky.skymap import RingsSkyMap, SingleSkyMap, sky_polygon
from dmu0.surveys.first_look import FirstLook, outlines
from dmu0.surveys.overview import is_on_grid

HSC_PATCH = (4000, 100)
"""Inner side and border of the patches of the HSC rings sky map, px."""

LARGEST_PATCH = 10_000
"""Largest side in pixels of a single patch that fits into the memory of a laptop."""

CELL = 100
"""Side in pixels of the cells into which a single patch can be divided, if it cannot into cells of `LEAST_CELL`."""

LEAST_CELL = 50
"""Smallest side of the cells of a patch: each has a PSF of its own, so that small ones take memory and time."""

_SAME_POINT = 0.01
"""Largest distance in arcsec between identical tangent points."""


class Place(NamedTuple):
    """A patch of the sky map: number of its tract, its column and its row."""

    tract: int
    x: int
    y: int


class Grid(NamedTuple):
    """A sky map and the patches to be processed.

    Attributes
    ----------
    settings
        Keys of the section ``sky_map``.
    tracts
        Tract -> its patches, as ``"x,y"`` for rings.
    note
        Origin of the sky map, for a comment.
    places
        File -> patch, for files that are patches of the sky map.
    """

    settings: dict[str, object]
    tracts: dict[int, list[str | int]]
    note: str
    places: dict[Path, Place]


def choose_grid(coadds: Sequence[FirstLook], stacks: Sequence[FirstLook], *, name: str) -> Grid | None:
    """The sky map for some images.

    Parameters
    ----------
    coadds
        Coadds and mosaics; those without a WCS are ignored.
    stacks
        Stacks of single detectors, which can be resampled to any grid.
    name
        Name of the sky map, if it is a new one.

    Returns
    -------
    Grid or None
        The sky map; None if no image has a WCS.
    """
    placed = [look for look in coadds if look.wcs is not None]
    if placed:
        return ring_patches(placed) or single_grid(placed, name=name)
    placed = [look for look in stacks if look.wcs is not None]
    return rings_below(placed) if placed else None


def ring_patches(looks: Sequence[FirstLook]) -> Grid | None:
    """The patches of the HSC rings that images cover; None unless all images with the smallest pixels are patches."""
    finest = min(look.pixel_scale for look in looks)
    on_rings = [look for look in looks if abs(look.pixel_scale - finest) < 1e-3 * finest]
    places = [place for look in on_rings if (place := _tract_and_offset(look, finest)) is not None]
    if len(places) < len(on_rings):
        return None
    for inner, border in (HSC_PATCH, *_sizes(on_rings, places)):
        sky_map = RingsSkyMap(name="rings", pixel_scale=_rounded(finest), patch_inner=inner, patch_border=border)
        found: dict[Path, Place] = {}
        for look, (tract_id, x0, y0) in zip(on_rings, places, strict=True):
            tract = sky_map.tract(tract_id)
            x, y = x0 + round(tract.wcs.wcs.crpix[0]) - 1, y0 + round(tract.wcs.wcs.crpix[1]) - 1
            index = ((x + border) // inner, (y + border) // inner)
            inside = all(0 <= place < count for place, count in zip(index, tract.num_patches, strict=True))
            box = Box.factory[y : y + look.shape[0], x : x + look.shape[1]]
            if not inside or tract.patch(index).outer_bbox != box:
                break
            found[look.path] = Place(tract_id, *index)
        else:
            settings: dict[str, object] = {"kind": "rings", "name": "hscPdr2"}
            if (inner, border) != HSC_PATCH:
                settings |= {"name": f"rings_{inner}_{border}", "patch_inner": inner, "patch_border": border}
            if abs(finest - 0.168) > 1e-4:
                scale = _rounded(finest)
                settings |= {"name": f"{settings['name']}_{scale * 1000:.0f}mas", "pixel_scale": scale}
            return Grid(settings, _named(found.values()), "the images are whole patches of the rings of HSC", found)
    return None


def _named(places: Iterable[Place]) -> dict[int, list[str | int]]:
    """Tract -> its patches as ``"x,y"``, row by row."""
    tracts: dict[int, list[str | int]] = {}
    for place in sorted(set(places), key=lambda place: (place.tract, place.y, place.x)):
        tracts.setdefault(place.tract, []).append(f"{place.x},{place.y}")
    return tracts


def _rounded(scale: float) -> float:
    """A pixel scale without the rounding errors of a WCS."""
    return round(scale, 6)


def _tract_and_offset(look: FirstLook, scale: float) -> tuple[int, int, int] | None:
    """The tract of the rings whose centre is the tangent point of an image, and its first pixel from that point."""
    wcs = look.projection.wcs
    if list(wcs.ctype) != ["RA---TAN", "DEC--TAN"]:
        return None
    ra, dec = (float(value) for value in wcs.crval)
    sky_map = RingsSkyMap(name="rings", pixel_scale=_rounded(scale))
    tract = sky_map.find_tract(ra, dec)
    apart = tract.center.separation(SkyCoord(ra, dec, unit="deg")).arcsec
    offset = -(np.asarray(wcs.crpix) - 1)
    if apart > _SAME_POINT or np.abs(offset - np.round(offset)).max() > 1e-3:
        return None
    return tract.id, round(float(offset[0])), round(float(offset[1]))


def _sizes(looks: Sequence[FirstLook], places: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Inner side and border of patches with the size and spacing of some images."""
    sides = {side for look in looks for side in look.shape}
    apart = 0
    for tract in {place[0] for place in places}:
        for axis in (1, 2):
            starts = sorted({place[axis] for place in places if place[0] == tract})
            apart = math.gcd(apart, *(after - before for before, after in pairwise(starts)))
    (side, *rest) = sorted(sides)
    if rest or apart == 0 or side < apart or (side - apart) % 2:
        return []
    return [(apart, (side - apart) // 2)]


def single_grid(looks: Sequence[FirstLook], *, name: str) -> Grid:
    """A single grid that covers all images, with the pixels of the image with the smallest pixels.

    The tangent point is that of this image if it has a gnomonic projection with north up and square pixels, so that it
    need not be resampled; otherwise the centre of this image.
    """
    finest = min(looks, key=lambda look: (look.pixel_scale, -look.shape[0] * look.shape[1]))
    sky_map, exact = _grid_of(finest, name)
    x_range, y_range = _extent(looks, sky_map)
    shape = (y_range[1] - y_range[0] + 1, x_range[1] - x_range[0] + 1)
    if max(shape) > LARGEST_PATCH:
        return rings_below(looks, pixel_scale=_rounded(finest.pixel_scale))
    x, y = (float(value) - 1 for value in sky_map.tract(0).wcs.wcs.crpix)
    if common_cell(*shape) < LEAST_CELL:
        shape = (-(-shape[0] // CELL) * CELL, -(-shape[1] // CELL) * CELL)
    settings: dict[str, object] = {"kind": "single", "name": name, "pixel_scale": sky_map.pixel_scale}
    settings |= {"centre": list(sky_map.centre), "shape": list(shape)}
    settings["centre_pixel"] = [x - x_range[0], y - y_range[0]]
    if exact:
        return Grid(settings, {0: [0]}, f"the pixels of {finest.path.name}, and its tangent point", {})
    return Grid(settings, {0: [0]}, f"north up, pixels as large as those of {finest.path.name}, which is resampled", {})


def _grid_of(look: FirstLook, name: str) -> tuple[SingleSkyMap, bool]:
    """The grid for an image, and whether it is exactly that of the image."""
    ny, nx = look.shape
    wcs = look.projection.wcs
    tangent = (float(wcs.crval[0]) % 360, float(wcs.crval[1]))
    pixel = (float(wcs.crpix[0]) - 1, float(wcs.crpix[1]) - 1)
    for scale in (_rounded(look.pixel_scale), look.pixel_scale):
        own = SingleSkyMap(name=name, centre=tangent, shape=(ny, nx), pixel_scale=scale, centre_pixel=pixel)
        if is_on_grid(look, own.tract(0).patch(0)):
            return own, True
    ra, dec = (float(value) for value in look.projection.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0))
    scale = _rounded(look.pixel_scale)
    return SingleSkyMap(name=name, centre=(ra % 360, dec), shape=(ny, nx), pixel_scale=scale), False


def _extent(looks: Sequence[FirstLook], sky_map: SingleSkyMap) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last pixel of a grid in x and y that the outlines of some images cover."""
    grid = sky_map.tract(0).wcs
    corners = []
    for look in looks:
        ny, nx = look.shape
        sky = look.projection.all_pix2world([0, nx - 1, nx - 1, 0], [0, 0, ny - 1, ny - 1], 0)
        corners.append(np.array(grid.all_world2pix(*sky, 0)))
    x, y = np.concatenate(corners, axis=1)
    # A pixel that is whole but for the digits of its projection is that pixel.
    low, high = (lambda value: math.floor(value + 0.02)), (lambda value: math.ceil(value - 0.02))
    return (low(x.min()), high(x.max())), (low(y.min()), high(y.max()))


def rings_below(looks: Sequence[FirstLook], *, pixel_scale: float = 0.168) -> Grid:
    """The patches of the HSC rings that some images overlap, from the outlines of all their detectors."""
    name = "hscPdr2" if pixel_scale == 0.168 else f"rings_{pixel_scale * 1000:.0f}mas"
    sky_map = RingsSkyMap(name=name, pixel_scale=pixel_scale)
    found: set[Place] = set()
    for polygon in (sky_polygon(corners) for look in looks for corners in outlines(look.path)):
        for tract, number in sky_map.find_patches(polygon):
            patch = sky_map.tract(tract).patch(number)
            if polygon.intersects(patch.inner_polygon):  # what reaches a border alone belongs to the neighbour
                found.add(Place(tract, *patch.index))
    settings: dict[str, object] = {"kind": "rings", "name": name}
    if pixel_scale != 0.168:
        settings["pixel_scale"] = pixel_scale
    return Grid(settings, _named(found), "the patches of the rings of HSC that the images reach", {})
