"""Sums in nested circular and elliptical apertures, for all bands at once."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from dmu4.measurement.stamps import StampSet

SUB_ROWS = 8
"""Number of strips into which a pixel on the edge of an aperture is divided; its area is accurate to about 1e-3."""


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
def _covered(dx, dy, a, b, c):
    """Fraction of the pixel at (dx, dy) inside a x^2 + b y^2 + 2 c x y <= 1: exact along x, in strips along y."""
    total = 0.0
    for strip in range(SUB_ROWS):
        y = dy - 0.5 + (strip + 0.5) / SUB_ROWS
        root = (c * y) ** 2 - a * (b * y * y - 1.0)
        if root <= 0.0:
            continue
        half, middle = np.sqrt(root) / a, -c * y / a
        length = min(dx + 0.5, middle + half) - max(dx - 0.5, middle - half)
        if length > 0.0:
            total += length
    return total / SUB_ROWS


@numba.njit(nogil=True, cache=True)
def _edges(conics):
    """Coefficients of each aperture, and squared radii below which pixels are inside, and above which outside."""
    edges = np.empty((len(conics), 5))
    for k in range(len(conics)):
        a, b, c = conics[k]
        # Half the diagonal of a pixel in units of the minor axis of the ellipse.
        margin = 0.7072 * np.sqrt(0.5 * (a + b) + np.sqrt(0.25 * (a - b) ** 2 + c * c))
        edges[k, 0], edges[k, 1], edges[k, 2] = a, b, c
        edges[k, 3], edges[k, 4] = max(1.0 - margin, 0.0) ** 2, (1.0 + margin) ** 2
    return edges


@numba.njit(nogil=True, cache=True)
def _share(dx, dy, a, b, c, inside, outside):
    """As `_covered`, with a shortcut for pixels that are completely inside or outside."""
    squared = a * dx * dx + b * dy * dy + 2 * c * dx * dy
    if squared >= outside:
        return 0.0
    if squared < inside:
        return 1.0
    return _covered(dx, dy, a, b, c)


@numba.njit(nogil=True, cache=True)
def _reach(conic):
    """Half height and half width of the box around an ellipse."""
    a, b, c = conic
    determinant = a * b - c * c
    return np.sqrt(a / determinant), np.sqrt(b / determinant)


@numba.njit(nogil=True, cache=True)
def _sum_cube(image, variance, good, x, y, conics, flux, spread, filled):
    ny, nx, nb = image.shape
    apertures = conics.shape[1]
    for i in range(len(x)):
        reach_y, reach_x = _reach(conics[i, apertures - 1])
        e = _edges(conics[i])
        area = np.zeros(apertures)
        for row in range(int(np.floor(y[i] - reach_y)), int(np.ceil(y[i] + reach_y)) + 1):
            for column in range(int(np.floor(x[i] - reach_x)), int(np.ceil(x[i] + reach_x)) + 1):
                inside = 0.0
                for k in range(apertures):
                    share = _share(column - x[i], row - y[i], e[k, 0], e[k, 1], e[k, 2], e[k, 3], e[k, 4])
                    # Apertures are nested: each pixel is added to the smallest one; sums are accumulated at the end.
                    extra = share - inside
                    if extra == 0.0:
                        if share == 1.0:
                            break
                        continue
                    inside = share
                    area[k] += extra
                    if 0 <= row < ny and 0 <= column < nx:
                        for b in range(nb):
                            if good[row, column, b]:
                                flux[i, k, b] += extra * image[row, column, b]
                                spread[i, k, b] += extra * variance[row, column, b]
                                filled[i, k, b] += extra
        for k in range(1, apertures):
            area[k] += area[k - 1]
            for b in range(nb):
                flux[i, k, b] += flux[i, k - 1, b]
                spread[i, k, b] += spread[i, k - 1, b]
                filled[i, k, b] += filled[i, k - 1, b]
        for k in range(apertures):
            for b in range(nb):
                filled[i, k, b] /= area[k]


def sum_apertures(
    image: np.ndarray, variance: np.ndarray, good: np.ndarray, *, x: np.ndarray, y: np.ndarray, conics: np.ndarray
) -> ApertureSums:
    """Sum all bands over nested apertures; the geometry is computed once for all bands.

    Parameters
    ----------
    image, variance, good
        Cubes [y, x, band].
    x, y
        Array positions.
    conics
        Conic coefficients [source, aperture, 3] from `circles` or `ellipses`, each aperture inside the next.
    """
    shape = (len(x), conics.shape[1], image.shape[2])
    flux, spread, filled = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    _sum_cube(image, variance, good, np.asarray(x, float), np.asarray(y, float), conics, flux, spread, filled)
    return ApertureSums(flux=flux, variance=spread, filled=filled)


@numba.njit(nogil=True, cache=True)
def _sum_stamps(pixels, offset, size, x0, y0, x, y, conics, total):
    apertures = conics.shape[1]
    for i in range(len(x)):
        reach_y, reach_x = _reach(conics[i, apertures - 1])
        e = _edges(conics[i])
        for row in range(max(int(y[i] - reach_y) - 1, y0[i]), min(int(y[i] + reach_y) + 2, y0[i] + size[i])):
            for column in range(max(int(x[i] - reach_x) - 1, x0[i]), min(int(x[i] + reach_x) + 2, x0[i] + size[i])):
                value = pixels[offset[i] + (row - y0[i]) * size[i] + column - x0[i]]
                inside = 0.0
                for k in range(apertures):
                    share = _share(column - x[i], row - y[i], e[k, 0], e[k, 1], e[k, 2], e[k, 3], e[k, 4])
                    total[i, k] += (share - inside) * value
                    inside = share
                    if share == 1.0:
                        break
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
