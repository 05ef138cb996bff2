"""Detection in all bands of a patch: matched filters, the chi-square image, and a merged list of peaks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.spatial import cKDTree
from scipy.stats import chi2, norm

from dmu4.detection.footprints import Footprints, Peaks, find_peaks, make_footprints
from dmu4.detection.significance import SignificanceMaps, significance_maps
from dmu4.patches.cube import PatchData
from dmu4.patches.look_up import nearest_pixels

CONTRAST = 0.15
"""Smallest share of the light under the PSF that is its own of a source found by the sharp filter, to leave out what
is faint beside the light it lies in: structure of galaxies, and errors of the PSF of bright stars."""

LEVELS = np.linspace(0, 8, 33)
"""Significances between which those of the combination are interpolated."""

ROWS = 64
"""Number of rows that are combined at once, so that they stay in the cache."""

SHARP_RISE = 0.05
"""Smallest relative prominence of a peak of the sharp filter, see `dmu4.detection.footprints.find_peaks`."""


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
        Matched-filter signal to noise [object, band] at the position; of objects that only the sharp filter shows,
        that of this filter.
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
    combined = np.zeros(significance.shape[1:], np.float32)
    for first in range(0, combined.shape[0], ROWS):
        rows = slice(first, first + ROWS)
        known = good[:, rows]
        # Sources are positive; where there is no data there is no signal.
        signal = np.where(known, np.maximum(significance[:, rows], 0), 0)
        root, counted = np.sqrt(np.einsum("byx,byx->yx", signal, signal)), known.sum(axis=0)
        for n in np.unique(counted[counted > 0]):
            here, at_levels = counted == n, _roots_at_levels(int(n))
            # Beyond the last level the significance increases like the root of the sum of squares.
            beyond = LEVELS[-1] + root[here] - at_levels[-1]
            inside = np.interp(root[here], at_levels, LEVELS)
            combined[rows][here] = np.where(root[here] > at_levels[-1], beyond, inside)
    return combined


@lru_cache(maxsize=64)
def _roots_at_levels(n: int) -> np.ndarray:
    """Roots of the sums of squares of n clipped Gaussians at `LEVELS`."""
    return np.sqrt([_chi_square_level(level, n) for level in LEVELS])


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


def detect(patch: PatchData, settings: DetectionSettings) -> Detections:
    """Detect in every band of a patch, minus its residual sky, and in their combination; see `detect_in_maps`."""
    return detect_in_maps(significance_maps(patch, settings.threads), settings, pixel_scale=patch.pixel_scale)


def detect_in_maps(
    maps: SignificanceMaps, settings: DetectionSettings, *, pixel_scale: float, count: int | None = None
) -> Detections:
    """Detect in every band and in their combination.

    Bands are merged in order of their number of peaks, the deepest first; then the combination adds objects that are
    not detected in any single band, and the sharp filter, in the same order, those in the light of others. A band
    without data has no effect.

    Parameters
    ----------
    maps
        Matched-filter maps of all bands.
    settings
        Thresholds and limits.
    pixel_scale
        Size of a pixel in arcsec.
    count
        Number of bands, the first ones, in which objects are searched for; None: all. In the others it is seen which
        of these objects have a peak.
    """
    if count is None or count == len(maps.value):
        return _detect(maps, settings, pixel_scale)
    found = _detect(maps.of_bands(slice(0, count)), settings, pixel_scale)
    return _in_other_bands(found, maps, settings, pixel_scale)


def _detect(maps: SignificanceMaps, settings: DetectionSettings, pixel_scale: float) -> Detections:
    """Detect in every band of the maps and in their combination."""
    n, shape = len(maps.value), maps.value.shape[1:]
    combined, combined_sharp = combined_map(maps.value, maps.good), combined_map(maps.sharp, maps.good)
    limits = {"threshold": settings.threshold, "floor": settings.floor}
    with ThreadPoolExecutor(settings.threads) as pool:
        found = list(pool.map(lambda one: find_peaks(one, **limits), maps.value))
        sharp = list(pool.map(lambda one: find_peaks(one, **limits, fraction=SHARP_RISE), maps.sharp))
    order = sorted(range(n), key=lambda band: (-len(found[band]), band))
    lists = [*(found[band] for band in order), find_peaks(combined, **limits)]
    floor = settings.floor
    lists += [_in_contrast(sharp[band], maps.value[band], maps.sharp_ratio[band], floor=floor) for band in order]
    of_all = find_peaks(combined_sharp, **limits, fraction=SHARP_RISE)
    lists.append(_in_contrast(of_all, combined, float(np.median(maps.sharp_ratio)), floor=floor))
    # Two peaks closer than half the FWHM (1.18 sigma), or 0.5 arcsec in images of the best seeing, are one source.
    known = maps.width[np.isfinite(maps.width)]
    widths = [*maps.width[order], max(known, default=1.0), *maps.width[order], min(known, default=1.0)]
    x, y, seen = merge_peaks(lists, radius=[_radius(width, pixel_scale) for width in widths])
    sorted_ = spatial_order(x, y)
    x, y, seen = x[sorted_], y[sorted_], seen[sorted_]
    ix, iy = nearest_pixels(x, y, shape)
    detected = np.zeros((len(x), n), bool)
    detected[:, list(order)] = seen[:, :n] | seen[:, n + 1 : 2 * n + 1]
    # What lies in the light of another is as significant as its own light.
    hidden = ~seen[:, : n + 1].any(axis=1)
    height = np.where(hidden[:, None], maps.sharp[:, iy, ix].T, maps.value[:, iy, ix].T)
    at_peaks = np.where(hidden, combined_sharp[iy, ix], combined[iy, ix])
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


def _in_other_bands(
    found: Detections, maps: SignificanceMaps, settings: DetectionSettings, pixel_scale: float
) -> Detections:
    """Objects of the first bands, with their heights in all bands, and whether they have a peak in each."""
    (n, count), (ix, iy) = found.height.shape, nearest_pixels(found.x, found.y, maps.value.shape[1:])
    height, detected = [found.height], [found.detected]
    known = Peaks(found.x, found.y, found.combined)
    for significance, width in zip(maps.value[count:], maps.width[count:], strict=True):
        peaks = find_peaks(significance, threshold=settings.threshold, floor=settings.floor)
        _, _, seen = merge_peaks([known, peaks], radius=[0.0, _radius(width, pixel_scale)])
        height.append(significance[iy, ix][:, None])
        detected.append(seen[:n, 1:])
    return replace(found, height=np.hstack(height), detected=np.hstack(detected))


def _radius(width: float, pixel_scale: float) -> float:
    """Largest distance in pixels of two peaks of one source, given the Gaussian width of the PSF in pixels."""
    return max(1.18 * width, 0.5 / pixel_scale)


def _in_contrast(peaks: Peaks, significance: np.ndarray, ratio: float, *, floor: float) -> Peaks:
    """The peaks of the sharp filter that lie in some light, and are more than a part of it, see `CONTRAST`."""
    ix, iy = nearest_pixels(peaks.x, peaks.y, significance.shape)
    around = significance[iy, ix]
    kept = (around > floor) & (peaks.height > CONTRAST * ratio * around)
    return Peaks(*(values[kept] for values in (peaks.x, peaks.y, peaks.height)))


def spatial_order(x: np.ndarray, y: np.ndarray, *, strip: int = 64) -> np.ndarray:
    """Order of positions along x in strips of rows, so that consecutive objects share pixels in the cache."""
    return np.lexsort((x, np.floor(y / strip)))
