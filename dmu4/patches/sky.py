"""The residual sky of a coadd, measured on a coarse mesh from pixels far from any source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from astropy.table import Table
from scipy import ndimage

from dmu0.robust_statistics import clipped_moments
from dmu4.patches.cube import PatchCube, PatchData, PatchImages, mean_psf, psf_sigma

Images = TypeVar("Images", bound=PatchImages)

SAMPLE = 7
"""Sampling of pixels for the scatter of an image: every seventh is enough."""

MIN_FRACTION = 0.15
"""Smallest fraction of source-free pixels of a mesh box; with less it gets its value from its neighbours."""


def source_mask(
    image: np.ndarray, variance: np.ndarray, good: np.ndarray, *, sigma: float, threshold: float = 2.0
) -> np.ndarray:
    """Pixels [y, x] close enough to a source to bias a sky estimate.

    The image is smoothed to the width of the PSF, and a low threshold is applied; regions small enough to be noise
    are removed, and the others are grown by twice the width so that the wings are masked too. All this is done on means
    of two by two pixels, which are fine enough for regions larger than the PSF. Detectors, whose PSF is not yet known
    when their sky is fitted, use a different mask: `dmu4.detectors.background.mask_objects`.

    Parameters
    ----------
    image, variance, good
        Arrays [y, x]; zero where not good.
    sigma
        Gaussian width of the PSF in pixels.
    threshold
        Threshold in units of the scatter of the smoothed image.
    """
    share, half = _pair_means(good.astype(np.float32)), 0.5 * sigma
    seen = share > 0.25
    if not seen.any():
        return np.zeros(image.shape, bool)
    smooth, noise = (_pair_means(plane.astype(np.float32, copy=False)) for plane in (image, variance))
    smooth, noise = ndimage.gaussian_filter(smooth, half), ndimage.uniform_filter(noise, 16)
    if not good.all():
        # The sums are over good pixels only.
        smooth /= np.maximum(ndimage.gaussian_filter(share, half), 1e-3)
        noise /= np.maximum(ndimage.uniform_filter(share, 16), 1e-3)
    # Scaled by the variance map, but the scatter is measured: correlated noise does not matter.
    ratio = smooth / np.sqrt(np.maximum(noise, 1e-30))
    level, scatter = clipped_moments(ratio[seen][::SAMPLE])
    labels, n = ndimage.label(seen & (ratio > level + threshold * scatter))
    large = np.bincount(labels.ravel(), minlength=n + 1) > 2 * np.pi * half**2
    large[0] = False
    near = ndimage.maximum_filter(large[labels], size=2 * round(sigma) + 1)
    return np.repeat(np.repeat(near, 2, axis=0), 2, axis=1)[: image.shape[0], : image.shape[1]]


def _pair_means(plane: np.ndarray) -> np.ndarray:
    """Means of two by two pixels [y, x]; an odd last row or column is its own pair."""
    for axis in (0, 1):
        values = np.moveaxis(plane, axis, 0)
        even = values[::2]
        odd = values[1::2] if len(values) % 2 == 0 else np.concatenate([values[1::2], values[-1:]])
        plane = np.moveaxis(0.5 * (even + odd), 0, axis)
    return np.ascontiguousarray(plane)


def mesh_sky(image: np.ndarray, good: np.ndarray, masked: np.ndarray, *, box: int) -> np.ndarray:
    """The sky of an image as the clipped medians of mesh boxes, smoothed by the median of three by three boxes.

    The sky of a detector, which is smooth, is modelled by a low-order surface instead: `dmu4.detectors.background`.

    Parameters
    ----------
    image, good
        Arrays [y, x].
    masked
        Pixels near sources, which are ignored; see `source_mask`.
    box
        Side of a mesh box in pixels: much larger than galaxies, so that they are not subtracted as sky.

    Returns
    -------
    ndarray
        Sky levels [row, column]; zero if no box has enough source-free pixels.
    """
    ny, nx = image.shape
    rows, columns = max(1, round(ny / box)), max(1, round(nx / box))
    edges_y, edges_x = _edges(ny, rows), _edges(nx, columns)
    mesh = np.full((rows, columns), np.nan)
    free = good & ~masked
    for i in range(rows):
        for j in range(columns):
            inside = np.s_[edges_y[i] : edges_y[i + 1], edges_x[j] : edges_x[j + 1]]
            if free[inside].mean() >= MIN_FRACTION:
                mesh[i, j] = clipped_moments(image[inside][free[inside]])[0]
    known = np.isfinite(mesh)
    if not known.any():
        return np.zeros((rows, columns))
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return ndimage.median_filter(mesh[tuple(nearest)], size=3, mode="nearest")


def sky_surface(mesh: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The sky [y, x] of a mesh [row, column]: linear between the centres of the boxes, constant beyond them."""
    (rows, columns), (ny, nx) = mesh.shape, shape
    along_y = _linear_weights(ny, _edges(ny, rows)) @ mesh
    return along_y.astype(np.float32) @ _linear_weights(nx, _edges(nx, columns)).T.astype(np.float32)


