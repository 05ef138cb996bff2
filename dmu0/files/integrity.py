"""Checks that a file is what its name says, from the first bytes to the pixels, with reasons in words."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from dmu0.files.catalogue_files import COMPRESSED, READ_ERRORS, WARNING_FILTERS, CatalogueError, read_catalogue_file
from dmu0.files.checksums import is_regular
from dmu0.files.columns import positions
from dmu0.published.lsst import is_cell_coadd, is_json, read_cells
from dmu0.published.plane_names import image_of, named_planes
from dmu0.published.planes import OpticalError
from dmu0.published.psf import as_stamp
from obs_vista.cards import CardError, card_text
from obs_vista.headers import detector_extensions, merged_header
from obs_vista.image_planes import is_plane, plane_pixels, plane_shape, why_no_plane
from obs_vista.linearity import linear_pixels
from obs_vista.world_coordinates import icrs_wcs

IMAGE_KINDS = (
    *("vista_stack", "vista_confidence", "vista_coadd", "optical_coadd", "coadd_weight", "coadd_variance"),
    "optical_psf",
)
"""Types of input that are FITS images."""

CATALOGUE_KINDS = ("ps1", "twomass", "gaia", "vista_catalogue")
"""Types of input that are tables: FITS, Parquet, VOTable or text."""

KINDS = (*IMAGE_KINDS, *CATALOGUE_KINDS)
"""All types of input."""

_FITS_BLOCK = 2880
_FITS_MAGIC = b"SIMPLE  ="
_SMALLEST_SIDE = 8
_DATASUM_WRONG = 0
# Of the median of positive values; a map normalized to 1 makes errors ten times larger.
_CONFIDENCE_RANGE = (20.0, 500.0)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?")


class _Fault(Exception):
    """A file failed a check; the message is the reason."""


def check_file(path: Path, kind: str, *, needs_wcs: bool = True) -> str:
    """Check one input file.

    The checks cover the first bytes, the structure, checksums if the file has them, sizes, positions and pixels.
    Nothing is written, and no error is raised for a bad file.

    Parameters
    ----------
    path
        The file.
    kind
        One of `KINDS`.
    needs_wcs
        Whether a coadd must have a WCS; False if the survey file gives a nominal one. Stacks always need it.

    Returns
    -------
    str
        Reason why the file cannot be used; empty if it can.

    Raises
    ------
    ValueError
        If the type is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no kind of input {kind!r}; kinds are {', '.join(KINDS)}.")
    try:
        _check_first_bytes(path, kind)
        if kind in CATALOGUE_KINDS:
            _check_catalogue(path)
        elif _may_be_json(path, kind):
            _check_pixels(read_cells(path).image, "the image")
        elif kind == "optical_coadd" and is_cell_coadd(path):
            _check_structure(path)
            _check_pixels(read_cells(path).image, "the image")
        else:
            _check_structure(path)
            # Scales beyond the range of floats make pixels that are not finite: a reason, not a warning.
            with np.errstate(all="ignore"):
                _check_images(path, kind, needs_wcs=needs_wcs)
    except (_Fault, CatalogueError, OpticalError) as fault:
        return str(fault)
    except READ_ERRORS as error:
        return f"cannot be read: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return ""


def _may_be_json(path: Path, kind: str) -> bool:
    """Whether a file is a coadd that lsst.images may have written in JSON."""
    return kind == "optical_coadd" and is_json(path)


def observation_date(path: Path) -> str:
    """Start of the exposure of an image, from DATE-OBS in its primary header or that of the first extension.

    The time of the file (when it was copied) and the card DATE (when it was written) are not dates of the data.

    Parameters
    ----------
    path
        A FITS file that passed `check_file`.

    Returns
    -------
    str
        ISO 8601 in UTC to the second; empty if the card is missing or does not follow the FITS standard.
    """
    if is_json(path):
        return ""
    with _opened(path, disable_image_compression=True) as hdus:
        for hdu in islice(hdus, 2):
            found = _ISO_DATE.match(card_text(hdu.header, "DATE-OBS"))
            if found:
                return found[0]
    return ""


