"""Published coadds in FITS files: HSC calexps with mask and variance, and images that may lack them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box

from dmu0.published.masks import NAMELESS, translate_mask
from dmu0.published.noise import check_variance, sky_variance, weight_variance
from dmu0.published.plane_names import PLANES, image_of, named_planes
from dmu0.published.planes import OpticalCoadd, OpticalError, celestial_wcs, with_agreed_gaps
from dmu0.published.zero_point import CasuScale, published_zero_point
from dmu0.sky.sphere import unit_vectors
from obs_vista.cards import CardError, optional_number
from obs_vista.gaps import empty_pixels
from obs_vista.image_planes import is_plane, plane_pixels, plane_shape, why_no_plane
from obs_vista.linearity import linear_pixels
from obs_vista.masks import BIT
from obs_vista.photometry import nanojansky_per_count

_SAME_PLACE = 0.1  # of the diagonal of an image: how far its map may be off, whose astrometry may not be the final one


@dataclass(frozen=True)
class PlainFile:
    """A FITS image, and what its survey says of it.

    Attributes
    ----------
    path
        The file. Extensions MASK, VARIANCE and WEIGHT are used where they are named so, in EXTTYPE or EXTNAME.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers (`published_zero_point`).
    weight, variance
        Files of its weight map and its variance map, before any extension; None: it has none.
    casu
        Band and system of MAGZPT, if it is an image of VISTA; None: that card means nothing.
    ab_offset
        Magnitudes to be subtracted from those of the data release; `read_coadd` applies them.
    """

    path: Path
    zero_point: float | None = None
    weight: Path | None = None
    variance: Path | None = None
    casu: CasuScale | None = None
    ab_offset: float = 0.0


def read_hsc(path: Path, *, zero_point: float | None = None, box: Box | None = None) -> OpticalCoadd:
    """Read an HSC calexp: image, mask with ``MP_`` planes, variance, zero point and position in the tract.

    Parameters
    ----------
    path
        The file.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers (`published_zero_point`).
    box
        Pixels of the file to read; None: all.

    Raises
    ------
    OpticalError
        If a plane or the zero point is missing or invalid.
    """
    with fits.open(path, memmap=False) as hdus:
        parts = named_planes(hdus)
        for place, kind in enumerate(PLANES, start=1):
            if kind not in parts and len(hdus) > place and is_plane(hdus[place]):
                parts[kind] = hdus[place]
            if kind not in parts:
                raise OpticalError(f"{path}: there is no {kind} extension among its {len(hdus)}.")
        parts.pop("WEIGHT", None)
        return _read_planes(parts, hdus[0].header, PlainFile(path, zero_point), box)


def read_plain(
    path: Path, *, zero_point: float | None = None, file: PlainFile | None = None, box: Box | None = None
) -> OpticalCoadd:
    """Read an image that may lack mask and variance; the variance is then that of its sky.

    With a weight map the variance is its inverse, times a factor that makes it the local scatter of the sky; without
    one it is that scatter itself. Pixels on the asinh scale of Pan-STARRS are converted. Without a mask, pixels without
    data are those that are not finite, including BLANK, and blocks of a constant value that is not positive
    (`empty_pixels`); and those of a weight of 0.

    Parameters
    ----------
    path
        The file.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers (`published_zero_point`).
    file
        More of what the survey says of it; ``zero_point`` is then that of ``file``.
    box
        Pixels of the file to read; None: all.

    Raises
    ------
    OpticalError
        If the image or the zero point is missing or invalid, or a map is of another size.
    """
    file = PlainFile(path, zero_point) if file is None else file
    with fits.open(path, memmap=False) as hdus:
        parts = named_planes(hdus)
        parts["IMAGE"] = image_of(hdus, parts, path=path)
        return _read_planes(parts, hdus[0].header, file, box)


def read_geometry(path: Path) -> tuple[WCS | None, tuple[int, int]]:
    """Projection of the image of a file into ICRS, None if it has none, and its shape (ny, nx); no pixel is read.

    Raises
    ------
    OpticalError
        If there is no image, or its projection makes no sense.
    """
    with fits.open(path, memmap=False) as hdus:
        image = image_of(hdus, named_planes(hdus), path=path)
        try:
            return celestial_wcs(image.header), plane_shape(image)
        except ValueError as error:
            raise OpticalError(f"{path}: {error}") from error


def _pixels(hdu: fits.ImageHDU, box: Box | None) -> np.ndarray:
    """The pixels of an extension, or those of a box, of which no others are read."""
    if box is None:
        return plane_pixels(hdu)
    return plane_pixels(hdu, slice(box.y.start, box.y.stop), slice(box.x.start, box.x.stop))


def _read_planes(
    parts: dict[str, fits.ImageHDU], primary: fits.Header, file: PlainFile, box: Box | None
) -> OpticalCoadd:
    """The coadd made of some planes; all except the image may be missing."""
    path, header, shape = file.path, parts["IMAGE"].header, plane_shape(parts["IMAGE"])
    for kind, part in parts.items():
        if plane_shape(part) != shape:
            raise OpticalError(f"{path}: its {kind} is {plane_shape(part)} (ny, nx), its IMAGE {shape}.")
    zero_point = published_zero_point(header, primary, path=path, survey=file.zero_point, casu=file.casu)
    scale = np.float32(nanojansky_per_count(zero_point))
    stored = np.asarray(_pixels(parts["IMAGE"], box), np.float32)
    try:
        values = np.asarray(linear_pixels(stored, header), np.float32)
        wcs = celestial_wcs(header)
        left_out: tuple[str, ...] = ()
        if "MASK" in parts:
            mask, left_out = translate_mask(_pixels(parts["MASK"], box), parts["MASK"].header)
        else:
            mask = np.zeros(stored.shape, np.int32)
        if "MASK" not in parts or NAMELESS in left_out:
            mask[empty_pixels(stored)] |= BIT["NO_DATA"]
    except ValueError as error:
        raise OpticalError(f"{path}: {error}") from error
    values = values * scale
    variance = _variance(values, mask, parts, file, scale, box)
    corner = (0, 0) if box is None else (box.x.start, box.y.start)
    return with_agreed_gaps(values, variance, mask, wcs=wcs, origin=_origin(header), left_out=left_out, corner=corner)


def _variance(
    values: np.ndarray,
    mask: np.ndarray,
    parts: Mapping[str, fits.ImageHDU],
    file: PlainFile,
    scale: np.float32,
    box: Box | None,
) -> np.ndarray:
    """Variance in nJy^2 of pixels in nJy: from a map beside the file, from an extension, or from the sky."""
    empty = ~np.isfinite(values) | ((mask & BIT["NO_DATA"]) != 0)
    if file.variance is not None:
        variance = _scaled_variance(_read_map(file.variance, parts["IMAGE"], file.path, box), float(scale))
        return check_variance(values, variance, empty, name=str(file.variance))
    if file.weight is not None:
        weight = np.asarray(_read_map(file.weight, parts["IMAGE"], file.path, box), np.float32)
        return weight_variance(values, weight, empty, name=str(file.weight))
    if "VARIANCE" in parts:
        try:
            pixels = linear_pixels(_pixels(parts["VARIANCE"], box), parts["VARIANCE"].header)
        except CardError as error:
            raise OpticalError(f"{file.path}, VARIANCE: {error}") from error
        variance = _scaled_variance(pixels, float(scale))
        return check_variance(values, variance, empty, name=f"{file.path}: VARIANCE")
    if "WEIGHT" in parts:
        weight = np.asarray(_pixels(parts["WEIGHT"], box), np.float32)
        return weight_variance(values, weight, empty, name=f"{file.path}: WEIGHT")
    return sky_variance(values, empty)


def _read_map(path: Path, image: fits.ImageHDU, image_path: Path, box: Box | None) -> np.ndarray:
    """A weight or variance map of an image, or its pixels in a box, on a linear scale."""
    shape = plane_shape(image)
    with fits.open(path, memmap=False) as hdus:
        found = next((hdu for hdu in hdus if is_plane(hdu)), None)
        if found is None:
            raise OpticalError(f"{path}: {why_no_plane(hdus)}; it is to be the map of {image_path}.")
        if plane_shape(found) != shape:
            raise OpticalError(
                f"{path}: it is {plane_shape(found)} (ny, nx), the image {image_path} of which it is a map {shape}."
            )
        try:
            _refuse_other_place(found.header, image.header, shape)
            return np.asarray(linear_pixels(_pixels(found, box), found.header))
        except ValueError as error:
            raise OpticalError(f"{path}: {error} It is to be the map of {image_path}.") from error


def _refuse_other_place(header: fits.Header, image: fits.Header, shape: tuple[int, int]) -> None:
    """Refuse a map that by its own world coordinates, if it has any, is of another part of the sky than the image."""
    try:
        own, other = celestial_wcs(header), celestial_wcs(image)
    except ValueError:  # the place of a map is that of its image
        return
    if own is None or other is None:
        return
    ny, nx = shape
    corners = [[0, 0], [nx - 1, 0], [nx - 1, ny - 1], [0, ny - 1]]
    vectors, of_image = (unit_vectors(*wcs.all_pix2world(corners, 0).T) for wcs in (own, other))
    distance = np.linalg.norm(vectors - of_image, axis=-1)
    diagonal = np.linalg.norm(of_image[2] - of_image[0])
    if not (distance < _SAME_PLACE * diagonal).all():
        degrees = np.degrees(np.nanmax(distance))
        raise OpticalError(f"its world coordinates are {degrees:.3g} deg from those of the image: of another field?")


def _scaled_variance(variance: np.ndarray, scale: float) -> np.ndarray:
    """Variance in nJy^2: squares of small and large units are beyond the range of float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (np.asarray(variance, np.float64) * scale**2).astype(np.float32)


def _origin(header: fits.Header) -> tuple[int, int] | None:
    """Tract pixel of the first pixel, from LTV1 and LTV2; None without two numbers."""
    x, y = (optional_number(header, keyword) for keyword in ("LTV1", "LTV2"))
    return (-round(x), -round(y)) if np.isfinite([x, y]).all() else None
