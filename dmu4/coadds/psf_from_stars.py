"""The PSF of a coadd that is published without one: the mean of its stars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from lsst.images import Box

from dmu0.robust_statistics import SIGMA_TO_FWHM, robust_scatter
from dmu4.coadds.resample import coordinate_grid, warp
from dmu4.psf.stars import find_sources, select_stars, stellar_size
from obs_vista.masks import BIT

MIN_STARS = 5
"""Smallest number of stars for an average PSF."""


def cell_psfs_from_stars(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    cell: int,
    fwhm: float = 4.0,
    size: int = 41,
    max_stars: int = 600,
    nearest: int = 24,
) -> tuple[np.ndarray, str]:
    """Measure the PSF of every cell of an image, where there are stars enough to see it change.

    The PSF of a cell is the mean of the stars that are nearest to its centre. It is taken only if it tells the stars
    better than one PSF for all does: each star is predicted from its neighbours, itself left out, and the squared
    residuals within twice the seeing, over the noise, are summed over all stars.

    Parameters
    ----------
    image, variance, mask
        Pixels [y, x], their variance and mask bits; the sides are whole numbers of cells.
    cell
        Side of a cell in pixels.
    fwhm
        A guess at the seeing, in pixels.
    size
        Odd side of the stamps.
    max_stars
        The brightest this many are used.
    nearest
        Number of stars behind the PSF of a cell; with fewer than twice as many, one PSF is for all.

    Returns
    -------
    stamps, source
        Stamps of sum 1 (cell row, cell column, y, x), and in words what they are from.
    """
    fwhm, stars = measured_stars(image, variance, mask, fwhm=fwhm, size=size, max_stars=max_stars)
    shape, number = (image.shape[0] // cell, image.shape[1] // cell), len(stars.stamps)
    if number < MIN_STARS:
        everywhere, source = _gaussian(fwhm, size), "a Gaussian, because there are too few stars"
    else:
        everywhere, source = _average(stars.stamps, stars.weights, fwhm), f"{number} stars"
    if number < 2 * nearest or not _changes(stars, everywhere, fwhm, nearest):
        return np.broadcast_to(everywhere, (*shape, size, size)), source
    stamps = np.empty((*shape, size, size))
    for row, column in np.ndindex(*shape):
        near = _nearest(stars.positions, ((column + 0.5) * cell - 0.5, (row + 0.5) * cell - 0.5), nearest)
        stamps[row, column] = _average(stars.stamps[near], stars.weights[near], fwhm)
    return stamps, f"{number} stars, the nearest {nearest} for each cell"


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
    fwhm, found = _find(image, sigma, mask, fwhm, max_stars)
    half = size // 2
    stamps, weights, positions = [], [], []
    for x, y, snr in found:
        stamp = _centred(image, mask, x=x, y=y, half=half)
        if stamp is None:
            continue
        flux = stamp[_distance(half) < 2 * fwhm].sum()
        if flux > 0:
            stamps.append(stamp / flux)
            weights.append(min(snr, 300.0) ** 2)
            positions.append((x, y))
    return fwhm, Stars(np.array(stamps), np.array(weights), np.array(positions))


def _gaussian(fwhm: float, size: int) -> np.ndarray:
    """A Gaussian stamp of sum 1."""
    stamp = np.exp(-0.5 * (_distance(size // 2) / (fwhm / SIGMA_TO_FWHM)) ** 2)
    return stamp / stamp.sum()


def _average(stack: np.ndarray, weights: np.ndarray, fwhm: float) -> np.ndarray:
    """The mean of some stars, of sum 1, without what only one of them has."""
    # Pixels with light of a neighbour deviate from the median of the stars and are rejected.
    middle = np.median(stack, axis=0)
    scatter = robust_scatter(stack, about=middle, axis=0) + 1e-12
    use = weights[:, None, None] * (np.abs(stack - middle) < 4 * scatter)
    stamp = (stack * use).sum(0) / np.maximum(use.sum(0), 1e-30)
    # Beyond four times the seeing there is only noise: the wings are smoothly reduced to zero.
    stamp *= np.clip((5 * fwhm - _distance(stack.shape[-1] // 2)) / fwhm, 0, 1)
    return stamp / stamp.sum()


def _nearest(positions: np.ndarray, place: tuple[float, float], number: int) -> np.ndarray:
    """The stars that are nearest to a place (x, y)."""
    return np.argsort(np.hypot(*(positions - place).T), kind="stable")[:number]


def _changes(stars: Stars, everywhere: np.ndarray, fwhm: float, nearest: int) -> bool:
    """Whether stars are more like the mean of their neighbours than like that of all."""
    core = _distance(everywhere.shape[-1] // 2) < 2 * fwhm
    worse = 0.0
    for star, (stamp, weight, place) in enumerate(zip(*stars, strict=True)):
        near = _nearest(stars.positions, tuple(place), nearest + 1)
        near = near[near != star][:nearest]
        by_neighbours = stamp - _average(stars.stamps[near], stars.weights[near], fwhm)
        worse += weight * float(np.sum(by_neighbours[core] ** 2 - (stamp - everywhere)[core] ** 2))
    return worse < 0


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
