"""PSFs of individual pixels: parts of a cell to which different inputs contribute have their own PSFs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from dmu4.coadds.planes import CoaddPlanes
from dmu4.coadds.psf import InputPsfs, cell_centre, input_labels, on_pixels

LEFT_OUT = -1
"""Number of a pixel whose set of inputs is too rare for a zone: it has no PSF, and is excluded from fits."""

INEXACT = -2
"""Number of such a pixel in a cell with many of them: it is used with the PSF of the cell, which is inexact."""

MAX_LEFT_OUT = 0.3
"""Largest fraction of the pixels of a cell that may be excluded from fits."""


@dataclass(frozen=True)
class PsfZones:
    """The PSF of each pixel of a coadd.

    A coadd with constant weights is linear in its inputs, so that the PSF at a pixel is the weighted mean of the PSFs
    of the inputs that contribute there. It changes discontinuously where an input begins or ends.

    Attributes
    ----------
    number
        Number of the PSF of each pixel [y, x] as int16: 0 for that of the cell, k for that of zone k - 1, otherwise
        `LEFT_OUT` or `INEXACT`.
    stamps
        PSFs of the zones (zone, y, x) with unit sum.
    cell_inputs
        Identifier of the set of inputs of the PSF of each cell (cell row, cell column), uint32; 0 for none.
    zone_inputs
        Identifier of the set of inputs of each zone.
    """

    number: np.ndarray
    stamps: np.ndarray
    cell_inputs: np.ndarray
    zone_inputs: np.ndarray

    def to_table(self) -> Table:
        """One row per cell, followed by one per zone with its stamp; stamps of cells are in the coadd, and zero here.

        The inverse is `from_table`.
        """
        row, column = (index.ravel() for index in np.indices(self.cell_inputs.shape))
        size, zone = self.stamps.shape[1], np.arange(1, len(self.zone_inputs) + 1)
        nothing = np.zeros((row.size, size**2), np.float32)
        return Table(
            {
                "zone": np.concatenate([0 * row, zone]),
                "cell_row": np.concatenate([row, 0 * zone - 1]),
                "cell_column": np.concatenate([column, 0 * zone - 1]),
                "inputs": np.concatenate([self.cell_inputs.ravel(), self.zone_inputs]).astype(np.int64),
                "stamp": np.concatenate([nothing, self.stamps.reshape(zone.size, size**2).astype(np.float32)]),
            }
        )

    @classmethod
    def from_table(cls, table: Table, number: np.ndarray) -> PsfZones:
        """The zones from a table made by `to_table` and the map of zones of the same coadd."""
        rows, columns = (int(np.max(table[name])) + 1 for name in ("cell_row", "cell_column"))
        inputs, cells = np.asarray(table["inputs"]).astype(np.uint32), rows * columns
        stamps = np.asarray(table["stamp"], np.float32)
        size = round(stamps.shape[1] ** 0.5)
        return cls(
            number=number,
            stamps=stamps[cells:].reshape(-1, size, size),
            cell_inputs=inputs[:cells].reshape(rows, columns),
            zone_inputs=inputs[cells:],
        )


def find_zones(planes: CoaddPlanes, psfs: InputPsfs, nominal: np.ndarray, *, cell: int) -> PsfZones:
    """The parts of cells whose inputs differ from those of the PSF of the cell, and their PSFs.

    Parameters
    ----------
    planes
        The coadd.
    psfs
        PSFs of its inputs.
    nominal
        Inputs of each cell's PSF (cell row, cell column, input).
    cell
        Side of a cell in pixels.
    """
    expected = input_labels(nominal)
    zones = [
        (j, i, name, members)
        for (j, i), sets in sorted(planes.sets.items())
        for name, members in sets
        if name != expected[j, i]
    ]
    size = psfs.size(np.logical_or.reduce([nominal.any(axis=(0, 1)), *(members for *_, members in zones)]))
    number, stamps = np.zeros(planes.count.shape, np.int16), np.zeros((len(zones), size, size), np.float32)
    _number_rare(planes, expected, number, cell)
    for k, (j, i, name, members) in enumerate(zones):
        part = (slice(j * cell, (j + 1) * cell), slice(i * cell, (i + 1) * cell))
        number[part][planes.signature[part] == name] = k + 1
        stamps[k] = psfs.mean_at(members, *cell_centre(psfs.box, cell, j, i), size=size)
    _keep_most(planes, number, cell)
    return PsfZones(
        number=number,
        stamps=stamps,
        cell_inputs=expected,
        zone_inputs=np.array([name for _, _, name, _ in zones], np.uint32),
    )


def _number_rare(planes: CoaddPlanes, expected: np.ndarray, number: np.ndarray, cell: int) -> None:
    """Mark all pixels whose inputs differ from those of their cell; zones are numbered afterwards."""
    number[(planes.count > 0) & (planes.signature != on_pixels(expected, cell))] = LEFT_OUT


def _keep_most(planes: CoaddPlanes, number: np.ndarray, cell: int) -> None:
    """Use the pixels of cells in which too many would be excluded, although their PSF is inexact."""
    rows, columns = (size // cell for size in number.shape)
    left_out = (number == LEFT_OUT).reshape(rows, cell, columns, cell).sum(axis=(1, 3))
    seen = (planes.count > 0).reshape(rows, cell, columns, cell).sum(axis=(1, 3))
    for j, i in np.argwhere(left_out > MAX_LEFT_OUT * seen):
        part = number[j * cell : (j + 1) * cell, i * cell : (i + 1) * cell]
        part[part == LEFT_OUT] = INEXACT
