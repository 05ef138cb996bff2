"""Sources on a detector, and the selection of stars for measuring the PSF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from scipy.spatial import cKDTree

from dmu0.robust_statistics import SIGMA_TO_FWHM, robust_scatter
from dmu4.psf.moments import Moments, adaptive_moments
from obs_vista.masks import bits

UNFIT = bits("NO_DATA", "BAD", "SAT", "CR", "EDGE", "SUSPECT")
"""Mask planes that exclude a source from the PSF stars."""

CROWD_WIDTH = 0.12
"""Width of a crowd of equal sizes in log T: 6% of the FWHM, by which the seeing may change over an image. The error of
a star at the limit of signal to noise, 25, is 0.08."""

CROWD = 0.5
"""Number of sources in a crowd relative to the largest crowd, from which on it may be that of the stars."""


@dataclass(frozen=True)
class Sources:
    """Sources found on a detector image; every array has one value per source.

    Attributes
    ----------
    x, y
        Adaptive centroid in pixels (isophotal where the moments failed).
    flux, peak
        Isophotal flux and peak, in the image's units.
    signal_to_noise
        Signal to noise of the flux in the adaptive Gaussian.
    moments
        Adaptive moments.
    blended
        Whether `sep` deblended the source from a neighbour, or truncated it at the edge.
    masked
        Whether the core contains a pixel of a plane in `UNFIT`.
    neighbour
        Flux of neighbouring sources that falls on this one, relative to its own flux.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    peak: np.ndarray
    signal_to_noise: np.ndarray
    moments: Moments
    blended: np.ndarray
    masked: np.ndarray
    neighbour: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def find_sources(
    image: np.ndarray, sigma: np.ndarray, mask: np.ndarray, *, fwhm: float, threshold: float = 3.0
) -> Sources:
    """Find sources and measure the quantities needed to select stars.

    Parameters
    ----------
    image, sigma, mask
        Background-subtracted pixels [y, x], their errors, and mask bits.
    fwhm
        Seeing in pixels.
    threshold
        Detection limit in sigma of a pixel, after smoothing with a kernel of the size of the seeing.
    """
    unusable = (mask & bits("NO_DATA", "BAD", "CR")) != 0
    pixels = np.where(unusable, 0, image).astype(np.float32)
    sep.set_extract_pixstack(max(300_000, image.size // 8))
    found = sep.extract(
        pixels,
        threshold,
        err=np.ascontiguousarray(np.where(np.isfinite(sigma), sigma, 1e30), np.float32),
        mask=unusable,
        minarea=5,
        filter_kernel=_kernel(fwhm),
        filter_type="conv",
        deblend_nthresh=16,
        deblend_cont=0.005,
        clean=False,
    )
    width = fwhm / SIGMA_TO_FWHM
    shapes = adaptive_moments(pixels, x=found["x"], y=found["y"], sigma=width, radius=round(4 * fwhm) + 2)
    failed = ~np.isfinite(shapes.size) | (np.hypot(shapes.x - found["x"], shapes.y - found["y"]) > fwhm)
    x, y = np.where(failed, found["x"], shapes.x), np.where(failed, found["y"], shapes.y)
    size = np.where(failed, 2 * width**2, shapes.size)
    flux = np.where(failed, found["flux"], shapes.flux)
    noise = _at(sigma, x=x, y=y) * np.sqrt(2 * np.pi * size)  # noise-equivalent area of a Gaussian: 4 pi sigma^2
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(noise > 0, flux / noise, 0.0)
    return Sources(
        x=x,
        y=y,
        flux=found["flux"],
        peak=found["peak"],
        signal_to_noise=snr,
        moments=Moments(*(np.where(failed, np.nan, values) for values in shapes)),
        blended=(found["flag"] & (sep.OBJ_MERGED | sep.OBJ_TRUNC)) != 0,
        masked=_touches(mask & UNFIT, x=x, y=y, radius=max(2, round(fwhm))),
        neighbour=_neighbour_fraction(x=x, y=y, flux=found["flux"], fwhm=fwhm),
    )


def select_stars(
    sources: Sources,
    *,
    fwhm: float,
    min_signal_to_noise: float = 25.0,
    max_stars: int = 400,
    is_reference: np.ndarray | None = None,
) -> np.ndarray:
    """Select isolated, unsaturated stars.

    All stars have a similar size, which changes slowly over the detector; galaxies are larger and cosmic rays smaller.
    The size is first estimated as the mode of the distribution of bright sources (of those in the reference catalogue,
    if there are enough); then a plane is fitted to the sizes of the stars, and outliers are clipped according to their
    noise. On a crowded detector the isolation limit is relaxed in steps until there are enough stars.

    Parameters
    ----------
    sources
        Sources from `find_sources`.
    fwhm
        Seeing in pixels, the starting value for the size.
    min_signal_to_noise
        Smallest signal to noise of a star.
    max_stars
        Largest number of stars; the brightest are kept.
    is_reference
        Whether each source matches a star of the reference catalogue.

    Returns
    -------
    numpy.ndarray
        Whether each source is selected.
    """
    size, snr = sources.moments.size, sources.signal_to_noise
    nominal = 2 * (fwhm / SIGMA_TO_FWHM) ** 2
    sane = np.isfinite(size) & (size > 0.3 * nominal) & (size < 6 * nominal) & ~sources.masked
    sane &= snr > min_signal_to_noise
    sane &= np.hypot(sources.moments.e1, sources.moments.e2) < 0.4
    for isolation in (0.005, 0.02, 0.08):
        usable = sane & (sources.neighbour < isolation)
        if isolation < 0.08:
            usable &= ~sources.blended | (sources.neighbour < 0.2 * isolation)
        if usable.sum() >= 40:
            break
    if usable.sum() < 3:
        return usable
    seeds = usable
    if is_reference is not None and (usable & is_reference).sum() >= 10:
        seeds = usable & is_reference
    centre = stellar_size(size[seeds], snr[seeds])
    stars = _clip_to_plane(sources, usable, centre)
    if stars.sum() > max_stars:
        stars &= snr >= np.sort(snr[stars])[-max_stars]
    return stars


def stellar_size(size: np.ndarray, signal_to_noise: np.ndarray) -> float:
    """The size T of stars: the smallest of which there is a crowd, among the brighter half of the sources.

    Stars of one image have nearly one size, and galaxies any larger one. With a few stars among more galaxies, the
    most common size is by chance that of some galaxies, for these are many; no crowd is at a smaller size than stars.

    Parameters
    ----------
    size, signal_to_noise
        Size and signal to noise of single sources, at least three.
    """
    bright = signal_to_noise >= np.median(signal_to_noise) if len(size) > 20 else np.ones(len(size), bool)
    values = np.sort(np.log(size[bright]))
    width, count = CROWD_WIDTH, np.zeros(1)
    while count.max() < 3:
        count = np.searchsorted(values, values + width, side="right") - np.arange(len(values))
        width *= 2
    first = values[np.argmax(count >= CROWD * count.max())]
    start = int(np.argmax(np.where((values >= first) & (values <= first + width / 2), count, 0)))
    return float(np.exp(np.median(values[start : start + count[start]])))


def _clip_to_plane(sources: Sources, usable: np.ndarray, centre: float) -> np.ndarray:
    """Sources whose size agrees with a plane over the detector, within its scatter and their own noise."""
    log_size = np.full(len(sources), np.inf)
    log_size[usable] = np.log(sources.moments.size[usable] / centre)
    noise = 2.0 / np.maximum(sources.signal_to_noise, 1e-3)
    xn = (sources.x - sources.x.mean()) / (np.ptp(sources.x) + 1)
    yn = (sources.y - sources.y.mean()) / (np.ptp(sources.y) + 1)
    design = np.stack([np.ones_like(xn), xn, yn], axis=1)
    model, scatter = np.zeros(len(sources)), 0.08
    stars = usable & (np.abs(log_size) < 0.25)
    for _ in range(5):
        tolerance = np.clip(3 * np.hypot(scatter, noise), 0.03, 0.25)
        kept = usable & (np.abs(log_size - model) < tolerance)
        if kept.sum() < 3:
            return stars
        terms = 3 if kept.sum() >= 15 else 1
        weight = 1 / np.hypot(0.02, noise[kept])
        fit = np.linalg.lstsq(design[kept, :terms] * weight[:, None], log_size[kept] * weight, rcond=None)[0]
        model = design[:, :terms] @ fit
        deviation = log_size[kept] - model[kept]
        scatter = max(0.005, robust_scatter(deviation))
        if np.array_equal(kept, stars):
            break
        stars = kept
    return stars


def _neighbour_fraction(*, x: np.ndarray, y: np.ndarray, flux: np.ndarray, fwhm: float) -> np.ndarray:
    """Light of neighbours within a seeing disc of each source, relative to its own flux."""
    fraction = np.zeros(len(x))
    if len(x) < 2:
        return fraction
    tree = cKDTree(np.stack([x, y], axis=1))
    pairs = tree.query_pairs(6 * fwhm, output_type="ndarray")
    if len(pairs) == 0:
        return fraction
    one, two = pairs.T
    separation = np.hypot(x[one] - x[two], y[one] - y[two])
    # share of a Moffat profile (beta = 3) on a disc of one FWHM across at this distance
    alpha = fwhm / 1.0196
    spill = (2 * (fwhm / 2) ** 2 / alpha**2) / (1 + (separation / alpha) ** 2) ** 3
    own = np.maximum(flux, 1e-30)
    np.add.at(fraction, one, spill * own[two] / own[one])
    np.add.at(fraction, two, spill * own[one] / own[two])
    return fraction


def _touches(planes: np.ndarray, *, x: np.ndarray, y: np.ndarray, radius: int) -> np.ndarray:
    """Whether any pixel with the bits lies in a square of a given half width around each position."""
    ny, nx = planes.shape
    total = np.zeros((ny + 1, nx + 1), np.int32)
    np.cumsum(np.cumsum(planes != 0, axis=0, dtype=np.int32), axis=1, out=total[1:, 1:])
    xi, yi = np.rint(x).astype(int), np.rint(y).astype(int)
    left, right = np.clip(xi - radius, 0, nx), np.clip(xi + radius + 1, 0, nx)
    bottom, top = np.clip(yi - radius, 0, ny), np.clip(yi + radius + 1, 0, ny)
    return (total[top, right] - total[bottom, right] - total[top, left] + total[bottom, left]) > 0


def _at(image: np.ndarray, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values of the pixels that contain the positions."""
    yi = np.clip(np.rint(y).astype(int), 0, image.shape[0] - 1)
    xi = np.clip(np.rint(x).astype(int), 0, image.shape[1] - 1)
    return image[yi, xi]


def _kernel(fwhm: float) -> np.ndarray:
    radius = max(1, round(fwhm))
    grid = np.arange(-radius, radius + 1)
    profile = np.exp(-0.5 * (grid / (fwhm / SIGMA_TO_FWHM)) ** 2)
    return np.outer(profile, profile).astype(np.float32)
