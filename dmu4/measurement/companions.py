"""Companions: sources in the light of a star or a galaxy, which show only once its model is subtracted."""

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
from dmu4.patches.cube import PatchCube, mean_psf
from dmu4.patches.look_up import pixel_at

REACH = 3.3
"""Largest distance of a companion from its host in arcsec: further away it is found without subtracting the host."""

CLOSEST = 0.7
"""Smallest distance of a companion from any object in arcsec: what remains at the core of a star is its own light."""

FAINTER = 0.06
"""Largest signal to noise of a companion in units of that of its star: of two similar sources both have peaks."""

SHARE, LEAST_SHARE = 0.2, 0.03
"""Smallest share of the light under the PSF that is a companion's own: less may be an error of the model of its host;
and that of companions of stars where the PSFs are so good that this is seen, see `_share_near_stars`."""

FALSE = 0.05
"""Largest number of negative peaks near stars, in units of that of positive ones, with the same shares of the light."""

WINGS, WINGS_WITHIN = 0.01, 5.0
"""Signal to noise in units of that of an object below which what remains near another may be an error of its wings, as
are spikes of stars, and the distance in arcsec up to which this holds; beyond, it falls as the distance to the fourth
power."""

GALAXY, RADII = 1.0, 1.5
"""Distance from a brighter galaxy in arcsec, and in units of its half-light radius, within which what remains may be
its own light, as its model is not exact."""

LARGE, LARGE_RADII, FARTHEST = 1.0, 4.0, 15.0
"""Half-light radius in arcsec of a large galaxy, whose arms and dust are resolved; distance in units of this radius
within which what remains may be part of it, and the largest such distance in arcsec."""

GALAXY_SIGNAL_TO_NOISE = 20.0
"""Signal to noise in all bands together above which a galaxy may have companions."""

SEEN_IN = 2
"""Number of bands, if there are as many with data, in which a companion of a galaxy is above the floor."""

WIDTH = 0.8
"""Width in arcsec of the light of an object, to tell in whose light a companion lies."""

THRESHOLD, FLOOR = 5.0, 3.0
"""Smallest height of a peak, and height down to which its pixels are connected, in sigma: those of the detection."""

BLOCK, PART = 1400, 100_000
"""Numbers of rows, and of pixels, that are processed at once."""


class Hosts(NamedTuple):
    """What is known of the N objects of a patch among which companions are searched for.

    Attributes
    ----------
    x, y
        Array positions.
    extendedness
        Morphology: 0 for a star, 1 for a galaxy, NaN if undetermined.
    radius
        Half-light radius of the model along its major axis in pixels, 0 for a star, infinite where the light is that
        of no galaxy.
    height
        Signal to noise in all bands together.
    """

    x: np.ndarray
    y: np.ndarray
    extendedness: np.ndarray
    radius: np.ndarray
    height: np.ndarray

    @property
    def bright(self) -> np.ndarray:
        """Whether each is bright enough for a companion [N]."""
        star, galaxy = (self.extendedness == kind for kind in (0, 1))
        return (star & (self.height > THRESHOLD / FAINTER)) | (galaxy & (self.height > GALAXY_SIGNAL_TO_NOISE))


class Companions(NamedTuple):
    """Companions of objects of a patch.

    Attributes
    ----------
    x, y
        Array positions [M].
    host
        Number of the object in whose light each lies [M].
    height
        Signal to noise in each band, with all other sources subtracted [M, band].
    combined
        Significance in all bands together, see `dmu4.detection.detect.combined_map` [M].
    area
        Number of pixels of each [M].
    """

    x: np.ndarray
    y: np.ndarray
    host: np.ndarray
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


def near_hosts(cube: PatchCube, objects: Hosts) -> np.ndarray:
    """Flat numbers of the pixels near objects that are bright enough for a companion.

    Parameters
    ----------
    cube
        All bands, minus their residual sky.
    objects
        All objects.
    """
    bright = objects.bright
    return np.flatnonzero(_near(cube, x=objects.x[bright], y=objects.y[bright])).astype(np.int32)


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
    objects: Hosts,
    inflations: Sequence[ErrorInflation],
) -> Companions:
    """Peaks of the images minus all models near stars and galaxies.

    Parameters
    ----------
    cube
        All bands, minus their residual sky.
    residual, pixels
        Band -> significance from `residual_significance`, at the pixels from `near_hosts`.
    objects
        All objects that were subtracted.
    inflations
        Error inflation of each band due to correlated noise.
    """
    if not residual or not len(pixels):
        return Companions.none(len(cube.bands))
    plane = _combined_at(cube, residual, pixels)
    found, share = _candidates(cube, residual, pixels, objects, plane, inflations)
    star = objects.extendedness == 0
    limit = np.where(
        star, _share_near_stars(cube, residual, pixels, objects, inflations, share[star[found.host]]), SHARE
    )
    column, row = pixel_at(cube, x=found.x, y=found.y)
    area = _areas(plane, row * cube.shape[1] + column)
    chosen = share > limit[found.host]
    return Companions(*(values[chosen] for values in found._replace(area=area)))