def _edges(size: int, boxes: int) -> np.ndarray:
    """First pixel of each mesh box along an axis, and the end of the last."""
    return np.linspace(0, size, boxes + 1).astype(int)


def _linear_weights(size: int, edges: np.ndarray) -> np.ndarray:
    """Weight of each box (column) at each pixel (row) along an axis."""
    boxes = len(edges) - 1
    centres = 0.5 * (edges[:-1] + edges[1:]) - 0.5
    return np.stack([np.interp(np.arange(size), centres, unit) for unit in np.eye(boxes)], axis=1)


def band_sky(one: PatchCube, *, box: int) -> np.ndarray | None:
    """The residual sky of the only band of a cube as a mesh, see `mesh_sky`; None without data or without a PSF."""
    image, good = one.plane("image", 0), one.plane("good", 0)
    sigma = psf_sigma(mean_psf(one, 0))
    if not good.any() or not np.isfinite(sigma):
        return None
    masked = source_mask(image, one.plane("variance", 0), good, sigma=sigma)
    return mesh_sky(image, good, masked, box=box)


class SkySubtracted:
    """A patch minus its residual sky, which is measured as a band is taken, or was measured before.

    Parameters
    ----------
    patch
        The patch.
    sky
        Band -> mesh, from `band_sky`; nothing is subtracted from bands without a mesh. None: it is measured.
    box
        Side in pixels of a mesh box to be measured; 0: no sky is subtracted.

    Attributes
    ----------
    sky
        The meshes subtracted so far.
    """

    def __init__(self, patch: PatchData, *, sky: Mapping[str, np.ndarray] | None = None, box: int = 0) -> None:
        self._patch, self._box, self._known = patch, box, sky
        self.sky = dict(sky or {})
        self.bands, self.shape, self.pixel_scale = patch.bands, patch.shape, patch.pixel_scale
        self.x0, self.y0 = patch.x0, patch.y0

    def read(self, number: int) -> PatchCube:
        """One band with its sky."""
        return self._patch.read(number)

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read` minus its sky."""
        one = self._patch.prepare(one)
        if self._known is None and self._box:
            mesh = band_sky(one, box=self._box)
            if mesh is not None:
                self.sky[one.bands[0]] = mesh
        return subtract_sky(one, self.sky)


def subtract_sky(images: Images, sky: Mapping[str, np.ndarray]) -> Images:
    """The images of a patch minus their sky; pixels without data stay zero.

    Parameters
    ----------
    images
        Images of all bands, which are not modified.
    sky
        Band -> mesh, from `band_sky`; nothing is subtracted from bands without a mesh.
    """
    flat = replace(images, image=images.image.copy(order="K"))
    take_sky_away(flat, sky)
    return flat


def take_sky_away(images: Images, sky: Mapping[str, np.ndarray]) -> None:
    """Subtract the sky of a patch from its images, in place; parameters are those of `subtract_sky`."""
    for number, band in enumerate(images.bands):
        if band in sky:
            plane = images.image[..., number]
            np.subtract(plane, sky_surface(sky[band], images.shape), out=plane, where=images.good[..., number])


def sky_table(sky: Mapping[str, np.ndarray]) -> Table:
    """Meshes of the sky as a table, one row per box."""
    rows = [(band, i, j, value) for band, mesh in sky.items() for (i, j), value in np.ndenumerate(mesh)]
    table = Table(rows=rows or None, names=("band", "row", "column", "sky"), dtype=("U8", "i4", "i4", "f8"))
    table["sky"].unit = "nJy"
    for name, meaning in (
        ("band", "Band"),
        ("row", "Number of the mesh box along the y axis of the patch"),
        ("column", "Number of the mesh box along the x axis of the patch"),
        ("sky", "Sky of a pixel at the centre of the box, that was left in the coadd"),
    ):
        table[name].description = meaning
    return table


def meshes_of(table: Table) -> dict[str, np.ndarray]:
    """Band -> mesh [row, column] of a table from `sky_table`."""
    sky, bands = {}, np.asarray(table["band"]).astype(str)
    for band in dict.fromkeys(bands.tolist()):
        mine = table[bands == band]
        row, column = np.asarray(mine["row"]), np.asarray(mine["column"])
        sky[band] = np.full((row.max() + 1, column.max() + 1), np.nan)
        sky[band][row, column] = mine["sky"]
    return sky
