"""The image that objects are detected on: the chi square of all bands, brought to unit noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.stats import mad_std
from scipy.ndimage import gaussian_filter
from scipy.stats import binom, chi2, norm

from dmu3.swarp import Coadd


def signal_to_noise(coadd: Coadd, *, sigma: float) -> np.ndarray:
    """Smoothed pixels over their own scatter.

    Parameters
    ----------
    coadd
        Image and weights.
    sigma
        Of the smoothing Gaussian in pixels, about that of the seeing: close to a matched filter for point sources.

    Returns
    -------
    ratio
        float32 [y, x]; zero where there are no data. Its scatter is one, because smoothed noise is measured, and
        not derived from the weights: pixels are correlated.
    """
    good = coadd.weight > 0
    scaled = np.where(good, coadd.image * np.sqrt(coadd.weight), 0)
    smooth = gaussian_filter(scaled.astype(np.float32), sigma)
    if not good.any():
        return np.zeros_like(smooth)
    sample = smooth[good][::3]
    ratio = (smooth - np.median(sample)) / max(mad_std(sample), 1e-30)
    return np.where(good, ratio, 0).astype(np.float32)


def chi_square_image(coadds: Sequence[Coadd], *, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Combine bands into one detection image (after Szalay, Connolly & Szokoly 1999, AJ 117, 68).

    Pixels below the sky are no evidence of a source and count as zero. The chi square is turned into the number of
    sigmas of a Gaussian that noise exceeds as rarely: one threshold serves wherever the number of bands changes.

    Parameters
    ----------
    coadds
        One a band, on one grid.
    sigma
        Of the smoothing Gaussian in pixels.

    Returns
    -------
    image
        float32 [y, x], in units of its own noise.
    bands
        int16 [y, x], how many bands have data.

    Raises
    ------
    ValueError
        If there are no bands.
    """
    if not coadds:
        raise ValueError("A chi-square image needs at least one band.")
    total = np.zeros(coadds[0].image.shape, np.float32)
    bands = np.zeros(total.shape, np.int16)
    for coadd in coadds:
        total += np.maximum(signal_to_noise(coadd, sigma=sigma), 0) ** 2
        bands += coadd.weight > 0
    image = np.zeros_like(total)
    for number in np.unique(bands[bands > 0]):
        here = bands == number
        image[here] = gaussian_sigmas(np.sqrt(total[here]), int(number))
    return image, bands


def gaussian_sigmas(chi: np.ndarray, bands: int) -> np.ndarray:
    """How many sigmas of a Gaussian are as rare as a chi that is made of the positive pixels of some bands.

    The sum of squares of j positive Gaussians is a chi square of j degrees of freedom, and j is binomial.

    Parameters
    ----------
    chi
        Root of the sum over bands of the square of positive signal to noise.
    bands
        Number of bands; must be positive.
    """
    grid = np.arange(0, 10, 0.02)
    shares = binom.pmf(np.arange(1, bands + 1), bands, 0.5)
    rarity = np.sum([share * chi2.sf(grid**2, j) for j, share in enumerate(shares, start=1)], axis=0)
    sigmas = norm.isf(rarity)
    # Beyond the grid both grow alike; and a chi of zero says no more than that the noise is below the median.
    sigmas[0] = min(sigmas[1], 0.0)
    return np.where(chi < grid[-1], np.interp(chi, grid, sigmas), chi - grid[-1] + sigmas[-1]).astype(np.float32)
