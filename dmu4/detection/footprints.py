"""Peaks and footprints in a significance map, found by flooding from the highest pixel down."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Peaks:
    """Local maxima of a map.

    Attributes
    ----------
    x, y
        Array positions, refined by a parabola through the neighbours.
    height
        Value of the map at the peak.
    """

    x: np.ndarray
    y: np.ndarray
    height: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Footprints:
    """The pixels that belong to each of N objects.

    Attributes
    ----------
    owner
        Number of the object of each pixel [y, x], -1 for none.
    area
        Number of pixels of each object, at least 1.
    blend
        Number of the connected region of each object, -1 for an object without one.
    blend_size
        Number of objects in that region.
    """

    owner: np.ndarray
    area: np.ndarray
    blend: np.ndarray
    blend_size: np.ndarray


@numba.njit(nogil=True, cache=True)
def _root(parent: np.ndarray, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(nogil=True, cache=True)
def _highest_neighbour(pixel: int, steps: tuple[int, ...], basin: np.ndarray, values: np.ndarray) -> int:
    """The highest neighbour of a pixel that already belongs to a basin, -1 if there is none."""
    best = -1
    for step in steps:
        other = pixel + step
        if basin[other] >= 0 and (best < 0 or values[other] > values[best]):
            best = other
    return best


@numba.njit(nogil=True, cache=True)
def _flood(values, order, nx, peak_min, rise, fraction, seeded, seed):
    """Visit the pixels from high to low; basins grow, meet, and merge if the lower one is not prominent.

    ``values`` and ``seed`` are flat maps with a border of zeros (no seed: -1; only read if ``seeded``), ``order`` the
    flat indices of the pixels to visit. Returns the basin of each pixel (-1 for none), the basin into which each
    was merged, whether each is kept, and the pixel of its peak.
    """
    steps = (-nx - 1, -nx, -nx + 1, -1, 1, nx - 1, nx, nx + 1)
    basin = np.full(values.size, -1, np.int32)
    region = np.empty(order.size, np.int32)
    merged = np.empty(order.size, np.int32)
    top = np.empty(order.size, np.int32)
    peak = np.empty(order.size, np.int64)
    keep = np.zeros(order.size, np.bool_)
    n = 0
    for pixel in order:
        best = _highest_neighbour(pixel, steps, basin, values)
        own = basin[best] if best >= 0 else -1
        is_seed = seeded and seed[pixel] >= 0
        if best < 0 or is_seed:
            region[n], merged[n], top[n], peak[n] = n, n, n, pixel
            keep[n] = is_seed
            own = n
            n += 1
        basin[pixel] = own
        for step in steps:
            other = pixel + step
            if basin[other] < 0:
                continue
            here, there = _root(region, own), _root(region, basin[other])
            if here == there:
                continue
            high, low = top[here], top[there]
            adjoining = own
            if values[peak[low]] > values[peak[high]]:
                high, low = low, high
                adjoining = basin[other]
            if seeded:
                # Only seeds are objects: a region without one joins the object that it meets.
                if not keep[low] or not keep[high]:
                    if keep[low]:
                        high, low = low, high
                        adjoining = own if top[here] == high else basin[other]
                    if not keep[low]:
                        merged[low] = adjoining
            else:
                stands_out = values[peak[low]] - values[pixel] >= max(rise, fraction * values[pixel])
                if stands_out and values[peak[low]] >= peak_min:
                    keep[low] = True
                else:
                    merged[low] = adjoining
            region[there] = here
            top[here] = high
    for node in range(n):
        highest = top[_root(region, node)]
        if not seeded and values[peak[highest]] >= peak_min:
            keep[highest] = True
    return basin, merged[:n], keep[:n], peak[:n]


def _from_high_to_low(flat: np.ndarray, floor: float) -> np.ndarray:
    """Numbers of the pixels above a floor >= 0 by decreasing value, equal ones by number: the same on every machine."""
    above = np.flatnonzero(flat > floor)
    # The bits of positive floats increase as they do; numbers of pixels break ties, and plain integers sort fastest.
    falling = np.uint32(0xFFFFFFFF) - flat[above].view(np.uint32)
    keys = falling.astype(np.uint64) << np.uint64(32) | above.astype(np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _bordered(array: np.ndarray, fill: float) -> np.ndarray:
    return np.pad(array, 1, constant_values=fill)


def find_peaks(
    significance: np.ndarray, *, threshold: float, floor: float, rise: float = 3.0, fraction: float = 0.02
) -> Peaks:
    """Prominent local maxima above a threshold.

    A maximum that is connected to a higher one is kept if, along the highest path between the two, the map falls by at
    least ``rise`` and by ``fraction`` of its value at the lowest point of the path.

    Parameters
    ----------
    significance
        Map [y, x] in units of its noise; finite.
    threshold
        Smallest height of a peak.
    floor
        Height down to which peaks are connected, not negative.
    rise, fraction
        Smallest prominence of a peak, absolute and relative.
    """
    values = _bordered(np.asarray(significance, np.float32), 0)
    flat = values.ravel()
    no_seeds = np.zeros(0, np.int32)
    order = _from_high_to_low(flat, floor)
    _, _, keep, peak = _flood(flat, order, values.shape[1], threshold, rise, fraction, False, no_seeds)
    y, x = np.divmod(peak[keep], values.shape[1])
    offset_x, offset_y = _parabola(values, x=x, y=y)
    return Peaks(x=x - 1 + offset_x, y=y - 1 + offset_y, height=values[y, x])


def _parabola(values: np.ndarray, *, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (x, y) of the maxima of parabolas through a peak and its neighbours, at most half a pixel."""
    offsets = []
    for before, after in ((values[y, x - 1], values[y, x + 1]), (values[y - 1, x], values[y + 1, x])):
        bend = before - 2.0 * values[y, x] + after
        slope = 0.5 * (before - after)
        offsets.append(np.clip(np.divide(slope, bend, out=np.zeros(len(x)), where=bend < 0), -0.5, 0.5))
    return offsets[0], offsets[1]


