"""PSFs of published coadds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from dmu0.published.planes import OpticalError


def read_psf(path: Path) -> np.ndarray:
    """Read the stamp of a PSF: (y, x), of odd size, centred on its middle pixel, of sum 1.

    Raises
    ------
    OpticalError
        If it is not such a stamp.
    """
    with fits.open(path) as hdus:
        found = [hdu for hdu in hdus if hdu.is_image and hdu.data is not None]
        stamp = np.asarray(found[0].data, float) if found else np.zeros(0)
    if stamp.ndim != 2 or stamp.shape[0] != stamp.shape[1] or stamp.shape[0] % 2 == 0:
        raise OpticalError(f"{path}: a PSF stamp must be square and of odd size; this is {stamp.shape}.")
    if not np.isfinite(stamp).all() or stamp.sum() <= 0:
        raise OpticalError(f"{path}: the PSF stamp has a sum of {stamp.sum():g} or values that are not finite.")
    return stamp / stamp.sum()
