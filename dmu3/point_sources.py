"""What single apertures need to become fluxes of point sources: corrections from stars, errors from empty apertures."""

from __future__ import annotations

import numpy as np
import sep
from astropy.table import Table
from scipy.spatial import cKDTree

from dmu0.robust_statistics import clipped_moments, robust_scatter
from dmu3.swarp import Coadd

TOTAL_DIAMETER = 6.0
"""Diameter in arcsec of the circle that stands for the total flux of a star."""

MIN_STARS = 5
"""Smallest number of stars for an aperture correction."""

EMPTY, NEAREST, CLEAR = 3000, 150, 3.0
"""Number of positions to try for empty apertures, number of them around an object that give its error, and their
smallest distance from objects in arcsec."""


def aperture_corrections(
    coadd: Coadd, x: np.ndarray, y: np.ndarray, rows: Table, *, diameters: tuple[float, ...], pixel: float
) -> tuple[np.ndarray, int]:
    """Total flux of point sources over that in circles, from the stars of a patch.

    Stars are objects without flags, of more than 50 sigma, without neighbours in the total circle, in the peak of
    the ratio of fluxes in the largest and the smallest of the circles.

    Parameters
    ----------
    coadd
        The image.
    x, y
        Positions of the objects, px.
    rows
        Measurements of a band from `dmu3.sextractor.measure_bands`.
    diameters
        Diameters of its circles in pixels.
    pixel
        Size of a pixel in arcsec.

    Returns
    -------
    corrections, count
        One factor per circle, NaN with fewer than `MIN_STARS` stars, and the number of stars.
    """
    flux, error = np.asarray(rows["apFlux"], float), np.asarray(rows["apFluxErr"], float)
    nothing = np.full(len(diameters), np.nan)
    if len(x) < MIN_STARS:
        return nothing, 0
    radius = 0.5 * TOTAL_DIAMETER / pixel
    neighbour = cKDTree(np.column_stack([x, y])).query(np.column_stack([x, y]), k=2)[0][:, 1]
    bright = (np.asarray(rows["flags"]) == 0) & (flux[:, -1] > 50 * error[:, -1]) & (neighbour > radius)
    if bright.sum() < MIN_STARS:
        return nothing, int(bright.sum())
    growth = flux[bright, -1] / flux[bright, 0]
    # Stars are the most concentrated: the peak is near the lower end, galaxies are above it.
    peak = np.percentile(growth, 20)
    width = max(robust_scatter(growth[growth <= peak], about=peak), 0.01 * peak)
    stars = np.flatnonzero(bright)[np.abs(growth - peak) < 2 * width]
    masked = np.ascontiguousarray(coadd.weight <= 0)
    total, _, flags = sep.sum_circle(np.ascontiguousarray(coadd.image), x[stars], y[stars], radius, mask=masked)
    level = _local_level(coadd, x[stars], y[stars], radius=radius)
    good = (flags == 0) & np.isfinite(total)
    if good.sum() < MIN_STARS:
        return nothing, int(good.sum())
    whole = total - level * np.pi * radius**2
    return np.median(whole[good, None] / flux[stars][good], axis=0), int(good.sum())


def _local_level(coadd: Coadd, x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    """Sky level per pixel in annuli around stars: the clipped median of the pixels from one to two radii."""
    ny, nx = coadd.image.shape
    reach = int(2 * radius) + 1
    levels = np.zeros(len(x))
    for k, (a, b) in enumerate(zip(x, y, strict=True)):
        rows = slice(max(int(b) - reach, 0), min(int(b) + reach + 1, ny))
        columns = slice(max(int(a) - reach, 0), min(int(a) + reach + 1, nx))
        yy, xx = np.mgrid[rows, columns]
        distance = np.hypot(xx - a, yy - b)
        ring = (distance > radius) & (distance < 2 * radius) & (coadd.weight[rows, columns] > 0)
        if ring.any():
            levels[k] = clipped_moments(coadd.image[rows, columns][ring])[0]
    return levels


def local_errors(
    coadd: Coadd, x: np.ndarray, y: np.ndarray, *, diameters: tuple[float, ...], pixel: float
) -> np.ndarray:
    """Errors of faint fluxes in circles: the scatter of the nearest empty circles, with the true noise correlation.

    Parameters
    ----------
    coadd, x, y, diameters, pixel
        As in `aperture_corrections`.

    Returns
    -------
    errors
        Errors [object, circle]; NaN where there are too few empty circles.
    """
    errors = np.full((len(x), len(diameters)), np.nan)
    rng = np.random.default_rng(11)
    ny, nx = coadd.image.shape
    trial = np.column_stack([rng.uniform(0, nx - 1, EMPTY), rng.uniform(0, ny - 1, EMPTY)])
    objects = np.column_stack([x, y])
    if not len(objects):
        return errors
    free = trial[cKDTree(objects).query(trial)[0] * pixel > CLEAR]
    image, masked = np.ascontiguousarray(coadd.image), np.ascontiguousarray(coadd.weight <= 0)
    for number, diameter in enumerate(diameters):
        flux, _, flags = sep.sum_circle(image, free[:, 0], free[:, 1], 0.5 * diameter, mask=masked)
        good = flags == 0
        if good.sum() < 20:
            continue
        count = min(NEAREST, int(good.sum()))
        _, nearest = cKDTree(free[good]).query(objects, k=count)
        errors[:, number] = robust_scatter(flux[good][nearest], axis=1)
    return errors
