"""Sums in nested circular and elliptical apertures, for all bands at once."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

SUB_ROWS = 8
"""Number of strips into which a pixel on the edge of an aperture is divided; areas of apertures are accurate to about
1e-3."""

SMALLEST_CIRCLE = 4.0
"""Smallest radius in pixels of a circle whose edge within a pixel is taken as straight."""


@dataclass(frozen=True)
class ApertureSums:
    """Sums over the good pixels of apertures.

    Attributes
    ----------
    flux, variance
        Sums of pixels and of their variances [source, aperture, band].
    filled
        Fraction of the area of the aperture on good pixels [source, aperture, band]; pixels outside the array
        count as bad.
    """

    flux: np.ndarray
    variance: np.ndarray
    filled: np.ndarray


def circles(radii: np.ndarray, *, length: int) -> np.ndarray:
    """Conic coefficients [source, aperture, 3] of circles, the same for all sources; radii in pixels, increasing."""
    inverse = 1 / np.square(np.asarray(radii, float))
    one = np.column_stack([inverse, inverse, np.zeros_like(inverse)])
    return np.broadcast_to(one, (length, *one.shape)).copy()


def ellipses(covariance: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Conic coefficients [source, 1, 3] of the ellipses at ``scale`` sigma of a covariance [source, 3] (xx, yy, xy)."""
    xx, yy, xy = covariance.T
    denominator = (xx * yy - xy**2) * np.square(scale)
    return np.stack([yy / denominator, xx / denominator, -xy / denominator], axis=-1)[:, None, :]


def area_of(conics: np.ndarray) -> np.ndarray:
    """Areas in pixels^2 [...] of ellipses with conic coefficients [..., 3]."""
    a, b, c = np.moveaxis(conics, -1, 0)
    return np.pi / np.sqrt(a * b - c**2)


@numba.njit(nogil=True, cache=True)
def _covered(dx: float, dy: float, a: float, b: float, c: float, strips: int) -> float:
    """Fraction of the pixel at (dx, dy) inside a x^2 + b y^2 + 2 c x y <= 1: exact along x, in strips along y."""
    total = 0.0
    for strip in range(strips):
        y = dy - 0.5 + (strip + 0.5) / strips
        root = (c * y) ** 2 - a * (b * y * y - 1.0)
        if root <= 0.0:
            continue
        half, middle = np.sqrt(root) / a, -c * y / a
        length = min(dx + 0.5, middle + half) - max(dx - 0.5, middle - half)
        if length > 0.0:
            total += length
    return total / strips


@numba.njit(nogil=True, cache=True)
def _in_circle(dx: float, dy: float, radius: float) -> float:
    """Fraction of the pixel at (dx, dy) from the centre of a circle that is inside it, for an edge near the pixel.

    The edge is taken as straight, at the mean distance of the arc within the pixel from the tangent. From a radius of
    `SMALLEST_CIRCLE` the error of one pixel is less than 0.01, and that of the area of the circle less than 1e-3.
    """
    r = np.sqrt(dx * dx + dy * dy)
    along, across = max(abs(dx), abs(dy)) / r, min(abs(dx), abs(dy)) / r
    distance, corner = radius - r, 0.5 * (along + across)
    if distance >= corner or distance <= -corner:
        return 1.0 if distance > 0.0 else 0.0
    chord = 1.0 / along
    if abs(distance) > 0.5 * (along - across):
        chord = (corner - abs(distance)) / (along * across)
    distance -= chord * chord / (24.0 * radius)
    if abs(distance) <= 0.5 * (along - across):
        return 0.5 + distance / along
    # A pixel on an axis has no corner that the edge could cut off; there ``across`` is zero.
    left = corner - abs(distance)
    beyond = left * left / (2.0 * along * across) if left > 0.0 else 0.0
    return 1.0 - beyond if distance > 0.0 else beyond


@numba.njit(nogil=True, cache=True)
def _edges(conics: np.ndarray) -> np.ndarray:
    """Squared radii, in units of the first aperture, below which pixels are inside each, and above which outside."""
    edges = np.empty((len(conics), 2))
    for k in range(len(conics)):
        a, b, c = conics[k]
        # Half the diagonal of a pixel in units of the minor axis of the ellipse.
        margin = 0.7072 * np.sqrt(0.5 * (a + b) + np.sqrt(0.25 * (a - b) ** 2 + c * c))
        edges[k, 0], edges[k, 1] = max(1.0 - margin, 0.0) ** 2, (1.0 + margin) ** 2
        edges[k] *= conics[0, 0] / a
    return edges


@numba.njit(nogil=True, cache=True)
def _share(dx: float, dy: float, a: float, b: float, c: float, strips: int) -> float:
    """Fraction of a pixel on the edge of an aperture that is inside."""
    if c == 0.0 and a == b and a < 1.0 / SMALLEST_CIRCLE**2:
        return _in_circle(dx, dy, np.sqrt(1.0 / a))
    return _covered(dx, dy, a, b, c, strips)


@numba.njit(nogil=True, cache=True)
def _reach(conic: np.ndarray) -> tuple[float, float]:
    """Half height and half width of the box around an ellipse."""
    a, b, c = conic
    determinant = a * b - c * c
    return np.sqrt(a / determinant), np.sqrt(b / determinant)


@numba.njit(nogil=True, cache=True)
def longest_list(conics: np.ndarray) -> int:
    """Largest number of entries of the lists of `list_pixels`."""
    longest = 0
    for i in range(len(conics)):
        reach_y, reach_x = _reach(conics[i, conics.shape[1] - 1])
        longest = max(longest, int((2 * reach_y + 3) * (2 * reach_x + 3)) * conics.shape[1])
    return longest


