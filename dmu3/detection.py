"""The detection image: the chi square of all bands, converted to a Gaussian significance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.stats import mad_std
from scipy.ndimage import gaussian_filter
from scipy.stats import binom, chi2, norm

from dmu3.swarp import Coadd


def signal_to_noise(coadd: Coadd, *, sigma: float) -> np.ndarray:
    """Smoothed pixels divided by their scatter.

    Parameters
    ----------
    coadd
        Image and weights.
    sigma
        Sigma of the smoothing Gaussian in pixels, about that of the seeing, which makes it close to a matched filter
        for point sources.

    Returns
    -------
    ratio
        Signal to noise [y, x], float32; zero where there are no data. The scatter of the smoothed image is measured
        instead of derived from the weights, because the noise of pixels is correlated.
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

    Pixels below the sky are no evidence of a source and count as zero. The chi square is converted to the Gaussian
    significance of the same false-alarm rate, so that one threshold can be used where the number of bands changes.

    Parameters
    ----------
    coadds
        Coadds, one per band, on a common grid.
    sigma
        Sigma of the smoothing Gaussian in pixels.

    Returns
    -------
    image
        Significance [y, x], float32.
    bands
        Number of bands with data [y, x], int16.

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
    """The Gaussian significance of a chi computed from the positive pixels of several bands.

    The sum of squares of j positive Gaussian deviates is a chi square with j degrees of freedom, and j is binomial.

    Parameters
    ----------
    chi
        Square root of the sum over bands of the squared positive signal to noise.
    bands
        Number of bands, positive.
    """
    grid = np.arange(0, 10, 0.02)
    shares = binom.pmf(np.arange(1, bands + 1), bands, 0.5)
    rarity = np.sum([share * chi2.sf(grid**2, j) for j, share in enumerate(shares, start=1)], axis=0)
    sigmas = norm.isf(rarity)
    # Beyond the grid both increase equally; a chi of zero only means that the noise is below the median.
    sigmas[0] = min(sigmas[1], 0.0)
    return np.where(chi < grid[-1], np.interp(chi, grid, sigmas), chi - grid[-1] + sigmas[-1]).astype(np.float32)
