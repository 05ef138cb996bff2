"""Comparison of epochs: trails, ghosts and defects, which appear in one input only, are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from lsst.images import Box
from numba import njit
from scipy import ndimage

from dmu4.coadds.resample import CoordinateGrid, lanczos_table, warp_rows

MIN_EPOCHS = 3
"""Smallest number of inputs for rejection: with two it is unknown which one is wrong."""

_ROWS = 32


@dataclass(frozen=True)
class RejectionLimits:
    """Limits of the comparison of epochs.

    Attributes
    ----------
    sigma
        Deviation from the median of the epochs, in sigma, that starts a rejected region.
    grow_sigma
        Deviation, in sigma, of connected pixels that belong to the region.
    amplitude
        Additional tolerance as a fraction of the local brightness, for errors of registration, interpolation and
        photometry. The change of the peak of a star between the seeing of the input and the median seeing is added.
    dilate
        Widening of a rejected region, in pixels of twice the output scale, because the kernel spreads it.
    """

    sigma: float = 5.0
    grow_sigma: float = 2.5
    amplitude: float = 0.2
    dilate: int = 2


def seeing_tolerance(seeing: np.ndarray, limits: RejectionLimits) -> np.ndarray:
    """Tolerated relative deviation of each input: peaks of stars scale as the inverse square of the seeing."""
    seeing = np.asarray(seeing, float)
    return (limits.amplitude + np.abs(1 - (np.median(seeing) / seeing) ** 2)).astype(np.float32)


def local_brightness(image: np.ndarray, *, size: int = 5) -> np.ndarray:
    """The largest absolute value around each input pixel; 5 px are enough for a seeing of 2 to 3 px."""
    return ndimage.maximum_filter(np.abs(image), size=size, mode="nearest")


@njit(cache=True, nogil=True)
def _median(values, count):
    """Median of the first ``count`` values, which it sorts."""
    for a in range(1, count):
        value = values[a]
        b = a
        while b > 0 and values[b - 1] > value:
            values[b] = values[b - 1]
            b -= 1
        values[b] = value
    return values[count // 2] if count % 2 else np.float32(0.5) * (values[count // 2 - 1] + values[count // 2])


@njit(cache=True, nogil=True)
def compare_rows(planes, variance, tolerance, sigma, grow_sigma, seeds, candidates):
    """Set the bits of the inputs that deviate from the median of all.

    Parameters
    ----------
    planes
        Resampled images and their `local_brightness` [input, 2, y, x], float32.
    variance
        Variance [input, y, x], float32; 0 where an input has no value.
    tolerance
        Tolerance of each input, see `seeing_tolerance`.
    seeds, candidates
        Output bit arrays [word, y, x], uint64: bit n % 64 of word n // 64 belongs to input n.
    """
    n = planes.shape[0]
    values, bright = np.empty(n, np.float32), np.empty(n, np.float32)
    for y in range(variance.shape[1]):
        for x in range(variance.shape[2]):
            count = 0
            for k in range(n):
                if variance[k, y, x] > 0:
                    values[count], bright[count] = planes[k, 0, y, x], planes[k, 1, y, x]
                    count += 1
            if count < MIN_EPOCHS:
                continue
            middle, brightness = _median(values, count), _median(bright, count)
            for k in range(n):
                if variance[k, y, x] > 0:
                    # The variance of a median is pi / 2 that of a mean.
                    noise = np.sqrt(variance[k, y, x] * (1 + 1.57 / count))
                    # In pure noise the largest of 25 values is about 2.5 sigma, which is not brightness.
                    excess = abs(planes[k, 0, y, x] - middle) - tolerance[k] * max(brightness - 2.5 * noise, 0.0)
                    if excess > grow_sigma * noise:
                        candidates[k // 64, y, x] |= np.uint64(1) << np.uint64(k % 64)
                        if excess > sigma * noise:
                            seeds[k // 64, y, x] |= np.uint64(1) << np.uint64(k % 64)


def grow(seeds: np.ndarray, candidates: np.ndarray, *, n: int, dilate: int) -> np.ndarray:
    """The rejected regions: candidates connected to a seed, widened; the bits are those of `compare_rows`."""
    rejected = np.zeros_like(seeds)
    square = np.ones((3, 3), bool)
    for k in range(n):
        word, bit = k // 64, np.uint64(1) << np.uint64(k % 64)
        seeded = (seeds[word] & bit) != 0
        if not seeded.any():
            continue
        labels, count = ndimage.label((candidates[word] & bit) != 0, structure=square)
        keep = np.zeros(count + 1, bool)
        keep[labels[seeded]] = True
        keep[0] = False
        region = keep[labels]
        if dilate:
            region = ndimage.maximum_filter(region, size=2 * dilate + 1, mode="constant")
        rejected[word][region] |= bit
    return rejected


def find_rejected(
    inputs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, CoordinateGrid]],
    seeing: Sequence[float],
    box: Box,
    *,
    drop: int,
    limits: RejectionLimits | None,
    order: int,
    pool: Executor,
) -> np.ndarray:
    """Compare the epochs over a box.

    Parameters
    ----------
    inputs
        Image [y, x], variance, mask, and coordinate grid in pixels of these arrays, of each input.
    seeing
        Seeing of each input, in any common unit.
    box
        Output pixels, with an even first row and column.
    drop
        Mask bits of pixels without a value.
    limits
        Limits of the comparison; None: nothing is rejected.
    order
        Order of the Lanczos kernel.
    pool
        Executor of the threads over rows.

    Returns
    -------
    rejected
        Bit array [word, y, x], uint64, in pixels twice as large as the output pixels: bit n % 64 of word n // 64 is
        set where input n is rejected.
    """
    n, ny, nx = len(inputs), (box.y.size + 1) // 2, (box.x.size + 1) // 2
    seeds = np.zeros((-(-n // 64), ny, nx), np.uint64)
    if limits is None or n < MIN_EPOCHS:
        return seeds
    candidates = np.zeros_like(seeds)
    tolerance = seeing_tolerance(np.array(seeing), limits)
    prepared = [
        (np.stack([image, local_brightness(image)]), variance, mask, np.int32(drop), grid.halved())
        for image, variance, mask, grid in inputs
    ]

    def compare(first: int) -> None:
        rows = slice(first, min(first + _ROWS, ny))
        shape = (rows.stop - first, nx)
        planes, variance = np.empty((n, 2, *shape), np.float32), np.empty((n, *shape), np.float32)
        mask = np.empty(shape, np.int32)
        for k, (*arrays, grid) in enumerate(prepared):
            where = (grid.u, grid.v, grid.step, box.y.start // 2 - grid.y + first, box.x.start // 2 - grid.x)
            warp_rows(*arrays, *where, lanczos_table(order), (0,) * (2 * order), planes[k], variance[k], mask)
        compare_rows(planes, variance, tolerance, limits.sigma, limits.grow_sigma, seeds[:, rows], candidates[:, rows])

    list(pool.map(compare, range(0, ny, _ROWS)))
    return grow(seeds, candidates, n=n, dilate=limits.dilate)
