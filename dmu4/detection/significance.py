"""Matched filters: the significance of a point source in each pixel, and the same against the light around it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import fft

from dmu0.robust_statistics import clipped_moments
from dmu4.patches.cube import PatchCube, PatchData, map_bands, mean_psf, psf_sigma
from dmu4.patches.sky import SAMPLE

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
    spread = _correlate(_transform(variance, psf), np.square(psf), variance.shape)
    # The significance is undefined where the filter has hardly any data.
    seen = good & (spread > 1e-3 * np.median(_some(spread, good)))
    scale = np.where(seen, 1 / np.sqrt(np.where(seen, spread, 1)), 0).astype(np.float32)
    transform, filters = _transform(image, psf), (psf, sharp_filter(psf))
    power = [float(np.sum(np.square(one, dtype=float))) for one in filters]
    # The variance changes little within a filter: one map scales both.
    scales = (scale, scale * np.float32(np.sqrt(power[0] / power[1])))
    maps, noises = [], []
    for kernel, of_filter in zip(filters, scales, strict=True):
        found = _correlate(transform, kernel, image.shape)
        found *= of_filter
        reference = _some(found, seen) if noise is None else _filtered_sample(noise, kernel, of_filter, seen)
        noises.append(max(clipped_moments(reference)[1], 1e-6))
        found /= np.float32(noises[-1])
        maps.append(found)
    of_star = [
        float(np.sum(psf * one)) / np.sqrt(total) / size
        for one, total, size in zip(filters, power, noises, strict=True)
    ]
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


def _transform(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The transform of an image with room for a kernel at its edges."""
    shape = [fft.next_fast_len(n + kernel.shape[0] - 1, real=True) for n in image.shape]
    return fft.rfft2(image.astype(np.float32, copy=False), shape)


def _correlate(transform: np.ndarray, kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sums of an image, given by its `_transform`, times a kernel of odd size about each pixel [y, x]."""
    whole = [fft.next_fast_len(n + kernel.shape[0] - 1, real=True) for n in shape]
    half = kernel.shape[0] // 2
    # The kernel is centred on the first pixel, so that the product needs no shift.
    padded = np.zeros(whole, np.float32)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    product = np.conj(fft.rfft2(np.roll(padded, (-half, -half), (0, 1)), overwrite_x=True))
    product *= transform
    return fft.irfft2(product, whole, overwrite_x=True)[: shape[0], : shape[1]]


def _filtered_sample(noise: np.ndarray, kernel: np.ndarray, scale: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Signal to noise of a filtered noise realization at some of its pixels: in strips of rows, if it is large."""
    half, values = kernel.shape[0] // 2, []
    edges = np.linspace(0, noise.shape[0], STRIPS + 1).astype(int)
    height = max(noise.shape[0] // (4 * STRIPS), 8 * half)
    for first, end in pairwise(edges):
        last = min(first + height, end)
        rows = noise[max(first - half, 0) : last + half]
        filtered = _correlate(_transform(rows, kernel), kernel, rows.shape)[min(first, half) :][: last - first]
        values.append((filtered * scale[first:last])[seen[first:last]][::SAMPLE])
    found = np.concatenate(values)
    return found if len(found) else (_correlate(_transform(noise, kernel), kernel, noise.shape) * scale)[seen]


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
