"""Images of several bands blurred to one seeing, so that stars have the colour of their light all over."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from lsst.daf.butler import MissingCollectionError, MissingDatasetTypeError
from scipy.ndimage import gaussian_filter

from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from dmu4.patches.cube import psf_sigma

SAME = 0.3
"""Width (px) of a blur below which an image is left as it is."""


def seeing_of(survey: Survey, band: str, *, tract: int) -> float:
    """Gaussian width (px) of the PSF of a band, the median over the patches of a tract; NaN without a coadd."""
    where = {"skymap": survey.sky_map.name, "tract": tract, "band": band}
    widths = []
    with open_butler(survey) as butler:
        try:
            refs = butler.query_datasets("deep_coadd", data_id=where, explain=False, limit=None)
        except (MissingCollectionError, MissingDatasetTypeError):
            return float("nan")
        for ref in refs:
            psf = butler.get(ref.makeComponentRef("psf"))
            cells = [cell for cell in psf.bounds.cell_indices() if psf.bounds.contains_cell(cell)]
            widths += [psf_sigma(np.mean([psf[cell].array for cell in cells], axis=0))] if cells else []
    known = [width for width in widths if np.isfinite(width)]
    return float(np.median(known)) if known else float("nan")


def to_common_seeing(images: Mapping[str, np.ndarray], widths: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Blur images by Gaussians, so that the PSFs of all have the width of the widest.

    Parameters
    ----------
    images
        Band -> image [y, x]; NaN where there are no data, which stay without data.
    widths
        Band -> Gaussian width of its PSF in pixels; a band of unknown width is left as it is.
    """
    widest = max((widths[band] for band in images if np.isfinite(widths[band])), default=0.0)
    return {
        band: blur(image, float(np.sqrt(widest**2 - widths[band] ** 2))) if np.isfinite(widths[band]) else image
        for band, image in images.items()
    }


def blur(image: np.ndarray, width: float) -> np.ndarray:
    """Convolve an image [y, x] with a Gaussian of a width in pixels; pixels without data (NaN) have no weight."""
    if width < SAME:
        return image
    good = np.isfinite(image)
    weight = gaussian_filter(good.astype(np.float32), width, mode="constant", truncate=3.5)
    total = gaussian_filter(np.where(good, image, 0).astype(np.float32), width, mode="constant", truncate=3.5)
    return np.where(good, np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), np.nan)
