"""The sky background of one detector: a smooth surface, unaffected by stars, galaxies and their halos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.polynomial import chebyshev
from scipy.ndimage import binary_dilation, uniform_filter

from dmu0.robust_statistics import lower_moments, robust_scatter
from obs_vista.masks import bits

UNUSABLE = bits("NO_DATA", "BAD", "SAT", "EDGE", "CR")


@dataclass(frozen=True)
class Background:
    """A background model.

    Attributes
    ----------
    coefficients
        Chebyshev coefficients [order_y, order_x] on the unit square spanned by the pixel centres.
    shape
        Size (ny, nx) of the image.
    level, level_error
        Median of the model, and the error of the mean level, in the units of the image.
    gradient
        Difference between the largest and the smallest value of the model.
    noise
        Scatter of the sky pixels: some per cent too small, because the tails of the noise are excluded.
    objects
        Pixels of sources and their halos [y, x].
    free
        Sky pixels [y, x].
    """

    coefficients: np.ndarray
    shape: tuple[int, int]
    level: float
    level_error: float
    gradient: float
    noise: float
    objects: np.ndarray
    free: np.ndarray

    def image(self) -> np.ndarray:
        """The model at every pixel, float32 [y, x]."""
        return evaluate(self.coefficients, self.shape)


def fit_background(
    image: np.ndarray, mask: np.ndarray, *, fwhm: float, mesh: int = 64, max_order: int = 6, iterations: int = 3
) -> Background:
    """Fit the sky between the sources.

    Sources are detected as regions of a smoothed image above 2 sigma and are grown by the seeing, to exclude the wings
    of galaxies and the halos of bright stars. Regions below -2 sigma are excluded as well: without the positive peaks
    of the noise, but with the negative ones, the sky would be too low. The level of each mesh cell is the mode
    of the remaining pixels; cells that are mostly masked are ignored, and a low-order surface interpolates over them
    instead of following a halo. Each iteration finds fainter sources on a better sky.
    The sky of a coadd has finer structure, from its inputs, and is fitted differently (`dmu4.patches.sky.mesh_sky`).

    Parameters
    ----------
    image, mask
        Pixels [y, x] and their mask (bits of `obs_vista.masks`).
    fwhm
        Seeing in pixels.
    mesh
        Size of a mesh cell in pixels.
    max_order
        Highest order of the surface; small detectors have a lower one, with two cells per order.
    iterations
        Number of iterations of finding sources and fitting.

    Raises
    ------
    ValueError
        If fewer than a twentieth of the pixels can be used.
    """
    good = ((mask & UNUSABLE) == 0) & np.isfinite(image)
    if good.mean() < 0.05:
        raise ValueError(f"Only {good.sum()} of {good.size} pixels can be used for the background; need a twentieth.")
    level, noise = _clipped(image[good])
    coefficients = np.full((1, 1), level)
    residual = image - np.float32(level)
    objects = np.zeros(image.shape, bool)
    for _ in range(iterations):
        objects = mask_objects(residual, good, noise=noise, fwhm=fwhm)
        troughs = mask_objects(-residual, good, noise=noise, fwhm=fwhm, scales=(1.0,))
        free = good & ~objects & ~troughs
        if free.mean() < 0.02:  # too crowded for source-free pixels: use the mode of all pixels
            free = good
        cells = mesh_levels(residual, free, mesh=mesh)
        order = min(max_order, max(0, min(image.shape) // (2 * mesh) - 1))
        coefficients = _add(coefficients, _fit_surface(*cells, shape=image.shape, order=order))
        residual = image - evaluate(coefficients, image.shape)
        _, noise = _clipped(residual[free][:: max(1, free.sum() // 200_000)])
    model = evaluate(coefficients, image.shape)
    return Background(
        coefficients=coefficients,
        shape=image.shape,
        level=float(np.median(model[::8, ::8])),
        level_error=float(noise / np.sqrt(max(1, free.sum()))),
        gradient=float(model.max() - model.min()),
        noise=float(noise),
        objects=objects,
        free=free,
    )


def mask_objects(
    residual: np.ndarray,
    good: np.ndarray,
    *,
    noise: float,
    fwhm: float,
    threshold: float = 2.0,
    scales: tuple[float, ...] = (1.0, 4.0),
) -> np.ndarray:
    """Pixels of sources and their surroundings.

    Two scales are searched: that of the seeing, for small sources, and four times that, for halos and large galaxies,
    each in units of the scatter of the smoothed image, because pixel noise is correlated. Coadds use a different mask
    (`dmu4.patches.sky.source_mask`), based on their PSF and non-uniform variance; here neither is known yet.

    Parameters
    ----------
    residual, good
        Image minus sky, and whether each pixel can be used [y, x].
    noise
        Scatter of single pixels; values are limited to 20 times this, so that a hot pixel is not masked like a halo.
    fwhm
        Seeing in pixels.
    threshold
        Threshold in units of the scatter of the smoothed image; 1.5 times as high on the large scale.
    scales
        Widths of the smoothing in units of the seeing.
    """
    found = np.zeros(residual.shape, bool)
    filled = np.where(good, np.minimum(residual, 20 * noise), 0).astype(np.float32)
    for scale in scales:
        limit = threshold if scale == 1.0 else 1.5 * threshold
        width = max(3, round(scale * fwhm) | 1)
        smooth = uniform_filter(filled, width, mode="nearest")
        level, scatter = lower_moments(smooth[good][::5])
        found |= smooth > level + limit * scatter
    return binary_dilation(found, iterations=max(1, round(fwhm)))


def mesh_levels(
    image: np.ndarray, free: np.ndarray, *, mesh: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sky level of each mesh cell.

    Parameters
    ----------
    image, free
        Pixels, and whether each is sky [y, x].
    mesh
        Approximate size of a cell in pixels; the image is divided into cells of equal size.

    Returns
    -------
    x, y, level, weight
        Mean position of the sky pixels of each cell, the mode of their values, and their number; cells with less
        than a tenth of sky pixels have weight zero.
    """
    ny, nx = image.shape
    y_edges = np.linspace(0, ny, max(1, round(ny / mesh)) + 1).astype(int)
    x_edges = np.linspace(0, nx, max(1, round(nx / mesh)) + 1).astype(int)
    return _mesh_levels(np.ascontiguousarray(image, np.float32), free, y_edges, x_edges)


