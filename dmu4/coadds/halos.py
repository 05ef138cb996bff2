"""The mask plane BRIGHT_OBJECT of coadds: the pixels in the halos of the bright stars of the reference catalogue.

The plane informs, and nothing else: no image, detection or measurement depends on it. Like that of HSC's pipeline it
comes from a catalogue and not from the pixels, and it is the same in all bands of a patch.
"""

from __future__ import annotations

import numpy as np
from lsst.images import Mask

from dmu0.sky.sphere import tangent_offsets, unit_vectors
from dmu0.sky.tract import Patch
from dmu2.bright_stars import BrightStars
from obs_vista.masks import to_mask

PLANE = "BRIGHT_OBJECT"
"""Name of the plane, that of HSC's and LSST's pipelines."""


def coadd_mask(array: np.ndarray, patch: Patch, stars: BrightStars | None) -> Mask:
    """The mask of a coadd, with the plane set where the centre of a pixel is in a halo, and nowhere else.

    Parameters
    ----------
    array
        Mask bits of `obs_vista.masks.BIT` over `Patch.image_bbox`, which are not modified. A plane of the same name
        that they have from a published image is replaced, because each survey means something else by it.
    patch
        The patch.
    stars
        Bright stars; those whose halos do not reach the patch are ignored. None: the plane is that of ``array``.
    """
    mask = to_mask(array, bbox=patch.image_bbox)
    if stars is not None:
        mask.clear(PLANE)
        near = stars.reaching(patch.outer_polygon)
        if len(near.ra):
            mask.set(PLANE, halo_pixels(near, patch))
    return mask


def halo_pixels(stars: BrightStars, patch: Patch) -> np.ndarray:
    """Whether the centre of each pixel of `Patch.image_bbox` is in a halo [y, x].

    A circle on the sky is a conic in the tangent plane, which is drawn row by row, exactly and only where it is. A
    pixel at (x, y) from the star is in the direction :math:`v = s' + x a + y b`, where :math:`s'` is that of the star
    :math:`s`, scaled to the plane, and :math:`a`, :math:`b` are the steps from pixel to pixel. It is within the angle
    r of the star if

    .. math:: |v \\times s|^2 < \\sin^2 r \\; |v|^2 ,

    which is a quadratic inequality for x, because :math:`s' \\times s = 0`.

    Parameters
    ----------
    stars
        Bright stars, inside or outside of the patch. Those 90 deg or more from the tangent point are ignored.
    patch
        The patch, on a tangent plane as all patches are (`dmu0.sky.tract.tangent_wcs`).
    """
    tract, box = patch.tract, patch.image_bbox
    wcs, centre = tract.wcs.wcs, (tract.ra, tract.dec)
    inside = np.zeros(box.shape, bool)
    east, north = tangent_offsets(stars.ra, stars.dec, centre=centre)
    columns, rows = np.linalg.solve(wcs.cd, [east, north]) + wcs.crpix[:, None] - 1
    scaled = np.column_stack([np.ones(len(east)), np.radians(east), np.radians(north)]) @ _axes(*centre)
    a, b = np.radians(wcs.cd.T) @ _axes(*centre)[1:]
    for x, y, along, radius in zip(columns, rows, scaled, np.radians(stars.radius / 3600), strict=True):
        if np.isfinite(x):
            _draw(inside, x - box.x.start, y - box.y.start, (along, a, b), radius)
    return inside


def _axes(ra: float, dec: float) -> np.ndarray:
    """Unit vectors towards a point in deg, and to the east and north of it, as rows."""
    lon, lat = np.radians([ra, dec])
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    return np.array([*unit_vectors(np.array([ra]), np.array([dec])), east, north])


def _draw(
    inside: np.ndarray, x: float, y: float, plane: tuple[np.ndarray, np.ndarray, np.ndarray], radius: float
) -> None:
    """Set the pixels within a radius (rad) of a star at (x, y); see `halo_pixels` for the vectors of its plane."""
    along, a, b = plane
    star, limit = along / np.linalg.norm(along), np.sin(radius) ** 2
    across, up = np.cross(a, star), np.cross(b, star)
    steps = np.arange(inside.shape[0]) - y
    square = across @ across - limit * (a @ a)
    half = steps * (across @ up - limit * (a @ b)) - limit * (a @ along)
    rest = steps**2 * (up @ up - limit * (b @ b)) - 2 * steps * limit * (b @ along) - limit * (along @ along)
    root = half**2 - square * rest
    touched = np.flatnonzero(root > 0)
    middle, reach = x - half[touched] / square, np.sqrt(root[touched]) / square
    first, end = np.floor(middle - reach).astype(int) + 1, np.ceil(middle + reach).astype(int)
    for row, start, stop in zip(touched, np.maximum(first, 0), np.maximum(end, 0), strict=True):
        inside[row, start:stop] = True
