"""The coadd of one patch and band: inputs are resampled, compared and added block by block; no warps are stored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from lsst.images import Box

from dmu4.coadds.kernels import add_bookkeeping, add_values, clip_rows, count_cells, drop_cells, normalise_rows
from dmu4.coadds.planes import CoaddInput, CoaddPlanes, CoaddSettings, signatures
from dmu4.coadds.resample import lanczos_table, warp_rows
from dmu4.coadds.strips import Strip, kept_inputs, load_strip, strips_of_rows

_ONE = np.uint64(1)
# Few enough that the resampled pixels, and the sums to which they are added, stay in the processor's second cache.
_ROWS, _COLUMNS = 20, 1000

MIN_ZONE = 0.005
"""Share of a cell from which on a set of inputs counts as a zone with a PSF of its own."""


def make_coadd(inputs: Sequence[CoaddInput], box: Box, *, cell: int, settings: CoaddSettings) -> CoaddPlanes:
    """Add the inputs over a box of output pixels.

    Each input pixel is read once, resampled once, and added with the weight of its image. The memory does not increase
    with the number of inputs: they are read in strips of rows that fit the limit.

    Parameters
    ----------
    inputs
        Images that may overlap the box, in the order in which they are added.
    box
        Output pixels; the sides are whole numbers of cells.
    cell
        Side of a cell in pixels.
    settings
        Settings of the coaddition.
    """
    if box.y.size % cell or box.x.size % cell:
        raise ValueError(f"Cells of {cell} px do not divide a box of {box.x.size} x {box.y.size} px.")
    shape = (box.y.size, box.x.size)
    result = CoaddPlanes(
        planes=np.zeros((1 + settings.n_noise, *shape), np.float32),
        variance=np.zeros(shape, np.float32),
        mask=np.zeros(shape, np.int32),
        count=np.zeros(shape, np.int16),
        rejected=np.zeros(shape, np.float32),
        signature=np.zeros(shape, np.uint32),
        cell_counts=np.zeros((box.y.size // cell, box.x.size // cell, len(inputs)), np.int64),
        clipped=np.zeros(len(inputs), np.int64),
    )
    # Only ratios of weights matter; near 1 they fit single precision.
    weights = np.array([source.weight for source in inputs], float)
    weights = (weights / weights.max(initial=1e-300)).astype(np.float32)
    with ThreadPoolExecutor(settings.threads) as pool:
        held = 3 + settings.n_noise  # image, variance, mask and noise
        for rows in strips_of_rows(inputs, box, cell=cell, memory=settings.memory, planes=held):
            strip = load_strip(inputs, box, rows, settings, pool)
            starts = range(rows[0], rows[1], cell)
            jobs = [pool.submit(_add_cell_row, strip, weights, box, y, cell, settings, result) for y in starts]
            result.clipped[:] += sum(job.result() for job in jobs)
            # Otherwise the next strip would be read while this one is still held.
            del strip, jobs
    return result


def _add_cell_row(
    strip: Strip, weights: np.ndarray, box: Box, first: int, cell: int, settings: CoaddSettings, result: CoaddPlanes
) -> np.ndarray:
    """Resample and add one row of cells that starts at output row ``first``; returns its `CoaddPlanes.clipped`."""
    labels, kept = signatures(len(weights)), kept_inputs(strip, box, first, cell, settings.whole)
    clipped, counts = np.zeros(len(weights), np.int64), result.cell_counts[(first - box.y.start) // cell]
    for start in range(first, first + cell, _ROWS):
        for column in range(0, kept.shape[1], max(_COLUMNS // cell, 1)):
            cells = slice(column, min(column + max(_COLUMNS // cell, 1), kept.shape[1]))
            left, right = (box.x.start + cell * edge for edge in (cells.start, cells.stop))
            block = Box.factory[start : min(start + _ROWS, first + cell), left:right]
            sums = _add_block(strip, weights, labels, block, kept[:, cells], settings, counts[cells], clipped)
            planes = (result.planes, result.variance, result.mask, result.count, result.rejected, result.signature)
            for plane, values in zip(planes, sums, strict=True):
                plane[(..., *block.slice_within(box))] = values
    result.sets.update(_input_sets(strip, box, first, cell, kept, settings, result.signature, labels))
    return clipped


def _add_block(
    strip: Strip,
    weights: np.ndarray,
    labels: np.ndarray,
    block: Box,
    kept: np.ndarray,
    settings: CoaddSettings,
    counts: np.ndarray,
    clipped: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Planes, variance, mask, count, rejected and signature (`CoaddPlanes`) of some rows of cells.

    ``kept`` [input of the strip, cell] says which inputs are used; ``counts`` [cell, input] and ``clipped`` [input] are
    added to.
    """
    shape, cell = (block.y.size, block.x.size), block.x.size // kept.shape[1]
    warped = (np.empty((1 + settings.n_noise, *shape), "f4"), np.empty(shape, "f4"), np.empty(shape, "i4"))
    (planes, variance, mask), total = warped, np.zeros_like(warped[0])
    weight, *sums = (np.zeros(shape, kind) for kind in ("f4", "f4", "i4", "i2", "f4", "u4"))
    flat = tuple(plane.reshape(-1) for plane in (weight, *sums))
    table, taps = lanczos_table(settings.order), (0,) * (2 * settings.order)
    drop, propagate = np.int32(settings.drop), np.int32(settings.propagate)
    for k, (n, (*arrays, grid)) in enumerate(zip(strip.numbers, strip.loaded, strict=True)):
        if not kept[k].any():
            continue
        where = (grid.u, grid.v, grid.step, block.y.start - grid.y, block.x.start - grid.x)
        warp_rows(*arrays, drop, *where, table, taps, *warped)
        if strip.has_rejected[k]:
            at = (block.y.start - strip.around.y.start, block.x.start - strip.around.x.start)
            clipped[n] += clip_rows(variance, mask, strip.reject, k // 64, _ONE << np.uint64(k % 64), *at)
        if not kept[k].all():
            drop_cells(variance, mask, cell, kept[k])
        for values, out in zip(planes, total, strict=True):
            add_values(values.reshape(-1), variance.reshape(-1), weights[n], out.reshape(-1))
        add_bookkeeping(variance.reshape(-1), mask.reshape(-1), weights[n], labels[n], drop, propagate, flat)
        count_cells(variance, cell, counts[:, n])
    normalise_rows(total, sums[0], sums[1], sums[3], weight)
    return total, *sums


def _input_sets(
    strip: Strip,
    box: Box,
    first: int,
    cell: int,
    kept: np.ndarray,
    settings: CoaddSettings,
    signature: np.ndarray,
    labels: np.ndarray,
) -> dict[tuple[int, int], list[tuple[int, np.ndarray]]]:
    """`CoaddPlanes.sets` of one row of cells: each set is looked up at one of its pixels."""
    row = (first - box.y.start) // cell
    found: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
    known: dict[int, np.ndarray] = {}
    for column in range(box.x.size // cell):
        part = signature[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        names, at, counts = np.unique(part, return_index=True, return_counts=True)
        for name, pixel, count in zip(names, at, counts, strict=True):
            if name and count >= MIN_ZONE * cell * cell:
                if name not in known:
                    y, x = first + int(pixel) // cell, box.x.start + column * cell + int(pixel) % cell
                    known[name] = _inputs_at(strip, y, x, kept[:, column], settings, len(labels))
                if np.bitwise_xor.reduce(labels[known[name]], initial=np.uint32(0)) == name:
                    found.setdefault((row, column), []).append((int(name), known[name]))
    return found


def _inputs_at(strip: Strip, y: int, x: int, kept: np.ndarray, settings: CoaddSettings, n_inputs: int) -> np.ndarray:
    """Which inputs contribute to one output pixel, boolean [input]."""
    planes, variance, mask = (
        np.empty((1 + settings.n_noise, 1, 1), "f4"),
        np.empty((1, 1), "f4"),
        np.empty((1, 1), "i4"),
    )
    table, taps = lanczos_table(settings.order), (0,) * (2 * settings.order)
    members = np.zeros(n_inputs, bool)
    for k, (n, (*arrays, grid)) in enumerate(zip(strip.numbers, strip.loaded, strict=True)):
        if kept[k]:
            where = (grid.u, grid.v, grid.step, y - grid.y, x - grid.x)
            warp_rows(*arrays, np.int32(settings.drop), *where, table, taps, planes, variance, mask)
            if strip.has_rejected[k]:
                at = (y - strip.around.y.start, x - strip.around.x.start)
                clip_rows(variance, mask, strip.reject, k // 64, _ONE << np.uint64(k % 64), *at)
            members[n] = variance[0, 0] > 0
    return members
