"""Properties of an image file from its headers: size, position on the sky, filter, zero point; no pixel is read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from dmu0.files.catalogue_files import COMPRESSED, READ_ERRORS, WARNING_FILTERS
from dmu0.files.checksums import refuse_irregular
from dmu0.published.plane_names import image_of, named_planes
from dmu0.published.planes import OpticalError, celestial_wcs
from dmu0.published.zero_point import published_zero_point
from obs_vista.cards import CardError
from obs_vista.headers import detector_extensions, merged_header
from obs_vista.image_planes import is_plane, plane_shape, why_no_plane
from obs_vista.translator import VircamTranslator


class FirstLook(NamedTuple):
    """Properties of an image file from its headers.

    Attributes
    ----------
    path
        Path of the file.
    shape
        Shape (ny, nx) of its first image in px.
    images
        Number of two-dimensional images.
    planes
        Names of its extensions among image, mask, variance and weight.
    detectors
        Numbers of its VIRCAM detectors; empty if the file is from another camera.
    header
        Header of the first image, supplemented by the primary header.
    wcs
        WCS of the first image in ICRS; None if it has none.
    pixel_scale
        Pixel size in arcsec; NaN without a WCS.
    zero_point
        AB magnitude of one count by the headers of a camera that may be any; NaN if they do not give it.
    """

    path: Path
    shape: tuple[int, int]
    images: int
    planes: frozenset[str]
    detectors: tuple[int, ...]
    header: fits.Header
    wcs: WCS | None
    pixel_scale: float
    zero_point: float

    @property
    def projection(self) -> WCS:
        """The WCS of an image.

        Raises
        ------
        NotAnImageError
            If the image has none.
        """
        if self.wcs is None:
            raise NotAnImageError(f"{self.path} has no world coordinates")
        return self.wcs


class NotAnImageError(ValueError):
    """A file has no image with a readable header; the message is the reason."""


def look_at(path: Path) -> FirstLook:
    """Read the headers of an image file.

    Raises
    ------
    NotAnImageError
        If it is not a FITS file, is damaged, or contains no image.
    """
    try:
        refuse_irregular(path)
        with path.open("rb") as stream:
            if stream.read(8).startswith(COMPRESSED):
                raise NotAnImageError("is compressed as a whole: unpack it, for example with gunzip")
        with WARNING_FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # odd headers are told of by dmu0/2_Check_inputs
            with path.open("rb") as stream, fits.open(stream) as hdus:
                return _look(path, hdus)
    except NotAnImageError:
        raise
    except READ_ERRORS as error:
        said = str(error).splitlines() or ["no message"]
        raise NotAnImageError(f"cannot be read: {type(error).__name__}: {said[0]}") from error


def _look(path: Path, hdus: fits.HDUList) -> FirstLook:
    last = hdus[-1].fileinfo()
    if last is not None and last["datLoc"] + last["datSpan"] > path.stat().st_size:
        raise NotAnImageError(
            f"is truncated: HDU {len(hdus) - 1} should end at byte {last['datLoc'] + last['datSpan']}, the file at "
            f"{path.stat().st_size}"
        )
    images = [hdu for hdu in hdus if is_plane(hdu)]
    if not images:
        raise NotAnImageError(why_no_plane(hdus))
    parts = named_planes(hdus)
    try:
        detectors = tuple(detector_extensions(hdus))
    except ValueError:
        detectors = ()
    try:
        image = images[0] if detectors else image_of(hdus, parts, path=path)
    except OpticalError as error:
        raise NotAnImageError(str(error).removeprefix(f"{path}: ")) from error
    primary = hdus[0].header
    header = image.header if image is hdus[0] else merged_header(primary, image.header)
    wcs = celestial_wcs(image.header)
    try:
        zero_point = published_zero_point(image.header, primary, path=path)
    except OpticalError:
        zero_point = np.nan
    return FirstLook(
        path=path,
        shape=plane_shape(image),
        images=len(images),
        planes=frozenset(kind.lower() for kind in parts),
        detectors=detectors,
        header=header,
        wcs=wcs,
        pixel_scale=np.nan if wcs is None else 3600 * float(np.mean(proj_plane_pixel_scales(wcs.celestial))),
        zero_point=zero_point,
    )


def vista_filter(look: FirstLook) -> str | None:
    """The physical filter of a VIRCAM image, by the rule of the pipeline; None if no card names a known filter."""
    try:
        return VircamTranslator(look.header).to_physical_filter()
    except (KeyError, ValueError):
        return None


def outlines(path: Path) -> list[np.ndarray]:
    """Corners of every image of a file that has a WCS: arrays (4, 2) of ICRS RA and Dec in deg, in cyclic order."""
    found = []
    with WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        with path.open("rb") as stream, fits.open(stream) as hdus:
            for hdu in hdus:
                if not is_plane(hdu):
                    continue
                try:
                    wcs = celestial_wcs(hdu.header)
                except CardError:  # told of by dmu0/2_Check_inputs
                    continue
                if wcs is not None:
                    found.append(outline(wcs, plane_shape(hdu)))
    return found


def outline(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Corners of an image of some shape (ny, nx): an array (4, 2) of ICRS RA and Dec in deg, in cyclic order."""
    ny, nx = shape
    return np.column_stack(wcs.all_pix2world([0, nx - 1, nx - 1, 0], [0, 0, ny - 1, ny - 1], 0))
