"""The noise of a detector image: variance scaled to the scatter of empty pixels, and its increase with flux."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmu0.robust_statistics import lower_moments
from dmu4.detectors.background import mask_objects
from dmu4.psf.profile import PixelErrors
from obs_vista.masks import bits

NO_DATA_VARIANCE = 1e12
"""Variance of pixels without data, in squared counts."""

UNMEASURABLE = bits("NO_DATA", "BAD", "SAT", "EDGE", "CR")
"""Mask planes of pixels to be ignored when measuring the sky noise."""


@dataclass(frozen=True)
class Noise:
    """The noise of empty pixels.

    Attributes
    ----------
    ratio
        Ratio of measured to predicted scatter; the variance was multiplied by its square.
    ratio_after
        The same ratio after scaling, from different pixels.
    sigma
        Median error of an empty pixel in counts, after scaling.
    """

    ratio: float
    ratio_after: float
    sigma: float


def scale_variance(
    image: np.ndarray, variance: np.ndarray, mask: np.ndarray, *, fwhm: float, sky_noise: float
) -> tuple[Noise, np.ndarray]:
    """Scale the variance to the scatter of empty pixels.

    The scatter is the difference between the median and the 15.87th percentile, which faint positive sources do not
    affect. Empty pixels are those outside sources of 3 sigma in the smoothed image: a lower threshold would truncate
    the noise itself.

    Raises
    ------
    ValueError
        If there are too few empty pixels, or they have no scatter.
    """
    good = (mask & UNMEASURABLE) == 0
    empty = good & ~mask_objects(image, good, noise=sky_noise, fwhm=fwhm, threshold=3.0)
    if empty.sum() < 1000:
        empty = good
    pull = np.where(empty, image, np.nan) / np.sqrt(variance)
    rows = np.arange(image.shape[0]) % 2
    odd, even = pull[rows == 1], pull[rows == 0]
    odd, even = odd[np.isfinite(odd)], even[np.isfinite(even)]
    if len(odd) < 100 or len(even) < 100:
        raise ValueError(f"only {len(odd) + len(even)} pixels are free of sources and defects")
    ratio, check = lower_moments(odd)[1], lower_moments(even)[1]
    if not (ratio > 0 and np.isfinite(ratio)):
        raise ValueError(f"empty pixels do not scatter (ratio of measured to predicted noise {ratio})")
    scaled = np.where(variance < NO_DATA_VARIANCE, variance * ratio**2, variance).astype(np.float32)
    sigma = float(np.sqrt(np.median(scaled[empty][::11])))
    return Noise(float(ratio), float(check / ratio), sigma), scaled


def pixel_errors(image: np.ndarray, variance: np.ndarray, mask: np.ndarray, objects: np.ndarray) -> PixelErrors:
    """Variance of the sky alone, and its increase with the flux of the source.

    The variance of a bright pixel depends on its own noise, so that weights computed from it would bias fluxes low.
    The increase with flux is therefore measured on bright pixels and subtracted; it is added again from the model.
    """
    good = (mask & UNMEASURABLE) == 0
    empty = good & ~objects
    level = float(np.median(variance[empty if empty.any() else good][::7]))
    bright = good & objects & (image > 20 * np.sqrt(level))
    slope = 0.0
    if bright.sum() > 20:
        slope = max(0.0, float(np.median((variance[bright] - level) / image[bright])))
    sky = variance - slope * np.maximum(image, 0) * objects
    sky = np.where(good, np.maximum(sky, 0.5 * level), np.inf).astype(np.float32)
    return PixelErrors(sky, slope)
