"""Published coadds in FITS files: HSC calexps with mask and variance, and images that may lack them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sep
from astropy.io import fits

from dmu0.published.masks import translate_mask
from dmu0.published.planes import OpticalCoadd, OpticalError, celestial_wcs, with_agreed_gaps
from dmu0.published.zero_point import published_zero_point
from obs_vista.cards import CardError
from obs_vista.gaps import empty_pixels
from obs_vista.linearity import linear_pixels
from obs_vista.masks import BIT
from obs_vista.photometry import nanojansky_per_count

PLANES = ("IMAGE", "MASK", "VARIANCE")
"""Names of the planes in EXTTYPE or EXTNAME, and their order in files that have neither."""


def read_hsc(path: Path, *, zero_point: float | None = None) -> OpticalCoadd:
    """Read an HSC calexp: image, mask with ``MP_`` planes, variance, zero point and position in the tract.

    Parameters
    ----------
    path
        The file.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers (`published_zero_point`).

    Raises
    ------
    OpticalError
        If a plane or the zero point is missing or invalid.
    """
    with fits.open(path, memmap=False) as hdus:
        parts = named_planes(hdus)
        for place, kind in enumerate(PLANES, start=1):
            if kind not in parts and len(hdus) > place and _is_plane(hdus[place]):
                parts[kind] = hdus[place]
            if kind not in parts:
                raise OpticalError(f"{path}: there is no {kind} extension among its {len(hdus)}.")
        return _read_planes(parts, hdus[0].header, path, zero_point)


def read_plain(path: Path, *, zero_point: float | None = None) -> OpticalCoadd:
    """Read an image that may lack mask and variance; the variance is then the local scatter of its sky.

    Pixels on the asinh scale of Pan-STARRS are converted. Without a mask, pixels without data are those that are not
    finite, including BLANK, and blocks of a constant value that is not positive (`empty_pixels`).

    Parameters
    ----------
    path
        The file. Extensions named MASK and VARIANCE in EXTTYPE or EXTNAME are used.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers (`published_zero_point`).

    Raises
    ------
    OpticalError
        If the image or the zero point is missing or invalid.
    """
    with fits.open(path, memmap=False) as hdus:
        parts = named_planes(hdus)
        if "IMAGE" not in parts:
            others = [hdu for hdu in hdus if _is_plane(hdu) and all(hdu is not part for part in parts.values())]
            if not others:
                raise OpticalError(f"{path}: there is no two-dimensional image in it.")
            parts["IMAGE"] = others[0]
        return _read_planes(parts, hdus[0].header, path, zero_point)


def _is_plane(hdu: fits.ImageHDU) -> bool:
    return hdu.is_image and hdu.data is not None and hdu.data.ndim == 2


def named_planes(hdus: fits.HDUList) -> dict[str, fits.ImageHDU]:
    """The extensions named by EXTTYPE or else EXTNAME, the first of each name."""
    parts: dict[str, fits.ImageHDU] = {}
    for key in ("EXTTYPE", "EXTNAME"):
        for hdu in hdus:
            kind = str(hdu.header.get(key, "")).strip().upper()
            if kind in PLANES and kind not in parts and _is_plane(hdu):
                parts[kind] = hdu
    return parts


def _read_planes(
    parts: dict[str, fits.ImageHDU], primary: fits.Header, path: Path, zero_point: float | None
) -> OpticalCoadd:
    """The coadd made of some planes; all except the image may be missing."""
    header, stored = parts["IMAGE"].header, np.asarray(parts["IMAGE"].data, np.float32)
    try:
        values = np.asarray(linear_pixels(stored, header), np.float32)
    except CardError as error:
        raise OpticalError(f"{path}: {error}") from error
    for kind, part in parts.items():
        if part.data.shape != values.shape:
            raise OpticalError(f"{path}: its {kind} is {part.data.shape} (ny, nx), its IMAGE {values.shape}.")
    scale = np.float32(nanojansky_per_count(published_zero_point(header, primary, path=path, survey=zero_point)))
    try:
        wcs = celestial_wcs(header)
        left_out: tuple[str, ...] = ()
        if "MASK" in parts:
            mask, left_out = translate_mask(parts["MASK"].data, parts["MASK"].header)
        else:
            mask = np.where(empty_pixels(stored), BIT["NO_DATA"], np.int32(0))
    except ValueError as error:
        raise OpticalError(f"{path}: {error}") from error
    values = values * scale
    if "VARIANCE" in parts:
        try:
            variance = np.asarray(linear_pixels(parts["VARIANCE"].data, parts["VARIANCE"].header), np.float32)
        except CardError as error:
            raise OpticalError(f"{path}, VARIANCE: {error}") from error
        variance = variance * scale**2
    else:
        variance = sky_variance(values, ~np.isfinite(values) | ((mask & BIT["NO_DATA"]) != 0))
    return with_agreed_gaps(values, variance, mask, wcs=wcs, origin=_origin(header), left_out=left_out)


def _origin(header: fits.Header) -> tuple[int, int] | None:
    """Tract pixel of the first pixel, from LTV1 and LTV2."""
    if "LTV1" not in header or "LTV2" not in header:
        return None
    return -round(header["LTV1"]), -round(header["LTV2"])


def sky_variance(image: np.ndarray, empty: np.ndarray, *, box: int = 128) -> np.ndarray:
    """Variance of the sky [y, x] from its clipped scatter in boxes, without the photon noise of sources.

    Parameters
    ----------
    image
        Image [y, x].
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
