"""Matched filters: the significance of a point source in each pixel, and the same against the light around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import fft

from dmu0.robust_statistics import clipped_moments
from dmu4.patches.cube import PatchCube, PatchData, mean_psf, psf_sigma
from dmu4.patches.filling import map_bands
from dmu4.patches.sky import SAMPLE

ROWS = 280
"""Smallest number of rows of a strip that is filtered at once; with the rows of a kernel, 320 are transformed."""

STRIPS = 5
"""Number of strips of rows of a large noise realization, a quarter of it, in which its scatter is measured."""

BLUR = 0.8
"""Width in units of that of the PSF of the blur whose result is subtracted from the PSF for the sharp filter.

Of the blended sources of the sample it finds the same number, to 0.2%, from 0.5 to 1.0, and fewer with 2.0."""


class Significance(NamedTuple):
    """Filtered images of a band in units of their noise.

    Attributes
    ----------
    value
        Signal to noise of a point source centred on each pixel [y, x].
    sharp
        The same with the sharp filter, see `significance`.
    sharp_ratio
        Ratio of ``sharp`` to ``value`` at an isolated point source.
    """

    value: np.ndarray
    sharp: np.ndarray
    sharp_ratio: float


def significance(
    image: np.ndarray, variance: np.ndarray, good: np.ndarray, psf: np.ndarray, noise: np.ndarray | None
) -> Significance:
    """Significance of point sources, alone and in the light of others.

    The first filter is the PSF, the best one for a single source; a source in the wings of another has no peak in its
    result, which is as wide as the PSF convolved with itself. The second filter is the PSF minus the same blurred by a
    Gaussian of `BLUR` times its width: its sum is zero, so that light that changes slowly vanishes, and its peaks are
    narrower than the PSF. The noise is computed from the filtered variance map and multiplied by a factor for its
    correlation: the scatter of the filtered noise realization or, without one, of the filtered image between sources.

    Parameters
    ----------
    image, variance, good, noise
        Arrays [y, x]; zero where not good.
    psf
        PSF stamp [y, x] of odd size.
    """
    if not good.any() or not psf.any():
        return Significance(np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32), 1.0)
    filters = (psf, sharp_filter(psf))
    (scale,) = correlate(variance, (np.square(psf),))
    # The significance is undefined where the filter has hardly any data.
    seen = good & (scale > 1e-3 * np.median(_some(scale, good)))
    np.sqrt(scale, out=scale, where=seen)
    np.divide(1, scale, out=scale, where=seen)
    scale[~seen] = 0
    # The variance changes little within a filter: one map scales both, up to factors that the scatter takes out.
    maps = correlate(image, filters, scale=scale)
    samples = [_some(one, seen) for one in maps] if noise is None else _filtered_samples(noise, filters, scale, seen)
    scatters = [max(clipped_moments(sample)[1], 1e-9) for sample in samples]
    for one, scatter in zip(maps, scatters, strict=True):
        one /= np.float32(scatter)
    of_star = [float(np.sum(psf * kernel)) / scatter for kernel, scatter in zip(filters, scatters, strict=True)]
    return Significance(maps[0], maps[1], of_star[1] / of_star[0])


def sharp_filter(psf: np.ndarray) -> np.ndarray:
    """The PSF minus the PSF blurred by a Gaussian of `BLUR` times its width, on a stamp of the same size."""
    side, margin = psf.shape[0], psf.shape[0] // 2
    padded = np.pad(psf, margin)
    ky, kx = np.fft.fftfreq(len(padded))[:, None], np.fft.rfftfreq(len(padded))[None, :]
    transfer = np.exp(-2 * np.pi**2 * (BLUR * psf_sigma(psf)) ** 2 * (kx**2 + ky**2))
    inside = slice(margin, margin + side)
    blurred = np.fft.irfft2(np.fft.rfft2(padded) * transfer, padded.shape)[inside, inside]
    # What lies beyond the stamp is put back, so that the sum is zero.
    return (psf - blurred * (psf.sum() / blurred.sum())).astype(np.float32)


def correlate(image: np.ndarray, kernels: Sequence[np.ndarray], *, scale: np.ndarray | None = None) -> list[np.ndarray]:
    """Sums of an image times each kernel about each pixel [y, x]; there is nothing outside the image.

    The image is transformed in strips of rows, which stay in the cache, and whose memory is used again and again.

    Parameters
    ----------
    image
        Image [y, x].
    kernels
        Kernels [y, x] of one odd size.
    scale
        Factor of each pixel of the results [y, x]; None: one.
    """
    ny, nx = image.shape
    half = kernels[0].shape[0] // 2
    shape = (fft.next_fast_len(min(ROWS, ny) + 2 * half, real=True), fft.next_fast_len(nx + half, real=True))
    height, transfers = shape[0] - 2 * half, [_transfer(kernel, shape) for kernel in kernels]
    results = [np.empty(image.shape, np.float32) for _ in kernels]
    for first in range(0, ny, height):
        last, start = min(first + height, ny), max(first - half, 0)
        padded = np.zeros(shape, np.float32)
        rows = image[start : last + half]
        padded[start - first + half :][: len(rows), :nx] = rows
        transform = fft.rfft2(padded, overwrite_x=True)
        for transfer, result in zip(transfers, results, strict=True):
            found = fft.irfft2(transform * transfer, shape, overwrite_x=True)[half : half + last - first, :nx]
            if scale is None:
                result[first:last] = found
            else:
                np.multiply(found, scale[first:last], out=result[first:last])
    return results


def _transfer(kernel: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The complex conjugate of the transform of a kernel of odd size, which is centred on the first pixel."""
    half, padded = kernel.shape[0] // 2, np.zeros(shape, np.float32)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return np.conj(fft.rfft2(np.roll(padded, (-half, -half), (0, 1)), overwrite_x=True))


