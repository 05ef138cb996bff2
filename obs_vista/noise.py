"""Pixel variance of CASU pawprint stacks, from the confidence map or, without one, from the sky noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.io import fits
from scipy.stats import median_abs_deviation

from obs_vista.camera import get_detector
from obs_vista.cards import CardError, card_number, card_value, whole_number
from obs_vista.gaps import empty_pixels

NO_DATA_VARIANCE = 1e12
"""Variance (ADU^2) of pixels without data: finite, but so large that their weight is negligible even without a mask."""


class ConfidenceError(ValueError):
    """A confidence map is missing, differs in size from its image, or is empty: the variance cannot be computed."""


class PixelNoise(NamedTuple):
    """Noise of the pixels of one detector image.

    Attributes
    ----------
    variance
        Variance [y, x] in the squared unit of the image, float32; positive and finite, `NO_DATA_VARIANCE` where there
        are no data.
    no_data
        Pixels of zero confidence or without a finite value [y, x].
    """

    variance: np.ndarray
    no_data: np.ndarray


MOST_FRAMES = 1_000_000
"""Largest NICOMB and NDIT that are believed."""


LARGEST_LEVEL = 1e7
"""Largest SKYLEVEL that is believed, ADU: VIRCAM saturates at some 4e4."""


def frames_combined(header: fits.Header) -> int:
    """The number of DITs in a stack, NICOMB x NDIT; counts are those of one DIT (NDITCOR, "corrected to ndit = 1").

    Raises
    ------
    ValueError
        If NDIT is missing or a count is not positive. Single exposures have no NICOMB and count as one.
    """
    if card_value(header, "ESO DET NDIT") is None:
        raise ValueError("The header has no ESO DET NDIT: the noise of the stack is unknown.")
    nicomb = whole_number(header, "NICOMB", low=1, high=MOST_FRAMES, default=1)
    return nicomb * whole_number(header, "ESO DET NDIT", low=1, high=MOST_FRAMES)


def sky_level(header: fits.Header) -> float:
    """SKYLEVEL in ADU.

    Raises
    ------
    ValueError
        If it is missing, not a number, or impossible.
    """
    try:
        level = card_number(header, "SKYLEVEL")
    except CardError as error:
        raise ValueError(f"The header has no usable SKYLEVEL: {error}") from error
    if not abs(level) < LARGEST_LEVEL:
        raise CardError(f"SKYLEVEL is {level:g}; a level below {LARGEST_LEVEL:g} ADU is needed.")
    return level


def _stack_variance(counts: np.ndarray | float, n: np.ndarray | float, sky: float, *, gain: float, read_noise: float):
    """Variance (ADU^2) of the mean of ``n`` DITs with ``counts`` ADU each, minus a sky frame made of as many.

    A DIT has variance ``read_noise^2 + counts / gain``. The sky frame, a mean of n DITs, has variance
    ``(read_noise^2 + sky / gain) / n``; dithering distributes it over n different pixels of the stack, so that 1/n of
    this variance remains.
    """
    one_dit = read_noise**2 + counts / gain
    sky_frame = (read_noise**2 + sky / gain) / n
    return (one_dit + sky_frame) / n


def predicted_sky_noise(header: fits.Header, detector: int) -> float:
    """The noise (ADU) of a sky pixel of full confidence predicted from the header, to be compared with SKYNOISE.

    Raises
    ------
    ValueError
        If SKYLEVEL or ESO DET NDIT is missing.
    """
    info = get_detector(detector)
    level = max(sky_level(header), 0.0)
    n = frames_combined(header)
    if "NICOMB" not in header:
        # A single exposure: its sky frame is a mean of many, and adds next to no noise.
        return float(np.sqrt((info.read_noise**2 + level / info.gain) / n))
    return float(np.sqrt(_stack_variance(level, n, level, gain=info.gain, read_noise=info.read_noise)))


def is_sky_subtracted(image: np.ndarray, header: fits.Header) -> bool:
    """Whether the sky level has been subtracted: CASU subtracts a sky frame but adds its level back, others do not.

    The median of the pixels is near SKYLEVEL or near zero.
    """
    sample = image[::5, ::5]
    sample = sample[np.isfinite(sample) & (sample != 0)]
    return sample.size == 0 or bool(np.median(sample) < 0.5 * sky_level(header))


def pawprint_variance(
    image: np.ndarray, confidence: np.ndarray | None, header: fits.Header, detector: int
) -> PixelNoise:
    """Variance of the pixels of a stack from its confidence map.

    With n = NICOMB x NDIT x confidence / 100 DITs in a pixel, the variance is that of their mean plus that of the
    subtracted sky frame. NDIT matters because the pixels are counts per DIT; without it the variance in J, H and
    Ks would be about five times too large. Pixels below the sky level are given the noise of the sky.

    Parameters
    ----------
    image
        Pixels [y, x] in ADU per DIT, with or without the sky.
    confidence
        Confidence map [y, x] of the same size and orientation; 100 is the average confidence of the detector.
    header
        Merged header of the detector (`obs_vista.headers.merged_header`).
    detector
        Detector number, 1 to 16.

    Raises
    ------
    ConfidenceError
        If the map is missing, has a different size, or has no positive pixel.
    ValueError
        If the header lacks SKYLEVEL or NDIT.
    """
    if confidence is None:
        raise ConfidenceError("There is no confidence map: the number of exposures in each pixel is unknown.")
    if confidence.shape != image.shape:
        raise ConfidenceError(f"The confidence map is {confidence.shape} (ny, nx), its image {image.shape}.")
    info = get_detector(detector)
    level = max(sky_level(header), 0.0)
    # Not cut or flipped: CASU writes map and image alike, and so they are used.
    share = np.asarray(confidence, np.float32) / 100
    no_data = ~(share > 0) | ~np.isfinite(share) | ~np.isfinite(image)
    if no_data.all():
        raise ConfidenceError("The confidence map is zero everywhere.")
    n = np.where(no_data, 1, share * frames_combined(header))
    counts = np.where(no_data, level, image) + (level if is_sky_subtracted(image, header) else 0.0)
    variance = _stack_variance(np.maximum(counts, level), n, level, gain=info.gain, read_noise=info.read_noise)
    variance = variance.astype(np.float32)
    variance[no_data] = NO_DATA_VARIANCE
    return PixelNoise(variance, no_data)


def measured_sky_noise(image: np.ndarray, *, block: int = 64) -> float:
    """The scatter of sky pixels: the median over blocks of their scaled median absolute deviation.

    Parameters
    ----------
    image
        Pixels [y, x], NaN where there are no data. Slow gradients have no effect, because blocks are small.
    block
        Side of a block in pixels.

    Raises
    ------
    ValueError
        If no block has enough pixels.
    """
    scatters = []
    for y in range(0, image.shape[0], block):
        for x in range(0, image.shape[1], block):
            values = image[y : y + block, x : x + block]
            values = values[np.isfinite(values)]
            if values.size >= 100:
                scatters.append(median_abs_deviation(values, scale="normal"))
    if not scatters:
        raise ValueError("There are no pixels to measure the sky noise in.")
    return float(np.median(scatters))


def skynoise_variance(
    image: np.ndarray, header: fits.Header, detector: int, *, units_per_adu: float | None = None
) -> PixelNoise:
    """Variance of the pixels of a stack without a confidence map: uniform sky noise plus photon noise of the sources.

    The header values SKYLEVEL, SKYNOISE, NICOMB and NDIT are those of CASU even if the pixels were rescaled and
    GAIN was overwritten accordingly, so that GAIN is not used.

    Parameters
    ----------
    image
        Pixels [y, x] in ADU per DIT times ``units_per_adu``, with or without the sky; pixels without data are
        identified by `obs_vista.gaps.empty_pixels`.
    header
        Merged header of the detector.
    detector
        Detector number, 1 to 16.
    units_per_adu
        Scale of the pixels; None if unknown. If it is known, the sky noise is SKYNOISE; otherwise the sky noise is
        measured in the image, and its ratio to `predicted_sky_noise` gives the scale.

    Raises
    ------
    ValueError
        If the header lacks SKYLEVEL, SKYNOISE or NDIT.
    """
    info = get_detector(detector)
    image = np.asarray(image)
    no_data = empty_pixels(image)
    if units_per_adu is None:
        sky_sigma = measured_sky_noise(np.where(no_data, np.nan, image))
        units_per_adu = sky_sigma / predicted_sky_noise(header, detector)
    else:
        sky_sigma = units_per_adu * card_number(header, "SKYNOISE")
    if not (sky_sigma > 0 and units_per_adu > 0):
        raise ValueError(f"The sky noise must be positive; got {sky_sigma} (SKYNOISE {header.get('SKYNOISE')!r}).")
    if no_data.all():
        raise ValueError("The image has no pixel with data.")
    finite = np.where(no_data, 0, image)
    sample = finite[::5, ::5]
    source = np.maximum(finite - np.median(sample[~no_data[::5, ::5]]), 0) / units_per_adu
    photons = source / (info.gain * frames_combined(header))
    variance = (sky_sigma**2 + units_per_adu**2 * photons).astype(np.float32)
    variance[no_data] = NO_DATA_VARIANCE
    return PixelNoise(variance, no_data)
