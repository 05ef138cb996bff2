"""Pixels without data in images that have no mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def empty_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels without data in an image [y, x] that has neither mask nor confidence map.

    These are pixels that are not finite, or that lie in a block of at least 3 by 3 pixels with the same value, zero or
    negative: a fill value such as 0 (SWarp, HSC) or -99. Noise does not produce such blocks, and saturated stars are
    positive.
    """
    finite = np.isfinite(image)
    low = np.where(finite, image, np.inf)
    fill = (ndimage.maximum_filter(low, 3, mode="nearest") == low) & (low <= 0)
    fill &= ndimage.minimum_filter(low, 3, mode="nearest") == low
    inner = fill.copy()
    inner[[0, -1]], inner[:, [0, -1]] = False, False  # whole blocks only, none that an edge repeats
    return ~finite | ndimage.binary_dilation(inner, np.ones((3, 3), bool))
