"""GAaP: fluxes in a Gaussian aperture defined before the seeing, so that colours compare the same light."""

from __future__ import annotations

import numpy as np

from dmu4.measurement.stamps import Profiles, StampSet, TransformedKernels, frequency_squared, kernel_transforms, render

NEGLIGIBLE = 1e-6
"""Frequencies at which the aperture has less than this fraction of its power are ignored."""

MIN_TRANSFER = 1e-2
"""Smallest transfer of a PSF at relevant frequencies; with less it is too wide for the aperture."""


def gaap_size(sigma: float) -> int:
    """Side of the stamp of the weight of an aperture of ``sigma`` pixels, which extends to 5 sigma."""
    return 16 * int(np.ceil(10.5 * sigma / 16))


def weight_transforms(psf: np.ndarray, *, sigma: float) -> tuple[np.ndarray, np.ndarray]:
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

    Returns
    -------
    transforms
        Fourier transforms of the weights [cell, ...], for stamps of `gaap_size`.
    possible
        Whether the PSF of each cell is narrow enough [cell].
    """
    side = gaap_size(sigma)
    shape = np.exp(-2 * np.pi**2 * sigma**2 * frequency_squared(side))
    transfer = kernel_transforms(psf, side)
    matters = shape > NEGLIGIBLE
    possible = np.min(np.where(matters & (shape > 1e-3), np.abs(transfer), 1), axis=(1, 2)) > MIN_TRANSFER
    safe = np.where(matters & (np.abs(transfer) > MIN_TRANSFER**2), transfer, 1)
    quotient = np.where(matters & (np.abs(transfer) > MIN_TRANSFER**2), 2 * np.pi * sigma**2 * shape / safe, 0)
    return np.conj(quotient).astype(np.complex64), possible


def gaap_weights(*, x: np.ndarray, y: np.ndarray, transforms: np.ndarray, cell: np.ndarray, sigma: float) -> StampSet:
    """The weight stamp of each source in one band.

    Parameters
    ----------
    x, y
        Array positions.
    transforms
        Transforms of the weights [cell, ...] from `weight_transforms`.
    cell
        Cell of each source.
    sigma
        Sigma of the aperture before the seeing in pixels.
    """
    side = gaap_size(sigma)
    points = Profiles(x=x, y=y, covariance=np.zeros((len(x), 3)), size=np.full(len(x), side))
    return render(points, TransformedKernels(transforms), cell)
