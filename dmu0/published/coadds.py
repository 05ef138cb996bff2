"""Optical coadds as published: HSC's, LSST's and plain FITS images, read into one form on the pixels of a patch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import astropy.units as u
import numpy as np
import sep
from astropy.io import fits
from astropy.wcs import WCS
from lsst.daf.butler import Butler
from lsst.images import Box
from scipy import ndimage

from dmu0.sky.tract import Patch
from obs_vista.masks import BIT, from_mask

NJY_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy."""

HSC_PLANES = MappingProxyType({"SENSOR_EDGE": "EDGE", "CROSSTALK": "SUSPECT", "UNMASKEDNAN": "NO_DATA"})
"""Planes of HSC that have another name here; others keep theirs, and those unknown here are left out."""

MAX_MISALIGNMENT = 0.02
"""Pixels by which the world coordinates of an image may differ from those of its patch."""


class OpticalError(ValueError):
    """A published coadd cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class OpticalCoadd:
    """A published coadd in our units and with our mask bits.

    Parameters
    ----------
    image
        nJy [y, x]; NaN without data.
    variance
        nJy^2; infinite without data.
    mask
        Bits of `BIT`.
    wcs
        Projection of its own pixels, or None if the file has none.
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


def nanojansky_per_count(zero_point: float) -> float:
    """nJy of one count in an image of a given AB zero point."""
    return float(10 ** (0.4 * (NJY_ZERO_POINT - zero_point)))


def read_hsc(path: Path) -> OpticalCoadd:
    """Read an HSC calexp: image, mask with MP_ planes, variance, FLUXMAG0 and the patch's place in its tract.

    Raises
    ------
    OpticalError
        If a part or a key is missing.
    """
    with fits.open(path) as hdus:
        image, mask, variance = (_part(hdus, kind, path) for kind in ("IMAGE", "MASK", "VARIANCE"))
        header = image.header
        flux0 = hdus[0].header.get("FLUXMAG0", header.get("FLUXMAG0"))
        if not isinstance(flux0, float | int) or not flux0 > 0:
            raise OpticalError(f"{path}: FLUXMAG0 is {flux0!r}, not a positive number, so its zero point is unknown.")
        bits, left_out = translate_mask(np.asarray(mask.data, np.int64), mask.header)
        scale = nanojansky_per_count(2.5 * np.log10(flux0))
        origin = None
        if "LTV1" in header and "LTV2" in header:
            origin = (-round(header["LTV1"]), -round(header["LTV2"]))
        values, noise = np.asarray(image.data, np.float32) * scale, np.asarray(variance.data, np.float32) * scale**2
        return _blank(values, noise, bits, wcs=_celestial(header), origin=origin, left_out=left_out)


def _part(hdus: fits.HDUList, kind: str, path: Path) -> fits.ImageHDU:
    """The extension of a kind: by EXTTYPE, by EXTNAME, or by its place, for files that have neither."""
    for key in ("EXTTYPE", "EXTNAME"):
        for hdu in hdus:
            if str(hdu.header.get(key, "")).strip().upper() == kind and hdu.data is not None:
                return hdu
    place = 1 + ("IMAGE", "MASK", "VARIANCE").index(kind)
    if len(hdus) > place and hdus[place].data is not None and hdus[place].data.ndim == 2:
        return hdus[place]
    raise OpticalError(f"{path}: there is no {kind} extension among its {len(hdus)}.")


def translate_mask(mask: np.ndarray, header: fits.Header) -> tuple[np.ndarray, tuple[str, ...]]:
    """Our mask bits of an integer mask whose header names the planes (MP_<name> = number of the bit).

    Any set of planes will do: one that is not there is never set, one that is not known here is left out.

    Returns
    -------
    mask, left_out
        Int32 with the bits of `BIT`, and the names that were left out.
    """
    bits, left_out = np.zeros(mask.shape, np.int32), []
    for key, number in header.items():
        if not key.startswith("MP_"):
            continue
        name = HSC_PLANES.get(key[3:], key[3:])
        if name not in BIT:
            left_out.append(key[3:])
            continue
        bits[(mask >> int(number)) & 1 == 1] |= BIT[name]
    return bits, tuple(left_out)


def read_plain(path: Path, *, zero_point: float | None) -> OpticalCoadd:
    """Read an image without mask and variance; the variance is the local scatter of its sky.

    Pixels without data are those that are not finite, and blocks of exact zeros.

    Parameters
    ----------
    zero_point
        AB magnitude of one count; None: from the header, MAGZERO or FLUXMAG0.

    Raises
    ------
    OpticalError
        If there is no image or no zero point.
    """
    with fits.open(path) as hdus:
        found = [hdu for hdu in hdus if hdu.is_image and hdu.data is not None and hdu.data.ndim == 2]
        if not found:
            raise OpticalError(f"{path}: there is no two-dimensional image in it.")
        header, values = found[0].header, np.asarray(found[0].data, np.float32)
    if zero_point is None:
        zero_point = header.get("MAGZERO")
    if zero_point is None and "FLUXMAG0" in header:
        zero_point = 2.5 * np.log10(header["FLUXMAG0"])
    if zero_point is None:
        raise OpticalError(f"{path}: its zero point is unknown; give it in the survey file under zero_points.")
    empty = ~np.isfinite(values) | ndimage.binary_opening(values == 0, np.ones((3, 3), bool))
    values = values * np.float32(nanojansky_per_count(float(zero_point)))
    bits = np.where(empty, BIT["NO_DATA"], np.int32(0))
    return _blank(values, sky_variance(values, empty), bits, wcs=_celestial(header))


