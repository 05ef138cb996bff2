"""The variance of a published coadd: from its pixels alone, from a weight map, or from a map that must agree with them.

Weight and variance maps are often taken for each other, and for maps of sigma: Pan-STARRS calls its variances
``wt``. The noise of the pixels tells them apart.
"""

from __future__ import annotations

import numpy as np
import sep

from dmu0.published.planes import OpticalError
from dmu0.robust_statistics import MAD_TO_SIGMA

BOX = 128
"""Side in pixels of the boxes in which the scatter of the sky is measured."""

CONTRAST = 2.0
"""Ratio of high to low weights (medians of the upper and lower quarter) from which on noise can be compared between
them."""

STEEPEST = 0.5
"""Largest exponent p of noise^2 ~ weight^p: -1 for weights, 0 where confusion dominates, 1 for variances, 2 for sigmas.
"""

FACTOR = 30.0
"""Largest ratio, either way, of a variance map to the square of the scatter of the pixels. Correlated noise and crowded
fields change it by some factors; an inverse variance or another unit by orders of magnitude."""

_LAG = 10  # px: noise of resampled images is not correlated as far, and the sky hardly differs
_FEWEST = 10_000  # pixels: fewer may all be in the light of one galaxy


def sky_variance(image: np.ndarray, empty: np.ndarray, *, box: int = BOX) -> np.ndarray:
    """Variance of the sky [y, x] from its clipped scatter in boxes; photon noise of sources is not in it.

    Parameters
    ----------
    image
        [y, x].
    empty
        Pixels without data [y, x].
    box
        Side of a box in pixels.
    """
    if empty.all():
        return np.full(image.shape, np.inf, np.float32)
    scale = float(np.nanstd(np.where(empty, np.nan, image))) or 1.0
    pixels = np.ascontiguousarray(np.where(empty, 0, image) / scale, np.float32)
    rms = sep.Background(pixels, mask=empty, bw=box, bh=box, fw=3, fh=3).rms() * scale
    return np.square(rms, dtype=np.float32)


def weight_variance(image: np.ndarray, weight: np.ndarray, empty: np.ndarray, *, name: str) -> np.ndarray:
    """Variance [y, x] from a weight map, whose factor is measured: the map knows the shape of the noise, not its size.

    Pixels less their median, times the square root of their weights, have the same noise everywhere. The factor is the
    median of its square.

    Parameters
    ----------
    image
        [y, x].
    weight
        Weight map [y, x], proportional to the inverse variance; not positive where there are no data.
    empty
        Pixels without data [y, x].
    name
        What to call the map in an error.

    Returns
    -------
    variance
        float32, in squares of the image's unit; infinite where the weight is not positive.

    Raises
    ------
    OpticalError
        If a weight is negative by more than rounding, as a variance or a logarithm would be, or the noise is larger
        where the weight is.
    """
    usable = np.isfinite(weight) & (weight > 0) & ~empty
    if np.isfinite(weight).any() and -float(np.nanmin(weight)) > 1e-3 * float(np.nanmax(weight)):
        raise OpticalError(f"{name}: the weight map has negative values, down to {float(np.nanmin(weight)):g}.")
    variance = np.full(image.shape, np.inf, np.float32)
    if not usable.any():
        return variance
    relative = np.where(usable, weight, 0) / np.median(weight[usable]).astype(float)
    level = np.median(image[usable])
    _refuse_other_map(image, relative, usable, name=name)
    scatter = sky_variance(np.where(usable, (image - level) * np.sqrt(relative), 0), ~usable)
    variance[usable] = float(np.median(scatter[usable])) / relative[usable]
    return variance


def _refuse_other_map(image: np.ndarray, weight: np.ndarray, usable: np.ndarray, *, name: str) -> None:
    """Refuse a weight map where the noise is larger if the weights are."""
    low, high = np.percentile(weight[usable], (25, 75))
    lower, upper = usable & (weight <= low), usable & (weight >= high)
    contrast = float(np.median(weight[upper]) / np.median(weight[lower]))
    if contrast < CONTRAST:
        return
    ratio = _scatter(image, upper) / _scatter(image, lower)
    if ratio**2 > contrast**STEEPEST:
        raise OpticalError(
            f"{name}: the noise is {ratio:.2g} times larger where the weight map is {contrast:.2g} times larger: these "
            "are no weights. If it is a variance map, name it under variances; if one of sigma, square it."
        )


def _scatter(image: np.ndarray, good: np.ndarray) -> float:
    """Noise of some pixels from second differences of three in the same row; NaN if they are few.

    Light that varies slowly is not in it, and sources hardly are, unless they cover most of the pixels.
    """
    rows = slice(None, None, max(1, image.shape[0] // 500))
    first, second, third = slice(None, -2 * _LAG), slice(_LAG, -_LAG), slice(2 * _LAG, None)
    good, pixels = good[rows], image[rows]
    chosen = good[:, first] & good[:, second] & good[:, third]
    if chosen.sum() < _FEWEST:
        return float("nan")
    left, middle, right = (pixels[:, part][chosen].astype(np.float64) for part in (first, second, third))
    return float(np.median(np.abs(left - 2 * middle + right)) * MAD_TO_SIGMA / np.sqrt(6))


def check_variance(image: np.ndarray, variance: np.ndarray, empty: np.ndarray, *, name: str) -> np.ndarray:
    """A variance map [y, x], if it fits the scatter of the pixels.

    Parameters
    ----------
    image, variance
        [y, x], and its variance in squares of its unit.
    empty
        Pixels without data [y, x].
    name
        What to call the map in an error.

    Raises
    ------
    OpticalError
        If the median of the map and the square of the scatter differ by more than `FACTOR`.
    """
    good = ~empty & np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    scatter = _scatter(image, good)
    typical = float(np.median(variance[good][:: max(1, image.shape[0] // 500)])) if scatter > 0 else np.nan
    if scatter > 0 and not scatter**2 / FACTOR < typical < scatter**2 * FACTOR:
        raise OpticalError(
            f"{name}: half of the variance map is above {typical:.3g} nJy^2, but the pixels scatter by "
            f"{scatter:.3g} nJy, the square of which is {scatter**2:.3g}: is it an inverse variance (name it under "
            "weights), a map of sigma (square it), or in another unit?"
        )
    return variance
