"""Comparison of epochs: trails, ghosts and defects, which appear in one input only, are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from lsst.images import Box
from numba import njit

from dmu4.coadds.resample import CoordinateGrid, lanczos_table, warp_rows

MIN_EPOCHS = 3
"""Smallest number of inputs for rejection: with two it is unknown which one is wrong."""

_ROWS = 64
_REACH = 2
"""The brightness around a pixel is the largest within 2 px of twice the output scale, for a seeing of 2 to 3 px."""


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
        Additional tolerance as a fraction of the brightness around a pixel, in the median of the epochs, for errors of
        registration, interpolation and photometry. The change of the peak of a star between the seeing of the input and
        the median seeing is added.
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


@njit(cache=True, nogil=True)
def _median(values: np.ndarray, count: int) -> float:
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
def _medians(planes: np.ndarray, variance: np.ndarray, middle: np.ndarray, count: np.ndarray) -> None:
    """Median of the inputs that have a value at each pixel, and their number; zero without any."""
    values = np.empty(planes.shape[0], np.float32)
    for y in range(middle.shape[0]):
        for x in range(middle.shape[1]):
            number = 0
            for k in range(planes.shape[0]):
                if variance[k, y, x] > 0:
                    values[number] = planes[k, y, x]
                    number += 1
            middle[y, x] = _median(values, number) if number else np.float32(0.0)
            count[y, x] = number


@njit(cache=True, nogil=True)
def _brightest(middle: np.ndarray, y: int, columns: np.ndarray, brightness: np.ndarray) -> None:
    """The largest absolute value within `_REACH` pixels of each pixel of row y; ``columns`` is a buffer."""
    ny, nx = middle.shape
    columns[:] = 0.0
    for j in range(max(y - _REACH, 0), min(y + _REACH + 1, ny)):
        for x in range(nx):
            columns[x] = max(columns[x], abs(middle[j, x]))
    for x in range(nx):
        brightness[x] = columns[x]
        for i in range(max(x - _REACH, 0), min(x + _REACH + 1, nx)):
            brightness[x] = max(brightness[x], columns[i])


@njit(cache=True, nogil=True)
def compare_rows(
    planes: np.ndarray,
    variance: np.ndarray,
    tolerance: np.ndarray,
    sigma: float,
    grow_sigma: float,
    first: int,
    seeds: np.ndarray,
    candidates: np.ndarray,
) -> None:
    """Set the bits of the inputs that deviate from the median of all.

    Parameters
    ----------
    planes
        Resampled images [input, y, x], float32, with up to `_REACH` rows more on both sides than the output.
    variance
        Variance, of the same shape; 0 where an input has no value.
    tolerance
        Tolerance of each input, see `seeing_tolerance`.
    first
        Row of ``planes`` of the first row of the output.
    seeds, candidates
        Output bit arrays [word, y, x], uint64: bit n % 64 of word n // 64 belongs to input n.
    """
    nx, one = planes.shape[2], np.uint64(1)
    middle, count = np.empty(planes.shape[1:], np.float32), np.empty(planes.shape[1:], np.int64)
    columns, brightness = np.empty(nx, np.float32), np.empty(nx, np.float32)
    _medians(planes, variance, middle, count)
    for row in range(seeds.shape[1]):
        y = first + row
        _brightest(middle, y, columns, brightness)
        for k in range(planes.shape[0]):
            word, bit = k // 64, one << np.uint64(k % 64)
            for x in range(nx):
                if not variance[k, y, x] > 0 or count[y, x] < MIN_EPOCHS:
                    continue
                # The variance of a median is pi / 2 that of a mean.
                of_median = np.float32(1.57) / count[y, x]
                deviation, square = abs(planes[k, y, x] - middle[y, x]), variance[k, y, x] * (1 + of_median)
                if deviation * deviation <= grow_sigma * grow_sigma * square:
                    continue  # most pixels, without a root
                # In pure noise the largest of 25 values is about 2.5 sigma, which is not brightness.
                bright = max(brightness[x] - np.float32(2.5) * np.sqrt(of_median * variance[k, y, x]), np.float32(0.0))
                excess, noise = deviation - tolerance[k] * bright, np.sqrt(square)
                if excess > grow_sigma * noise:
                    candidates[word, row, x] |= bit
                    if excess > sigma * noise:
                        seeds[word, row, x] |= bit


@njit(cache=True, nogil=True)
def grow(seeds: np.ndarray, candidates: np.ndarray, n: int, dilate: int) -> np.ndarray:
    """The rejected regions: candidates connected to a seed, widened; the bits are those of `compare_rows`."""
    ny, nx = seeds.shape[1:]
    rejected, todo = np.zeros_like(seeds), np.empty(ny * nx, np.int64)
    for k in range(n):
        word, bit = k // 64, np.uint64(1) << np.uint64(k % 64)
        found = np.zeros((ny, nx), np.bool_)
        for start in range(ny * nx):
            if not seeds[word, start // nx, start % nx] & bit or found[start // nx, start % nx]:
                continue
            found[start // nx, start % nx], todo[0], waiting = True, start, 1
            while waiting:
                waiting -= 1
                y, x = todo[waiting] // nx, todo[waiting] % nx
                rejected[word, max(y - dilate, 0) : y + dilate + 1, max(x - dilate, 0) : x + dilate + 1] |= bit
                for j in range(max(y - 1, 0), min(y + 2, ny)):
                    for i in range(max(x - 1, 0), min(x + 2, nx)):
                        if candidates[word, j, i] & bit and not found[j, i]:
                            found[j, i], todo[waiting] = True, j * nx + i
                            waiting += 1
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
        Image [1, y, x] (see `warp_rows`), variance, mask, and coordinate grid in pixels of these arrays, of each input.
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
    halved = [(image, variance, mask, grid.halved()) for image, variance, mask, grid in inputs]
    table, taps = lanczos_table(order), (0,) * (2 * order)

    def compare(first: int) -> None:
        rows = slice(first, min(first + _ROWS, ny))
        start, stop = max(first - _REACH, 0), min(rows.stop + _REACH, ny)
        planes, variances = np.empty((2, n, stop - start, nx), np.float32)
        unused = np.empty((stop - start, nx), np.int32)
        for k, (image, variance, mask, grid) in enumerate(halved):
            where = (grid.u, grid.v, grid.step, box.y.start // 2 - grid.y + start, box.x.start // 2 - grid.x)
            out = (planes[k : k + 1], variances[k], unused)
            warp_rows(image, variance, mask, np.int32(drop), *where, table, taps, *out)
        limit = (tolerance, np.float32(limits.sigma), np.float32(limits.grow_sigma), first - start)
        compare_rows(planes, variances, *limit, seeds[:, rows], candidates[:, rows])

    list(pool.map(compare, range(0, ny, _ROWS)))
    return grow(seeds, candidates, n, limits.dilate)
