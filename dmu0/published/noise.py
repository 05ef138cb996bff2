"""The variance of a published coadd that comes with a weight map, or with nothing but its pixels."""

from __future__ import annotations

import numpy as np
import sep

from dmu0.published.planes import OpticalError

BOX = 128
"""Side in pixels of the boxes in which the scatter of the sky is measured."""


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

    The factor makes the variance that of the sky where the image has its typical depth: the median over pixels of the
    product of weight and scatter squared.

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
        If a weight is negative by more than rounding, as a variance or a logarithm would be.
    """
    usable = np.isfinite(weight) & (weight > 0) & ~empty
    if np.isfinite(weight).any() and -float(np.nanmin(weight)) > 1e-3 * float(np.nanmax(weight)):
        raise OpticalError(f"{name}: the weight map has negative values, down to {float(np.nanmin(weight)):g}.")
    variance = np.full(image.shape, np.inf, np.float32)
    if usable.any():
        product = sky_variance(image, ~usable)[usable] * weight[usable]
        variance[usable] = float(np.median(product)) / weight[usable]
    return variance
