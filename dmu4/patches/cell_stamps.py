"""The PSF stamps of the cells of a band: without gaps, in one size."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def fill_cells(psf: np.ndarray, light: float | np.ndarray, size: int) -> np.ndarray:
    """Stamps of all cells in one size; a cell without a PSF takes that of the nearest cell that has one.

    Parameters
    ----------
    psf
        PSF stamps [cell row, cell column, y, x]; NaN or zero where there is none.
    light
        Sum of each stamp returned, one number or one per cell [cell row, cell column].
    size
        Side of the stamps returned, which are zero if no cell has a PSF.
    """
    have = np.isfinite(psf).all(axis=(2, 3)) & (np.nansum(psf, axis=(2, 3)) > 0)
    if not have.any():
        return np.zeros((*psf.shape[:2], size, size), np.float32)
    sides = (1 / have.shape[0], 1 / have.shape[1])
    nearest = ndimage.distance_transform_edt(~have, sampling=sides, return_distances=False, return_indices=True)
    return of_size(psf[tuple(nearest)], size, np.broadcast_to(light, have.shape)[tuple(nearest)])


def of_size(psf: np.ndarray, size: int, light: float | np.ndarray) -> np.ndarray:
    """PSF stamps [..., y, x] with a border of zeros, [..., size, size], each of the sum ``light`` [...]."""
    below_y, below_x = (size - psf.shape[-2]) // 2, (size - psf.shape[-1]) // 2
    stamps = np.zeros((*psf.shape[:-2], size, size), np.float32)
    stamps[..., below_y : below_y + psf.shape[-2], below_x : below_x + psf.shape[-1]] = psf
    stamps *= np.asarray(light, np.float32)[..., None, None] / stamps.sum(axis=(-2, -1), keepdims=True)
    return stamps
