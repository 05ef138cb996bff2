"""The sky on which each band of the catalogue has pixels, as multi-order coverage maps (MOC)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import hpgeom
import numpy as np
from mocpy import MOC

from dmu0.files.provenance import Provenance
from dmu0.sky.skymap import Patch, survey_patches
from dmu0.surveys import Survey
from dmu1.sky_maps import moc_area, write_moc
from dmu2.bright_stars import BrightStars
from dmu4.butler.repository import open_butler
from dmu5.picture import read_coadd_image

CELL_PIXELS = 12
"""Smallest width of a cell of the maps in pixels of the images: 3.2 arcsec for pixels of 0.168 arcsec."""

STEP = 3
"""Every third pixel of every third row is looked at: at least 16 in a cell."""


class CellCounts(NamedTuple):
    """How many of the pixels that were looked at are in each cell.

    Attributes
    ----------
    cells
        Nested HEALPix indices, sorted.
    counts
        Pixels with data in each cell.
    """

    cells: np.ndarray
    counts: np.ndarray


def map_order(pixel_scale: float) -> int:
    """The HEALPix order whose cells are at least `CELL_PIXELS` pixels of the given size in arcsec wide."""
    whole_sky = 4 * np.pi * np.degrees(1) ** 2 * 3600**2  # arcsec^2
    return int(np.floor(np.log2(np.sqrt(whole_sky / 12) / (CELL_PIXELS * pixel_scale))))


def count_pixels(good: np.ndarray, ra: np.ndarray, dec: np.ndarray, *, order: int) -> CellCounts:
    """Count the pixels with data in each cell of the sky.

    Parameters
    ----------
    good
        Whether each pixel has data.
    ra, dec
        Positions of the pixels in deg, of the same shape.
    order
        HEALPix order of the cells.
    """
    if not good.any():
        return CellCounts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return CellCounts(*np.unique(hpgeom.angle_to_pixel(2**order, ra[good], dec[good]), return_counts=True))


def covered_cells(parts: list[CellCounts], *, order: int, pixel_scale: float) -> MOC:
    """The cells of which at least one half is covered by pixels with data.

    Parameters
    ----------
    parts
        Counts of patches that do not overlap.
    order
        HEALPix order of the cells.
    pixel_scale
        Distance between the pixels that were counted, arcsec.
    """
    cells = np.concatenate([part.cells for part in parts] or [np.zeros(0, np.int64)])
    found, place = np.unique(cells, return_inverse=True)
    counts = np.bincount(
        place, np.concatenate([part.counts for part in parts] or [np.zeros(0, np.int64)]), minlength=len(found)
    )
    full = hpgeom.nside_to_pixel_area(2**order) * 3600**2 / pixel_scale**2
    chosen = found[counts >= full / 2].astype(np.uint64)
    return MOC.from_healpix_cells(chosen, depth=np.full(len(chosen), order, np.uint8), max_depth=order)


def band_mocs(survey: Survey, tracts: str = "") -> dict[str, MOC]:
    """The sky of each band of a survey: pixels with data of its coadds, inside the boxes that own their objects.

    Parameters
    ----------
    survey
        The survey; its Butler repository is that of dmu4.
    tracts
        Tracts to look at, separated by spaces; all if empty.

    Returns
    -------
    dict
        Band -> map; the map of a band without coadds is empty.
    """
    found: dict[str, dict[int, list[CellCounts]]] = {band: {} for band in survey.bands}
    patches = survey_patches(survey, tracts)
    with open_butler(survey) as butler:
        for patch in patches:
            ra, dec = _positions(patch)
            order = map_order(_scale(patch))
            for band in survey.bands:
                image = read_coadd_image(butler, tract=patch.tract.id, patch=patch.id, band=band)
                if image is not None:
                    good = np.isfinite(image[_inside(patch)])
                    found[band].setdefault(patch.tract.id, []).append(count_pixels(good, ra, dec, order=order))
    scale = _scale(patches[0])
    order = map_order(scale)
    return {
        band: reduce(
            MOC.union,
            (covered_cells(parts, order=order, pixel_scale=STEP * scale) for parts in by_tract.values()),
            MOC.new_empty(order),
        )
        for band, by_tract in found.items()
    }


def _scale(patch: Patch) -> float:
    """Pixel scale of a patch, arcsec."""
    return abs(patch.tract.wcs.wcs.cd[1, 1]) * 3600


def _inside(patch: Patch) -> tuple[slice, slice]:
    """Every `STEP`-th pixel of the inner box, in the array of the outer one."""
    inner, outer = patch.inner_bbox, patch.outer_bbox
    rows, columns = (
        slice(getattr(inner, axis).start - getattr(outer, axis).start + 1, getattr(inner, axis).stop - start, STEP)
        for axis, start in (("y", outer.y.start), ("x", outer.x.start))
    )
    return rows, columns


def _positions(patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """ICRS positions in deg of the pixels chosen by `_inside` [y, x]."""
    rows, columns = _inside(patch)
    y, x = np.mgrid[rows, columns]
    ra, dec = patch.tract.wcs.wcs_pix2world(
        x.ravel() + patch.outer_bbox.x.start, y.ravel() + patch.outer_bbox.y.start, 0
    )
    return ra.reshape(x.shape), dec.reshape(x.shape)


HALO_ORDER = 16
"""HEALPix order of the map of halos: cells of 3 arcsec."""


def halo_moc(stars: BrightStars, *, order: int = HALO_ORDER) -> MOC:
    """The sky inside the halos of bright stars, in HEALPix cells of an order."""
    if not len(stars.ra):
        return MOC.new_empty(order)
    # Cells whose centres are inside: all that circles touch would make the area of many small ones far too large.
    circles = zip(stars.ra, stars.dec, stars.radius / 3600, strict=True)
    inside = [hpgeom.query_circle(2**order, *circle, nest=True) for circle in circles]
    cells = np.unique(np.concatenate(inside)).astype(np.uint64)
    return MOC.from_healpix_cells(cells, depth=np.full(len(cells), order, np.uint8), max_depth=order)


def write_mocs(mocs: Mapping[str, MOC], folder: Path, *, halos: MOC, provenance: Provenance) -> dict[str, float]:
    """Write the sky of each band, that of the catalogue, where at least one band has data, and the halos in it.

    Parameters
    ----------
    mocs
        Band -> map (`band_mocs`).
    folder
        Folder of the maps, named ``<name>.moc.fits``. That of an empty map is removed.
    halos
        The halos of bright stars, anywhere.
    provenance
        Provenance to store in the cards of the maps (`dmu0.files.metadata.CARDS`).

    Returns
    -------
    areas
        Name (a band, ``catalogue`` or ``bright_stars``) -> area in arcmin^2.
    """
    areas = {}
    every = reduce(MOC.union, mocs.values(), MOC.new_empty(0))
    for name, moc in {"catalogue": every, "bright_stars": every.intersection(halos), **mocs}.items():
        areas[name] = 3600 * moc_area(moc)
        if areas[name]:
            write_moc(folder / f"{name}.moc.fits", moc, provenance.words())
        else:
            (folder / f"{name}.moc.fits").unlink(missing_ok=True)
    return areas
