"""Companions of bright stars: sources in the light of a star, which show only once the star is subtracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from dmu4.detection.detect import combined_map
from dmu4.detection.footprints import Peaks, find_peaks
from dmu4.detection.significance import correlate
from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.reference_band import central_signal_to_noise
from dmu4.patches.cube import PatchCube, mean_psf
from dmu4.patches.look_up import pixel_at

REACH = 3.3
"""Largest distance of a companion from its star in arcsec: further away it is found without subtracting the star."""

CLOSEST = 0.7
"""Smallest distance of a companion from any object in arcsec: what remains at the core of a star is its own light."""

FAINTER = 0.06
"""Largest signal to noise of a companion in units of that of its star: of two similar sources both have peaks."""

SHARE = 0.2
"""Smallest share of the light under the PSF that is a companion's own: less may be an error of the star's PSF."""

GALAXY = 1.5
"""Distance in arcsec within which what remains may be the light of a brighter galaxy, as long as galaxies are not
modelled."""

WIDTH = 0.8
"""Width in arcsec of the light of an object, to tell in whose light a companion lies."""

THRESHOLD, FLOOR = 5.0, 3.0
"""Smallest height of a peak, and height down to which its pixels are connected, in sigma: those of the detection."""


BEST = 2.0
"""Ratio of the signal to noise of a star in all bands together to that in its best band for which there is room."""

BLOCK, PART = 1400, 100_000
"""Numbers of rows, and of pixels, that are processed at once."""


class Companions(NamedTuple):
    """Companions of stars of a patch.

    Attributes
    ----------
    x, y
        Array positions [M].
    star
        Number of the peak of the star [M].
    height
        Signal to noise in each band, with all other sources subtracted [M, band].
    combined
        Significance in all bands together, see `dmu4.detection.detect.combined_map` [M].
    area
        Number of pixels of each [M].
    """

    x: np.ndarray
    y: np.ndarray
    star: np.ndarray
    height: np.ndarray
    combined: np.ndarray
    area: np.ndarray

    @classmethod
    def none(cls, bands: int) -> Companions:
        """No companion."""
        empty, whole = np.zeros(0), np.zeros(0, np.int64)
        return cls(empty, empty, whole, np.zeros((0, bands)), empty, whole)

    @property
    def reference(self) -> np.ndarray:
        """Number of the band of highest signal to noise [M]."""
        return np.argmax(self.height, axis=1) if len(self.x) else np.zeros(0, np.int64)


def near_bright(cube: PatchCube, *, x: np.ndarray, y: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Flat numbers of the pixels near peaks that are bright enough for a companion.

    Parameters
    ----------
    cube
        All bands, minus their residual sky.
    x, y, reference
        Array positions of the peaks, and the number of the band of highest signal to noise of each.
    """
    at_peak = np.zeros(len(x))
    for band in np.unique(reference):
        mine = reference == band
        at_peak[mine] = central_signal_to_noise(cube, int(band), x=x[mine], y=y[mine])
    bright = at_peak > THRESHOLD / FAINTER / BEST
    return np.flatnonzero(_near(cube, x=x[bright], y=y[bright])).astype(np.int32)


