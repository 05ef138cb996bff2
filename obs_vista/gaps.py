"""Where an image has no data, if nothing but its pixels says so."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def empty_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels without data of an image that has neither mask nor confidence map [y, x].

    They are not finite, or lie in a block of at least 3 by 3 pixels of one and the same value that is not positive: a
    fill, 0 as SWarp and HSC write it, or -99; noise makes no such block, and saturated stars are positive.
    """
    finite = np.isfinite(image)
    low = np.where(finite, image, np.inf)
    fill = (ndimage.maximum_filter(low, 3, mode="nearest") == low) & (low <= 0)
    fill &= ndimage.minimum_filter(low, 3, mode="nearest") == low
    inner = fill.copy()
    inner[[0, -1]], inner[:, [0, -1]] = False, False  # whole blocks only, none that an edge repeats
    return ~finite | ndimage.binary_dilation(inner, np.ones((3, 3), bool))
