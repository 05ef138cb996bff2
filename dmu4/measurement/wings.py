"""The part of the PSF that the model of an object needs: the wings of a faint one vanish in the noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dmu4.measurement.reference_band import central_flux
from dmu4.patches.cube import PatchCube, mean_psf
from dmu4.patches.look_up import pixel_at, saturated_at

NEGLIGIBLE = 0.05
"""Largest error of the flux of any point source, in sigma, due to the wings that the model of one neighbour lacks."""

STEP, SMALLEST = 16, 31
"""Difference of the sides of stamps in pixels, and smallest side of the part of a PSF."""


def pixel_noise(cube: PatchCube, band: int, *, every: int = 8) -> float:
    """Noise of a pixel between the sources of a band: from the lower quartile of the variance; NaN without data.

    Parameters
    ----------
    cube, band
        All bands, and the number of this band.
    every
        Distance in pixels of the rows and columns that are looked at.
    """
    good = cube.good[::every, ::every, band]
    return float(np.sqrt(np.percentile(cube.variance[::every, ::every, band][good], 25))) if good.any() else np.nan


def wing_limits(psf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Odd sides to which a PSF stamp can be cut, and the signal to noise of a source that this does not harm.

    The pixels of a source of flux F beyond its stamp add up to F max(P) / sum(P^2) in the flux of a point source there,
    whose error is that of a pixel over sqrt(sum(P^2)).

    Parameters
    ----------
    psf
        PSF stamp [y, x] of odd size, with light.

    Returns
    -------
    sides, limits
        Sides, the last of which is that of the PSF, and largest signal to noise as a point source [side].
    """
    size = psf.shape[-1]
    sides = np.unique(np.minimum(np.append(np.arange(SMALLEST, size, STEP), size), size))
    distance = np.maximum(*np.abs(_offsets(size)))
    beyond = np.array([np.abs(psf[distance > side // 2]).max(initial=0) for side in sides], float)
    power = np.sum(np.square(psf, dtype=float))
    return sides, np.divide(NEGLIGIBLE * power, beyond, out=np.full(len(sides), np.inf), where=beyond > 0)


def psf_sides(cube: PatchCube, band: int, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Side in pixels of the part of the PSF of a band that the models of objects need, by their central pixels [N].

    Whole PSFs are needed where the central pixel has no data or is saturated, unless there are no data around it. A
    galaxy is brighter than its central pixel says, but the stamp of its model is the larger the wider it is.

    Parameters
    ----------
    cube, band
        All bands, minus their residual sky, and the number of this band.
    x, y
        Array positions [N].
    """
    psf, noise = mean_psf(cube, band), pixel_noise(cube, band)
    if not (psf.any() and noise > 0):
        return np.full(len(x), SMALLEST)
    sides, limits = wing_limits(psf)
    significance = central_flux(cube, band, x=x, y=y) * np.sqrt(np.sum(np.square(psf, dtype=float))) / noise
    column, row = pixel_at(cube, x=x, y=y)
    unknown = ~cube.good[row, column, band] | saturated_at(cube, band, x=x, y=y)
    significance[unknown & _data_near(cube, band, column, row)] = np.inf
    return sides[np.searchsorted(limits[:-1], significance)]


def _data_near(cube: PatchCube, band: int, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Whether there are data within `STEP` pixels, or a little further, of some pixels of a band [N]."""
    ny, nx = cube.shape
    good = np.pad(cube.good[..., band], ((0, -ny % STEP), (0, -nx % STEP)))
    blocks = good.reshape(good.shape[0] // STEP, STEP, good.shape[1] // STEP, STEP).any(axis=(1, 3))
    return ndimage.maximum_filter(blocks, 3)[row // STEP, column // STEP]


def wing_light(psf: np.ndarray, cell: np.ndarray, size: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted light of PSFs that the stamps of point sources lack [N, weight].

    Parameters
    ----------
    psf, cell
        PSF stamps [PSF, y, x] of odd size, and the number of that of each source [N].
    size
        Even sides of the stamps of the sources in pixels [N].
    weights
        Weights about the centre of a source [weight, y, x].
    """
    sides, index = np.unique(size, return_inverse=True)
    distance = np.maximum(*np.abs(_offsets(psf.shape[-1])))
    beyond = np.stack([weights * (distance > side // 2 - 1) for side in sides], axis=-1).astype(np.float32)
    light = np.tensordot(psf, beyond, axes=([1, 2], [1, 2]))
    return light[cell, :, index]


def circle_weights(psf: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Weights [circle, y, x] for `wing_light` of circles with some radii in pixels."""
    return np.hypot(*_offsets(psf.shape[-1])) < np.asarray(radii)[:, None, None]


def gaussian_weights(psf: np.ndarray, sigma: np.ndarray, *, psf_sigma: float) -> np.ndarray:
    """Weights [aperture, y, x] for `wing_light` of Gaussian apertures before the seeing, as if PSFs were Gaussians.

    Parameters
    ----------
    psf
        PSF stamps [PSF, y, x].
    sigma
        Sigmas of the apertures in pixels. The weights of those that are not larger than the PSF are zero.
    psf_sigma
        Gaussian width of the PSFs in pixels.
    """
    of_aperture = np.square(np.asarray(sigma, float))[:, None, None]
    narrower = of_aperture - psf_sigma**2
    narrower = np.where(narrower > 0, narrower, np.nan)
    weights = of_aperture / narrower * np.exp(-0.5 * np.sum(np.square(_offsets(psf.shape[-1])), axis=0) / narrower)
    return np.nan_to_num(weights, copy=False)


def _offsets(size: int) -> np.ndarray:
    """Offsets (y, x) of the pixels [2, y, x] of a stamp of odd size from its middle."""
    return np.indices((size, size)) - size // 2