def _near(cube: PatchCube, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether each pixel [y, x] is within reach of one of some positions, with a margin for the slopes of peaks."""
    reach, (column, row) = int(np.ceil(_reach(cube))) + 2, pixel_at(cube, x=x, y=y)
    # The array is larger, so that circles at the edge are whole.
    near = np.zeros((cube.shape[0] + 2 * reach, cube.shape[1] + 2 * reach), bool)
    offset = np.arange(-reach, reach + 1)
    circle = offset[:, None] ** 2 + offset**2 <= reach**2
    for j, i in zip(row, column, strict=True):
        near[j : j + 2 * reach + 1, i : i + 2 * reach + 1] |= circle
    return near[reach:-reach, reach:-reach]


def _reach(cube: PatchCube) -> float:
    """`REACH` in pixels, or half of a PSF stamp where that is smaller: beyond it no star is subtracted."""
    return min(REACH / cube.pixel_scale, cube.psf_size / 2)


def residual_significance(fit: BandFit, psf: np.ndarray, inflation: float, pixels: np.ndarray) -> np.ndarray:
    """Signal to noise of point sources in an image minus all models, at some pixels; half precision, zero without data.

    Parameters
    ----------
    fit
        Models of all sources of the band, and the residual image.
    psf
        Mean PSF stamp of the band [y, x].
    inflation
        Error inflation of point-source fluxes.
    pixels
        Flat numbers of the pixels.
    """
    ny, nx = fit.residual.shape
    half, value = psf.shape[0] // 2, np.zeros(len(pixels), np.float16)
    for first in range(0, ny, BLOCK):
        # In blocks of rows, so that little more than the result is in memory.
        start, last = max(first - half, 0), min(first + BLOCK, ny)
        mine = slice(*np.searchsorted(pixels, (first * nx, last * nx)))
        at, rows = pixels[mine] - start * nx, slice(start, last + half)
        if not len(at):
            continue
        noise, signal = (
            correlate(plane[rows], (kernel,))[0].ravel()[at]
            for plane, kernel in ((fit.variance, np.square(psf)), (fit.residual, psf))
        )
        seen = fit.good.ravel()[pixels[mine]]
        seen &= noise > 1e-3 * (np.median(noise[seen]) if seen.any() else np.inf)
        scale = inflation * np.sqrt(np.where(seen, noise, 1))
        value[mine] = np.where(seen, np.clip(signal / scale, -1e4, 1e4), 0)
    return value


def find_companions(
    cube: PatchCube,
    residual: Mapping[int, np.ndarray],
    pixels: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    star: np.ndarray,
    height: np.ndarray,
    inflations: Sequence[ErrorInflation],
) -> Companions:
    """Peaks of the images minus all models near stars.

    Galaxies have no companions: what remains of one is often its own light, that of its arms for example.

    Parameters
    ----------
    cube
        All bands, minus their residual sky.
    residual, pixels
        Band -> significance from `residual_significance`, at the pixels from `near_bright`.
    x, y
        Array positions of all objects.
    star
        Whether each is a point source.
    height
        Signal to noise of each in all bands together.
    inflations
        Error inflation of each band due to correlated noise.
    """
    bands, bright = sorted(residual), star & (height > THRESHOLD / FAINTER)
    if not bands or not bright.any():
        return Companions.none(len(cube.bands))
    plane = _combined_near(cube, residual, pixels, x=x[bright], y=y[bright])
    peaks = find_peaks(plane, threshold=THRESHOLD, floor=FLOOR)
    place = np.column_stack([peaks.x, peaks.y])
    scale = {"reach": _reach(cube), "width": WIDTH / cube.pixel_scale, "galaxy": GALAXY / cube.pixel_scale}
    host = _stars_of(peaks, x=x, y=y, star=star, height=height, **scale)
    apart = cKDTree(np.column_stack([x, y])).query(place)[0] > CLOSEST / cube.pixel_scale
    column, row = pixel_at(cube, x=peaks.x, y=peaks.y)
    at = row * cube.shape[1] + column
    chosen = np.flatnonzero((host >= 0) & apart & np.isin(at, pixels))
    around = _whole_significance(cube, bands, peaks.x[chosen], peaks.y[chosen], inflations)
    chosen = chosen[peaks.height[chosen] > SHARE * around]
    if not len(chosen):
        return Companions.none(len(cube.bands))
    found_x, found_y = peaks.x[chosen], peaks.y[chosen]
    heights = np.zeros((len(chosen), len(cube.bands)))
    number = np.searchsorted(pixels, at[chosen])
    heights[:, bands] = np.column_stack([residual[band][number] for band in bands])
    return Companions(found_x, found_y, host[chosen], heights, peaks.height[chosen], _areas(plane, at[chosen]))


def _combined_near(
    cube: PatchCube, residual: Mapping[int, np.ndarray], pixels: np.ndarray, *, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Significance in all bands together [y, x] of what remains near some positions; zero elsewhere."""
    plane, chosen = np.zeros(cube.shape, np.float32), np.flatnonzero(_near(cube, x=x, y=y).ravel()[pixels])
    for start in range(0, len(chosen), PART):
        some = chosen[start : start + PART]
        values = np.stack([residual[band][some] for band in sorted(residual)]).astype(np.float32)
        good = np.stack([cube.good[..., band].ravel()[pixels[some]] for band in sorted(residual)])
        plane.ravel()[pixels[some]] = combined_map(values[:, None], good[:, None])[0]
    return plane


def _stars_of(
    peaks: Peaks,
    *,
    x: np.ndarray,
    y: np.ndarray,
    star: np.ndarray,
    height: np.ndarray,
    reach: float,
    width: float,
    galaxy: float,
) -> np.ndarray:
    """Number of the star in whose light each peak lies, -1 if it is not that of a star, or too faint a one."""
    host = np.full(len(peaks), -1, np.int64)
    near = cKDTree(np.column_stack([x, y])).query_ball_point(np.column_stack([peaks.x, peaks.y]), reach)
    for number, found in enumerate(near):
        if not found:
            continue
        members, own = np.array(found), peaks.height[number]
        distance = np.hypot(x[members] - peaks.x[number], y[members] - peaks.y[number])
        best = members[np.argmax(height[members] * np.exp(-0.5 * np.square(distance / width)))]
        in_galaxy = (~star[members] & (height[members] > own) & (distance < galaxy)).any()
        if star[best] and own < FAINTER * height[best] and not in_galaxy:
            host[number] = best
    return host


def _areas(plane: np.ndarray, at: np.ndarray, *, half: int = 15) -> np.ndarray:
    """Numbers of connected pixels above `FLOOR` around some pixels, in squares with 2 ``half`` + 1 pixels a side."""
    areas = np.ones(len(at), np.int64)
    for number, (row, column) in enumerate(zip(*np.divmod(at, plane.shape[1]), strict=True)):
        first = max(row - half, 0), max(column - half, 0)
        around = plane[first[0] : row + half + 1, first[1] : column + half + 1]
        label, _ = ndimage.label(around > FLOOR, structure=np.ones((3, 3)))
        areas[number] = np.count_nonzero(label == label[row - first[0], column - first[1]])
    return areas


def _whole_significance(
    cube: PatchCube, bands: Sequence[int], x: np.ndarray, y: np.ndarray, inflations: Sequence[ErrorInflation]
) -> np.ndarray:
    """Significance in all bands together at some positions of the images with all sources."""
    column, row = pixel_at(cube, x=x, y=y)
    values, known = np.zeros((2, len(bands), 1, len(x)), np.float32)
    for number, band in enumerate(bands):
        psf = mean_psf(cube, band)
        half, side = psf.shape[0] // 2, np.arange(psf.shape[0])
        rows, columns = row[:, None] - half + side, column[:, None] - half + side
        at = tuple(np.clip(one, 0, n - 1) for one, n in ((rows, cube.shape[0]), (columns, cube.shape[1])))
        weight = psf * ((rows == at[0])[:, :, None] & (columns == at[1])[:, None])
        at = (at[0][:, :, None], at[1][:, None])
        noise = np.sum(np.square(weight) * cube.variance[..., band][at], axis=(1, 2))
        signal = np.sum(weight * cube.image[..., band][at], axis=(1, 2))
        seen = cube.good[row, column, band] & (noise > 0)
        np.divide(signal, inflations[band].psf * np.sqrt(noise), where=seen, out=values[number, 0])
        known[number, 0] = seen
    return combined_map(values, known.astype(bool))[0]
