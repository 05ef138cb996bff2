"""Masks of detector images: no data, bad, saturated, non-linear, edge, and cosmic rays remaining in the stack."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy.ndimage import binary_dilation, binary_fill_holes

from dmu0.robust_statistics import SIGMA_TO_FWHM
from obs_vista.masks import BIT

LOW_CONFIDENCE = 20
"""Confidence in per cent below which a pixel is bad (the limit of earlier VISTA processing)."""


def sky_pedestal(image: np.ndarray, *, sky_level: float) -> float:
    """The counts to be added to a stack to recover the counts of the detector.

    CASU stacks include the mean sky; some archives subtract it. Saturation is a limit on the counts including the sky.

    Parameters
    ----------
    image
        Pixels [y, x] in ADU.
    sky_level
        SKYLEVEL of the header in ADU.
    """
    sample = image[::7, ::7]
    level = float(np.nanmedian(sample)) if sample.size else 0.0
    if not np.isfinite(sky_level) or abs(level - sky_level) < 0.5 * abs(sky_level):
        return 0.0
    return float(sky_level)


def detector_mask(
    image: np.ndarray,
    confidence: np.ndarray | None,
    *,
    saturation: float,
    nonlinear: float = np.inf,
    edge: int = 4,
    grow: int = 2,
) -> np.ndarray:
    """The mask of a detector image before anything has been measured on it.

    Parameters
    ----------
    image
        Pixels [y, x] in ADU.
    confidence
        Confidence map in per cent, of the same shape; None if there is none.
    saturation, nonlinear
        Limits in the units of the image above which pixels are SAT or SUSPECT.
    edge
        Width in pixels of the EDGE border, which is affected by dithers and resampling.
    grow
        Number of pixels by which saturated regions are grown, because charge spreads to their neighbours.

    Raises
    ------
    ValueError
        If the shapes of the confidence map and the image differ.
    """
    if confidence is not None and confidence.shape != image.shape:
        raise ValueError(
            f"Confidence map is {confidence.shape}, image is {image.shape}; they must have the same shape."
        )
    mask = np.zeros(image.shape, np.int32)
    missing = ~np.isfinite(image)
    if confidence is not None:
        missing |= confidence <= 0
        mask[(confidence < LOW_CONFIDENCE) & ~missing] |= BIT["BAD"]
    mask[missing] |= BIT["NO_DATA"]

    with np.errstate(invalid="ignore"):
        saturated = image >= saturation
        suspect = image >= nonlinear
    if saturated.any():
        # The centre of a heavily saturated star has low counts after double-correlated sampling: fill the hole.
        saturated = binary_dilation(binary_fill_holes(saturated), iterations=grow)
        mask[saturated] |= BIT["SAT"]
    mask[suspect] |= BIT["SUSPECT"]

    if edge > 0:
        border = np.ones(image.shape, bool)
        border[edge:-edge, edge:-edge] = False
        mask[border] |= BIT["EDGE"]
    return mask


def find_cosmic_rays(
    image: np.ndarray, sigma: np.ndarray, *, fwhm: float, threshold: float = 8.0, sharpness: float = 0.55
) -> np.ndarray:
    """Pixels that exceed their neighbours by more than is possible for a star.

    A pixel is a cosmic ray if it exceeds the mean of its four neighbours by more than a star centred on the pixel
    would, with a margin. For a Gaussian star the neighbours are at exp(-1 / 2 sigma^2) of the peak; a star that is
    not centred on the pixel has brighter neighbours.

    Parameters
    ----------
    image, sigma
        Background-subtracted pixels [y, x] and their errors.
    fwhm
        Seeing in pixels.
    threshold
        Smallest significance of the excess.
    sharpness
        Fraction of the neighbour-to-peak ratio of a star below which a pixel is a cosmic ray.

    Returns
    -------
    numpy.ndarray
        Whether each pixel is a cosmic ray [y, x].
    """
    star_ratio = np.exp(-0.5 / (fwhm / SIGMA_TO_FWHM) ** 2)
    return _sharp_pixels(
        np.ascontiguousarray(image, np.float32),
        np.ascontiguousarray(sigma, np.float32),
        np.float32(sharpness * star_ratio),
        np.float32(threshold),
    )


@njit(nogil=True, cache=True)
def _sharp_pixels(image, sigma, ratio, threshold):  # numba infers the types
    ny, nx = image.shape
    out = np.zeros((ny, nx), np.bool_)
    for j in range(1, ny - 1):
        for i in range(1, nx - 1):
            peak = image[j, i]
            if not peak > threshold * sigma[j, i]:
                continue
            around = 0.25 * (image[j, i - 1] + image[j, i + 1] + image[j - 1, i] + image[j + 1, i])
            # 4 sigma of the comparison: the pixel's own error, and that of the mean of four
            if ratio * peak - around > 4.0 * sigma[j, i] * np.sqrt(0.25 + ratio * ratio):
                out[j, i] = True
    return out
