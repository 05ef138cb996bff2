"""The PSF of a coadd that is published without one: the mean of its stars."""

from __future__ import annotations

import numpy as np
from lsst.images import Box

from dmu0.robust_statistics import SIGMA_TO_FWHM, robust_scatter
from dmu4.coadds.resample import coordinate_grid, warp
from dmu4.psf.stars import find_sources, select_stars, stellar_size
from obs_vista.masks import BIT

MIN_STARS = 5
"""Smallest number of stars for an average PSF."""


def psf_from_stars(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    fwhm: float = 4.0,
    size: int = 41,
    max_stars: int = 150,
) -> tuple[np.ndarray, int]:
    """Measure one PSF for a whole image.

    Parameters
    ----------
    image, variance, mask
        Pixels [y, x], their variance and mask bits.
    fwhm
        Initial estimate of the seeing in pixels.
    size
        Side of the stamp in pixels, odd.
    max_stars
        Largest number of stars; the brightest are used.

    Returns
    -------
    stamp, n_stars
        Stamp of sum 1, and number of stars used. With fewer than `MIN_STARS` stars, the stamp is a Gaussian of the most
        common size of the sources (or of the initial estimate), and the number is 0.
    """
    sigma = np.sqrt(np.where(np.isfinite(variance), variance, 1e30))
    fwhm, stars = _find(image, sigma, mask, fwhm, max_stars)
    half = size // 2
    stamps, weights = [], []
    for x, y, snr in stars:
        stamp = _centred(image, mask, x=x, y=y, half=half)
        if stamp is None:
            continue
        flux = stamp[_distance(half) < 2 * fwhm].sum()
        if flux > 0:
            stamps.append(stamp / flux)
            weights.append(min(snr, 300.0) ** 2)
    if len(stamps) < MIN_STARS:
        stamp = np.exp(-0.5 * (_distance(half) / (fwhm / SIGMA_TO_FWHM)) ** 2)
        return stamp / stamp.sum(), 0
    stack, weights = np.array(stamps), np.array(weights)
    # Pixels with light of a neighbour deviate from the median of the stars and are rejected.
    middle = np.median(stack, axis=0)
    scatter = robust_scatter(stack, about=middle, axis=0) + 1e-12
    use = weights[:, None, None] * (np.abs(stack - middle) < 4 * scatter)
    stamp = (stack * use).sum(0) / np.maximum(use.sum(0), 1e-30)
    # Beyond four times the seeing there is only noise: the wings are smoothly reduced to zero.
    stamp *= np.clip((5 * fwhm - _distance(half)) / fwhm, 0, 1)
    return stamp / stamp.sum(), len(stamps)


def _find(
    image: np.ndarray, sigma: np.ndarray, mask: np.ndarray, fwhm: float, max_stars: int
) -> tuple[float, list[tuple[float, float, float]]]:
    """Seeing in pixels, and x, y, signal to noise of the stars; iterated once, because selection needs the seeing."""
    pixels = np.where((mask & BIT["NO_DATA"]) != 0, 0, image)
    stars: list[tuple[float, float, float]] = []
    for _ in range(2):
        sources = find_sources(pixels, sigma, mask, fwhm=fwhm, threshold=5.0)
        bright = np.isfinite(sources.moments.size) & (sources.signal_to_noise > 25) & ~sources.masked
        if bright.sum() < 3:
            return fwhm, []
        size = stellar_size(sources.moments.size[bright], sources.signal_to_noise[bright])
        fwhm = float(SIGMA_TO_FWHM * np.sqrt(size / 2))
        chosen = np.flatnonzero(select_stars(sources, fwhm=fwhm, max_stars=max_stars))
        stars = [(sources.x[n], sources.y[n], sources.signal_to_noise[n]) for n in chosen]
    return fwhm, stars


def _distance(half: int) -> np.ndarray:
    axis = np.arange(-half, half + 1)
    return np.hypot(axis[:, None], axis[None])


def _centred(image: np.ndarray, mask: np.ndarray, *, x: float, y: float, half: int) -> np.ndarray | None:
    """A star shifted to the centre of its stamp, minus the sky at its edge; None near an edge or missing data."""
    i, j, reach = round(x), round(y), half + 5
    if i < reach or j < reach or i + reach >= image.shape[1] or j + reach >= image.shape[0]:
        return None
    part = (slice(j - reach, j + reach + 1), slice(i - reach, i + reach + 1))
    if (mask[part] & (BIT["NO_DATA"] | BIT["SAT"])).any():
        return None
    pixels = np.ascontiguousarray(image[part], np.float32)
    box = Box.factory[-half : half + 1, -half : half + 1]
    grid = coordinate_grid(box, lambda a, b: (a + reach + x - i, b + reach + y - j))
    shifted, _, _ = warp(pixels[None], np.ones_like(pixels), np.zeros(pixels.shape, np.int32), grid, box)
    rim = _distance(half) > 0.85 * half
    return (shifted[0] - np.median(shifted[0][rim])).astype(float)
