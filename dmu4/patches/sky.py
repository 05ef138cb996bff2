"""What is left of the sky in a coadd: a coarse mesh of the pixels far from any source."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from scipy import ndimage

from dmu0.robust_statistics import clipped_moments
from dmu4.patches.cube import PatchCube, mean_psf, psf_sigma

SAMPLE = 7
"""Every seventh pixel is enough for the scatter of an image."""

MIN_FRACTION = 0.15
"""A mesh box with a smaller share of source-free pixels takes its value from its neighbours."""


def source_mask(image: np.ndarray, variance: np.ndarray, good: np.ndarray, *, sigma: float, threshold: float = 2.0):
    """Pixels [y, x] near enough to a source to spoil a sky estimate.

    The image is smoothed with the PSF's width and cut at a low threshold; islands too small to be more than noise
    are given back, and what remains is grown by twice the width, so that wings are masked too.

    Parameters
    ----------
    image, variance, good
        Arrays [y, x]; zero where not good.
    sigma
        Gaussian width of the PSF in pixels.
    threshold
        In units of the scatter of the smoothed image.
    """
    weight = np.maximum(ndimage.gaussian_filter(good.astype(np.float32), sigma), 1e-3)
    smooth = ndimage.gaussian_filter(image, sigma) / weight
    # The scale follows the variance map, the level is that of the map itself: correlated noise does not matter.
    seen = np.maximum(ndimage.uniform_filter(good.astype(np.float32), 32), 1e-3)
    noise = np.sqrt(np.maximum(ndimage.uniform_filter(variance, 32) / seen, 1e-30))
    ratio = smooth / noise
    if not good.any():
        return np.zeros(image.shape, bool)
    level, scatter = clipped_moments(ratio[good][::SAMPLE])
    above = good & (ratio > level + threshold * scatter)
    labels, n = ndimage.label(above)
    large = np.bincount(labels.ravel(), minlength=n + 1) > 2 * np.pi * sigma**2
    large[0] = False
    return ndimage.maximum_filter(large[labels], size=2 * round(2 * sigma) + 1)


def fit_sky(image: np.ndarray, good: np.ndarray, masked: np.ndarray, *, box: int) -> np.ndarray:
    """The sky [y, x] as a smooth surface through the clipped medians of mesh boxes.

    Parameters
    ----------
    image, good
        Arrays [y, x].
    masked
        Pixels near sources, not used; see `source_mask`.
    box
        Side of a mesh box in pixels: large beside galaxies, so that they are not taken for sky.

    Returns
    -------
    ndarray
        The sky, zero where no box has enough free pixels to tell.
    """
    ny, nx = image.shape
    rows, columns = max(1, round(ny / box)), max(1, round(nx / box))
    edges_y, edges_x = np.linspace(0, ny, rows + 1).astype(int), np.linspace(0, nx, columns + 1).astype(int)
    mesh = np.full((rows, columns), np.nan)
    free = good & ~masked
    for i in range(rows):
        for j in range(columns):
            inside = np.s_[edges_y[i] : edges_y[i + 1], edges_x[j] : edges_x[j + 1]]
            if free[inside].mean() >= MIN_FRACTION:
                mesh[i, j] = clipped_moments(image[inside][free[inside]])[0]
    known = np.isfinite(mesh)
    if not known.any():
        return np.zeros(image.shape, np.float32)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    mesh = ndimage.median_filter(mesh[tuple(nearest)], size=3, mode="nearest")
    # Linear between the centres of the boxes, level beyond them.
    return (_linear_weights(ny, edges_y) @ mesh @ _linear_weights(nx, edges_x).T).astype(np.float32)


def _linear_weights(size: int, edges: np.ndarray) -> np.ndarray:
    """Weight of each box (column) at each pixel (row) along an axis."""
    boxes = len(edges) - 1
    centres = 0.5 * (edges[:-1] + edges[1:]) - 0.5
    return np.stack([np.interp(np.arange(size), centres, unit) for unit in np.eye(boxes)], axis=1)


def subtract_sky(cube: PatchCube, *, box: int, threads: int = 1) -> PatchCube:
    """The cube less what is left of the sky in each band; sources of any band are kept out of all estimates of theirs.

    Parameters
    ----------
    cube
        All bands; not changed.
    box
        Side of a mesh box in pixels.
    threads
        Bands worked on at once.
    """

    flat = cube.image.copy()

    def one(band: int) -> None:
        image, good = cube.plane("image", band), cube.plane("good", band)
        sigma = psf_sigma(mean_psf(cube, band))
        if good.any() and np.isfinite(sigma):
            masked = source_mask(image, cube.plane("variance", band), good, sigma=sigma)
            flat[..., band] = np.where(good, image - fit_sky(image, good, masked, box=box), 0)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(len(cube.bands))))
    return replace(cube, image=flat)