def _check_first_bytes(path: Path, kind: str) -> None:
    """Detect empty files, web pages with a FITS name, and other formats."""
    if not path.exists():
        raise _Fault("is not there")
    if not is_regular(path):
        raise _Fault("is a folder, not a file" if path.is_dir() else "is a pipe, a socket or a device, not a file")
    if path.stat().st_size == 0:
        raise _Fault("is empty (0 bytes)")
    with path.open("rb") as stream:
        start = stream.read(2048)
    if start.startswith(COMPRESSED):
        raise _Fault(
            "is compressed as a whole: unpack it, for example with gunzip (images compressed by tiles are read)"
        )
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        title = re.search(rb"<title>(.*?)</title>", text, re.DOTALL)
        said = f' ("{title[1].decode("utf-8", "replace").strip()}")' if title else ""
        raise _Fault(f"is a web page, not data{said}")
    if kind in IMAGE_KINDS and not start.startswith(_FITS_MAGIC) and not _may_be_json(path, kind):
        raise _Fault(f"is not FITS: it begins with {start[:9]!r}")


@contextmanager
def _opened(path: Path, **options: bool) -> Iterator[fits.HDUList]:
    """Open a FITS file that may be damaged; it is closed in any case."""
    with path.open("rb") as stream, WARNING_FILTERS, warnings.catch_warnings():
        # Astropy warns of truncation, wrong checksums and odd headers; here they are looked for, and become reasons.
        warnings.simplefilter("ignore", AstropyUserWarning)
        with fits.open(stream, **options) as hdus:
            yield hdus


def _check_structure(path: Path) -> None:
    """Check that all HDUs are complete, that nothing odd follows them, and that checksums match."""
    size = path.stat().st_size
    end = 0
    with _opened(path, disable_image_compression=True, checksum=True, lazy_load_hdus=False) as hdus:
        for number, hdu in enumerate(hdus):
            info = hdu.fileinfo()
            end = info["datLoc"] + info["datSpan"]
            if end > size:
                raise _Fault(f"is truncated: HDU {number} ends at byte {end}, the file at {size}")
            if hdu.verify_datasum() == _DATASUM_WRONG:
                raise _Fault(f"is damaged: the checksum of the data of HDU {number} is wrong")
    with path.open("rb") as stream:
        stream.seek(end)
        rest = stream.read(_FITS_BLOCK)
    if rest.startswith(b"XTENSION"):
        raise _Fault(f"is truncated: the header of HDU {number + 1} is not complete")
    if rest.strip(b"\0 "):
        raise _Fault(f"is damaged: {size - end} bytes that are no HDU follow HDU {number}")


def _check_images(path: Path, kind: str, *, needs_wcs: bool) -> None:
    """Check dimensions, positions and pixels of the images that a type of file must contain."""
    with _opened(path) as hdus:
        match kind:
            case "vista_stack":
                for name, hdu in _detectors(hdus):
                    _check_shape(hdu, name)
                    primary = None if hdu is hdus[0] else hdus[0].header
                    _check_wcs(merged_header(primary, hdu.header), name, pixel_scale=(0.2, 0.6))
                    _check_pixels(plane_pixels(hdu), name)
            case "vista_confidence":
                for name, hdu in _detectors(hdus):
                    _check_shape(hdu, name)
                    _check_confidence(plane_pixels(hdu), name)
            case "optical_psf":
                _check_psf(_first_image(hdus))
            case "coadd_weight" | "coadd_variance":
                _check_map(_first_image(hdus), kind.removeprefix("coadd_"))
            case _:
                _check_coadd(hdus, path=path, needs_wcs=needs_wcs)


def _detectors(hdus: fits.HDUList) -> Iterator[tuple[str, fits.ImageHDU]]:
    """Name and HDU of each detector of a file."""
    for detector, number in detector_extensions(hdus).items():
        yield f"detector {detector}", hdus[number]


def _first_image(hdus: fits.HDUList) -> fits.ImageHDU:
    for hdu in hdus:
        if is_plane(hdu):
            return hdu
    raise _Fault(why_no_plane(hdus))


def _check_shape(hdu: fits.ImageHDU, name: str) -> None:
    ny, nx = plane_shape(hdu)
    if min(ny, nx) < _SMALLEST_SIDE:
        raise _Fault(f"{name} has no usable size: {nx} x {ny} px")


def _check_pixels(pixels: np.ndarray, name: str) -> None:
    """Check that some pixels are finite and that not all have the same value."""
    finite = np.isfinite(pixels)
    if not finite.any():
        raise _Fault(f"{name} has no finite pixel")
    values = pixels[finite]
    if values.min() == values.max():
        raise _Fault(f"all pixels of {name} are {values.flat[0]:g}")