@numba.njit(nogil=True, cache=True)
def list_pixels(x, y, conics, strips, rows, columns, numbers, shares):
    """List the pixels of nested apertures of one shape around (x, y): each is added to the smallest one, in parts.

    The sum over an aperture is that over its own entries and those of all smaller apertures. Returns the number of
    entries (row, column, aperture, share of the pixel).
    """
    last, n = len(conics) - 1, 0
    reach_y, reach_x = _reach(conics[last])
    edges = _edges(conics)
    a, b, c = conics[0]
    for row in range(int(np.floor(y - reach_y)), int(np.ceil(y + reach_y)) + 1):
        dy = row - y
        for column in range(int(np.floor(x - reach_x)), int(np.ceil(x + reach_x)) + 1):
            dx = column - x
            squared = a * dx * dx + b * dy * dy + 2 * c * dx * dy
            if squared >= edges[last, 1]:
                continue
            k, inside = 0, 0.0
            while squared >= edges[k, 1]:
                k += 1
            while k <= last and inside < 1.0:
                share = 1.0
                if squared >= edges[k, 0]:
                    share = _share(dx, dy, conics[k, 0], conics[k, 1], conics[k, 2], strips)
                if share > inside:
                    rows[n], columns[n], numbers[n], shares[n] = row, column, k, share - inside
                    inside = share
                    n += 1
                k += 1
    return n


@numba.njit(nogil=True, cache=True)
def _sum_two_planes(image, variance, good, first, second, pixels, numbers, shares, sums):
    """Add the listed pixels (flat indices) of two bands to the sums [band, aperture, 3] of values, variances, shares.

    Each addition waits for the one before it: two bands at once take hardly longer than one.
    """
    k = np.uint64(0)
    light, noise, part, light_2, noise_2, part_2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for entry in range(len(pixels) + 1):
        if entry == len(pixels) or numbers[entry] != k:
            sums[0, k, 0] += light
            sums[0, k, 1] += noise
            sums[0, k, 2] += part
            sums[1, k, 0] += light_2
            sums[1, k, 1] += noise_2
            sums[1, k, 2] += part_2
            if entry == len(pixels):
                break
            k = numbers[entry]
            light, noise, part, light_2, noise_2, part_2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        pixel = pixels[entry]
        share = shares[entry] if good[first, pixel] else 0.0
        light += share * image[first, pixel]
        noise += share * variance[first, pixel]
        part += share
        share = shares[entry] if good[second, pixel] else 0.0
        light_2 += share * image[second, pixel]
        noise_2 += share * variance[second, pixel]
        part_2 += share


@numba.njit(nogil=True, cache=True)
def _sum_cube(image, variance, good, shape, x, y, conics, flux, spread, filled):
    """The sums of `ApertureSums`; the planes are flat [band, pixel], with rows and columns of ``shape``."""
    apertures, longest = conics.shape[1], longest_list(conics)
    rows, columns = np.empty(longest, np.int64), np.empty(longest, np.int64)
    numbers, pixels, shares = np.empty(longest, np.uint64), np.empty(longest, np.uint64), np.empty(longest)
    for i in range(len(x)):
        listed = list_pixels(x[i], y[i], conics[i], SUB_ROWS, rows, columns, numbers, shares)
        area, n = np.zeros(apertures), 0
        for entry in range(listed):
            area[numbers[entry]] += shares[entry]
            if 0 <= rows[entry] < shape[0] and 0 <= columns[entry] < shape[1]:
                pixels[n] = rows[entry] * shape[1] + columns[entry]
                numbers[n], shares[n] = numbers[entry], shares[entry]
                n += 1
        area = np.cumsum(area)
        for first in range(0, len(image), 2):
            second = min(first + 1, len(image) - 1)  # the last of an odd number is summed twice
            sums = np.zeros((2, apertures, 3))
            _sum_two_planes(image, variance, good, first, second, pixels[:n], numbers[:n], shares[:n], sums)
            for k in range(apertures):
                if k:
                    sums[:, k] += sums[:, k - 1]
                for one, b in enumerate((first, second)):
                    flux[i, k, b], spread[i, k, b] = sums[one, k, 0], sums[one, k, 1]
                    filled[i, k, b] = sums[one, k, 2] / area[k]


def sum_apertures(
    image: np.ndarray, variance: np.ndarray, good: np.ndarray, *, x: np.ndarray, y: np.ndarray, conics: np.ndarray
) -> ApertureSums:
    """Sum all bands over nested apertures; the geometry is computed once for all bands.

    Parameters
    ----------
    image, variance, good
        Cubes [y, x, band], which are views of arrays [band, y, x].
    x, y
        Array positions.
    conics
        Conic coefficients [source, aperture, 3] from `circles` or `ellipses`: the apertures of a source have one shape,
        each inside the next.
    """
    shape = (len(x), conics.shape[1], image.shape[2])
    flux, spread, filled = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    planes = (np.ascontiguousarray(np.moveaxis(cube, -1, 0)) for cube in (image, variance, good))
    values, variances, known = (plane.reshape(len(plane), -1) for plane in planes)
    # Contiguous, so that one compiled version serves all.
    places = (np.ascontiguousarray(x, float), np.ascontiguousarray(y, float))
    _sum_cube(values, variances, known, image.shape[:2], *places, conics, flux, spread, filled)
    return ApertureSums(flux=flux, variance=spread, filled=filled)
