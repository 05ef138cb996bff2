"""The coadd of one patch and band: inputs are resampled, compared and added row by row; no warps are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from lsst.images import Box

from dmu4.coadds.artefacts import RejectionLimits, find_rejected
from dmu4.coadds.correlated_noise import correlated_noise
from dmu4.coadds.kernels import (
    add_bookkeeping,
    add_values,
    clip_rows,
    count_cells,
    count_covered,
    drop_cells,
    normalise_rows,
)
from dmu4.coadds.resample import CoordinateGrid, fill_defects, lanczos_table, warp_rows
from obs_vista.masks import bits

_ONE = np.uint64(1)
# Few enough that resampled rows stay in the processor's cache until they are added.
_ROWS = 4
_HALO = 32
_EVERY = 4  # Whether an input fills a cell is determined from every fourth row and column.

MIN_ZONE = 0.005
"""Share of a cell from which on a set of inputs counts as a zone with a PSF of its own."""


@dataclass(frozen=True)
class CoaddSettings:
    """Settings of the coaddition.

    Attributes
    ----------
    order
        Order of the Lanczos kernel.
    drop
        Mask bits of input pixels that are excluded. Gaps of up to ``order`` pixels are interpolated first, so that the
        kernel does not ring; output pixels that lie on interpolated pixels have no value of this input.
    propagate
        Mask bits that the coadd inherits from any input that contributes.
    whole
        Fraction of a cell in which an input must have data to contribute to the cell: one that ends inside the cell
        would give it two PSFs. If no input fills a cell, all are used.
    rejection
        Limits of the comparison of epochs; None disables it.
    n_noise
        Number of noise realizations to propagate.
    threads
        Number of threads over rows of cells, which does not affect the result.
    memory
        Memory limit for input pixels in bytes; beyond it the patch is processed in strips of rows.
    """

    order: int = 3
    drop: int = int(bits("NO_DATA", "BAD", "CR", "STREAK"))
    propagate: int = int(bits("SAT", "INTRP", "SUSPECT", "EDGE", "BRIGHT_OBJECT"))
    whole: float = 0.9
    rejection: RejectionLimits | None = field(default_factory=RejectionLimits)
    n_noise: int = 1
    threads: int = 2
    memory: int = 1_000_000_000


@dataclass(frozen=True)
class CoaddInput:
    """One detector image on its own pixels.

    Attributes
    ----------
    name
        Name of the image in messages, which also defines the order of addition.
    bbox
        Box of the whole image.
    grid
        Coordinate grid of the image over the whole output box.
    read
        Function that returns image (nJy), variance (nJy^2) and mask (bits of `BIT`) of a sub-box of ``bbox``, as
        float32 and int32 arrays that may be modified.
    weight
        Weight of the whole image, so that the PSF of the coadd is the same weighted mean everywhere.
    seeing
        FWHM of the PSF in arcsec.
    noise_kernel
        Kernel of the correlated noise, from `correlated_noise.noise_kernel`.
    seed
        Seed of the noise realization; an image has the same noise in every patch.
    """

    name: str
    bbox: Box
    grid: CoordinateGrid
    read: Callable[[Box], tuple[np.ndarray, np.ndarray, np.ndarray]]
    weight: float
    seeing: float
    noise_kernel: np.ndarray = field(default_factory=lambda: np.ones((1, 1)))
    seed: int = 0


@dataclass(frozen=True)
class CoaddPlanes:
    """The result of `make_coadd` over the output box [y, x].

    Attributes
    ----------
    planes
        Weighted mean (nJy, NaN without data) and the noise realizations averaged in the same way [1 + n_noise, y, x].
    variance
        Variance in nJy^2; infinite without data.
    mask
        Mask bits of `BIT`.
    count
        Number of inputs that contribute.
    rejected
        Fraction of the weight that was rejected or dropped, 0 to 1.
    signature
        Label of the set of inputs that contribute to a pixel; 0 for none.
    cell_counts
        Number of pixels of a cell to which an input contributes [cell row, cell column, input].
    clipped
        Number of pixels of each input rejected by the comparison of epochs.
    sets
        (cell row, cell column) -> the sets of inputs that contribute to at least `MIN_ZONE` of the cell, as pairs of
        signature and boolean array [input].
    """

    planes: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    count: np.ndarray
    rejected: np.ndarray
    signature: np.ndarray
    cell_counts: np.ndarray
    clipped: np.ndarray
    sets: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = field(default_factory=dict)

    @property
    def image(self) -> np.ndarray:
        """The weighted mean in nJy [y, x]."""
        return self.planes[0]

    @property
    def noise(self) -> np.ndarray:
        """The noise realizations [n_noise, y, x] in nJy."""
        return self.planes[1:]


def signatures(n: int) -> np.ndarray:
    """A random but fixed 32-bit label of each input; the exclusive or of labels identifies a set of inputs."""
    return np.random.default_rng(1).integers(1, 2**32, n, dtype=np.uint32)


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
        # Image, variance, mask and noise; the comparison of epochs needs the image again, and its local brightness.
        held = 3 + settings.n_noise + (3 if settings.rejection else 0)
        for rows in strips_of_rows(inputs, box, cell=cell, memory=settings.memory, planes=held):
            strip = _load_strip(inputs, box, rows, settings, pool)
            starts = range(rows[0], rows[1], cell)
            jobs = [pool.submit(_add_cell_row, strip, weights, box, y, cell, settings, result) for y in starts]
            result.clipped[:] += sum(job.result() for job in jobs)
            # Otherwise the next strip would be read while this one is still held.
            del strip, jobs
    return result


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
    planes = image[None]
    if settings.n_noise:
        planes = np.concatenate([planes, np.empty((settings.n_noise, *image.shape), np.float32)])
    for n in range(settings.n_noise):
        seed = 1_000_003 * source.seed + n
        planes[1 + n] = correlated_noise(variance, source.noise_kernel, seed=seed, y0=area.y.start, x0=area.x.start)
    fill_defects(planes, variance, mask, np.int32(settings.drop), settings.order)
    return planes, variance, mask, source.grid.shifted(x=area.x.start, y=area.y.start)


@dataclass(frozen=True)
class _Strip:
    """The data of a strip of rows: inputs by number, the bits of `find_rejected`, and which inputs have any."""

    numbers: np.ndarray
    loaded: list[tuple[np.ndarray, np.ndarray, np.ndarray, CoordinateGrid]]
    around: Box
    reject: np.ndarray
    has_rejected: list[bool]


def _load_strip(
    inputs: Sequence[CoaddInput], box: Box, rows: tuple[int, int], settings: CoaddSettings, pool: Executor
) -> _Strip:
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
        [(planes[0], variance, mask, grid) for planes, variance, mask, grid in loaded],
        [inputs[n].seeing for n in numbers],
        around,
        drop=settings.drop,
        limits=settings.rejection,
        order=settings.order,
        pool=pool,
    )
    union = np.bitwise_or.reduce(reject, axis=(1, 2)) if len(numbers) else reject
    has_rejected = [bool(union[k // 64] & (_ONE << np.uint64(k % 64))) for k in range(len(numbers))]
    return _Strip(numbers, loaded, around, reject, has_rejected)


def _add_cell_row(
    strip: _Strip, weights: np.ndarray, box: Box, first: int, cell: int, settings: CoaddSettings, result: CoaddPlanes
) -> np.ndarray:
    """Resample and add one row of cells that starts at output row ``first``; returns its `CoaddPlanes.clipped`."""
    shape = (_ROWS, box.x.size)
    buffers = (np.empty((1 + settings.n_noise, *shape), "f4"), np.empty(shape, "f4"), np.empty(shape, "i4"))
    table, taps, labels = lanczos_table(settings.order), (0,) * (2 * settings.order), signatures(len(weights))
    drop, propagate = np.int32(settings.drop), np.int32(settings.propagate)
    kept = _kept_inputs(strip, box, first, cell, settings.whole)
    clipped, counts = np.zeros(len(weights), np.int64), result.cell_counts[(first - box.y.start) // cell]
    sums = (result.variance, result.mask, result.count, result.rejected, result.signature)
    for start in range(first, first + cell, _ROWS):
        size = min(_ROWS, first + cell - start)
        planes, variance, mask = (buffer[..., :size, :] for buffer in buffers)
        rows = slice(start - box.y.start, start - box.y.start + size)
        weight = np.zeros((size, box.x.size), np.float32)
        flat = tuple(plane.reshape(-1) for plane in (weight, *(plane[rows] for plane in sums)))
        for k, (n, (*arrays, grid)) in enumerate(zip(strip.numbers, strip.loaded, strict=True)):
            if not kept[k].any():
                continue
            where = (grid.u, grid.v, grid.step, start - grid.y, box.x.start - grid.x)
            warp_rows(*arrays, drop, *where, table, taps, planes, variance, mask)
            if strip.has_rejected[k]:
                at = (start - strip.around.y.start, box.x.start - strip.around.x.start)
                clipped[n] += clip_rows(variance, mask, strip.reject, k // 64, _ONE << np.uint64(k % 64), *at)
            if not kept[k].all():
                drop_cells(variance, mask, cell, kept[k])
            for values, out in zip(planes, result.planes[:, rows], strict=True):
                add_values(values.reshape(-1), variance.reshape(-1), weights[n], out.reshape(-1))
            add_bookkeeping(variance.reshape(-1), mask.reshape(-1), weights[n], labels[n], drop, propagate, flat)
            count_cells(variance, cell, counts[:, n])
        normalise_rows(result.planes[:, rows], sums[0][rows], sums[1][rows], sums[3][rows], weight)
    result.sets.update(_input_sets(strip, box, first, cell, kept, settings, result.signature, labels))
    return clipped


def _input_sets(
    strip: _Strip,
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
    for column in range(box.x.size // cell):
        part = signature[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        names, at, counts = np.unique(part, return_index=True, return_counts=True)
        for name, pixel, count in zip(names, at, counts, strict=True):
            if name and count >= MIN_ZONE * cell * cell:
                y, x = first + int(pixel) // cell, box.x.start + column * cell + int(pixel) % cell
                members = _inputs_at(strip, y, x, kept[:, column], settings, len(labels))
                if np.bitwise_xor.reduce(labels[members], initial=np.uint32(0)) == name:
                    found.setdefault((row, column), []).append((int(name), members))
    return found


def _inputs_at(strip: _Strip, y: int, x: int, kept: np.ndarray, settings: CoaddSettings, n_inputs: int) -> np.ndarray:
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


def _kept_inputs(strip: _Strip, box: Box, first: int, cell: int, whole: float) -> np.ndarray:
    """Whether each input contributes to each cell of a row [input, cell column]; see `CoaddSettings.whole`."""
    covered = np.zeros((len(strip.numbers), box.x.size // cell), np.int64)
    for k, (_, _, mask, grid) in enumerate(strip.loaded):
        where = (grid.u, grid.v, grid.step, first - grid.y, box.x.start - grid.x)
        count_covered(mask, *where, cell, _EVERY, covered[k])
    is_whole = covered >= whole * len(range(_EVERY // 2, cell, _EVERY)) ** 2
    return is_whole | ~is_whole.any(axis=0)
