"""The form that every published coadd is read into: image, variance and mask that agree on where there are no data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from obs_vista.cards import card_value
from obs_vista.masks import BIT, bits
from obs_vista.world_coordinates import icrs_wcs

UNRELIABLE = bits("NO_DATA", "BAD", "SAT")
"""Planes on which no flux is to be measured: no value, a defect, or more light than the detector could count."""


class OpticalError(ValueError):
    """A published coadd cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class OpticalCoadd:
    """A published coadd in our units and with our mask bits.

    Attributes
    ----------
    image
        float32 [y, x], nJy; NaN without data.
    variance
        float32 [y, x], nJy^2; infinite without data.
    mask
        int32 [y, x], bits of `BIT`.
    wcs
        Projection of its own pixels into ICRS, or None if the file has none.
    origin
        Tract pixel (x, y) of its first pixel as the file says, or None.
    left_out
        Mask planes of the file that have no meaning here.
    psf
        Stamps (cell row, cell column, y, x), if the coadd came with them.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    wcs: WCS | None = None
    origin: tuple[int, int] | None = None
    left_out: tuple[str, ...] = ()
    psf: np.ndarray | None = None

    @property
    def unreliable(self) -> np.ndarray:
        """Pixels on which no flux is to be measured [y, x]: those of the planes `UNRELIABLE`."""
        return (self.mask & UNRELIABLE) != 0


def with_agreed_gaps(image: np.ndarray, variance: np.ndarray, mask: np.ndarray, **rest: object) -> OpticalCoadd:
    """A coadd whose planes agree on pixels without data: NaN, infinite variance and NO_DATA all say so.

    Parameters
    ----------
    image, variance, mask
        Planes [y, x] of `OpticalCoadd`. A pixel has no data where image or variance are not finite, the variance is
        not positive, or the mask says NO_DATA.
    rest
        Other attributes of `OpticalCoadd`.
    """
    none = ~np.isfinite(image) | ~np.isfinite(variance) | ~(variance > 0) | ((mask & BIT["NO_DATA"]) != 0)
    image, variance = image.astype(np.float32), variance.astype(np.float32)
    image[none], variance[none] = np.nan, np.inf
    mask = mask.astype(np.int32)
    mask[none] |= BIT["NO_DATA"]
    return OpticalCoadd(image, variance, mask, **rest)


def celestial_wcs(header: fits.Header) -> WCS | None:
    """The projection in a header, into ICRS; None if it has none.

    Raises
    ------
    ValueError
        If it cannot be read or turned into ICRS (`icrs_wcs`).
    """
    if all(card_value(header, key) is None for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2")):
        return None
    return icrs_wcs(header)
