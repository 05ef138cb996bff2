"""LSST coadds of the sample: the sky as a few visits saw it, each in the cells that it fills."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from lsst.images import Box
from scipy.ndimage import convolve1d

from dmu0.sample.psf import FieldPsf, random_psf
from dmu0.sample.render import profile_covariance, render
from dmu0.sample.scene import Scene

LSST_DEPTH = MappingProxyType({"u": 25.6, "g": 26.5, "r": 26.2, "i": 25.9, "z": 25.2, "y": 24.5})
"""AB magnitude of 5 sigma in a 2-arcsec aperture where all visits contribute, for independent pixel noise."""

LSST_SEEING = MappingProxyType({"u": 0.98, "g": 0.92, "r": 0.84, "i": 0.80, "z": 0.79, "y": 0.82})
"""Mean FWHM of the PSFs of the visits in arcsec."""

SATURATION = 150_000.0
"""Flux in nJy above which a pixel saturates in too many visits."""

STAMP = 33
"""Side of a PSF stamp in pixels."""

MISSING = MappingProxyType({"r": (2, 4)})
"""Band -> row and column, in the field, of the cell that is missing."""

_EDGES = ((0, 0, -9), (0, 0, -9), (0, 0, -9), (1, 0.2, -0.35), (0.1, -1, -0.25), (0.7, 0.7, 0.1))
"""The visits: where a u + b v > c for (a, b, c) and field positions from -1 to 1, cells are filled."""

_ELECTRONS = 90.0
"""Electrons per nJy of a coadd, for the photon noise of sources."""


@dataclass(frozen=True)
class LsstField:
    """The coadd of a band over all patches; patches are cut from it, so that they agree where they overlap.

    Attributes
    ----------
    band
        Label of the band.
    box
        Tract pixels, whole cells.
    cell
        Side of a cell in pixels.
    image, variance, noise
        Image, variance and a noise realization [y, x] as float32 in nJy and nJy^2; 0, infinite and 0 without data.
    saturated, empty
        Whether a pixel [y, x] is saturated in too many visits, or has no data.
    stamps, light
        PSF of each cell [row, column, y, x] of unit sum, and the fraction of the light on it [row, column].
    cover
        Whether each visit fills each cell [visit, row, column].
    """

    band: str
    box: Box
    cell: int
    image: np.ndarray
    variance: np.ndarray
    noise: np.ndarray
    saturated: np.ndarray
    empty: np.ndarray
    stamps: np.ndarray
    light: np.ndarray
    cover: np.ndarray


def field_positions(box: Box, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Field positions u and v, from -1 to 1, of array positions in a box."""
    half = 0.5 * max(box.shape)
    return x / half - 1, y / half - 1


def visit_cover(box: Box, cell: int) -> np.ndarray:
    """Whether each visit fills each cell of a box [visit, row, column]."""
    rows, columns = box.y.size // cell, box.x.size // cell
    x, y = np.meshgrid((np.arange(columns) + 0.5) * cell, (np.arange(rows) + 0.5) * cell)
    u, v = field_positions(box, x, y)
    return np.array([a * u + b * v > c for a, b, c in _EDGES])


