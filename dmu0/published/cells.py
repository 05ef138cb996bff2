"""What a published coadd of cells knows of each: its PSF, the light on its stamp, and the images that were added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lsst.images import Box
from lsst.images.cells import CoaddProvenance


@dataclass(frozen=True)
class PublishedCells:
    """The cells of a published coadd.

    Attributes
    ----------
    origin
        Tract pixel (x, y) of the first pixel of the first cell.
    size
        Side of a cell in pixels.
    stamps
        PSF of each cell [row, column, y, x] as published; NaN where a cell is missing.
    light
        Fraction of a star's light that a PSF flux with the stamp finds [row, column]: the inverse of the aperture
        correction of PSF fluxes; NaN where it is unknown.
    provenance
        The images added in each cell, whose indices count from the first cell here; None if it is not known.
    exact
        Whether these are the cells as published; False where cells of another grid got the values of those in which
        their centres are.
    """

    origin: tuple[int, int]
    size: int
    stamps: np.ndarray
    light: np.ndarray
    provenance: CoaddProvenance | None = None
    exact: bool = True

    @property
    def missing(self) -> np.ndarray:
        """Whether each cell [row, column] has no PSF."""
        return ~np.isfinite(self.stamps).all(axis=(2, 3))

    def on(self, box: Box, size: int) -> PublishedCells:
        """What is known of the cells of another grid: cut, padded with missing cells, or taken at their centres.

        Parameters
        ----------
        box
            Tract pixels of the other grid, whole cells.
        size
            Side of its cells in pixels.
        """
        rows, columns = box.y.size // size, box.x.size // size
        centre_y = box.y.start + (np.arange(rows) + 0.5) * size
        centre_x = box.x.start + (np.arange(columns) + 0.5) * size
        i, inside_i = _cell_of(centre_y - self.origin[1], self.size, self.stamps.shape[0])
        j, inside_j = _cell_of(centre_x - self.origin[0], self.size, self.stamps.shape[1])
        inside = inside_i[:, None] & inside_j
        shift_y, shift_x = self.origin[1] - box.y.start, self.origin[0] - box.x.start
        same = size == self.size and shift_y % size == 0 and shift_x % size == 0
        shift = (shift_y // size, shift_x // size)
        return PublishedCells(
            origin=(box.x.start, box.y.start),
            size=size,
            stamps=np.where(inside[:, :, None, None], self.stamps[i[:, None], j], np.nan),
            light=np.where(inside, self.light[i[:, None], j], np.nan),
            provenance=moved_provenance(self.provenance, shift, (rows, columns)) if same else None,
            exact=same and self.exact,
        )

    def input_count(self) -> np.ndarray | None:
        """Number of images added in each cell [row, column]; None if it is not known."""
        if self.provenance is None:
            return None
        count, table = np.zeros(self.stamps.shape[:2], np.int16), self.provenance.contributions
        np.add.at(count, (np.asarray(table["cell_i"], int), np.asarray(table["cell_j"], int)), 1)
        return count


def _cell_of(distance: np.ndarray, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The cell in which a position is, counted from the first, and whether there is one; else the nearest."""
    number = np.floor(distance / size).astype(int)
    return np.clip(number, 0, count - 1), (number >= 0) & (number < count)


def moved_provenance(
    provenance: CoaddProvenance | None, shift: tuple[int, int], shape: tuple[int, int]
) -> CoaddProvenance | None:
    """The provenance of cells counted from another one; None if nothing was added to those that remain.

    Parameters
    ----------
    provenance
        Provenance of some cells.
    shift
        Rows and columns to be added to the indices of cells.
    shape
        Rows and columns of the cells to keep.
    """
    if provenance is None:
        return None
    table = provenance.contributions.copy()
    indices = [np.asarray(table[name], int) + by for name, by in zip(("cell_i", "cell_j"), shift, strict=True)]
    keep = np.logical_and.reduce([(index >= 0) & (index < end) for index, end in zip(indices, shape, strict=True)])
    if not keep.any():
        return None
    table = table[keep]
    for name, index in zip(("cell_i", "cell_j"), indices, strict=True):
        table[name] = index[keep].astype(table[name].dtype)
    keys = ("instrument", "visit", "detector")
    used = set(zip(*(table[key] for key in keys), strict=True))
    kept = [row in used for row in zip(*(provenance.inputs[key] for key in keys), strict=True)]
    return CoaddProvenance(provenance.inputs[np.array(kept)], table)
