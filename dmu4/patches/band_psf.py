"""The PSFs of one band of a patch: one per cell, and one per part of a cell with different inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmu4.coadds.psf_zones import INEXACT, LEFT_OUT, PsfZones


@dataclass(frozen=True)
class BandPsf:
    """PSFs of a band, numbered: the cells row by row, then the zones.

    Attributes
    ----------
    stamps
        PSF stamps [PSF, y, x].
    inputs
        Identifier of the set of inputs of each PSF [PSF]: between PSFs of the same set the change is smooth, between
        others it is discontinuous.
    cells
        Rows and columns of cells.
    shape
        Rows and columns of pixels.
    zone
        Zone of each pixel [y, x], as in `dmu4.coadds.psf_zones.PsfZones`; None if there are only cells.
    """

    stamps: np.ndarray
    inputs: np.ndarray
    cells: tuple[int, int]
    shape: tuple[int, int]
    zone: np.ndarray | None

    @property
    def of_cells(self) -> np.ndarray:
        """The stamps of the cells [PSF, y, x], row by row."""
        return self.stamps[: self.cells[0] * self.cells[1]]

    def at(self, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Number of the PSF at array positions; that of the cell if the pixel has no other."""
        (ny, nx), (rows, columns) = self.shape, self.cells
        j = np.clip(np.floor((np.asarray(x) + 0.5) * columns / nx).astype(np.int64), 0, columns - 1)
        i = np.clip(np.floor((np.asarray(y) + 0.5) * rows / ny).astype(np.int64), 0, rows - 1)
        cell = i * columns + j
        if self.zone is None:
            return cell
        zone = _look_up(self.zone, x, y)
        return np.where(zone > 0, rows * columns + zone - 1, cell)

    def inexact_at(self, *, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        """Whether the PSF at array positions is inexact; None if only the PSFs of cells are known."""
        return None if self.zone is None else _look_up(self.zone, x, y) == INEXACT

    def usable(self, good: np.ndarray) -> np.ndarray:
        """The pixels [y, x] used in fits: good pixels with a known PSF."""
        return good if self.zone is None else good & (self.zone != LEFT_OUT)


def _look_up(zone: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Zones of the pixels at array positions; outside the image, those of the nearest pixels."""
    ix, iy = (np.clip(np.rint(v).astype(int), 0, n - 1) for v, n in ((x, zone.shape[1]), (y, zone.shape[0])))
    return zone[iy, ix].astype(np.int64)


def band_psf(cells: np.ndarray, zones: PsfZones | None, shape: tuple[int, int]) -> BandPsf:
    """Number the PSFs of a band.

    Parameters
    ----------
    cells
        PSF stamps [cell row, cell column, y, x].
    zones
        Zones with stamps of the same size, or None.
    shape
        Rows and columns of pixels.
    """
    rows, columns = cells.shape[:2]
    stamps, inputs = cells.reshape(-1, *cells.shape[2:]), np.zeros(rows * columns, np.uint32)
    if zones is None:
        return BandPsf(stamps=stamps, inputs=inputs, cells=(rows, columns), shape=shape, zone=None)
    if zones.cell_inputs.shape != (rows, columns):
        raise ValueError(f"Zones of {zones.cell_inputs.shape} cells do not belong to PSFs of {(rows, columns)} cells.")
    return BandPsf(
        stamps=np.concatenate([stamps, zones.stamps]),
        inputs=np.concatenate([zones.cell_inputs.ravel(), zones.zone_inputs]).astype(np.uint32),
        cells=(rows, columns),
        shape=shape,
        zone=zones.number,
    )