def sky_variance(image: np.ndarray, empty: np.ndarray, *, box: int = 128) -> np.ndarray:
    """Variance of the sky [y, x] from its clipped scatter in boxes; photon noise of sources is not in it."""
    if empty.all():
        return np.full(image.shape, np.inf, np.float32)
    scale = float(np.nanstd(np.where(empty, np.nan, image))) or 1.0
    pixels = np.ascontiguousarray(np.where(empty, 0, image) / scale, np.float32)
    rms = sep.Background(pixels, mask=empty, bw=box, bh=box, fw=3, fh=3).rms() * scale
    return np.square(rms, dtype=np.float32)


def read_lsst(butler: Butler, data_id: dict[str, int | str]) -> OpticalCoadd:
    """Read a ``deep_coadd`` of the LSST pipelines from a Butler.

    Parameters
    ----------
    butler
        Of the repository, with the collection to look in.
    data_id
        skymap, tract, patch and band.

    Raises
    ------
    OpticalError
        If its unit is not a flux density.
    """
    coadd = butler.get("deep_coadd", data_id)
    try:
        scale = (1 * coadd.unit).to_value(u.nJy)
    except (u.UnitConversionError, TypeError) as error:
        raise OpticalError(f"deep_coadd {data_id}: its unit is {coadd.unit}, not nJy.") from error
    known = from_mask(coadd.mask)
    for theirs, ours in HSC_PLANES.items():
        if theirs in coadd.mask.schema.names:
            known[coadd.mask.get(theirs)] |= BIT[ours]
    left_out = tuple(name for name in coadd.mask.schema.names if HSC_PLANES.get(name, name) not in BIT)
    values, variance = coadd.image.array * np.float32(scale), coadd.variance.array * np.float32(scale**2)
    origin, psf = (coadd.bbox.x.start, coadd.bbox.y.start), None
    if hasattr(coadd, "bounds"):
        start, size = coadd.bounds.subgrid_start, coadd.bounds.subgrid_size
        psf = np.full((size.i, size.j, *coadd.psf.kernel_bbox.shape), np.nan)
        for cell in coadd.bounds.cell_indices():
            psf[cell.i - start.i, cell.j - start.j] = coadd.psf[cell].array
    return _blank(values, variance, known, origin=origin, left_out=left_out, psf=psf)


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


def _celestial(header: fits.Header) -> WCS | None:
    """The projection in a header, or None if it has none."""
    if not all(str(header.get(key, "")).strip() for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2")):
        return None
    wcs = WCS(header)
    return wcs.celestial if wcs.has_celestial else None


def _blank(image: np.ndarray, variance: np.ndarray, mask: np.ndarray, **rest: object) -> OpticalCoadd:
    """Agree on pixels without data: NaN, infinite variance and NO_DATA all say so."""
    none = ~np.isfinite(image) | ~np.isfinite(variance) | ~(variance > 0) | ((mask & BIT["NO_DATA"]) != 0)
    image, variance = image.astype(np.float32), variance.astype(np.float32)
    image[none], variance[none] = np.nan, np.inf
    mask = mask.astype(np.int32)
    mask[none] |= BIT["NO_DATA"]
    return OpticalCoadd(image, variance, mask, **rest)


def on_patch(coadd: OpticalCoadd, patch: Patch, *, name: str) -> OpticalCoadd:
    """Cut or pad a coadd to the outer box of a patch, whose pixels it must already be on.

    An image without world coordinates must have the shape of the box.

    Parameters
    ----------
    name
        What to call it in an error.

    Raises
    ------
    OpticalError
        If its pixels are not those of the patch's tract.
    """
    box, shape = patch.outer_bbox, coadd.image.shape
    if coadd.wcs is None and coadd.origin is None:
        if shape != (box.y.size, box.x.size):
            raise OpticalError(f"{name}: it has {shape} pixels and no world coordinates; {patch} has {box.shape}.")
        return coadd
    x0, y0 = coadd.origin if coadd.wcs is None else _origin(coadd, patch, name)
    own = Box.factory[y0 : y0 + shape[0], x0 : x0 + shape[1]]
    if own == box:
        return coadd
    if min(own.x.stop, box.x.stop) <= max(own.x.start, box.x.start) or min(own.y.stop, box.y.stop) <= max(
        own.y.start, box.y.start
    ):
        raise OpticalError(f"{name}: it covers {own}, which is outside {patch}, {box}.")
    common = own.intersection(box)
    source, target = common.slice_within(own), common.slice_within(box)
    planes = []
    for plane, empty in ((coadd.image, np.nan), (coadd.variance, np.inf), (coadd.mask, BIT["NO_DATA"])):
        whole = np.full((box.y.size, box.x.size), empty, plane.dtype)
        whole[target] = plane[source]
        planes.append(whole)
    return OpticalCoadd(*planes, wcs=coadd.wcs, origin=(box.x.start, box.y.start), left_out=coadd.left_out)


def _origin(coadd: OpticalCoadd, patch: Patch, name: str) -> tuple[int, int]:
    """Tract pixel of the first pixel, from the world coordinates of the corners."""
    ny, nx = coadd.image.shape
    x, y = np.array([0, nx - 1, 0, nx - 1], float), np.array([0, 0, ny - 1, ny - 1], float)
    a, b = patch.tract.wcs.world_to_pixel(coadd.wcs.pixel_to_world(x, y))
    x0, y0 = round(float(np.mean(a - x))), round(float(np.mean(b - y)))
    worst = float(np.max(np.hypot(a - x - x0, b - y - y0)))
    if worst > MAX_MISALIGNMENT:
        raise OpticalError(f"{name}: its pixels are off those of {patch} by up to {worst:.2f} px.")
    if coadd.origin is not None and coadd.origin != (x0, y0):
        raise OpticalError(f"{name}: LTV says it begins at {coadd.origin}, its world coordinates say {(x0, y0)}.")
    return x0, y0
