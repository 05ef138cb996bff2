"""GAaP: fluxes in Gaussian apertures defined before the seeing, so that colours compare the same light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from scipy import signal

from dmu0.galaxy_profiles import BULGE_FRACTION, BULGE_VARIANCE
from dmu4.measurement.forced import SUM_IN_ANY_ORDER, project
from dmu4.measurement.profiles import DISC_VARIANCES, DISC_WEIGHTS, Profiles, points
from dmu4.measurement.stamps import (
    StampSet,
    TransformedKernels,
    frequency_squared,
    kernel_transforms,
    low_transforms,
    parts,
    render,
)

NEGLIGIBLE = 1e-6
"""Frequencies at which the aperture has less than this fraction of its power are ignored."""

MIN_TRANSFER = 1e-2
"""Smallest transfer of a PSF at relevant frequencies; with less it is too wide for the aperture."""

PSF_APERTURE = np.sqrt(2.0)
"""Sigma, in those of the PSF, of the aperture whose weight is the PSF itself if that is a Gaussian."""

SHARPEST = 1e-4
"""Transfer of an aperture that must pass the filter before an image is sampled more coarsely."""


def apertures_of(fixed: Sequence[float], *, psf_sigma: float, pixel_scale: float) -> np.ndarray:
    """Sigmas in pixels of all apertures of a band: those of fixed size in arcsec, and last that of the PSF."""
    return np.append(np.asarray(fixed, float) / pixel_scale, PSF_APERTURE * psf_sigma)


class Coarse(NamedTuple):
    """The planes of a band, low-pass filtered and sampled every ``step`` pixels.

    Attributes
    ----------
    step
        Distance of the samples in pixels.
    border
        Number of samples before the first pixel, and behind the last: light at the edge is filtered beyond it.
    image
        Filtered image [y, x].
    variance, seen
        Mean variance of the good pixels, times their fraction, and this fraction around each sample [y, x]; where every
        pixel is a sample, the variance, and whether it is good.
    """

    step: int
    border: int
    image: np.ndarray
    variance: np.ndarray
    seen: np.ndarray


def sampling_step(sigma: float) -> int:
    """Largest distance of samples that hold all that an aperture of ``sigma`` pixels lets pass, with room to filter."""
    return max(int(0.36 / _cutoff(sigma)), 1)


def _cutoff(sigma: float) -> float:
    """Frequency in cycles per pixel at which the transfer of an aperture is `SHARPEST`."""
    return float(np.sqrt(-np.log(SHARPEST) / 2) / (np.pi * sigma))


def _low_pass(sigma: float, step: int) -> np.ndarray:
    """A filter of odd length: one up to the cutoff of the aperture, 1e-4 for what sampling would mix with that."""
    cutoff = _cutoff(sigma)
    width = 1 / step - 2 * cutoff
    count, beta = signal.kaiserord(80.0, 2 * width)
    taps = signal.firwin(count | 1, 0.5 / step, window=("kaiser", beta), fs=1.0)
    return (taps / taps.sum()).astype(np.float32)


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _decimate_rows(image: np.ndarray, taps: np.ndarray, step: int, border: int) -> np.ndarray:
    """Filter an image [y, x] along y, at every ``step``-th row and beyond; there is nothing outside the image."""
    ny, nx = image.shape
    half, out = len(taps) // 2, np.zeros(((ny - 1) // step + 1 + 2 * border, nx), np.float32)
    for row in range(out.shape[0]):
        target = out[row]
        for k in range(len(taps)):
            y = (row - border) * step + k - half
            if 0 <= y < ny:
                source, tap = image[y], taps[k]
                for x in range(nx):
                    target[x] += tap * source[x]
    return out


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _mean_planes(
    variance: np.ndarray, good: np.ndarray, step: int, border: int, mean: np.ndarray, seen: np.ndarray
) -> None:
    """Means of the variance of the good pixels, counting others as zero, and of these, in squares around samples.

    A square has sides of ``step`` pixels; ``mean`` and ``seen`` [y, x] receive the results.
    """
    ny, nx = good.shape
    half, spread, known = step // 2, np.empty(nx, np.float32), np.empty(nx, np.float32)
    for row in range(mean.shape[0]):
        spread[:], known[:] = 0, 0
        for k in range(-half, half + 1):
            y = (row - border) * step + k
            if not 0 <= y < ny:
                continue
            # An even number of pixels is centred on a sample with half of those at both ends.
            of_row, values, usable = np.float32(0.5 if 2 * abs(k) == step else 1.0), variance[y], good[y]
            for x in range(nx):
                weight = of_row if usable[x] else np.float32(0)
                known[x] += weight
                spread[x] += weight * values[x]
        for column in range(mean.shape[1]):
            total, share, middle = 0.0, 0.0, (column - border) * step
            for x in range(max(middle - half, 0), min(middle + half + 1, nx)):
                part = 0.5 if 2 * abs(x - middle) == step else 1.0
                total += part * spread[x]
                share += part * known[x]
            mean[row, column], seen[row, column] = total / step**2, share / step**2


def coarse_planes(image: np.ndarray, variance: np.ndarray, good: np.ndarray, *, sigma: float) -> Coarse:
    """Sample a band no finer than an aperture needs.

    The weight of a wide aperture has no high frequencies. What it sums of an image is what it sums of the image with
    these removed, of which fewer samples hold everything.

    Parameters
    ----------
    image, variance, good
        Image, zero where not good, variance, and whether a pixel has data [y, x].
    sigma
        Sigma of the aperture before the seeing in pixels.
    """
    step = sampling_step(sigma)
    if step == 1:
        return Coarse(1, 0, image, variance, good)
    taps = _low_pass(sigma, step)
    border = len(taps) // 2 // step + 1
    rows = np.ascontiguousarray(_decimate_rows(np.ascontiguousarray(image, np.float32), taps, step, border).T)
    filtered = np.ascontiguousarray(_decimate_rows(rows, taps, step, border).T)
    mean, seen = np.empty(filtered.shape, np.float32), np.empty(filtered.shape, np.float32)
    _mean_planes(variance, good, step, border, mean, seen)
    return Coarse(step, border, filtered, mean, seen)


def gaap_size(sigma: float) -> int:
    """Side in samples of the stamp of the weight of an aperture of ``sigma`` samples, which extends to 5 sigma."""
    return 8 * int(np.ceil(10.5 * sigma / 8))


def weight_transforms(psf: np.ndarray, *, sigma: float, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transforms of the weights that measure a Gaussian-aperture flux through each PSF.

    Kuijken (2008, A&A 482, 1053) convolves the image to a Gaussian PSF and sums it with a Gaussian weight whose
    variance is that of the aperture minus that of the PSF. Both steps are linear, and equivalent to a single weight w
    with w * PSF = exp(-r^2 / (2 sigma^2)) for any intermediate PSF: w = aperture / PSF in Fourier space. Since the
    aperture is much wider than the PSF, its transform falls off first and the quotient is well behaved. The flux of a
    point source at the centre is its total flux, and the noise is that of the original pixels.

    Parameters
    ----------
    psf
        PSF stamps [cell, y, x]; their sum is the fraction of the light on a stamp.
    sigma
        Sigma of the aperture before the seeing in pixels.
    step
        Distance of the samples in pixels.

    Returns
    -------
    transforms
        Fourier transforms of the weights [cell, ...] at the samples, for stamps of `gaap_size` samples.
    possible
        Whether the PSF of each cell is narrow enough [cell].
    """
    side = gaap_size(sigma / step)
    shape = np.exp(-2 * np.pi**2 * (sigma / step) ** 2 * frequency_squared(side))
    transfer = _at_samples(psf, side, step)
    matters = shape > NEGLIGIBLE
    possible = np.min(np.where(matters & (shape > 1e-3), np.abs(transfer), 1), axis=(1, 2)) > MIN_TRANSFER
    safe = np.where(matters & (np.abs(transfer) > MIN_TRANSFER**2), transfer, 1)
    quotient = np.where(
        matters & (np.abs(transfer) > MIN_TRANSFER**2), 2 * np.pi * (sigma / step) ** 2 * shape / safe, 0
    )
    return np.conj(quotient).astype(np.complex64), possible


