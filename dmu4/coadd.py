"""The coadd of one patch and band: inputs are resampled, compared and added row by row, and never stored as warps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from lsst.images import Box
from numba import njit

from dmu4.covariance import correlated_noise
from dmu4.rejection import RejectionLimits, find_rejected
from dmu4.resample import CoordinateGrid, fill_defects, lanczos_table, warp_rows
from obs_vista.masks import BIT, bits

_NO_DATA, _CLIPPED, _REJECTED = (np.int32(BIT[name]) for name in ("NO_DATA", "CLIPPED", "REJECTED"))
# Few enough that the resampled rows of ten inputs stay in the processor's cache until they are added.
_ROWS = 4
_HALO = 32


@dataclass(frozen=True)
class CoaddSettings:
    """How inputs are added.

    Parameters
    ----------
    order
        Of the Lanczos kernel.
    drop
        Mask bits of input pixels that are left out. Gaps of up to ``order`` pixels are bridged first, so that the
        kernel does not ring; output pixels that lie on the bridged pixels have no value of this input.
    propagate
        Mask bits that the coadd takes over from any input that contributes.
    rejection
        Limits of the comparison of epochs; None switches it off.
    n_noise
        Noise planes carried through.
    threads
        Threads over rows of cells. The result does not depend on it.
    memory
        Limit for input pixels held at a time, in bytes; with more, the patch is done in bands of rows.
    """

    order: int = 3
    drop: int = int(bits("NO_DATA", "BAD", "CR", "STREAK"))
    propagate: int = int(bits("SAT", "INTRP", "SUSPECT", "EDGE", "BRIGHT_OBJECT"))
    rejection: RejectionLimits | None = field(default_factory=RejectionLimits)
    n_noise: int = 1
    threads: int = 2
    memory: int = 1_000_000_000


@dataclass(frozen=True)
class CoaddInput:
    """One detector image, still on its own pixels.

    Parameters
    ----------
    name
        Names it in messages and in the order of addition.
    bbox
        Box of the whole image.
    grid
        Its pixels on the output grid, over the whole output box.
    read
        Returns image (nJy), variance (nJy^2) and mask (bits of `BIT`) of a sub-box of ``bbox``.
    weight
        One number for the whole image, so that the coadd's PSF is the same weighted mean everywhere.
    seeing
        FWHM in arcsec.
    noise_kernel
        See `covariance.noise_kernel`.
    seed
        Of the noise; the same image has the same noise in every patch.
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
    """What `make_coadd` returns, all over the output box [y, x].

    Parameters
    ----------
    planes
        (1 + n_noise, y, x): the weighted mean (nJy), NaN without data, and noise that went through the same sums.
    variance
        In nJy^2; infinite without data.
    mask
        Bits of `BIT`.
    count
        Number of inputs that contribute.
    rejected
        Part of the weight that was rejected or dropped, 0 to 1.
    signature
        Names the set of inputs that contribute to a pixel; 0 for none.
    cell_counts
        (cell row, cell column, input): pixels of a cell to which an input contributes.
    clipped
        Pixels of each input that the comparison of epochs rejected.
    """

    planes: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    count: np.ndarray
    rejected: np.ndarray
    signature: np.ndarray
    cell_counts: np.ndarray
    clipped: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """The weighted mean in nJy [y, x]."""
        return self.planes[0]

    @property
    def noise(self) -> np.ndarray:
        """The noise planes (n_noise, y, x) in nJy."""
        return self.planes[1:]


def signatures(n: int) -> np.ndarray:
    """A random but fixed 32-bit label of each input; the exclusive or of some labels names their set."""
    return np.random.default_rng(1).integers(1, 2**32, n, dtype=np.uint32)