def make_lsst_field(band: str, box: Box, cell: int, wcs: WCS, sky: Table, scene: Scene, *, seed: int) -> LsstField:
    """Simulate the coadd of a band.

    In a cell the image is the mean of those visits that fill it, each with its own PSF; the PSF of the cell is the mean
    of theirs at its centre. The step between cells with different visits is that of the pixels.

    Parameters
    ----------
    band
        Label of the band.
    box
        Tract pixels to cover, whole cells.
    cell
        Side of a cell in pixels.
    wcs
        WCS of the tract.
    sky
        The true sources.
    scene
        The settings.
    seed
        Seed of the random numbers.
    """
    rng = np.random.default_rng([seed, 11, list(LSST_DEPTH).index(band)])
    scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600
    factors = 1 + 0.09 * np.linspace(-1, 1, len(_EDGES)) + rng.normal(0, 0.02, len(_EDGES))
    psfs = [random_psf(rng, fwhm=LSST_SEEING[band] * factor / scale, variation=0.015) for factor in factors]
    sigma = 10 ** (0.4 * (31.4 - LSST_DEPTH[band])) / 5 / np.sqrt(np.pi / scale**2)
    cover = visit_cover(box, cell)
    if band in MISSING:
        cover[(slice(None), *MISSING[band])] = False
    count = cover.sum(axis=0)
    pixels = np.repeat(np.repeat(cover, cell, axis=1), cell, axis=2)
    number = np.maximum(pixels.sum(axis=0), 1)
    truth = (
        sum(
            np.where(seen, _drawn(band, box, wcs, sky, psf, scale, 1e-3 * sigma), 0)
            for psf, seen in zip(psfs, pixels, strict=True)
        )
        / number
    )
    variance = sigma**2 * len(psfs) / number + np.maximum(truth, 0) / _ELECTRONS * len(psfs) / number
    saturated = truth > SATURATION
    empty = (truth > 12 * SATURATION) | ~pixels.any(axis=0)
    one, other = (np.sqrt(variance) * _correlated(box.shape, scene.optical_correlation, rng) for _ in range(2))
    stamps, light = _cell_stamps(box, cell, psfs, cover)
    return LsstField(
        band=band,
        box=box,
        cell=cell,
        image=np.where(empty, 0, np.minimum(truth, SATURATION) + one).astype(np.float32),
        variance=np.where(empty, np.inf, variance).astype(np.float32),
        noise=np.where(empty, 0, other).astype(np.float32),
        saturated=saturated,
        empty=empty,
        stamps=np.where((count > 0)[:, :, None, None], stamps, np.nan),
        light=np.where(count > 0, light, np.nan),
        cover=cover,
    )


def _drawn(band: str, box: Box, wcs: WCS, sky: Table, psf: FieldPsf, scale: float, floor: float) -> np.ndarray:
    """The sky through one PSF, in nJy per pixel [y, x]."""
    x, y = wcs.all_world2pix(np.array(sky["ra"]), np.array(sky["dec"]), 0)
    x, y = x - box.x.start, y - box.y.start
    use = (x > -80) & (x < box.shape[1] + 80) & (y > -80) & (y < box.shape[0] + 80)
    shape = (np.array(sky["axis_ratio"][use]), np.array(sky["angle"][use]), np.diag([-1, 1]) / scale)
    image = np.zeros(box.shape)
    render(
        image, x[use], y[use], np.array(sky[f"flux_{band}"])[use], np.array(sky["bulge_fraction"][use]),
        profile_covariance(np.array(sky["r_disk"][use]), *shape),
        profile_covariance(np.array(sky["r_bulge"][use]), *shape),
        psf.covariance(*field_positions(box, x[use], y[use])), floor,
    )  # fmt: skip
    return image


def _correlated(shape: tuple[int, int], a: float, rng: np.random.Generator) -> np.ndarray:
    """Unit noise [y, x] with neighbouring pixels correlated by a kernel (a, 1, a) along both axes."""
    kernel = np.array([a, 1.0, a]) / np.sqrt(1 + 2 * a**2)
    noise = rng.standard_normal(shape)
    return convolve1d(convolve1d(noise, kernel, axis=0, mode="wrap"), kernel, axis=1, mode="wrap")


def _cell_stamps(box: Box, cell: int, psfs: list[FieldPsf], cover: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PSF of each cell at its centre and the light on its stamp; arbitrary where no visit fills the cell."""
    rows, columns = cover.shape[1:]
    stamps, light = np.empty((rows, columns, STAMP, STAMP)), np.empty((rows, columns))
    margin = STAMP
    for row, column in np.ndindex(rows, columns):
        u, v = field_positions(box, np.array((column + 0.5) * cell - 0.5), np.array((row + 0.5) * cell - 0.5))
        chosen = np.flatnonzero(cover[:, row, column]) if cover[:, row, column].any() else [0]
        wide = np.mean([psfs[n].stamp(float(u), float(v), size=STAMP + 2 * margin) for n in chosen], axis=0)
        stamp = wide[margin:-margin, margin:-margin]
        light[row, column] = stamp.sum()
        stamps[row, column] = stamp / stamp.sum()
    return stamps, light