@njit(nogil=True, cache=True)
def _mesh_levels(image, free, y_edges, x_edges):  # numba infers the types
    n = (len(y_edges) - 1) * (len(x_edges) - 1)
    xs, ys, levels, weights = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    cell = 0
    for j in range(len(y_edges) - 1):
        for i in range(len(x_edges) - 1):
            size = (y_edges[j + 1] - y_edges[j]) * (x_edges[i + 1] - x_edges[i])
            values = np.empty(size, np.float32)
            count, sx, sy = 0, 0.0, 0.0
            for y in range(y_edges[j], y_edges[j + 1]):
                for x in range(x_edges[i], x_edges[i + 1]):
                    if free[y, x]:
                        values[count] = image[y, x]
                        count += 1
                        sx += x
                        sy += y
            if count > 0.1 * size:
                xs[cell], ys[cell] = sx / count, sy / count
                levels[cell] = _mode(np.sort(values[:count]))
                weights[cell] = count
            cell += 1
    return xs, ys, levels, weights


@njit(nogil=True, cache=True)
def _mode(ordered):
    """Mode of sorted values: clipped at 2.5 sigma, then 2.5 median - 1.5 mean (Bertin & Arnouts 1996)."""
    low, high = 0, len(ordered)
    median = ordered[high // 2]
    for _ in range(4):
        median = ordered[(low + high) // 2]
        sigma = median - ordered[low + int(0.1587 * (high - low))]
        if sigma <= 0:
            return median
        new_low = np.searchsorted(ordered, median - 2.5 * sigma)
        new_high = np.searchsorted(ordered, median + 2.5 * sigma)
        if new_low == low and new_high == high:
            break
        low, high = new_low, new_high
    mean = ordered[low:high].mean()
    return 2.5 * median - 1.5 * mean


def evaluate(coefficients: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A Chebyshev surface at every pixel, float32 [y, x]."""
    y = chebyshev.chebvander(_unit(np.arange(shape[0]), shape[0]), coefficients.shape[0] - 1)
    x = chebyshev.chebvander(_unit(np.arange(shape[1]), shape[1]), coefficients.shape[1] - 1)
    return _surface((y @ coefficients).astype(np.float32), x.astype(np.float32))


@njit(nogil=True, cache=True)
def _surface(rows, columns):
    """out[j, i] = sum over k of rows[j, k] columns[i, k]."""
    out = np.zeros((rows.shape[0], columns.shape[0]), np.float32)
    for j in range(rows.shape[0]):
        for i in range(columns.shape[0]):
            for k in range(rows.shape[1]):
                out[j, i] += rows[j, k] * columns[i, k]
    return out


def _unit(position: np.ndarray, size: int) -> np.ndarray:
    return 2 * position / max(1, size - 1) - 1


def _fit_surface(
    x: np.ndarray, y: np.ndarray, level: np.ndarray, weight: np.ndarray, *, shape: tuple[int, int], order: int
) -> np.ndarray:
    """Chebyshev coefficients, up to a total order, of a robust weighted fit to the mesh levels."""
    use = weight > 0
    while order > 0 and (order + 1) * (order + 2) // 2 > use.sum() / 2:
        order -= 1
    powers = [(j, i) for j in range(order + 1) for i in range(order + 1 - j)]
    vy = chebyshev.chebvander(_unit(y, shape[0]), order)
    vx = chebyshev.chebvander(_unit(x, shape[1]), order)
    design = np.stack([vy[:, j] * vx[:, i] for j, i in powers], axis=1)
    solution = np.zeros(len(powers))
    for _ in range(3):
        root = np.sqrt(weight * use)
        solution = np.linalg.lstsq(design * root[:, None], level * root, rcond=None)[0]
        residual = level - design @ solution
        scatter = robust_scatter(residual[use], about=0) + 1e-12
        kept = (weight > 0) & (np.abs(residual) < 4 * scatter)
        if kept.sum() < 2 * len(powers) or np.array_equal(kept, use):
            break
        use = kept
    coefficients = np.zeros((order + 1, order + 1))
    for (j, i), value in zip(powers, solution, strict=True):
        coefficients[j, i] = value
    return coefficients


def _add(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = np.zeros(np.maximum(first.shape, second.shape))
    total[: first.shape[0], : first.shape[1]] += first
    total[: second.shape[0], : second.shape[1]] += second
    return total


def _clipped(values: np.ndarray) -> tuple[float, float]:
    """Median and scatter after clipping at 3 sigma."""
    if values.size == 0:
        return 0.0, 0.0
    values = values[:: max(1, values.size // 100_000)]
    level, scatter = lower_moments(values)
    for _ in range(3):
        values = values[np.abs(values - level) < 3 * scatter + 1e-30]
        level, scatter = lower_moments(values)
    return level, scatter