def _candidates(
    cube: PatchCube,
    residual: Mapping[int, np.ndarray],
    pixels: np.ndarray,
    objects: Hosts,
    plane: np.ndarray,
    inflations: Sequence[ErrorInflation],
) -> tuple[Companions, np.ndarray]:
    """Peaks that are not part of the light of other objects, with areas of zero, and the share of the light of each."""
    bands, peaks = sorted(residual), find_peaks(plane, threshold=THRESHOLD, floor=FLOOR)
    column, row = pixel_at(cube, x=peaks.x, y=peaks.y)
    at = row * cube.shape[1] + column
    number = np.minimum(np.searchsorted(pixels, at), len(pixels) - 1)
    heights = np.zeros((len(peaks), len(cube.bands)))
    heights[:, bands] = np.column_stack([residual[band][number] for band in bands])
    with_data = cube.good[row, column].sum(axis=1)
    host = _hosts_of(peaks, objects, seen=(heights > FLOOR).sum(axis=1) >= np.minimum(with_data, SEEN_IN), cube=cube)
    chosen = (host >= 0) & (pixels[number] == at)
    x, y, height = peaks.x[chosen], peaks.y[chosen], peaks.height[chosen]
    found = Companions(x, y, host[chosen], heights[chosen], height, np.zeros(len(x), np.int64))
    return found, height / np.maximum(_whole_significance(cube, bands, x, y, inflations), 1e-9)


def _share_near_stars(
    cube: PatchCube,
    residual: Mapping[int, np.ndarray],
    pixels: np.ndarray,
    objects: Hosts,
    inflations: Sequence[ErrorInflation],
    share: np.ndarray,
) -> float:
    """Smallest share of the light for which peaks near stars are companions, and not errors of the PSF.

    These errors are negative as often as positive, while companions are positive: the limit is the smallest one from
    `LEAST_SHARE` to `SHARE` above which peaks of the negative images are at most `FALSE` of those of the images, whose
    shares are given.
    """
    stars = objects.bright & (objects.extendedness == 0)
    near = _near(cube, x=objects.x[stars], y=objects.y[stars]).ravel()[pixels]
    if not near.any():
        return SHARE
    negative = {band: -values[near] for band, values in residual.items()}
    plane = _combined_at(cube, negative, pixels[near])
    found, of_errors = _candidates(cube, negative, pixels[near], objects, plane, inflations)
    # More than all of the light is no error of a PSF, but noise far from the star.
    of_errors = of_errors[(objects.extendedness[found.host] == 0) & (of_errors < 1)]
    limits = np.concatenate([[LEAST_SHARE], np.sort(of_errors[(of_errors > LEAST_SHARE) & (of_errors < SHARE)])])
    few = [np.sum(of_errors > limit) <= FALSE * np.sum(share > limit) for limit in limits]
    return float(limits[np.argmax(few)]) if np.any(few) else SHARE


def _combined_at(cube: PatchCube, residual: Mapping[int, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """Significance in all bands together [y, x] of what remains at some pixels; zero elsewhere."""
    plane = np.zeros(cube.shape, np.float32)
    for start in range(0, len(pixels), PART):
        some = slice(start, start + PART)
        values = np.stack([residual[band][some] for band in sorted(residual)]).astype(np.float32)
        good = np.stack([cube.good[..., band].ravel()[pixels[some]] for band in sorted(residual)])
        plane.ravel()[pixels[some]] = combined_map(values[:, None], good[:, None])[0]
    return plane


def _hosts_of(peaks: Peaks, objects: Hosts, *, seen: np.ndarray, cube: PatchCube) -> np.ndarray:
    """Number of the star or galaxy in whose light each peak lies, -1 if it may be part of that light.

    ``seen`` tells whether each peak is in as many bands as a companion of a galaxy has to be.
    """
    host, scale = np.full(len(peaks), -1, np.int64), cube.pixel_scale
    if not len(peaks):
        return host
    tree, bright = cKDTree(np.column_stack([objects.x, objects.y])), objects.bright
    extent = np.where(objects.radius * scale > LARGE, LARGE_RADII, RADII) * objects.radius
    extent = np.clip(extent, GALAXY / scale, FARTHEST / scale)
    for number, found in enumerate(tree.query_ball_point(np.column_stack([peaks.x, peaks.y]), FARTHEST / scale)):
        if not found:
            continue
        members, own = np.array(found), peaks.height[number]
        distance = np.hypot(objects.x[members] - peaks.x[number], objects.y[members] - peaks.y[number])
        height, star = objects.height[members], objects.extendedness[members] == 0
        near, fall = distance < _reach(cube), np.fmax(distance * scale / WINGS_WITHIN, 1)
        in_wings = own < WINGS * (height / fall**4).max()
        best = int(np.argmax(near * height * np.exp(-0.5 * np.square(distance * scale / WIDTH))))
        part_of_galaxy = (~star & (height > own) & (distance < extent[members])).any()
        enough = own < FAINTER * height[best] if star[best] else seen[number] and not in_wings
        apart = distance.min() > CLOSEST / scale and not part_of_galaxy
        if near[best] and bright[members[best]] and enough and apart:
            host[number] = members[best]
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
