"""Where the PSF of a published coadd of cells changes abruptly: between cells to which different images were added."""

from __future__ import annotations

import zlib

import numpy as np
from lsst.images.cells import CellCoadd

from dmu4.coadds.psf_zones import INEXACT, PsfZones


def zones_of_cells(coadd: CellCoadd) -> PsfZones | None:
    """The cells of a published coadd that has a PSF per cell, as zones: each pixel has the PSF of its cell.

    A star near the border of two cells with different inputs has the PSF of each on the pixels of each. Pixels marked
    INEXACT_PSF by those who made the coadd are so here.

    Parameters
    ----------
    coadd
        A coadd as `dmu4.tasks.import_optical` stores it.

    Returns
    -------
    PsfZones
        Without zones of its own; None if the coadd is not one of cells, whose own task finds its zones.
    """
    if not str(coadd.metadata.get("psf_source", "")).startswith("cells"):
        return None
    inexact = coadd.mask.get("INEXACT_PSF") if "INEXACT_PSF" in coadd.mask.schema.names else np.False_
    size = coadd.psf.kernel_bbox.shape
    return PsfZones(
        number=np.where(np.broadcast_to(inexact, coadd.bbox.shape), INEXACT, 0).astype(np.int16),
        stamps=np.zeros((0, *size), np.float32),
        cell_inputs=input_sets(coadd),
        zone_inputs=np.zeros(0, np.uint32),
    )


def input_sets(coadd: CellCoadd) -> np.ndarray:
    """A label of the set of images added in each cell [cell row, cell column], uint32; 0 for none.

    Without provenance each cell has a label of its own.
    """
    bounds = coadd.bounds
    start, size = bounds.subgrid_start, bounds.subgrid_size
    labels = np.zeros((size.i, size.j), np.uint32)
    try:
        table = coadd.provenance.contributions
    except AttributeError:  # what CellCoadd raises if it has none
        for cell in bounds.cell_indices():
            labels[cell.i - start.i, cell.j - start.j] = 1 + (cell.i - start.i) * size.j + cell.j - start.j
        return labels
    rows, columns = (np.asarray(table[name], int) for name in ("cell_i", "cell_j"))
    names = [f"{i} {v} {d}" for i, v, d in zip(table["instrument"], table["visit"], table["detector"], strict=True)]
    members: dict[tuple[int, int], list[str]] = {}
    for row, column, name in zip(rows, columns, names, strict=True):
        members.setdefault((row - start.i, column - start.j), []).append(name)
    for place, found in members.items():
        if 0 <= place[0] < size.i and 0 <= place[1] < size.j:
            labels[place] = zlib.crc32("\n".join(sorted(found)).encode()) or 1
    return labels
