"""PSF stamps of published coadds of any shape, converted to square stamps with the star on the central pixel."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from dmu0.published.planes import OpticalError
from dmu0.robust_statistics import SIGMA_TO_FWHM

TOLERANCE = 0.05
"""Largest distance of the star from the central pixel, px along an axis, for a stamp to be left unchanged: it costs
0.1% of a PSF flux at the seeing of HSC."""

MAX_OFFSET = 1.0
"""Largest distance of the star from the centre of the stamp, px along an axis, for it to be shifted there. Stamps
cropped from even to odd sizes, or around the position of a star, are off by up to a pixel; others are not PSFs."""


MAX_PEDESTAL = 0.1
"""Largest part of a stamp's sum that may be a constant under it, the median of its border: beyond 3 FWHM a PSF with
Moffat wings (beta 2.5, FWHM 4 px) has 0.01 there."""


class PsfStamp(NamedTuple):
    """The PSF of a coadd.

    Attributes
    ----------
    stamp
        Square stamp (y, x) of odd size and unit sum, with the star on the central pixel.
    note
        Description of the changes made to the stamp in the file; empty if there were none.
    """

    stamp: np.ndarray
    note: str


def read_psf(path: Path) -> PsfStamp:
    """Read a PSF stamp from the first image of a FITS file.

    Raises
    ------
    OpticalError
        If it is not the image of a star near its centre; the message names the file.
    """
    with fits.open(path) as hdus:
        found = [hdu for hdu in hdus if hdu.is_image and hdu.data is not None]
        pixels = np.asarray(found[0].data, float) if found else np.zeros(0)
    try:
        return as_stamp(pixels)
    except OpticalError as error:
        raise OpticalError(f"{path}: {error}") from error


def as_stamp(pixels: np.ndarray) -> PsfStamp:
    """Convert a stamp to a `PsfStamp`.

    Rectangular and even stamps are padded with zeros. A star off the central pixel is shifted there by whole pixels,
    and by a phase in Fourier space for the remaining fraction, which is exact for a well-sampled PSF. Wings may be
    negative; the sum may be any positive number.

    Parameters
    ----------
    pixels
        Image of a star (y, x); axes of length one before these are ignored.

    Raises
    ------
    OpticalError
        If there is no star, if it is more than `MAX_OFFSET` from the centre, or if it stands on a sky that was not
        subtracted.
    """
    if pixels.ndim < 2 or any(length != 1 for length in pixels.shape[:-2]) or min(pixels.shape[-2:]) < 5:
        raise OpticalError(f"the PSF must be an image of at least 5 x 5 pixels; its shape is {pixels.shape}.")
    stamp = pixels.reshape(pixels.shape[-2:])
    with np.errstate(over="ignore"):
        total = stamp.sum()
    if not np.isfinite(stamp).all() or not np.isfinite(total) or total <= 0:
        raise OpticalError("the PSF is not finite, or its sum is not positive.")
    x, y = _centroid(stamp)
    ny, nx = stamp.shape
    off = x - (nx - 1) / 2, y - (ny - 1) / 2
    if max(map(abs, off)) > MAX_OFFSET + TOLERANCE:
        raise OpticalError(
            f"the star of the PSF is off the middle of its {nx} x {ny} px by ({off[0]:+.2f}, {off[1]:+.2f}) px; at "
            f"most {MAX_OFFSET:g} px can be put right."
        )
    _refuse_pedestal(stamp)
    size = max(nx, ny) // 2 * 2 + 1
    if nx == ny == size and max(map(abs, off)) <= TOLERANCE:
        return PsfStamp(stamp / total, "")
    notes = [] if nx == ny == size else [f"padded from {nx} x {ny} to {size} x {size} px"]
    if max(abs(off[0]), abs(off[1])) > TOLERANCE:
        notes.append(f"star moved to the middle pixel, from ({off[0]:+.2f}, {off[1]:+.2f}) px off the middle")
    moved = _moved(stamp, x=x, y=y, size=size)
    return PsfStamp(moved / moved.sum(), ", ".join(notes))


def _refuse_pedestal(stamp: np.ndarray) -> None:
    """Refuse a star on a sky that was not subtracted, where the stamp is large enough to tell it from wings."""
    width = 2 * np.sqrt((stamp > stamp.max() / 2).sum() / np.pi)
    if min(stamp.shape) < 6 * width:
        return
    border = np.concatenate([stamp[0], stamp[-1], stamp[1:-1, 0], stamp[1:-1, -1]])
    part = abs(float(np.median(border))) * stamp.size / float(stamp.sum())
    if part > MAX_PEDESTAL:
        raise OpticalError(
            f"the PSF stands on a constant of {float(np.median(border)):.3g}, {part:.0%} of its sum: subtract the sky."
        )


def _centroid(stamp: np.ndarray) -> tuple[float, float]:
    """Centroid of a star with a round Gaussian weight of its own width, which is iteratively centred on the star.

    Raises
    ------
    OpticalError
        If there is no star.
    """
    bright = stamp > stamp.max() / 2
    if stamp.max() <= 0 or bright.mean() > 0.25:
        raise OpticalError("the PSF has no peak.")
    sigma = max(2 * np.sqrt(bright.sum() / np.pi) / SIGMA_TO_FWHM, 0.8)
    y, x = np.mgrid[: stamp.shape[0], : stamp.shape[1]]
    centre = np.array(np.unravel_index(np.argmax(stamp), stamp.shape), float)
    for _ in range(100):
        weighted = stamp * np.exp(-0.5 * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / sigma**2)
        if not weighted.sum() > 0:
            break
        # The weighted mean of a Gaussian under a weight of its own width is half way to its centre.
        step = 2 * np.array([((y - centre[0]) * weighted).sum(), ((x - centre[1]) * weighted).sum()]) / weighted.sum()
        centre += step
        if np.abs(step).max() < 1e-6:
            return float(centre[1]), float(centre[0])
    raise OpticalError("the PSF has no centre: its peak is not that of a star.")


def _moved(stamp: np.ndarray, *, x: float, y: float, size: int) -> np.ndarray:
    """A stamp in a square of odd size, with (x, y) on its central pixel."""
    margin = size  # of zeros all round, for what leaves on one side must not come back on the other
    wide = np.zeros((3 * size, 3 * size))
    start = [margin + size // 2 - round(position) for position in (y, x)]
    wide[start[0] : start[0] + stamp.shape[0], start[1] : start[1] + stamp.shape[1]] = stamp
    rest = [round(position) - position for position in (y, x)]
    if max(map(abs, rest)) > TOLERANCE:
        fy, fx = np.fft.fftfreq(3 * size)[:, None], np.fft.rfftfreq(3 * size)
        phase = np.exp(-2j * np.pi * (fy * rest[0] + fx * rest[1]))
        wide = np.fft.irfft2(np.fft.rfft2(wide) * phase, s=wide.shape)
    return wide[margin : margin + size, margin : margin + size]