def _filtered_samples(
    noise: np.ndarray, kernels: Sequence[np.ndarray], scale: np.ndarray, seen: np.ndarray
) -> list[np.ndarray]:
    """A noise realization, filtered with each kernel, at some of its pixels: in strips of rows, if it is large."""
    half, values = kernels[0].shape[0] // 2, []
    edges = np.linspace(0, noise.shape[0], STRIPS + 1).astype(int)
    height = max(noise.shape[0] // (4 * STRIPS), 8 * half)
    for first, end in pairwise(edges):
        last = min(first + height, end)
        filtered = correlate(noise[max(first - half, 0) : last + half], kernels)
        inside, known = slice(min(first, half), min(first, half) + last - first), seen[first:last]
        values.append([(one[inside] * scale[first:last])[known][::SAMPLE] for one in filtered])
    found = [np.concatenate(one) for one in zip(*values, strict=True)]
    return found if len(found[0]) else [one[seen] for one in correlate(noise, kernels, scale=scale)]


def _some(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Every seventh pixel of an image, as far as it is selected; all selected ones if that leaves none."""
    some = values.ravel()[::SAMPLE][where.ravel()[::SAMPLE]]
    return some if len(some) else values[where]


@dataclass(frozen=True)
class SignificanceMaps:
    """Matched-filter maps of all bands of a patch.

    Attributes
    ----------
    value, sharp
        Signal to noise of a point source centred on each pixel, and that of the sharp filter [band, y, x].
    sharp_ratio
        Ratio of the two at an isolated point source [band].
    good
        Whether a pixel has data [band, y, x].
    width
        Gaussian width of each band's PSF in pixels [band]; NaN without a PSF.
    """

    value: np.ndarray
    sharp: np.ndarray
    sharp_ratio: np.ndarray
    good: np.ndarray
    width: np.ndarray

    def of_bands(self, numbers: slice) -> SignificanceMaps:
        """The maps of some of the bands, which share the memory of these."""
        return SignificanceMaps(*(getattr(self, one.name)[numbers] for one in fields(self)))


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
    value, sharp, good = np.zeros(whole, np.float32), np.zeros(whole, np.float32), np.zeros(whole, bool)
    width, ratio = np.full(whole[0], np.nan), np.ones(whole[0])

    def one(band: int, data: PatchCube) -> None:
        psf, noise = mean_psf(data, 0), data.plane("noise", 0) if data.has_noise[0] else None
        good[band], width[band] = data.good[..., 0], psf_sigma(psf)
        value[band], sharp[band], ratio[band] = significance(
            data.plane("image", 0), data.plane("variance", 0), good[band], psf, noise
        )

    map_bands(patch, one, threads=threads)
    return SignificanceMaps(value=value, sharp=sharp, sharp_ratio=ratio, good=good, width=width)
