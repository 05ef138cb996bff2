"""Detection in all bands of a patch: matched filters, the chi-square image, and a merged list of peaks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import fft
from scipy.optimize import brentq
from scipy.spatial import cKDTree
from scipy.stats import chi2, norm

from dmu0.robust_statistics import clipped_moments
from dmu4.detection.footprints import Footprints, Peaks, find_peaks, make_footprints
from dmu4.patches.cube import PatchCube, PatchData, map_bands, mean_psf, psf_sigma
from dmu4.patches.sky import SAMPLE

STRIPS = 5
"""Number of strips of rows of a large noise realization, a quarter of it, in which its scatter is measured."""


@dataclass(frozen=True)
class DetectionSettings:
    """Settings of the detection.

    Attributes
    ----------
    threshold
        Smallest height of a peak in units of the noise of the matched-filtered image.
    floor
        Height down to which footprints extend, in the same units.
    max_area
        Largest connected footprint in pixels.
    threads
        Number of bands processed in parallel.
    """

    threshold: float = 5.0
    floor: float = 3.0
    max_area: int = 40_000
    threads: int = 2


@dataclass(frozen=True)
class Detections:
    """Peaks merged over the bands.

    Attributes
    ----------
    x, y
        Array positions.
    height
        Matched-filter signal to noise [object, band] at the position.
    detected
        Whether the object has a peak in the band [object, band].
    combined
        Height in the chi-square image, as a Gaussian significance.
    reference
        Number of the band of highest signal to noise.
    footprints
        Pixels of each object.
    order
        Band numbers in the order in which peaks were merged.
    """

    x: np.ndarray
    y: np.ndarray
    height: np.ndarray
    detected: np.ndarray
    combined: np.ndarray
    reference: np.ndarray
    footprints: Footprints
    order: tuple[int, ...]


def significance_map(
    image: np.ndarray, variance: np.ndarray, good: np.ndarray, psf: np.ndarray, noise: np.ndarray | None
) -> np.ndarray:
    """Signal to noise [y, x] of a point source centred on each pixel.

    The filter is the PSF. The noise is computed from the filtered variance map and multiplied by a factor for its
    correlation: the scatter of the filtered noise realization or, without one, of the filtered image between sources.

    Parameters
    ----------
    image, variance, good, noise
        Arrays [y, x]; zero where not good.
    psf
        PSF stamp [y, x] of odd size.
    """
    if not good.any() or not psf.any():
        return np.zeros(image.shape, np.float32)
    spread = _correlate(variance.astype(np.float32, copy=False), np.square(psf))
    # The significance is undefined where the filter has hardly any data.
    seen = good & (spread > 1e-3 * np.median(_some(spread, good)))
    scale = np.where(seen, 1 / np.sqrt(np.where(seen, spread, 1)), 0).astype(np.float32)
    significance = _correlate(image, psf)
    significance *= scale
    reference = _some(significance, seen) if noise is None else _filtered_sample(noise, psf, scale, seen)
    significance /= np.float32(max(clipped_moments(reference)[1], 1e-6))
    return significance


def _correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Sums of an image times a kernel of odd size about each pixel [y, x]."""
    shape = [fft.next_fast_len(n + kernel.shape[0] - 1, real=True) for n in image.shape]
    half = kernel.shape[0] // 2
    # The kernel is centred on the first pixel, so that the product needs no shift.
    padded = np.zeros(shape, np.float32)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    product = fft.rfft2(image, shape)
    product *= np.conj(fft.rfft2(np.roll(padded, (-half, -half), (0, 1)), overwrite_x=True))
    return fft.irfft2(product, shape, overwrite_x=True)[: image.shape[0], : image.shape[1]]


