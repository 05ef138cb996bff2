"""Stars of an image as stamps centred on the middle pixel, and the moving of stamps by fractions of a pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from lsst.images import Box

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.coadds.resample import coordinate_grid, warp
from dmu4.psf.fit import FEWEST
from dmu4.psf.stars import Sources, find_sources, select_stars, stellar_size
from obs_vista.masks import BIT


class Stars(NamedTuple):
    """Stars of an image: stamps of flux 1 [star, y, x], weights in a mean, and positions (x, y) [star, 2]."""

    stamps: np.ndarray
    weights: np.ndarray
    positions: np.ndarray


def measured_stars(
    image: np.ndarray, variance: np.ndarray, mask: np.ndarray, *, fwhm: float, size: int, max_stars: int
) -> tuple[float, Stars]:
    """Seeing in pixels, and the stars of an image."""
    sigma = np.sqrt(np.where(np.isfinite(variance), variance, 1e30))
    fwhm, sources, chosen = find_stars(image, sigma, mask, fwhm=fwhm, max_stars=max_stars)
    half = size // 2
    stamps, weights, positions = [], [], []
    found = np.flatnonzero(chosen)
    for x, y, snr in (
        () if sources is None else zip(sources.x[found], sources.y[found], sources.signal_to_noise[found], strict=True)
    ):
        stamp = _centred(image, mask, x=x, y=y, half=half)
        if stamp is None:
            continue
        flux = stamp[_distance(half) < 2 * fwhm].sum()
        if flux > 0:
            stamps.append(stamp / flux)
            weights.append(min(snr, 300.0) ** 2)
            positions.append((x, y))
    return fwhm, Stars(np.array(stamps), np.array(weights), np.array(positions))


def find_stars(
    image: np.ndarray, sigma: np.ndarray, mask: np.ndarray, *, fwhm: float, max_stars: int
) -> tuple[float, Sources | None, np.ndarray]:
    """Seeing in pixels, sources, and which of them are stars; iterated once, because selection needs the seeing."""
    pixels = np.where(((mask & BIT["NO_DATA"]) != 0) | ~np.isfinite(image), 0, image).astype(np.float32)
    sources, chosen = None, np.zeros(0, bool)
    for _ in range(2):
        sources = find_sources(pixels, sigma, mask, fwhm=fwhm, threshold=5.0)
        bright = np.isfinite(sources.moments.size) & (sources.signal_to_noise > 25) & ~sources.masked
        if bright.sum() < FEWEST:
            return fwhm, None, chosen
        size = stellar_size(sources.moments.size[bright], sources.signal_to_noise[bright])
        fwhm = float(SIGMA_TO_FWHM * np.sqrt(size / 2))
        chosen = select_stars(sources, fwhm=fwhm, max_stars=max_stars)
    return fwhm, sources, chosen


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
    shifted = _shifted(image[part], half=half, x=x - i, y=y - j)
    rim = _distance(half) > 0.85 * half
    return (shifted - np.median(shifted[rim])).astype(float)


def _shifted(image: np.ndarray, *, half: int, x: float, y: float) -> np.ndarray:
    """The middle of an image, 2 half + 1 pixels wide, whose pixel (0, 0) is at (x, y) from the middle one."""
    pixels, reach = np.ascontiguousarray(image, np.float32), image.shape[0] // 2
    box = Box.factory[-half : half + 1, -half : half + 1]
    grid = coordinate_grid(box, lambda a, b: (a + reach + x, b + reach + y))
    shifted, _, _ = warp(pixels[None], np.ones_like(pixels), np.zeros(pixels.shape, np.int32), grid, box)
    return shifted[0]


def shifted_stamp(stamp: np.ndarray, *, x: float, y: float) -> np.ndarray:
    """A PSF stamp of the same size whose middle has moved by (-x, -y) pixels."""
    return _shifted(np.pad(stamp, 5), half=stamp.shape[0] // 2, x=x, y=y)
