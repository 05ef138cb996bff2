"""Mean epochs of the images behind the cells of a coadd, from its provenance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.time import Time
from lsst.images.cells import CoaddProvenance

from dmu0.sky.tract import Patch
from dmu4.coadds.cell_coadd import cell_size

MIDNIGHT = 1 + 4 / 24
"""Days from the beginning of the calendar date of a night (``day_obs``) to midnight in Chile, 4 h UTC of the next."""


@dataclass(frozen=True)
class CellEpochs:
    """Mean epochs of the cells of a coadd.

    Attributes
    ----------
    origin
        Tract pixel (x, y) of the first pixel of the first cell.
    size
        Side of a cell in pixels.
    mjd
        Epoch of each cell [row, column], MJD TAI, to half a night; NaN without inputs.
    """

    origin: tuple[int, int]
    size: int
    mjd: np.ndarray

    def at(self, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Epochs at positions in tract pixels; NaN off the coadd."""
        column = np.floor((np.asarray(x) + 0.5 - self.origin[0]) / self.size).astype(int)
        row = np.floor((np.asarray(y) + 0.5 - self.origin[1]) / self.size).astype(int)
        rows, columns = self.mjd.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return np.where(inside, self.mjd[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)], np.nan)


def cell_epochs(provenance: CoaddProvenance | None, patch: Patch) -> CellEpochs | None:
    """The mean epoch of the inputs of each cell, weighted as they are in the coadd.

    Parameters
    ----------
    provenance
        Provenance of a coadd of the patch; None if it has none.
    patch
        The patch.

    Returns
    -------
    CellEpochs
        None if the coadd has no provenance.
    """
    if provenance is None:
        return None
    size, box = cell_size(patch), patch.image_bbox
    shape = (box.y.size // size, box.x.size // size)
    nights = {
        (str(row["instrument"]), int(row["visit"]), int(row["detector"])): night_mjd(int(row["day_obs"]))
        for row in provenance.inputs
    }
    total, weights = np.zeros(shape), np.zeros(shape)
    for row in provenance.contributions:
        cell = int(row["cell_i"]), int(row["cell_j"])
        # Inputs that do not fill a cell have no weight in its PSF; a cell of such inputs only has their mean.
        weight = max(float(row["weight"]), 1e-9)
        total[cell] += weight * nights[str(row["instrument"]), int(row["visit"]), int(row["detector"])]
        weights[cell] += weight
    mjd = np.divide(total, weights, out=np.full(shape, np.nan), where=weights > 0)
    return CellEpochs(origin=(box.x.start, box.y.start), size=size, mjd=mjd)


def night_mjd(day_obs: int) -> float:
    """The MJD of midnight of a night, given as YYYYMMDD."""
    text = f"{day_obs:08d}"
    return float(Time(f"{text[:4]}-{text[4:6]}-{text[6:]}", scale="tai").mjd) + MIDNIGHT
