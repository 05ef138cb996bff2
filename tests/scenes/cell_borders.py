"""Distances of stars from the borders of cells where the images that were added change."""

from __future__ import annotations

import numpy as np


def border_distance(labels: np.ndarray, cell: int, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of positions from the nearest edge of their cell beyond which other images were added.

    Parameters
    ----------
    labels
        Label of the set of images added in each cell [cell row, cell column]; 0 where there is none.
    cell
        Side of a cell in pixels.
    x, y
        Positions in array pixels, integers at the centres of pixels.

    Returns
    -------
    numpy.ndarray
        Distance in pixels, one per position; infinite if no neighbour of its cell has other images.
    """
    i, j = ((np.asarray(along) + 0.5) // cell for along in (y, x))
    i, j = i.astype(int), j.astype(int)
    own = labels[i, j]
    framed = np.pad(labels, 1)
    distance = np.full(len(own), np.inf)
    for di, dj, away in (
        (0, 1, (j + 1) * cell - 0.5 - x), (0, -1, x + 0.5 - j * cell),
        (1, 0, (i + 1) * cell - 0.5 - y), (-1, 0, y + 0.5 - i * cell),
    ):  # fmt: skip
        other = framed[i + 1 + di, j + 1 + dj]
        distance = np.where((other != own) & (other != 0), np.minimum(distance, away), distance)
    return distance
