"""Published coadds on the pixels of a patch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.wcs import WCS
from lsst.images import Box

from dmu0.published.planes import OpticalCoadd, OpticalError
from dmu0.sky.tract import Patch
from obs_vista.masks import BIT

MAX_MISALIGNMENT = 0.02
"""Largest difference in pixels between the world coordinates of an image and those of its patch."""


def misalignment(wcs: WCS, shape: tuple[int, int], patch: Patch) -> tuple[tuple[int, int], float]:
    """How far the pixels of an image are from those of a patch's tract.

    Parameters
    ----------
    wcs, shape
        Projection of the image into ICRS, and its rows and columns.
    patch
        The patch.

    Returns
    -------
    origin, worst
        Tract pixel (x, y) that the first pixel is nearest to, and the largest distance in pixels of a corner from where
        it should then be; infinite where a corner is not on the tract's projection at all.
    """
    ny, nx = shape
    x, y = np.array([0, nx - 1, 0, nx - 1], float), np.array([0, 0, ny - 1, ny - 1], float)
    a, b = patch.tract.wcs.world_to_pixel(wcs.pixel_to_world(x, y))
    if not np.isfinite([a, b]).all():
        return (0, 0), float("inf")
    x0, y0 = round(float(np.mean(a - x))), round(float(np.mean(b - y)))
    return (x0, y0), float(np.max(np.hypot(a - x - x0, b - y - y0)))


def is_on_grid(wcs: WCS | None, shape: tuple[int, int], patch: Patch) -> bool:
    """Whether an image is on the pixels of a patch's tract; one without world coordinates is taken to be."""
    return wcs is None or misalignment(wcs, shape, patch)[1] <= MAX_MISALIGNMENT


def on_patch(coadd: OpticalCoadd, patch: Patch, *, name: str) -> OpticalCoadd:
    """Crop or pad a coadd to the outer box of a patch; it must already be on the pixels of the patch.

    An image without world coordinates must have the shape of the box. Its cells stay as they are: `PublishedCells.on`
    finds those of the patch.

    Parameters
    ----------
    name
        Name of the coadd in error messages.

    Raises
    ------
    OpticalError
        If the pixels of the coadd are not those of the tract.
    """
    box, shape = patch.image_bbox, coadd.image.shape
    if coadd.wcs is None and coadd.origin is None:
        if shape != (box.y.size, box.x.size):
            raise OpticalError(f"{name}: it has {shape} pixels and no world coordinates; {patch} has {box.shape}.")
        return coadd
    x0, y0 = coadd.origin if coadd.wcs is None else _origin(coadd, patch, name)
    own = Box.factory[y0 : y0 + shape[0], x0 : x0 + shape[1]]
    if own == box:
        return coadd
    if min(own.x.stop, box.x.stop) <= max(own.x.start, box.x.start) or min(own.y.stop, box.y.stop) <= max(
        own.y.start, box.y.start
    ):
        raise OpticalError(f"{name}: it covers {own}, which is outside {patch}, {box}.")
    common = own.intersection(box)
    source, target = common.slice_within(own), common.slice_within(box)

    def moved(plane: np.ndarray, empty: float) -> np.ndarray:
        whole = np.full((box.y.size, box.x.size), empty, plane.dtype)
        whole[target] = plane[source]
        return whole

    return replace(
        coadd,
        image=moved(coadd.image, np.nan),
        variance=moved(coadd.variance, np.inf),
        mask=moved(coadd.mask, BIT["NO_DATA"]),
        noise=tuple(moved(plane, np.nan) for plane in coadd.noise),
        rejected=None if coadd.rejected is None else moved(coadd.rejected, 0),
        origin=(box.x.start, box.y.start),
        corner=(0, 0),
    )


def _origin(coadd: OpticalCoadd, patch: Patch, name: str) -> tuple[int, int]:
    """Tract pixel of the first pixel, from the world coordinates of the corners."""
    (x0, y0), worst = misalignment(coadd.wcs, coadd.image.shape, patch)
    if worst > MAX_MISALIGNMENT:
        raise OpticalError(f"{name}: its pixels are off those of {patch} by up to {worst:.2f} px.")
    if coadd.origin is not None and coadd.origin != (x0, y0) and patch.tract.num_patches != (1, 1):
        raise OpticalError(f"{name}: LTV says it begins at {coadd.origin}, its world coordinates say {(x0, y0)}.")
    return x0, y0