def make_footprints(
    significance: np.ndarray, *, x: np.ndarray, y: np.ndarray, floor: float, max_area: int
) -> Footprints:
    """Assign the pixels above a floor to objects, each pixel to the object uphill from it.

    The floor of a connected region larger than ``max_area`` is doubled repeatedly until no region is larger, so that a
    wrong background cannot turn a whole patch into one footprint.

    Parameters
    ----------
    significance
        Map [y, x] in units of its noise, e.g. the maximum over the bands; finite.
    x, y
        Array positions of the objects.
    floor
        Height down to which footprints extend.
    max_area
        Largest connected region in pixels.
    """
    ix = np.clip(np.rint(x).astype(np.int64), 0, significance.shape[1] - 1)
    iy = np.clip(np.rint(y).astype(np.int64), 0, significance.shape[0] - 1)
    region = _bounded_regions(significance, floor=floor, max_area=max_area)
    values = _bordered(np.where(region > 0, significance, 0).astype(np.float32), 0)
    seed = np.full(values.shape, -1, np.int32)
    seed[iy + 1, ix + 1] = np.arange(len(ix))
    flat = values.ravel()
    order = _from_high_to_low(flat, 0.0)
    basin, merged, keep, peak = _flood(flat, order, values.shape[1], 0.0, 0.0, 0.0, True, seed.ravel())
    owner_of_basin = np.full(len(merged) + 1, -1, np.int32)
    for node in range(len(merged)):
        last = node
        while merged[last] != last:
            last = merged[last]
        owner_of_basin[node] = seed.ravel()[peak[last]] if keep[last] else -1
    owner = owner_of_basin[basin].reshape(values.shape)[1:-1, 1:-1]
    area = np.bincount(owner[owner >= 0], minlength=len(ix))
    blend = region[iy, ix] - 1
    sizes = np.bincount(blend[blend >= 0], minlength=1)
    blend_size = np.where(blend >= 0, sizes[np.maximum(blend, 0)], 1)
    return Footprints(owner=owner, area=np.maximum(area, 1), blend=blend, blend_size=blend_size)


def _bounded_regions(significance: np.ndarray, *, floor: float, max_area: int) -> np.ndarray:
    """Numbers (1 ...) of the connected regions above a floor, none larger than ``max_area`` pixels."""
    above = significance > floor
    while True:
        region, n = ndimage.label(above, structure=np.ones((3, 3)))
        too_large = np.bincount(region.ravel(), minlength=n + 1) > max_area
        too_large[0] = False
        if not too_large.any():
            return region
        inside = too_large[region]
        # Each region's own floor: the lowest value it has now, doubled.
        lowest = ndimage.minimum(significance, region, index=np.arange(n + 1))
        above &= ~inside | (significance > 2 * np.asarray(lowest)[region])
