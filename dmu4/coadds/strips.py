"""Strips of a coadd: the pixels of the inputs that some output rows need, read once, with the epochs compared."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from lsst.images import Box

from dmu4.coadds.artefacts import find_rejected
from dmu4.coadds.correlated_noise import correlated_noise
from dmu4.coadds.kernels import count_covered
from dmu4.coadds.planes import CoaddInput, CoaddSettings
from dmu4.coadds.resample import CoordinateGrid, fill_defects, planes_with_margin

_ONE = np.uint64(1)
_HALO = 32
_EVERY = 4  # Whether an input fills a cell is determined from every fourth row and column.


def strips_of_rows(
    inputs: Sequence[CoaddInput], box: Box, *, cell: int, memory: int, planes: int
) -> list[tuple[int, int]]:
    """Split the box into strips (first row, last row + 1) whose input pixels fit the memory limit."""
    rows, start = [], box.y.start
    while start < box.y.stop:
        stop = box.y.stop
        while stop > start + cell:
            areas = [area.area for area in (input_box(source, start, stop, 3) for source in inputs) if area]
            if 4 * planes * sum(areas) <= memory:
                break
            stop = start + max((stop - start) // (2 * cell), 1) * cell
        rows.append((start, stop))
        start = stop
    return rows


def input_box(source: CoaddInput, start: int, stop: int, order: int) -> Box | None:
    """The part of an input that some output rows need, or None."""
    reach = source.grid.reach(source.grid.node_rows(start, stop), margin=2 * order + 2)
    if reach is None:
        return None
    u_min, u_max, v_min, v_max = reach
    x0, x1 = max(int(u_min), source.bbox.x.start), min(int(u_max) + 1, source.bbox.x.stop)
    y0, y1 = max(int(v_min), source.bbox.y.start), min(int(v_max) + 1, source.bbox.y.stop)
    if x1 - x0 < 2 * order or y1 - y0 < 2 * order:
        return None
    return Box.factory[y0:y1, x0:x1]


def _load(source: CoaddInput, area: Box, settings: CoaddSettings, pixels: tuple[np.ndarray, ...]) -> tuple:
    """Planes of an input for `warp_rows`: defects are interpolated, noise realizations added."""
    image, variance, mask = pixels
    planes, columns = planes_with_margin(1 + settings.n_noise, *image.shape), slice(image.shape[1])
    planes[0, :, columns] = image
    for n in range(settings.n_noise):
        seed = 1_000_003 * source.seed + n
        noise = correlated_noise(variance, source.noise_kernel, seed=seed, y0=area.y.start, x0=area.x.start)
        planes[1 + n, :, columns] = noise
    fill_defects(planes, variance, mask, np.int32(settings.drop), settings.order)
    return planes, variance, mask, source.grid.shifted(x=area.x.start, y=area.y.start)


@dataclass(frozen=True)
class Strip:
    """The data of a strip of rows: inputs by number, the bits of `find_rejected`, and which inputs have any."""

    numbers: np.ndarray
    loaded: list[tuple[np.ndarray, np.ndarray, np.ndarray, CoordinateGrid]]
    around: Box
    reject: np.ndarray
    has_rejected: list[bool]


def load_strip(
    inputs: Sequence[CoaddInput], box: Box, rows: tuple[int, int], settings: CoaddSettings, pool: Executor
) -> Strip:
    """Read the inputs of a strip of rows, and compare the epochs."""
    # An even first row and column, so that the pixels of the comparison are pairs; a halo, so that regions which cross
    # the edge of a strip grow from both sides.
    start, stop = max(rows[0] - _HALO, box.y.start), min(rows[1] + _HALO, box.y.stop)
    around = Box.factory[start // 2 * 2 : stop, box.x.start // 2 * 2 : box.x.stop]
    areas = [input_box(source, start, stop, settings.order) for source in inputs]
    numbers = np.array([n for n, area in enumerate(areas) if area is not None], int)
    # Reading stays in this thread (archives and projections are not thread-safe); the rest is numba.
    jobs = [pool.submit(_load, inputs[n], areas[n], settings, inputs[n].read(areas[n])) for n in numbers]
    loaded = [job.result() for job in jobs]
    reject = find_rejected(
        [(planes[:1], variance, mask, grid) for planes, variance, mask, grid in loaded],
        [inputs[n].seeing for n in numbers],
        around,
        drop=settings.drop,
        limits=settings.rejection,
        order=settings.order,
        pool=pool,
    )
    union = np.bitwise_or.reduce(reject, axis=(1, 2)) if len(numbers) else reject
    has_rejected = [bool(union[k // 64] & (_ONE << np.uint64(k % 64))) for k in range(len(numbers))]
    return Strip(numbers, loaded, around, reject, has_rejected)


def kept_inputs(strip: Strip, box: Box, first: int, cell: int, whole: float) -> np.ndarray:
    """Whether each input contributes to each cell of a row [input, cell column]; see `CoaddSettings.whole`."""
    covered = np.zeros((len(strip.numbers), box.x.size // cell), np.int64)
    for k, (_, _, mask, grid) in enumerate(strip.loaded):
        where = (grid.u, grid.v, grid.step, first - grid.y, box.x.start - grid.x)
        count_covered(mask, *where, cell, _EVERY, covered[k])
    is_whole = covered >= whole * len(range(_EVERY // 2, cell, _EVERY)) ** 2
    return is_whole | ~is_whole.any(axis=0)