def _filtered_sample(noise: np.ndarray, psf: np.ndarray, scale: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Signal to noise of a filtered noise realization at some of its pixels: in strips of rows, if it is large."""
    half, values = psf.shape[0] // 2, []
    edges = np.linspace(0, noise.shape[0], STRIPS + 1).astype(int)
    height = max(noise.shape[0] // (4 * STRIPS), 8 * half)
    for first, end in pairwise(edges):
        last = min(first + height, end)
        rows = slice(max(first - half, 0), last + half)
        strip = _correlate(noise[rows], psf)[first - rows.start :][: last - first] * scale[first:last]
        values.append(strip[seen[first:last]][::SAMPLE])
    found = np.concatenate(values)
    return found if len(found) else (_correlate(noise, psf) * scale)[seen]


def _some(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Every seventh pixel of an image, as far as it is selected; all selected ones if that leaves none."""
    some = values.ravel()[::SAMPLE][where.ravel()[::SAMPLE]]
    return some if len(some) else values[where]


def combined_map(significance: np.ndarray, good: np.ndarray) -> np.ndarray:
    """The chi-square combination [y, x] of the bands, as the Gaussian significance of the same false-alarm rate.

    The method is that of Szalay, Connolly & Szokoly 1999, AJ 117, 68, with negative signals set to zero, since sources
    are positive: with n bands the sum of squares then follows a binomial mixture of chi-square distributions with 0 to
    n degrees of freedom.

    Parameters
    ----------
    significance, good
        Significance, and whether a band has data [band, y, x].
    """
    total = np.zeros(significance.shape[1:], np.float32)
    for band in range(len(significance)):
        total += np.where(good[band], np.square(np.maximum(significance[band], 0)), 0)
    counted = good.sum(axis=0)
    combined = np.zeros(total.shape, np.float32)
    levels = np.linspace(0, 8, 33)
    for n in np.unique(counted[counted > 0]):
        here = counted == n
        at = np.array([_chi_square_level(level, int(n)) for level in levels])
        root = np.sqrt(total[here])
        # Beyond the last level the significance increases like the root of the sum of squares.
        beyond = levels[-1] + root - np.sqrt(at[-1])
        combined[here] = np.where(root > np.sqrt(at[-1]), beyond, np.interp(root, np.sqrt(at), levels))
    return combined


def _chi_square_level(significance: float, n: int) -> float:
    """Sum of squares of n clipped Gaussians with the same false-alarm rate as a Gaussian at ``significance``."""
    degrees = np.arange(1, n + 1)
    share = np.exp(_log_binomial(n, degrees) - n * np.log(2))
    rate = norm.logsf(significance)

    def excess(value: float) -> float:
        return float(np.log(np.sum(share * chi2.sf(value, degrees))) - rate)

    return 0.0 if excess(1e-9) <= 0 else brentq(excess, 1e-9, 400.0)


def _log_binomial(n: int, k: np.ndarray) -> np.ndarray:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return logs[n] - logs[k] - logs[n - k]


def merge_peaks(peaks: list[Peaks], *, radius: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge several lists of peaks in their order: a peak near a known position belongs to the same object.

    Parameters
    ----------
    peaks
        Lists of peaks, the most reliable first.
    radius
        Matching radius of each list in pixels.

    Returns
    -------
    x, y
        Positions of the objects.
    seen
        Whether each list has a peak of the object [object, list].
    """
    x, y = np.zeros(0), np.zeros(0)
    seen = np.zeros((0, len(peaks)), bool)
    for number, (found, limit) in enumerate(zip(peaks, radius, strict=True)):
        if not len(found):
            continue
        new = np.ones(len(found), bool)
        if len(x):
            distance, nearest = cKDTree(np.column_stack([x, y])).query(np.column_stack([found.x, found.y]))
            new = distance > limit
            seen[nearest[~new], number] = True
        x, y = np.concatenate([x, found.x[new]]), np.concatenate([y, found.y[new]])
        first = np.zeros((np.count_nonzero(new), len(peaks)), bool)
        first[:, number] = True
        seen = np.concatenate([seen, first])
    return x, y, seen


@dataclass(frozen=True)
class SignificanceMaps:
    """Matched-filter maps of all bands of a patch.

    Attributes
    ----------
    value
        Signal to noise of a point source centred on each pixel [band, y, x].
    good
        Whether a pixel has data [band, y, x].
    width
        Gaussian width of each band's PSF in pixels [band]; NaN without a PSF.
    """

    value: np.ndarray
    good: np.ndarray
    width: np.ndarray


def significance_maps(patch: PatchData, threads: int) -> SignificanceMaps:
    """Matched-filter maps of all bands, each of which is in memory only while it is filtered.

    Parameters
    ----------
    patch
        The patch, minus its residual sky.
    threads
        Number of bands processed in parallel.
    """
    whole = (len(patch.bands), *patch.shape)
    value, good, width = np.zeros(whole, np.float32), np.zeros(whole, bool), np.full(whole[0], np.nan)

    def one(band: int, data: PatchCube) -> None:
        psf, noise = mean_psf(data, 0), data.plane("noise", 0) if data.has_noise[0] else None
        good[band], width[band] = data.good[..., 0], psf_sigma(psf)
        value[band] = significance_map(data.plane("image", 0), data.plane("variance", 0), good[band], psf, noise)

    map_bands(patch, one, threads=threads)
    return SignificanceMaps(value=value, good=good, width=width)


def detect(patch: PatchData, settings: DetectionSettings) -> Detections:
    """Detect in every band of a patch, minus its residual sky, and in their combination; see `detect_in_maps`."""
    return detect_in_maps(significance_maps(patch, settings.threads), settings, pixel_scale=patch.pixel_scale)


def detect_in_maps(maps: SignificanceMaps, settings: DetectionSettings, *, pixel_scale: float) -> Detections:
    """Detect in every band and in their combination.

    Bands are merged in order of their number of peaks, the deepest first; the combination is last and adds objects
    that are not detected in any single band. A band without data has no effect.

    Parameters
    ----------
    maps
        Matched-filter maps of all bands.
    settings
        Thresholds and limits.
    pixel_scale
        Size of a pixel in arcsec.
    """
    n, shape = len(maps.value), maps.value.shape[1:]
    combined = combined_map(maps.value, maps.good)
    limits = {"threshold": settings.threshold, "floor": settings.floor}
    with ThreadPoolExecutor(settings.threads) as pool:
        found = list(pool.map(lambda one: find_peaks(one, **limits), maps.value))
    order = sorted(range(n), key=lambda band: (-len(found[band]), band))
    # Two peaks closer than half the FWHM (1.18 sigma), or 0.5 arcsec in images of the best seeing, are one source.
    radius = [max(1.18 * maps.width[band], 0.5 / pixel_scale) for band in order]
    known = maps.width[np.isfinite(maps.width)]
    radius.append(max(1.18 * max(known, default=1.0), 0.5 / pixel_scale))
    x, y, seen = merge_peaks([*(found[band] for band in order), find_peaks(combined, **limits)], radius=radius)
    sorted_ = spatial_order(x, y)
    x, y, seen = x[sorted_], y[sorted_], seen[sorted_]
    ix, iy = (np.clip(np.rint(v).astype(int), 0, size - 1) for v, size in ((x, shape[1]), (y, shape[0])))
    detected = np.zeros((len(x), n), bool)
    detected[:, list(order)] = seen[:, :-1]
    height = maps.value[:, iy, ix].T
    at_peaks = combined[iy, ix]
    highest = np.maximum(combined, maps.value.max(axis=0), out=combined)
    footprints = make_footprints(highest, x=x, y=y, floor=settings.floor, max_area=settings.max_area)
    return Detections(
        x=x,
        y=y,
        height=height,
        detected=detected,
        combined=at_peaks,
        reference=np.argmax(height, axis=1) if len(x) else np.zeros(0, int),
        footprints=footprints,
        order=tuple(order),
    )


def spatial_order(x: np.ndarray, y: np.ndarray, *, strip: int = 64) -> np.ndarray:
    """Order of positions along x in strips of rows, so that consecutive objects share pixels in the cache."""
    return np.lexsort((x, np.floor(y / strip)))