@njit(cache=True, nogil=True)
def add_rows(
    planes, variance, mask, numbers, weights, labels, drop, propagate, reject, row, column, cell, out, counts, clipped
):
    """Add resampled rows of some inputs.

    Parameters
    ----------
    planes, variance, mask
        (input, plane, y, x), (input, y, x), (input, y, x) as `warp_rows` leaves them.
    numbers
        Which input of the whole list each of these is.
    weights, labels
        Of the whole list.
    drop, propagate
        See `CoaddSettings`.
    reject, row, column
        Bits of `find_rejected`, and where the first output pixel is in them, in output pixels.
    cell
        Side of a cell in pixels.
    out
        Planes (plane, y, x), variance, mask, count, rejected, signature (y, x): filled.
    counts, clipped
        (cell column, input) and (input,): added to.
    """
    out_planes, out_variance, out_mask, out_count, out_rejected, out_signature = out
    for y in range(out_mask.shape[0]):
        for x in range(out_mask.shape[1]):
            total = lost = noise = 0.0
            for p in range(out_planes.shape[0]):
                out_planes[p, y, x] = 0.0
            found, count, signature, column_of_cells = np.int32(0), 0, np.uint32(0), x // cell
            word = np.uint64(0)
            for k in range(numbers.size):
                n = numbers[k]
                if k % 64 == 0:
                    word = reject[k // 64, (row + y) // 2, (column + x) // 2]
                if variance[k, y, x] <= 0:
                    if mask[k, y, x] & drop & ~_NO_DATA:
                        lost += weights[n]
                        found |= _REJECTED
                    continue
                if (word >> np.uint64(k % 64)) & np.uint64(1):
                    lost += weights[n]
                    found |= _CLIPPED
                    clipped[n] += 1
                    continue
                total += weights[n]
                noise += weights[n] * weights[n] * variance[k, y, x]
                found |= mask[k, y, x] & propagate
                signature ^= labels[n]
                count += 1
                counts[column_of_cells, n] += 1
                for p in range(out_planes.shape[0]):
                    out_planes[p, y, x] += np.float32(weights[n]) * planes[k, p, y, x]
            for p in range(out_planes.shape[0]):
                out_planes[p, y, x] = out_planes[p, y, x] / np.float32(total) if count else np.float32(np.nan)
            out_variance[y, x] = noise / (total * total) if count else np.inf
            out_mask[y, x] = found if count else found | _NO_DATA
            out_count[y, x] = count
            out_rejected[y, x] = lost / (lost + total) if lost > 0 else 0.0
            out_signature[y, x] = signature


def make_coadd(inputs: Sequence[CoaddInput], box: Box, *, cell: int, settings: CoaddSettings) -> CoaddPlanes:
    """Add the inputs over a box of output pixels.

    Each input pixel is read once, resampled once, and added with one weight for its whole image. Memory does not grow
    with the number of inputs: they are read for bands of rows that fit the limit.

    Parameters
    ----------
    inputs
        Images that may overlap the box, in the order in which they are added.
    box
        Output pixels; its sides are whole numbers of cells.
    cell
        Side of a cell in pixels.
    settings
        How.
    """
    if box.y.size % cell or box.x.size % cell:
        raise ValueError(f"Cells of {cell} px do not divide a box of {box.x.size} x {box.y.size} px.")
    shape = (box.y.size, box.x.size)
    result = CoaddPlanes(
        planes=np.full((1 + settings.n_noise, *shape), np.nan, np.float32),
        variance=np.full(shape, np.inf, np.float32),
        mask=np.full(shape, _NO_DATA, np.int32),
        count=np.zeros(shape, np.int16),
        rejected=np.zeros(shape, np.float32),
        signature=np.zeros(shape, np.uint32),
        cell_counts=np.zeros((box.y.size // cell, box.x.size // cell, len(inputs)), np.int32),
        clipped=np.zeros(len(inputs), np.int64),
    )
    # Only ratios of weights matter; near 1 they fit single precision.
    weights = np.array([source.weight for source in inputs], float)
    weights /= weights.max(initial=1e-300)
    with ThreadPoolExecutor(settings.threads) as pool:
        for rows in bands_of_rows(inputs, box, cell=cell, memory=settings.memory, planes=4 + settings.n_noise):
            band = _load_band(inputs, box, rows, settings, pool)
            if len(band.numbers):
                starts = range(rows[0], rows[1], cell)
                jobs = [pool.submit(_add_cell_row, band, weights, box, y, cell, settings, result) for y in starts]
                result.clipped[:] += sum(job.result() for job in jobs)
    return result


def bands_of_rows(
    inputs: Sequence[CoaddInput], box: Box, *, cell: int, memory: int, planes: int
) -> list[tuple[int, int]]:
    """Split the box into bands (first row, last row + 1) whose input pixels fit the memory limit."""
    rows, start = [], box.y.start
    while start < box.y.stop:
        stop = box.y.stop
        while stop > start + cell:
            areas = [area.area for area in (_input_box(source, start, stop, 3) for source in inputs) if area]
            if 4 * planes * sum(areas) <= memory:
                break
            stop = start + max((stop - start) // (2 * cell), 1) * cell
        rows.append((start, stop))
        start = stop
    return rows


def _input_box(source: CoaddInput, start: int, stop: int, order: int) -> Box | None:
    """The part of an input that some output rows look at, or None."""
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
    """Make planes for `warp_rows` of the pixels of an input: defects bridged, noise planes added."""
    image, variance, mask = pixels
    planes = np.empty((1 + settings.n_noise, *image.shape), np.float32)
    planes[0] = image
    variance, mask = np.array(variance, np.float32), np.array(mask, np.int32)
    for n in range(settings.n_noise):
        seed = 1_000_003 * source.seed + n
        planes[1 + n] = correlated_noise(variance, source.noise_kernel, seed=seed, y0=area.y.start, x0=area.x.start)
    fill_defects(planes, variance, mask, np.int32(settings.drop), settings.order)
    return planes, variance, mask, source.grid.shifted(x=area.x.start, y=area.y.start)


def _empty_planes(n: int, box: Box, cell: int, settings: CoaddSettings) -> CoaddPlanes:
    shape = (box.y.size, box.x.size)
    return CoaddPlanes(
        image=np.full(shape, np.nan, np.float32),
        variance=np.full(shape, np.inf, np.float32),
        mask=np.full(shape, _NO_DATA, np.int32),
        noise=np.full((settings.n_noise, *shape), np.nan, np.float32),
        count=np.zeros(shape, np.int16),
        rejected=np.zeros(shape, np.float32),
        signature=np.zeros(shape, np.uint32),
        cell_counts=np.zeros((box.y.size // cell, box.x.size // cell, n), np.int32),
        clipped=np.zeros(n, np.int64),
    )


@dataclass(frozen=True)
class _Band:
    """What is in memory for a band of rows: the inputs there by number, and the bits of `find_rejected`."""

    numbers: np.ndarray
    loaded: list[tuple[np.ndarray, np.ndarray, np.ndarray, CoordinateGrid]]
    around: Box
    reject: np.ndarray


def _load_band(
    inputs: Sequence[CoaddInput], box: Box, rows: tuple[int, int], settings: CoaddSettings, pool: Executor
) -> _Band:
    """Read what a band of rows needs, and compare the epochs."""
    # An even first row and column, so that the pixels of the comparison are pairs; a halo, so that regions which cross
    # the edge of a band grow from both sides.
    start, stop = max(rows[0] - _HALO, box.y.start), min(rows[1] + _HALO, box.y.stop)
    around = Box.factory[start // 2 * 2 : stop, box.x.start // 2 * 2 : box.x.stop]
    areas = [_input_box(source, start, stop, settings.order) for source in inputs]
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
    return _Band(numbers, loaded, around, reject)


def _add_cell_row(
    band: _Band, weights: np.ndarray, box: Box, first: int, cell: int, settings: CoaddSettings, result: CoaddPlanes
) -> np.ndarray:
    """Resample and add one row of cells that begins at output row ``first``; returns `CoaddPlanes.clipped` of it."""
    n, nx = len(band.numbers), box.x.size
    planes = np.empty((n, 1 + settings.n_noise, _ROWS, nx), np.float32)
    variance, mask = np.empty((n, _ROWS, nx), np.float32), np.empty((n, _ROWS, nx), np.int32)
    table, taps, drop = lanczos_table(settings.order), (0,) * (2 * settings.order), np.int32(settings.drop)
    clipped, counts = np.zeros(len(weights), np.int64), result.cell_counts[(first - box.y.start) // cell]
    everything = (result.planes, result.variance, result.mask, result.count, result.rejected, result.signature)
    for start in range(first, first + cell, _ROWS):
        size = min(_ROWS, first + cell - start)
        warped = (planes[:, :, :size], variance[:, :size], mask[:, :size])
        for k, (*arrays, grid) in enumerate(band.loaded):
            where = (grid.u, grid.v, grid.step, start - grid.y, box.x.start - grid.x)
            warp_rows(*arrays, drop, *where, table, taps, *(plane[k] for plane in warped))
        top = start - box.y.start
        out = tuple(plane[..., top : top + size, :] for plane in everything)
        how = (band.numbers, weights, signatures(len(weights)), drop, np.int32(settings.propagate), band.reject)
        at = (start - band.around.y.start, box.x.start - band.around.x.start)
        add_rows(*warped, *how, *at, cell, out, counts, clipped)
    return clipped
