"""Resampling to the coadd grid: a coarse grid of coordinates, and one pass over image, variance and mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numba
import numpy as np
from astropy import units
from astropy.wcs import WCS
from lsst.images import Box, SkyProjection
from numba import njit

from obs_vista.masks import BIT

# Vectorises the unrolled sums of the kernel, which saves a third of the time.
numba.config.SLP_VECTORIZE = 1

PixelMap = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A function from output pixels (x, y) to input pixels (u, v); NaN where it is undefined."""

KERNEL_STEPS = 4096
"""Number of sub-pixel positions at which the kernel is tabulated: positions are rounded by at most 1.2e-4 px."""

LANES = 8
"""Pixels along a row that are weighted at once, one vector register; those beyond the kernel have no weight."""

MARGIN = 2 * LANES
"""Pixels behind those of a row that may be read: kernels have up to two registers."""

_NO_DATA = np.int32(BIT["NO_DATA"])


class GridError(ValueError):
    """Coordinates cannot be interpolated to the requested accuracy."""


@dataclass(frozen=True)
class CoordinateGrid:
    """Input coordinates at nodes of the output grid, bilinear in between.

    Nodes are at multiples of ``step`` in absolute output pixels, so that overlapping patches of a tract use identical
    coordinates.

    Attributes
    ----------
    x, y
        Output pixel of the first node.
    step
        Distance between nodes in output pixels.
    u, v
        Input pixel of each node [row, column]; NaN where it is undefined.
    error
        Largest error found between nodes, in input pixels.
    """

    x: int
    y: int
    step: int
    u: np.ndarray
    v: np.ndarray
    error: float

    def shifted(self, *, x: int, y: int) -> CoordinateGrid:
        """The same grid for a sub-image of the input whose first pixel is (x, y) of the whole image."""
        return replace(self, u=self.u - x, v=self.v - y)

    def reach(self, rows: slice, *, margin: float) -> tuple[float, float, float, float] | None:
        """The part of the input that some rows of nodes need: u_min, u_max, v_min, v_max, or None."""
        u, v = self.u[rows], self.v[rows]
        good = np.isfinite(u) & np.isfinite(v)
        if not good.any():
            return None
        return u[good].min() - margin, u[good].max() + margin, v[good].min() - margin, v[good].max() + margin

    def node_rows(self, start: int, stop: int) -> slice:
        """The rows of nodes that surround the output rows from start to stop."""
        return slice((start - self.y) // self.step, -((self.y - stop) // self.step) + 1)

    def halved(self) -> CoordinateGrid:
        """The same map for output pixels twice as large: pixel (X, Y) has its centre at (2 X + 0.5, 2 Y + 0.5)."""
        planes = []
        for plane in (self.u, self.v):
            padded = np.pad(plane, ((0, 1), (0, 1)), mode="reflect", reflect_type="odd")
            along = plane + (padded[:-1, 1:] - plane) * (0.5 / self.step)
            planes.append(along + (padded[1:, :-1] - plane) * (0.5 / self.step))
        return CoordinateGrid(self.x // 2, self.y // 2, self.step // 2, *planes, self.error)

    def nearest(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Input positions of output positions, from the nearest node and its slopes, to a fraction of a pixel."""
        i = np.clip(np.rint((x - self.x) / self.step).astype(int), 0, self.u.shape[1] - 2)
        j = np.clip(np.rint((y - self.y) / self.step).astype(int), 0, self.u.shape[0] - 2)
        s, t = (x - self.x) / self.step - i, (y - self.y) / self.step - j
        return tuple(
            plane[j, i] + s * (plane[j, i + 1] - plane[j, i]) + t * (plane[j + 1, i] - plane[j, i])
            for plane in (self.u, self.v)
        )

    def at(self, *, x: float, y: float) -> tuple[float, float, np.ndarray]:
        """Input position of one output position, and the 2 x 2 matrix d(u, v) / d(x, y) there."""
        i = min(max(int((x - self.x) // self.step), 0), self.u.shape[1] - 2)
        j = min(max(int((y - self.y) // self.step), 0), self.u.shape[0] - 2)
        s, t = (x - self.x) / self.step - i, (y - self.y) / self.step - j
        position, slopes = [], []
        for plane in (self.u, self.v):
            (a, b), (c, d) = plane[j : j + 2, i : i + 2]
            position.append((1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * d))
            slopes.append(((1 - t) * (b - a) + t * (d - c), (1 - s) * (c - a) + s * (d - b)))
        return position[0], position[1], np.array(slopes) / self.step


def projection_map(output: WCS | SkyProjection, source: WCS | SkyProjection) -> PixelMap:
    """The map from pixels of one projection to pixels of another; both are numbered from zero."""
    to_sky = output.as_astropy() if isinstance(output, SkyProjection) else output
    to_pixel = source.as_astropy() if isinstance(source, SkyProjection) else source
    # LSST's projections use radians, FITS WCS degrees.
    degrees = [(1 * units.Unit(view.world_axis_units[0])).to_value("deg") for view in (to_sky, to_pixel)]

    def apply(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sky = to_sky.pixel_to_world_values(x, y)
        pixels = to_pixel.world_to_pixel_values(*(np.asarray(angle) * degrees[0] / degrees[1] for angle in sky))
        # A position that has no pixel is NaN, or an absurdly large number.
        first, second = (np.where(np.abs(values) < 1e9, values, np.nan) for values in pixels)
        return first, second

    return apply


def coordinate_grid(box: Box, to_input: PixelMap, *, step: int = 32, tolerance: float = 1e-3) -> CoordinateGrid:
    """Tabulate a pixel map over an output box, and check its accuracy between the nodes.

    The step is halved while the largest error between nodes exceeds ``tolerance`` (input pixels).

    Raises
    ------
    GridError
        If even steps of 4 pixels are not accurate enough.
    """
    while step >= 4:
        x0, y0 = box.x.start // step * step, box.y.start // step * step
        x = np.arange(x0, box.x.stop + step, step, dtype=float)
        y = np.arange(y0, box.y.stop + step, step, dtype=float)
        u, v = to_input(*np.meshgrid(x, y))
        middle_u, middle_v = to_input(*np.meshgrid(x[:-1] + step / 2, y[:-1] + step / 2))
        miss = np.hypot(_between(u) - middle_u, _between(v) - middle_v)
        error = float(np.nanmax(miss)) if np.isfinite(miss).any() else 0.0
        if error <= tolerance:
            return CoordinateGrid(x0, y0, step, np.ascontiguousarray(u), np.ascontiguousarray(v), error)
        step //= 2
    raise GridError(f"Coordinates are wrong by {error:.2g} px between nodes 4 px apart; the limit is {tolerance:g} px.")


def _between(nodes: np.ndarray) -> np.ndarray:
    return (nodes[:-1, :-1] + nodes[1:, :-1] + nodes[:-1, 1:] + nodes[1:, 1:]) / 4


@lru_cache(maxsize=8)
def lanczos_table(order: int) -> np.ndarray:
    """Lanczos weights for each tabulated sub-pixel position.

    Parameters
    ----------
    order
        Half-width of the kernel in input pixels, 1 to 8.

    Returns
    -------
    table
        Weights [KERNEL_STEPS + 1, LANES + 1 or 2 LANES + 1], float32, of the pixels 1 - order ... order around the
        position, which sum to 1 so that a flat sky stays flat, then zeros; the last column is the sum of their squares.

    Raises
    ------
    ValueError
        If the order is not supported.
    """
    if not 1 <= order <= LANES:
        raise ValueError(f"The order of a Lanczos kernel must be 1 to {LANES}; got {order}.")
    offset = np.arange(1 - order, order + 1) - np.arange(KERNEL_STEPS + 1)[:, None] / KERNEL_STEPS
    weights = np.where(np.abs(offset) < order, np.sinc(offset) * np.sinc(offset / order), 0.0)
    weights /= weights.sum(1, keepdims=True)
    table = np.zeros((KERNEL_STEPS + 1, (LANES if 2 * order <= LANES else 2 * LANES) + 1), np.float32)
    table[:, : 2 * order], table[:, -1] = weights, (weights**2).sum(1)
    return table


def planes_with_margin(n: int, ny: int, nx: int) -> np.ndarray:
    """Zeros [n, ny, at least nx + MARGIN], float32, for the planes of `warp_rows`.

    Rows of a whole number of pages, like those of a detector of 2048 pixels, would all fall on the same lines of the
    processor's first cache: a second plane then takes three times as long.
    """
    blocks = -(-(nx + MARGIN) // 16)
    return np.zeros((n, ny, 16 * (blocks + 1 - blocks % 2)), np.float32)


@njit(cache=True, nogil=True)
def fill_defects(planes, variance, mask, drop, reach):
    """Interpolate over small defects, so that the kernel does not include wrong values next to dropped pixels.

    A dropped pixel (a bit of ``drop`` in its mask, or a value that is not finite) is interpolated linearly between the
    nearest good pixels along its row or its column, whichever gap is shorter, if they are within ``reach``. Other
    dropped pixels are set to zero, and all pixels within ``reach`` of them are marked NO_DATA, because their kernel
    would include the defect. Works in place on ``planes`` [plane, y, x], ``variance`` and ``mask`` [y, x].
    """
    ny, nx = mask.shape
    bad = np.zeros((ny, nx), np.bool_)
    for y in range(ny):
        for x in range(nx):
            fine = np.isfinite(planes[0, y, x]) and np.isfinite(variance[y, x]) and variance[y, x] > 0
            if not fine:
                mask[y, x] |= _NO_DATA
            bad[y, x] = not fine or (mask[y, x] & drop) != 0
    filled = np.zeros((ny, nx), np.bool_)
    for y in range(ny):
        for x in range(nx):
            if not bad[y, x]:
                continue
            best = 4 * reach
            for dy, dx in ((0, 1), (1, 0)):
                a = b = 0
                for k in range(1, reach + 1):
                    if a == 0 and y - k * dy >= 0 and x - k * dx >= 0 and not bad[y - k * dy, x - k * dx]:
                        a = k
                    if b == 0 and y + k * dy < ny and x + k * dx < nx and not bad[y + k * dy, x + k * dx]:
                        b = k
                if a > 0 and b > 0 and a + b < best:
                    best = a + b
                    for p in range(planes.shape[0]):
                        before, after = planes[p, y - a * dy, x - a * dx], planes[p, y + b * dy, x + b * dx]
                        planes[p, y, x] = (b * before + a * after) / (a + b)
                    variance[y, x] = 0.5 * (variance[y - a * dy, x - a * dx] + variance[y + b * dy, x + b * dx])
                    filled[y, x] = True
    for y in range(ny):
        for x in range(nx):
            if bad[y, x] and not filled[y, x]:
                planes[:, y, x] = 0.0
                variance[y, x] = 0.0
                for j in range(max(y - reach, 0), min(y + reach + 1, ny)):
                    for i in range(max(x - reach, 0), min(x + reach + 1, nx)):
                        mask[j, i] |= _NO_DATA


# fastmath: reassociation allows the inner sums to be vectorised; nothing here relies on NaN or infinity.
_FAST = {"contract", "reassoc", "nsz"}


@njit(cache=True, nogil=True)
def along_row(grid_u, grid_v, i, j, t, step):
    """Coordinates at the left edge of a row of a grid cell, their slopes, and the input pixels per output pixel."""
    u, v = (1 - t) * grid_u[j, i] + t * grid_u[j + 1, i], (1 - t) * grid_v[j, i] + t * grid_v[j + 1, i]
    du = ((1 - t) * grid_u[j, i + 1] + t * grid_u[j + 1, i + 1] - u) / step
    dv = ((1 - t) * grid_v[j, i + 1] + t * grid_v[j + 1, i + 1] - v) / step
    du_dy = (grid_u[j + 1, i] - grid_u[j, i] + grid_u[j + 1, i + 1] - grid_u[j, i + 1]) / (2 * step)
    dv_dy = (grid_v[j + 1, i] - grid_v[j, i] + grid_v[j + 1, i + 1] - grid_v[j, i + 1]) / (2 * step)
    return u, v, du, dv, np.float32(abs(du * dv_dy - dv * du_dy))


@njit(cache=True, nogil=True, fastmath=_FAST)
def _weigh_lanes(
    planes: np.ndarray, p: int, x: int, y: int, ku: int, kv: int, table: np.ndarray, taps: tuple[int, ...], a: int
) -> float:
    """The weighted sum of `LANES` columns of len(taps) rows that begin at (x, y), with the weights from column a."""
    # Eight sums, written out: one instruction adds to all of them.
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    for b in range(len(taps)):
        weight, row = table[kv, b], y + np.uint64(b)
        s0 += weight * planes[p, row, x]
        s1 += weight * planes[p, row, x + np.uint64(1)]
        s2 += weight * planes[p, row, x + np.uint64(2)]
        s3 += weight * planes[p, row, x + np.uint64(3)]
        s4 += weight * planes[p, row, x + np.uint64(4)]
        s5 += weight * planes[p, row, x + np.uint64(5)]
        s6 += weight * planes[p, row, x + np.uint64(6)]
        s7 += weight * planes[p, row, x + np.uint64(7)]
    even = (s0 * table[ku, a] + s4 * table[ku, a + 4]) + (s2 * table[ku, a + 2] + s6 * table[ku, a + 6])
    odd = (s1 * table[ku, a + 1] + s5 * table[ku, a + 5]) + (s3 * table[ku, a + 3] + s7 * table[ku, a + 7])
    return even + odd


@njit(cache=True, nogil=True, fastmath=_FAST)
def interpolate(planes, p, x, y, ku, kv, table, taps):
    """The weighted sum of the len(taps) squared pixels of plane p that begin at (x, y), which are unsigned."""
    total = _weigh_lanes(planes, p, x, y, ku, kv, table, taps, 0)
    if len(taps) > LANES:  # known at compilation
        total += _weigh_lanes(planes, p, x + np.uint64(LANES), y, ku, kv, table, taps, LANES)
    return total


@njit(cache=True, nogil=True)
def _no_value(
    mask: np.signedinteger, r: int, c: int, out_planes: np.ndarray, out_variance: np.ndarray, out_mask: np.ndarray
) -> None:
    """Write that an output pixel has no value."""
    for p in range(out_planes.shape[0]):
        out_planes[p, r, c] = 0.0
    out_variance[r, c] = 0.0
    out_mask[r, c] = mask


@njit(cache=True, nogil=True, fastmath=_FAST)
def warp_rows(
    planes, variance, mask, drop, grid_u, grid_v, step, row, column, table, taps, out_planes, out_variance, out_mask
):
    """Resample some output rows of one input.

    Pixel values are fluxes per pixel: the interpolated value is multiplied by the ratio of the pixel areas, so that
    fluxes are conserved. The variance is that of the sum for independent input pixels: the local (bilinear) variance
    times the sum of the squared kernel. An output pixel has no value (variance 0) if one of the four input pixels
    around its position has a bit of ``drop``, or if the kernel extends beyond the image.

    Parameters
    ----------
    planes
        Images in arrays of `planes_with_margin`, with common variance and mask, without NaN (see `fill_defects`).
    variance, mask
        Variance (float32) and mask bits (int32) [y, x].
    drop
        Bits of ``mask`` that exclude a pixel.
    grid_u, grid_v, step
        Coordinate grid (`CoordinateGrid`) in pixels of these arrays.
    row, column
        First output row and column, counted from the first node of the grid.
    table
        Kernel from `lanczos_table`.
    taps
        Tuple of the width of the kernel: its length is known at compilation, so that loops are unrolled.
    out_planes, out_variance, out_mask
        Output arrays [plane, row, column], [row, column] and [row, column]. The mask is the union over the four pixels
        around the position, and NO_DATA outside the image.
    """
    width = len(taps)
    left = width // 2 - 1
    limit_u, limit_v = mask.shape[1] - width + left + 1, mask.shape[0] - width + left + 1
    steps, half, unit = np.float32(table.shape[0] - 1), np.float32(0.5), np.float32(1.0)
    one, last = np.uint64(1), np.uint64(table.shape[1] - 1)
    for r in range(out_mask.shape[0]):
        j = (row + r) // step
        for i in range(column // step, (column + out_mask.shape[1] - 1) // step + 1):
            u_left, v_left, du, dv, area = along_row(grid_u, grid_v, i, j, (row + r) / step - j, step)
            for c in range(max(i * step - column, 0), min((i + 1) * step - column, out_mask.shape[1])):
                u, v = u_left + du * (column + c - i * step), v_left + dv * (column + c - i * step)
                # Written so that a NaN coordinate is outside too.
                if not (u >= left and v >= left and u < limit_u and v < limit_v):
                    _no_value(_NO_DATA, r, c, out_planes, out_variance, out_mask)
                    continue
                x, y = np.uint64(np.int64(u)), np.uint64(np.int64(v))
                union = mask[y, x] | mask[y, x + one] | mask[y + one, x] | mask[y + one, x + one]
                if union & drop:
                    _no_value(union, r, c, out_planes, out_variance, out_mask)
                    continue
                out_mask[r, c] = union
                fu, fv = np.float32(u - np.int64(x)), np.float32(v - np.int64(y))
                ku, kv = np.uint64(np.int32(fu * steps + half)), np.uint64(np.int32(fv * steps + half))
                low = (unit - fu) * variance[y, x] + fu * variance[y, x + one]
                high = (unit - fu) * variance[y + one, x] + fu * variance[y + one, x + one]
                noise = area * area * table[ku, last] * table[kv, last]
                out_variance[r, c] = noise * ((unit - fv) * low + fv * high)
                for p in range(planes.shape[0]):
                    value = interpolate(planes, p, x - np.uint64(left), y - np.uint64(left), ku, kv, table, taps)
                    out_planes[p, r, c] = area * value


def warp(
    planes: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    grid: CoordinateGrid,
    box: Box,
    *,
    drop: int = int(BIT["NO_DATA"]) | int(BIT["BAD"]),
    order: int = 3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resample one input to a whole box; see `warp_rows` for the planes.

    Returns
    -------
    planes, variance, mask
        Arrays [plane, y, x], [y, x] and [y, x] over the box; the variance is 0 where there is no value.
    """
    shape = (box.y.size, box.x.size)
    out = np.empty((planes.shape[0], *shape), np.float32), np.empty(shape, np.float32), np.empty(shape, np.int32)
    start = (box.y.start - grid.y, box.x.start - grid.x)
    table, taps = lanczos_table(order), (0,) * (2 * order)
    padded = planes_with_margin(*planes.shape)
    padded[:, :, : planes.shape[2]] = planes
    warp_rows(padded, variance, mask, np.int32(drop), grid.u, grid.v, grid.step, *start, table, taps, *out)
    return out