def _check_confidence(pixels: np.ndarray, name: str) -> None:
    if not np.isfinite(pixels).all():
        raise _Fault(f"the confidence of {name} is not finite everywhere")
    if pixels.min() < 0:
        raise _Fault(f"the confidence of {name} is negative ({pixels.min():g})")
    if pixels.max() <= 0:
        raise _Fault(f"the confidence of {name} is zero everywhere")
    typical = float(np.median(pixels[pixels > 0]))
    low, high = _CONFIDENCE_RANGE
    if not low < typical < high:
        raise _Fault(
            f"the confidence of {name} is mostly {typical:g}: that of CASU is in percent of its mean, about 100"
        )


def _check_wcs(header: fits.Header, name: str, *, pixel_scale: tuple[float, float]) -> None:
    """Check that positions are finite and the pixel size (arcsec) is plausible."""
    try:
        wcs = icrs_wcs(header)
    except ValueError as error:
        raise _Fault(f"{name} has no usable positions: {error}") from error
    nx, ny = wcs.pixel_shape
    corners = wcs.all_pix2world([[0, 0], [nx - 1, 0], [nx - 1, ny - 1], [0, ny - 1]], 0)
    if not np.isfinite(corners).all():
        raise _Fault(f"{name} has corners without positions")
    scale = 3600 * np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))
    if not pixel_scale[0] < scale < pixel_scale[1]:
        raise _Fault(f'{name} has pixels of {scale:.4g}", outside {pixel_scale[0]}" to {pixel_scale[1]}"')


def _check_psf(hdu: fits.ImageHDU) -> None:
    try:
        as_stamp(np.asarray(hdu.data, float))
    except OpticalError as error:
        raise _Fault(str(error).removesuffix(".")) from error


def _check_map(hdu: fits.ImageHDU, name: str) -> None:
    """A weight or variance map has values above zero somewhere."""
    _check_shape(hdu, f"the {name} map")
    pixels = plane_pixels(hdu)
    if not (pixels[np.isfinite(pixels)] > 0).any():
        raise _Fault(f"the {name} map has no value above zero")


def _check_coadd(hdus: fits.HDUList, *, path: Path, needs_wcs: bool) -> None:
    """Check the image of a coadd, and its mask and its maps of the same size if extensions have these names."""
    parts = named_planes(hdus)
    try:
        image = image_of(hdus, parts, path=path)
    except OpticalError as error:
        raise _Fault(str(error).removeprefix(f"{path}: ").removesuffix(".")) from error
    _check_shape(image, "the image")
    for kind, hdu in parts.items():
        if plane_shape(hdu) != plane_shape(image):
            raise _Fault(f"{kind} is {plane_shape(hdu)} (ny, nx), the image {plane_shape(image)}")
    try:
        linear_pixels(np.zeros(0), image.header)
    except CardError as error:
        raise _Fault(str(error).removesuffix(".")) from error
    if needs_wcs or "CTYPE1" in image.header:
        _check_wcs(image.header, "the image", pixel_scale=(0.05, 2.0))
    _check_pixels(plane_pixels(image), "the image")


def _check_catalogue(path: Path) -> None:
    """Check that the table can be read completely, has rows, and has positions on the sky."""
    with path.open("rb") as stream:
        start = stream.read(9)
    if start.startswith(_FITS_MAGIC):
        _check_structure(path)
    table = read_catalogue_file(path)
    if len(table) == 0:
        raise _Fault("has no rows")
    positions(table)


def check_pair(stack: Path, confidence: Path) -> str:
    """Check that a confidence map belongs to a stack: the same detectors, each of the same size.

    Both files must have passed `check_file`.

    Returns
    -------
    str
        Why the map cannot be used with this stack; empty if it can.
    """
    sizes, others = _detector_shapes(stack), _detector_shapes(confidence)
    missing = sorted(set(sizes) - set(others))
    if missing:
        return f"has no map of detector {', '.join(str(detector) for detector in missing)} of {stack.name}"
    for detector, (ny, nx) in sizes.items():
        if others[detector] != (ny, nx):
            height, width = others[detector]
            return f"detector {detector} is {width} x {height} px, in {stack.name} {nx} x {ny}"
    return ""


def _detector_shapes(path: Path) -> dict[int, tuple[int, int]]:
    """Detector -> rows and columns, from the headers alone; constructing images takes three times as long."""
    shapes = {}
    with fits.open(path, disable_image_compression=True) as hdus:
        for detector, number in detector_extensions(hdus).items():
            header = hdus[number].header
            compressed = "Z" if "ZIMAGE" in header else ""
            shapes[detector] = header[f"{compressed}NAXIS2"], header[f"{compressed}NAXIS1"]
    return shapes
