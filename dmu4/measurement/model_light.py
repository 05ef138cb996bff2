"""Light of models in nested apertures around their centres."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from dmu4.measurement.apertures import SUB_ROWS, circles, list_pixels, longest_list
from dmu4.measurement.stamps import StampSet

FINE_ROWS = 64
"""Number of strips into which a pixel on the edge is divided in lists that are made only once: accurate to 1e-4."""

PHASES = 32
"""Parts of a pixel to which centres of circles on models are rounded."""


@numba.njit(nogil=True, cache=True)
def _sum_stamps(
    pixels: np.ndarray,
    offset: np.ndarray,
    size: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    conics: np.ndarray,
    total: np.ndarray,
) -> None:
    apertures, longest = conics.shape[1], longest_list(conics)
    rows, columns = np.empty(longest, np.int64), np.empty(longest, np.int64)
    numbers, shares = np.empty(longest, np.uint64), np.empty(longest)
    for i in range(len(x)):
        n = list_pixels(x[i] - x0[i], y[i] - y0[i], conics[i], SUB_ROWS, rows, columns, numbers, shares)
        for entry in range(n):
            row, column = rows[entry], columns[entry]
            if 0 <= row < size[i] and 0 <= column < size[i]:
                total[i, numbers[entry]] += shares[entry] * pixels[offset[i] + row * size[i] + column]
        for k in range(1, apertures):
            total[i, k] += total[i, k - 1]


def sum_stamps(stamps: StampSet, *, x: np.ndarray, y: np.ndarray, conics: np.ndarray) -> np.ndarray:
    """Light of the model of each source inside its apertures [source, aperture].

    Parameters
    ----------
    stamps
        Models.
    x, y, conics
        Positions and conic coefficients, as for `sum_apertures`.
    """
    total = np.zeros(conics.shape[:2])
    corners = (stamps.offset, stamps.size, stamps.x0, stamps.y0)
    _sum_stamps(stamps.pixels, *corners, np.asarray(x, float), np.asarray(y, float), conics, total)
    return total


class CirclePixels(NamedTuple):
    """The pixels of nested circles about each of P centres within a pixel, those of smaller circles first.

    Attributes
    ----------
    row, column
        Pixels from that of the centre, of all centres after one another.
    share
        Fractions of these pixels that are in the circle, and not in the next smaller one.
    first
        Where the pixels of each circle begin, and the last ends [P, circle + 1].
    """

    row: np.ndarray
    column: np.ndarray
    share: np.ndarray
    first: np.ndarray


@lru_cache(maxsize=8)
def _circle_pixels(radii: tuple[float, ...]) -> CirclePixels:
    """The pixels of circles about centres at all steps of 1 / `PHASES` from -1/2 to 1/2, along y and then along x."""
    conics, steps = circles(np.array(radii), length=1)[0], np.arange(-(PHASES // 2), PHASES // 2 + 1) / PHASES
    longest = longest_list(conics[None])
    rows, columns = np.empty(longest, np.int64), np.empty(longest, np.int64)
    numbers, shares = np.empty(longest, np.uint64), np.empty(longest)
    parts, first, start = [], [], 0
    for dy in steps:
        for dx in steps:
            n = list_pixels(dx, dy, conics, FINE_ROWS, rows, columns, numbers, shares)
            order = np.argsort(numbers[:n], kind="stable")
            parts.append((rows[order].astype(np.int16), columns[order].astype(np.int16), shares[order].astype("f4")))
            first.append(start + np.searchsorted(numbers[order], np.arange(len(conics) + 1, dtype=np.uint64)))
            start += n
    row, column, share = (np.concatenate(one) for one in zip(*parts, strict=True))
    return CirclePixels(row, column, share, np.stack(first))


@numba.njit(nogil=True, cache=True)
def _sum_listed(
    pixels: np.ndarray,
    offset: np.ndarray,
    size: np.ndarray,
    place: np.ndarray,
    listed: tuple[np.ndarray, ...],
    total: np.ndarray,
) -> None:
    """Sum the listed pixels about the middle of each stamp, whose centre has the number ``place`` [source, circle]."""
    row, column, share, first = listed
    for i in range(len(size)):
        side, inside = size[i], 0.0
        middle = offset[i] + side // 2 * (side + 1)
        for k in range(total.shape[1]):
            for entry in range(first[place[i], k], first[place[i], k + 1]):
                y, x = np.int64(row[entry]), np.int64(column[entry])
                if -side <= 2 * y < side and -side <= 2 * x < side:
                    inside += share[entry] * pixels[middle + y * side + x]
            total[i, k] = inside


def sum_in_circles(stamps: StampSet, *, x: np.ndarray, y: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Light of the model of each source inside circles about its centre [source, circle].

    Centres are rounded to 1 / `PHASES` of a pixel, so that few lists of pixels serve all sources and bands. The light
    is largest for circles about the centre of a model: it changes by less than the accuracy of the areas of pixels.

    Parameters
    ----------
    stamps
        Models, with their centres in their middle pixels.
    x, y
        Array positions.
    radii
        Radii of the circles in pixels, increasing.
    """
    listed = _circle_pixels(tuple(np.asarray(radii, float).tolist()))
    of_x, of_y = (
        np.rint(PHASES * (along - corner - stamps.size // 2)).astype(np.int64) + PHASES // 2
        for along, corner in zip((x, y), stamps.corners(), strict=True)
    )
    total = np.zeros((len(stamps), len(radii)))
    place = of_y * (PHASES + 1) + of_x
    _sum_listed(stamps.pixels, stamps.offset, stamps.size, place, tuple(listed), total)
    return total
