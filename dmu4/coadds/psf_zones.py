"""PSFs that follow the pixels: parts of a cell to which other inputs contribute have PSFs of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from lsst.images import Box

from dmu4.coadds.psf import cell_centre, mean_psf_at, resampled_psfs
from dmu4.coadds.stack import CoaddInput, CoaddPlanes, signatures

LEFT_OUT = -1
"""Number of a pixel whose inputs are too rare for a zone: it has no PSF, and fits leave it out."""

INEXACT = -2
"""Number of such a pixel where there are many of them: it is used with the PSF of its cell, which is not exact."""

MAX_LEFT_OUT = 0.3
"""Share of the pixels of a cell that may be left out of fits."""


@dataclass(frozen=True)
class PsfZones:
    """Which PSF each pixel of a coadd has.

    A coadd of constant weights is linear in its inputs, so that the PSF at a pixel is the weighted mean of the PSFs of
    the inputs that contribute there. It changes in a step where an input begins or ends.

    Attributes
    ----------
    number
        Int16 [y, x]: 0 where the PSF is that of the pixel's cell, k where it is that of zone k - 1, `LEFT_OUT` or
        `INEXACT` where it is neither.
    stamps
        PSFs of the zones (zone, y, x), of sum 1.
    cell_inputs
        Names the set of inputs of each cell's PSF (cell row, cell column), uint32; 0 for none.
    zone_inputs
        The same of each zone.
    """

    number: np.ndarray
    stamps: np.ndarray
    cell_inputs: np.ndarray
    zone_inputs: np.ndarray

    def to_table(self) -> Table:
        """One row per cell, and then one per zone with its stamp; the stamps of cells are in the coadd, and zero here.

        `from_table` reads it back.
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
        """Read what `to_table` made, with the map of zones of the same coadd."""
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


def find_zones(
    planes: CoaddPlanes,
    inputs: Sequence[CoaddInput],
    nodes: Sequence[np.ndarray],
    nominal: np.ndarray,
    box: Box,
    *,
    cell: int,
    order: int,
) -> PsfZones:
    """The parts of cells with other inputs than those of the cell's PSF, and their PSFs.

    Parameters
    ----------
    planes
        The coadd.
    inputs, nodes
        The inputs and the `dmu4.coadds.psf.psf_nodes` of each, in the same order.
    nominal
        Inputs of each cell's PSF (cell row, cell column, input).
    box, cell
        Output pixels, and the side of a cell.
    order
        Order of the Lanczos kernel.
    """
    labels = signatures(nominal.shape[2])
    expected = np.bitwise_xor.reduce(np.where(nominal, labels, np.uint32(0)), axis=2)
    zones = [
        (j, i, name, members)
        for (j, i), sets in sorted(planes.sets.items())
        for name, members in sets
        if name != expected[j, i]
    ]
    used = np.logical_or.reduce([members for *_, members in zones] or [np.zeros(len(labels), bool)])
    warped, size = resampled_psfs(inputs, nodes, used | nominal.any(axis=(0, 1)), box, order=order)
    number, stamps = np.zeros(planes.count.shape, np.int16), np.zeros((len(zones), size, size), np.float32)
    _number_rare(planes, expected, number, cell)
    for k, (j, i, name, members) in enumerate(zones):
        part = (slice(j * cell, (j + 1) * cell), slice(i * cell, (i + 1) * cell))
        number[part][planes.signature[part] == name] = k + 1
        stamps[k] = mean_psf_at(inputs, warped, members, *cell_centre(box, cell, j, i))
    _keep_most(planes, number, cell)
    return PsfZones(
        number=number,
        stamps=stamps,
        cell_inputs=expected,
        zone_inputs=np.array([name for _, _, name, _ in zones], np.uint32),
    )


def _number_rare(planes: CoaddPlanes, expected: np.ndarray, number: np.ndarray, cell: int) -> None:
    """Mark all pixels whose inputs are not those of their cell; zones are numbered afterwards."""
    wanted = np.repeat(np.repeat(expected, cell, axis=0), cell, axis=1)
    number[(planes.count > 0) & (planes.signature != wanted)] = LEFT_OUT


def _keep_most(planes: CoaddPlanes, number: np.ndarray, cell: int) -> None:
    """Where too many pixels of a cell would be left out they are used, although their PSF is not exact."""
    rows, columns = (size // cell for size in number.shape)
    left_out = (number == LEFT_OUT).reshape(rows, cell, columns, cell).sum(axis=(1, 3))
    seen = (planes.count > 0).reshape(rows, cell, columns, cell).sum(axis=(1, 3))
    for j, i in np.argwhere(left_out > MAX_LEFT_OUT * seen):
        part = number[j * cell : (j + 1) * cell, i * cell : (i + 1) * cell]
        part[part == LEFT_OUT] = INEXACT
