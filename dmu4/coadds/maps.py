"""Depth, seeing and noise of a coadd: statistics for its metadata, and maps of its cells."""

from __future__ import annotations

import numpy as np
from lsst.images.cells import CellCoadd, CellIJ

from dmu4.coadds.correlated_noise import aperture_error_scale, noise_correlation
from dmu4.coadds.planes import CoaddPlanes
from dmu4.psf.moments import fwhm
from obs_vista.photometry import magnitude_of

DEPTH_RADIUS = 1.0
"""Radius in arcsec of the aperture for which depths are quoted."""


def describe_coadd(planes: CoaddPlanes, stamps: np.ndarray, *, pixel_scale: float) -> dict[str, int | float | str]:
    """Statistics for the metadata: coverage, inputs, seeing, depth, and the error scale due to correlated noise."""
    good = np.isfinite(planes.image) & np.isfinite(planes.variance)
    have = stamps[np.isfinite(stamps[:, :, 0, 0])]
    widths = [fwhm(stamp) for stamp in have[:: max(len(have) // 40, 1)]]
    statistics = {
        "coverage": float(good.mean()),
        "median_inputs": float(np.median(planes.count[good])) if good.any() else 0.0,
    }
    if widths:
        statistics["seeing"] = float(np.median(widths) * pixel_scale)
    if not good.any():
        return statistics
    radius = DEPTH_RADIUS / pixel_scale
    scale = float(aperture_error_scale(list(planes.noise), planes.variance, good, radii=np.array([radius]))[0])
    pixel = float(np.median(planes.variance[good]))
    error = np.sqrt(pixel * np.pi) * radius * (scale if np.isfinite(scale) else 1.0)
    statistics["depth5"] = float(magnitude_of(5 * error))
    if np.isfinite(scale):
        statistics["aperture_error_scale"] = scale
    if len(planes.noise):
        part = tuple(slice(max(size // 2 - 500, 0), size // 2 + 500) for size in good.shape)
        sigma = np.sqrt(np.where(good, planes.variance, 1.0))
        kernel = noise_correlation(planes.noise[0][part], sigma[part], good[part], max_lag=5)
        statistics["noise_correlation"] = " ".join(f"{value:.4f}" for value in kernel.ravel())
    return statistics


def correlation_of(coadd: CellCoadd, cell: CellIJ | None = None, *, max_lag: int = 5) -> np.ndarray:
    """Correlation of the noise of neighbouring pixels, from the noise realizations of a coadd or of one cell.

    Returns
    -------
    correlation
        Correlation [lag in y, lag in x] of side 2 max_lag + 1, 1 at its centre; the mean over the realizations.
    """
    box = coadd.bbox if cell is None else coadd.grid.bbox_of(cell).intersection(coadd.bbox)
    part = box.slice_within(coadd.bbox)
    variance = coadd.variance.array[part]
    kernels = []
    for noise in coadd.noise_realizations:
        plane = noise.array[part]
        good = np.isfinite(plane) & np.isfinite(variance) & (variance > 0)
        sigma = np.sqrt(np.where(good, variance, 1.0))
        kernels.append(noise_correlation(plane, sigma, good, max_lag=max_lag))
    if not kernels:
        raise ValueError(f"The {coadd.band} coadd of tract {coadd.tract} has no noise plane to measure.")
    return np.mean(kernels, axis=0)


def seeing_map(coadd: CellCoadd, *, pixel_scale: float) -> np.ndarray:
    """FWHM of the PSF of each cell in arcsec [cell row, cell column]; NaN without a PSF."""
    start, size = coadd.bounds.subgrid_start, coadd.bounds.subgrid_size
    seeing = np.full((size.i, size.j), np.nan)
    last, width = np.empty(0), np.nan
    for cell in coadd.bounds.cell_indices():
        stamp = coadd.psf[cell].array
        if not np.array_equal(stamp, last):  # published coadds have one stamp for all cells
            last, width = stamp, fwhm(stamp)
        seeing[cell.i - start.i, cell.j - start.j] = width * pixel_scale
    return seeing


def depth_map(coadd: CellCoadd, *, pixel_scale: float) -> np.ndarray:
    """5-sigma AB magnitude of each cell in an aperture of 2" diameter, with correlated noise; NaN without data."""
    start, size = coadd.bounds.subgrid_start, coadd.bounds.subgrid_size
    depth = np.full((size.i, size.j), np.nan)
    scale = float(coadd.metadata.get("aperture_error_scale", 1.0))
    good = ((coadd.mask.get("NO_DATA")) == 0) & np.isfinite(coadd.variance.array)
    for cell in coadd.bounds.cell_indices():
        part = coadd.grid.bbox_of(cell).intersection(coadd.bbox).slice_within(coadd.bbox)
        if good[part].any():
            pixel = np.median(coadd.variance.array[part][good[part]])
            error = scale * np.sqrt(np.pi * pixel) * DEPTH_RADIUS / pixel_scale
            depth[cell.i - start.i, cell.j - start.j] = magnitude_of(5 * error)
    return depth
