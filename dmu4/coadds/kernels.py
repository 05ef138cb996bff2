"""Kernels of coaddition: operations on the resampled rows of one input, and on the sums of all inputs."""

from __future__ import annotations

import numpy as np
from numba import njit

from dmu4.coadds.resample import along_row
from obs_vista.masks import BIT

_NO_DATA, _CLIPPED, _REJECTED = (np.int32(BIT[name]) for name in ("NO_DATA", "CLIPPED", "REJECTED"))


@njit(cache=True, nogil=True)
def clip_rows(variance, mask, reject, word, bit, row, column):
    """Exclude the rejected pixels of one resampled input (variance 0), and mark them CLIPPED.

    ``row`` and ``column`` are the position of the first pixel in ``reject``, in output pixels. Returns the number of
    excluded pixels.
    """
    clipped = 0
    for y in range(variance.shape[0]):
        for x in range(variance.shape[1]):
            if (reject[word, (row + y) // 2, (column + x) // 2] & bit) and variance[y, x] > 0:
                variance[y, x] = 0.0
                mask[y, x] = _CLIPPED
                clipped += 1
    return clipped


@njit(cache=True, nogil=True)
def count_covered(mask, grid_u, grid_v, step, row, column, cell, every, covered):
    """Count in ``covered`` [cell column] the positions of a row of cells at which an input is not NO_DATA.

    ``row`` and ``column`` are those of the first output pixel, counted from the first node of the grid; every
    ``every``-th pixel along both axes is checked.
    """
    ny, nx = mask.shape
    for r in range(row + every // 2, row + cell, every):
        j = r // step
        for k in range(covered.size):
            for c in range(column + k * cell + every // 2, column + (k + 1) * cell, every):
                i = c // step
                left_u, left_v, du, dv, _ = along_row(grid_u, grid_v, i, j, r / step - j, step)
                u, v = left_u + du * (c - i * step), left_v + dv * (c - i * step)
                # Written so that a NaN coordinate counts as outside.
                if u >= 0 and v >= 0 and u < nx - 1 and v < ny - 1 and not mask[int(v + 0.5), int(u + 0.5)] & _NO_DATA:
                    covered[k] += 1


@njit(cache=True, nogil=True)
def drop_cells(variance, mask, cell, kept):
    """Exclude the pixels [y, x] of all cells that are not ``kept`` [cell column]."""
    for y in range(variance.shape[0]):
        for k in range(kept.size):
            if not kept[k]:
                variance[y, k * cell : (k + 1) * cell] = 0.0
                mask[y, k * cell : (k + 1) * cell] = _NO_DATA


@njit(cache=True, nogil=True)
def add_values(values, variance, weight, out):
    """Add one plane of one input to its weighted sum (flat arrays); pixels of variance 0 have no value."""
    for i in range(variance.size):
        out[i] += (weight if variance[i] > 0 else np.float32(0.0)) * values[i]


@njit(cache=True, nogil=True)
def add_bookkeeping(variance, mask, weight, label, drop, propagate, out):
    """Add weight, variance, mask and counts of the pixels of one input.

    Parameters
    ----------
    variance, mask
        Whole output rows (flat) from `warp_rows` and `clip_rows`.
    weight, label
        Weight and label of the input.
    drop, propagate
        Mask bits, see `CoaddSettings`.
    out
        Sums over inputs (flat): weight, variance times squared weight, mask, count, lost weight, signature.
    """
    out_weight, out_variance, out_mask, out_count, out_lost, out_signature = out
    left_out, none, nothing = drop & ~_NO_DATA, np.float32(0.0), np.int32(0)
    # Short loops over few arrays without branches are vectorised, which is ten times faster.
    for i in range(variance.size):
        use = weight if variance[i] > 0 else none
        out_weight[i] += use
        out_variance[i] += use * use * variance[i]
    for i in range(variance.size):
        masked, clipped = (mask[i] & left_out) != 0, (mask[i] & _CLIPPED) != 0
        out_lost[i] += weight if masked | clipped else none
        kept = mask[i] & propagate if variance[i] > 0 else nothing
        out_mask[i] |= kept | (_REJECTED if masked else nothing) | (_CLIPPED if clipped else nothing)
    for i in range(variance.size):
        out_signature[i] ^= label if variance[i] > 0 else np.uint32(0)
    for i in range(variance.size):
        out_count[i] += np.int16(variance[i] > 0)


@njit(cache=True, nogil=True)
def count_cells(variance, cell, counts):
    """Add to ``counts`` [cell column] the number of pixels of rows [y, x] that have a value."""
    for y in range(variance.shape[0]):
        for k in range(counts.size):
            for x in range(k * cell, (k + 1) * cell):
                counts[k] += variance[y, x] > 0


@njit(cache=True, nogil=True)
def normalise_rows(planes, variance, mask, lost, weight):
    """Divide the sums over inputs by the weight; NaN, infinite variance and NO_DATA where the weight is zero."""
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            total = weight[y, x]
            lost[y, x] = lost[y, x] / (lost[y, x] + total) if lost[y, x] > 0 else np.float32(0.0)
            if total > 0:
                variance[y, x] /= total * total
                for p in range(planes.shape[0]):
                    planes[p, y, x] /= total
            else:
                variance[y, x] = np.inf
                mask[y, x] |= _NO_DATA
                for p in range(planes.shape[0]):
                    planes[p, y, x] = np.nan
