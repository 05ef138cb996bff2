"""Images of FITS files with two axes, or with further axes of length one, as cubes of a single plane have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from astropy.io import fits

from obs_vista.cards import card_value, optional_number


def image_axes(header: Mapping) -> tuple[int, ...]:
    """Lengths of the axes of an image, NAXIS1 first, compressed or not; without those that the header does not give."""
    prefix = "Z" if "ZNAXIS" in header else ""
    count = card_value(header, f"{prefix}NAXIS")
    lengths = [
        card_value(header, f"{prefix}NAXIS{axis}") for axis in range(1, count + 1 if isinstance(count, int) else 1)
    ]
    return tuple(length for length in lengths if isinstance(length, int))


def is_plane(hdu: fits.ImageHDU) -> bool:
    """Whether an HDU is an image with two axes, and perhaps further ones of length one."""
    if not hdu.is_image:
        return False
    axes = image_axes(hdu.header)
    return len(axes) >= 2 and all(length == 1 for length in axes[2:])


def plane_shape(hdu: fits.ImageHDU) -> tuple[int, int]:
    """Rows and columns (ny, nx) of an image for which `is_plane` holds."""
    ny, nx = hdu.shape[-2:]
    return int(ny), int(nx)


def plane_pixels(hdu: fits.ImageHDU, rows: slice | None = None, columns: slice | None = None) -> np.ndarray:
    """Pixels [y, x] of an image for which `is_plane` holds, or of some of its rows and columns, of which no others are
    read; those of the value BLANK are NaN."""
    if rows is None or columns is None:
        return _without_blanks(hdu.data.reshape(plane_shape(hdu)), hdu.header)
    first = (slice(0, 1),) * (len(hdu.shape) - 2)
    pixels = hdu.section[(*first, rows, columns)]
    return _without_blanks(pixels.reshape(pixels.shape[-2:]), hdu.header)


def _without_blanks(pixels: np.ndarray, header: Mapping) -> np.ndarray:
    """Pixels with NaN for BLANK: astropy does so, except for unsigned integers, which FITS stores with BZERO."""
    blank = optional_number(header, "BLANK") + optional_number(header, "BZERO")
    if pixels.dtype.kind != "u" or not np.isfinite(blank):
        return pixels
    return np.where(pixels == blank, np.nan, pixels.astype(np.float32 if pixels.itemsize < 4 else np.float64))


def why_no_plane(hdus: Iterable[fits.ImageHDU]) -> str:
    """What a file without an image in the sense of `is_plane` has, for messages."""
    for number, hdu in enumerate(hdus):
        axes = image_axes(hdu.header) if hdu.is_image else ()
        if len(axes) > 2:
            sides = " x ".join(map(str, axes))
            return (
                f"there is no two-dimensional image in it: HDU {number} is {sides}, and only one plane of it can be "
                f"used; write that plane to a file of its own"
            )
        if len(axes) == 1:
            return f"there is no two-dimensional image in it: HDU {number} is a row of {axes[0]} values"
    return "there is no two-dimensional image in it"
