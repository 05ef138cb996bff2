"""Pixels without data in images that have no mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LARGEST = 1e29
"""Absolute value from which on a pixel has no data: 1e30 is a common fill value, and no unit makes fluxes of it."""

LARGE_BLOCK = 15
"""Side in pixels of a block of one value that has no data whatever the value, as 65535 or 9999."""


def empty_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels without data in an image [y, x] that has neither mask nor confidence map.

    These are pixels that are not finite or larger than any flux (`LARGEST`), or that lie in a block of at least 3 by 3
    pixels with the same value, zero or negative: a fill value such as 0 (SWarp, HSC) or -99. Noise does not produce
    such blocks, and saturated stars are positive. Blocks of `LARGE_BLOCK` by as many pixels with the same positive
    value are empty too: a fill value, or a star so saturated that nothing can be measured there.
    """
    finite = np.isfinite(image) & (np.abs(image) < LARGEST)
    low = np.where(finite, image, np.inf)
    empty = ~finite | (_blocks(low, 3) & (low <= 0))
    if _may_have_blocks(low, LARGE_BLOCK):
        empty |= _blocks(low, LARGE_BLOCK)
    return empty


def _blocks(image: np.ndarray, side: int) -> np.ndarray:
    """Pixels in blocks of some side (odd) or more with the same value."""
    constant = ndimage.maximum_filter(image, side, mode="nearest") == image
    constant &= ndimage.minimum_filter(image, side, mode="nearest") == image
    reach = side // 2
    inner = np.zeros(constant.shape, bool)  # whole blocks only, none that an edge repeats
    inner[reach:-reach, reach:-reach] = constant[reach:-reach, reach:-reach]
    return ndimage.maximum_filter(inner, side, mode="constant")


def _may_have_blocks(image: np.ndarray, side: int) -> bool:
    """Whether the corners of some square within any block of this side have the same positive value."""
    some = image[:: side // 2, :: side // 2]
    first = some[:-1, :-1]
    same = (first > 0) & (first == some[1:, :-1]) & (first == some[:-1, 1:]) & (first == some[1:, 1:])
    return bool((same & np.isfinite(first)).any())
