"""A small patch in which nothing is symmetric: Gaussian PSFs, tilted and different in every cell, on oblong images.

Gaussians make every answer a formula: products, convolutions and apertures of them are Gaussians again.
"""

from __future__ import annotations

import numpy as np

from dmu4.patches.cube import BandPlanes, PatchCube
from dmu4.patches.filling import make_cube
from tests.scenes.patches import add_gaussian

SHAPE = (180, 300)
"""Rows and columns."""

CELLS = (3, 5)
"""PSF cells along y and x: squares of 60 pixels."""

PIXEL_SCALE = 0.2
"""arcsec."""

X0, Y0 = 700, 4200
"""Tract pixel of the first pixel."""


def psf_moments_of(row: int, column: int) -> tuple[float, float, float]:
    """xx, yy, xy of the PSF of a cell in pixels^2: wider to the right, more tilted upwards, never round."""
    return 4.0 + 0.3 * column, 6.0 - 0.4 * row, 0.8 + 0.4 * row


def cell_psf(row: int, column: int, *, size: int = 41) -> np.ndarray:
    """The PSF stamp [y, x] of a cell, of sum 1."""
    xx, yy, xy = psf_moments_of(row, column)
    stamp = np.zeros((size, size))
    add_gaussian(stamp, x=size // 2, y=size // 2, xx=xx, yy=yy, xy=xy, flux=1.0)
    return stamp


def psf_at(*, x: float, y: float) -> tuple[float, float, float]:
    """Moments of the PSF of the cell of an array position."""
    return psf_moments_of(int(y // 60), int(x // 60))


def light_in_circle(*, x: float, y: float, radius: float, reach: int = 20, parts: int = 40) -> float:
    """Sum of the PSF at a position, sampled at the pixels, times their fractions inside a circle about it."""
    xx, yy, xy = psf_at(x=x, y=y)
    pixels, within = np.arange(-reach, reach + 1), (np.arange(parts) - 0.5 * (parts - 1)) / parts
    along_x, along_y = pixels + round(x) - x, pixels + round(y) - y
    dy, dx = np.meshgrid(along_y, along_x, indexing="ij")
    rho = (yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / (xx * yy - xy**2)
    density = np.exp(-0.5 * rho) / (2 * np.pi * np.sqrt(xx * yy - xy**2))
    fine_x, fine_y = ((along[:, None] + within).ravel() for along in (along_x, along_y))
    inside = (np.hypot(fine_y[:, None], fine_x) < radius).reshape(len(pixels), parts, len(pixels), parts)
    return float(np.sum(density * inside.mean(axis=(1, 3))))


def make_tilted(
    sources: list[tuple[float, float, float]],
    *,
    shapes: list[tuple[float, float, float]] | None = None,
    sigma: float = 2.0,
    noise: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    input_count: np.ndarray | None = None,
    band: str = "i",
) -> PatchCube:
    """A patch of one band.

    Parameters
    ----------
    sources
        Array position x and y, and flux in nJy, of each source.
    shapes
        xx, yy, xy of each source before the seeing in pixels^2; zero for points, as without them.
    sigma
        Noise of a pixel in nJy, by which the variance is given.
    noise
        Noise to add [y, x]; none if not given.
    mask, input_count
        Mask bits and number of images [y, x].
    band
        Label of the band.
    """
    image = np.zeros(SHAPE) if noise is None else noise.astype(float).copy()
    for number, (x, y, flux) in enumerate(sources):
        xx, yy, xy = np.add(psf_at(x=x, y=y), (0, 0, 0) if shapes is None else shapes[number])
        add_gaussian(image, x=x, y=y, xx=xx, yy=yy, xy=xy, flux=flux)
    stamps = [[cell_psf(row, column) for column in range(CELLS[1])] for row in range(CELLS[0])]
    planes = BandPlanes(
        image=image,
        variance=np.full(SHAPE, sigma**2),
        mask=np.zeros(SHAPE, np.int32) if mask is None else mask,
        psf=np.array(stamps),
        noise=None,
        input_count=np.full(SHAPE, 1) if input_count is None else input_count,
    )
    return make_cube({band: planes}, x0=X0, y0=Y0, pixel_scale=PIXEL_SCALE)