def _at_samples(psf: np.ndarray, side: int, step: int) -> np.ndarray:
    """The low frequencies of the transforms of PSFs, in the layout of a stamp of ``side`` samples."""
    return kernel_transforms(psf, side) if step == 1 else low_transforms(psf, side * step, side // 2)


def gaap_weights(
    *, x: np.ndarray, y: np.ndarray, transforms: np.ndarray, cell: np.ndarray, sigma: float, step: int = 1
) -> StampSet:
    """The weight stamp of each source in one band.

    Parameters
    ----------
    x, y
        Array positions in pixels.
    transforms
        Transforms of the weights [cell, ...] from `weight_transforms`.
    cell
        Cell of each source.
    sigma
        Sigma of the aperture before the seeing in pixels.
    step
        Distance of the samples in pixels.
    """
    side = gaap_size(sigma / step)
    there = points(x=np.asarray(x) / step, y=np.asarray(y) / step, size=np.full(len(x), side))
    return render(there, TransformedKernels(transforms), cell)


@dataclass(frozen=True)
class ApertureFluxes:
    """Fluxes of N sources in one Gaussian aperture.

    Attributes
    ----------
    flux, error
        Flux and its error for uncorrelated noise.
    filled
        Fraction of the weight on good pixels, 0 where the PSF is too wide for the aperture.
    """

    flux: np.ndarray
    error: np.ndarray
    filled: np.ndarray


def sum_gaap(
    image: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    psf: np.ndarray,
    cell: np.ndarray,
    sigma: float,
) -> ApertureFluxes:
    """Fluxes of an image in a Gaussian aperture before the seeing, about some positions.

    Parameters
    ----------
    image, variance, good
        Image, zero where not good, variance, and whether a pixel has data [y, x].
    x, y
        Array positions in pixels [N].
    psf, cell
        PSF stamps [cell, y, x], and the number of that of each position [N].
    sigma
        Sigma of the aperture before the seeing in pixels.
    """
    coarse = coarse_planes(image, variance, good, sigma=sigma)
    area = coarse.step**2
    cells, index = np.unique(cell, return_inverse=True)
    transforms, possible = weight_transforms(psf[cells], sigma=sigma, step=coarse.step)
    flux, error, filled = np.zeros((3, len(x)))
    everywhere = np.ones(coarse.image.shape, bool)
    for some in parts(len(x)):
        shift = coarse.border * coarse.step
        place = {"x": x[some] + shift, "y": y[some] + shift, "cell": index[some]}
        weights = gaap_weights(**place, transforms=transforms, sigma=sigma, step=coarse.step)
        if coarse.step == 1:
            sums = project(weights, image=coarse.image, variance=coarse.variance, good=coarse.seen)
            seen = sums.seen
        else:
            sums = project(weights, image=coarse.image, variance=coarse.variance, good=everywhere)
            seen = project(weights, image=coarse.seen, variance=coarse.seen, good=everywhere).signal
        flux[some], error[some] = area * sums.signal, np.sqrt(area * sums.noise)
        known = possible[index[some]] & (sums.whole != 0)
        filled[some] = np.divide(seen, sums.whole, out=np.zeros(len(some)), where=known)
    return ApertureFluxes(flux, error, filled)


def model_in_gaap(profiles: Profiles, sigma: float) -> np.ndarray:
    """Flux of models of unit flux in a Gaussian aperture before the seeing [N], whatever the PSF.

    A Gaussian of covariance C has sigma^2 / sqrt(det(C + sigma^2)) of its flux in the aperture, a point source all.
    """
    inside = np.zeros(len(profiles))
    for shape, weights, variances, share in (
        (profiles.covariance, DISC_WEIGHTS, DISC_VARIANCES, 1 - profiles.bulge_fraction),
        (profiles.bulge, BULGE_FRACTION, BULGE_VARIANCE, profiles.bulge_fraction),
    ):
        xx, yy, xy = (one[:, None] * variances for one in shape.T)
        determinant = (xx + sigma**2) * (yy + sigma**2) - xy**2
        inside += share * (sigma**2 / np.sqrt(determinant) @ weights) / weights.sum()
    return inside
