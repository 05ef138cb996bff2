"""The band in which the shape of each object is measured: the best one in which it is not saturated."""

from __future__ import annotations

import numpy as np

from dmu4.patches.cube import PatchCube, mean_psf
from dmu4.patches.look_up import pixel_at, saturated_at


def central_flux(cube: PatchCube, band: int, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fluxes of point sources from their central pixels, in nJy; zero without data.

    Parameters
    ----------
    cube, band
        All bands, minus their residual sky, and the number of the band.
    x, y
        Array positions [N].
    """
    column, row = pixel_at(cube, x=x, y=y)
    return cube.image[row, column, band] / max(float(mean_psf(cube, band).max()), 1e-9)


def central_signal_to_noise(cube: PatchCube, band: int, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signal to noise of point sources from their central pixels; zero without data.

    Parameters
    ----------
    cube, band
        All bands, minus their residual sky, and the number of the band.
    x, y
        Array positions [N].
    """
    column, row = pixel_at(cube, x=x, y=y)
    psf, variance = mean_psf(cube, band), cube.variance[row, column, band]
    noise = np.sqrt(np.where(variance > 0, variance, np.inf) / max(np.sum(np.square(psf, dtype=float)), 1e-9))
    return central_flux(cube, band, x=x, y=y) / noise


def unsaturated_bands(cube: PatchCube, *, x: np.ndarray, y: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Numbers of the best bands of objects, without those in which an object is saturated.

    A saturated star has no core: its shape would be that of a galaxy, in all bands. Where all bands with a signal are
    saturated the first choice stays.

    Parameters
    ----------
    cube
        All bands, minus their residual sky.
    x, y
        Array positions [N].
    reference
        Number of the band of highest signal to noise [N].
    """
    best, bands = np.array(reference), range(len(cube.bands))
    saturated = np.zeros(len(best), bool)
    for band in np.unique(best):
        mine = best == band
        saturated[mine] = saturated_at(cube, int(band), x=x[mine], y=y[mine])
    members = np.flatnonzero(saturated)
    if not len(members):
        return best
    place = {"x": x[members], "y": y[members]}
    value = np.column_stack([central_signal_to_noise(cube, band, **place) for band in bands])
    value[np.column_stack([saturated_at(cube, band, **place) for band in bands])] = 0
    other = np.argmax(value, axis=1)
    seen = value[np.arange(len(members)), other] > 0
    best[members[seen]] = other[seen]
    return best
