"""What the pixels at positions are: their numbers, and whether they are saturated."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dmu4.patches.cube import FLAG_BIT, PatchCube


def is_saturated(cube: PatchCube, band: int) -> np.ndarray:
    """Whether each pixel [y, x] of a band is saturated."""
    return (cube.plane("flags", band) & FLAG_BIT["SAT"]) != 0


def nearest_pixels(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels of an array of some shape that are nearest to positions in pixels."""
    column, row = (np.clip(np.rint(along).astype(int), 0, n - 1) for along, n in ((x, shape[1]), (y, shape[0])))
    return column, row


def pixel_at(cube: PatchCube, *, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (column, row) of positions; outside the patch those at its edge."""
    return nearest_pixels(x, y, cube.shape)


def saturated_at(cube: PatchCube, band: int, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether a saturated pixel lies within two pixels, along both axes, of each position.

    Parameters
    ----------
    cube, band
        All bands, and the number of the band.
    x, y
        Positions in array pixels [N].
    """
    column, row = pixel_at(cube, x=x, y=y)
    flags, around = cube.plane("flags", band), np.arange(-2, 3)
    rows, columns = (
        np.clip(middle[:, None] + around, 0, n - 1) for middle, n in ((row, cube.shape[0]), (column, cube.shape[1]))
    )
    return (flags[rows[:, :, None], columns[:, None, :]] & FLAG_BIT["SAT"] != 0).any(axis=(1, 2))


def beside_saturated(cube: PatchCube, *, x: np.ndarray, y: np.ndarray, reach: float) -> np.ndarray:
    """Whether each position is within ``reach`` pixels of another that is saturated in any band, see `saturated_at`."""
    places = np.column_stack([x, y])
    saturated = np.zeros(len(places), bool)
    for band in range(len(cube.bands)):
        saturated |= saturated_at(cube, band, x=x, y=y)
    if not saturated.any():
        return saturated
    distance = cKDTree(places[saturated]).query(places, k=2)[0]  # infinite where there is no second one
    return np.where(saturated, distance[:, 1], distance[:, 0]) <= reach
