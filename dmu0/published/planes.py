"""The common format of published coadds: image, variance and mask, which agree on pixels without data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from dmu0.published.cells import PublishedCells
from obs_vista.cards import card_value
from obs_vista.masks import BIT, bits
from obs_vista.world_coordinates import icrs_wcs

UNRELIABLE = bits("NO_DATA", "BAD", "SAT")
"""Planes of pixels that cannot be used for fluxes: no data, a defect, or saturation."""


class OpticalError(ValueError):
    """A published coadd cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class OpticalCoadd:
    """A published coadd in our units and with our mask bits.

    Attributes
    ----------
    image
        Image [y, x] as float32 in nJy; NaN without data.
    variance
        Variance [y, x] as float32 in nJy^2; infinite without data.
    mask
        Mask [y, x] as int32 with bits of `BIT`.
    wcs
        WCS of its own pixels in ICRS; None if the file has none.
    origin
        Tract pixel (x, y) of the first pixel according to the file; None if unknown.
    left_out
        Mask planes of the file that are unknown here.
    cells
        PSF, light and inputs of each cell, if it is a coadd of cells with their PSFs.
    noise
        Noise realizations [y, x] as float32 in nJy, if it has any; NaN without data.
    rejected
        Fraction of the weight of inputs that was rejected in each pixel [y, x]; None if unknown.
    notes
        What else is known, for the metadata: a word for each thing that was used, and ``not_used``, the parts of the
        file that have no use here.
    corner
        Pixel (x, y) of its file that is the first one here: not (0, 0) where a part of a file was read. ``wcs`` counts
        the pixels of the file.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    wcs: WCS | None = None
    origin: tuple[int, int] | None = None
    left_out: tuple[str, ...] = ()
    cells: PublishedCells | None = None
    noise: tuple[np.ndarray, ...] = ()
    rejected: np.ndarray | None = None
    notes: Mapping[str, str | int | float] = field(default_factory=dict)
    corner: tuple[int, int] = (0, 0)

    @property
    def unreliable(self) -> np.ndarray:
        """Pixels [y, x] that cannot be used for fluxes: those of the planes `UNRELIABLE`."""
        return (self.mask & UNRELIABLE) != 0

    def scaled(self, factor: float, **notes: str | float) -> OpticalCoadd:
        """The coadd with all fluxes times a factor, and what is to be noted of it."""
        one = np.float32(factor)
        return replace(
            self,
            image=self.image * one,
            variance=self.variance * one**2,
            noise=tuple(plane * one for plane in self.noise),
            notes={**self.notes, **notes},
        )


def with_agreed_gaps(image: np.ndarray, variance: np.ndarray, mask: np.ndarray, **rest: Any) -> OpticalCoadd:
    """A coadd whose planes agree on pixels without data: NaN, infinite variance and NO_DATA.

    Parameters
    ----------
    image, variance, mask
        Planes [y, x] of `OpticalCoadd`. A pixel has no data if image or variance are not finite, if the variance is
        not positive, or if NO_DATA is set.
    rest
        Other attributes of `OpticalCoadd`.
    """
    none = ~np.isfinite(image) | ~np.isfinite(variance) | ~(variance > 0) | ((mask & BIT["NO_DATA"]) != 0)
    image, variance = image.astype(np.float32), variance.astype(np.float32)
    image[none], variance[none] = np.nan, np.inf
    mask = mask.astype(np.int32)
    mask[none] |= BIT["NO_DATA"]
    noise = tuple(np.where(none, np.float32(np.nan), plane) for plane in rest.pop("noise", ()))
    return OpticalCoadd(image, variance, mask, noise=noise, **rest)


def celestial_wcs(header: fits.Header) -> WCS | None:
    """The WCS in a header, converted to ICRS; None if it has none.

    Raises
    ------
    ValueError
        If the WCS cannot be read or converted to ICRS (`icrs_wcs`).
    """
    if all(card_value(header, key) is None for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2")):
        return None
    return icrs_wcs(header)
