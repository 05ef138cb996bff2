"""GAaP: fluxes in one Gaussian aperture defined before the seeing, so that colours compare the same light."""

from __future__ import annotations

import numpy as np

from dmu4.measurement.stamps import Profiles, StampSet, frequency_squared, kernel_transforms, render

NEGLIGIBLE = 1e-6
"""Frequencies at which the aperture has less than this share of its power are left out."""

MIN_TRANSFER = 1e-2
"""A PSF that passes less than this at a frequency that matters is too wide for the aperture."""


def gaap_size(sigma: float) -> int:
    """Side of the stamp that holds the weight of an aperture of ``sigma`` pixels: 5 sigma to each side."""
    return 16 * int(np.ceil(10.5 * sigma / 16))


def weight_transforms(psf: np.ndarray, *, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transforms of the weights that measure a Gaussian-aperture flux through each PSF.

    Kuijken (2008, A&A 482, 1053) convolves the image to a Gaussian PSF and then sums it with a Gaussian weight whose
    variance is that of the aperture less that of the PSF. Both steps are linear, and together they are one weight w
    with w * PSF = exp(-r^2 / (2 sigma^2)), whatever the intermediate PSF: w = aperture / PSF in Fourier space. The
    aperture is much wider than the PSF, hence the quotient falls off before the PSF does and is well behaved. A point
    source at the centre has its total flux, and the noise is that of the original pixels.

    Parameters
    ----------
    psf
        PSF stamps [cell, y, x]; their sum is the fraction of the light on a stamp.
    sigma
        Aperture before the seeing in pixels.

    Returns
    -------
    transforms
        Of the weights [cell, ...], for stamps of `gaap_size`.
    possible
        Whether the PSF of a cell is narrow enough [cell].
    """
    side = gaap_size(sigma)
    shape = np.exp(-2 * np.pi**2 * sigma**2 * frequency_squared(side))
    transfer = kernel_transforms(psf, side)
    matters = shape > NEGLIGIBLE
    possible = np.min(np.where(matters & (shape > 1e-3), np.abs(transfer), 1), axis=(1, 2)) > MIN_TRANSFER
    safe = np.where(matters & (np.abs(transfer) > MIN_TRANSFER**2), transfer, 1)
    quotient = np.where(matters & (np.abs(transfer) > MIN_TRANSFER**2), 2 * np.pi * sigma**2 * shape / safe, 0)
    return np.conj(quotient).astype(np.complex64), possible


def gaap_weights(
    *, x: np.ndarray, y: np.ndarray, psf: np.ndarray, cell: np.ndarray, sigma: float
) -> tuple[StampSet, np.ndarray]:
    """The weight stamp of each source in one band, and whether its PSF allows the aperture.

    Parameters
    ----------
    x, y
        Array positions.
    psf
        PSF stamps [cell, y, x] of the band.
    cell
        Cell of each source.
    sigma
        Aperture before the seeing in pixels.
    """
    side = gaap_size(sigma)
    transforms, possible = weight_transforms(psf, sigma=sigma)
    points = Profiles(x=x, y=y, covariance=np.zeros((len(x), 3)), size=np.full(len(x), side))
    return render(points, {side: transforms}, cell), possible[cell]
