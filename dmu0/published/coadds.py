"""Published coadds of HSC and LSST and plain FITS images: one reader and one format for all stages."""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits
from lsst.daf.butler import Butler

from dmu0.published.fits_files import PLANES, named_planes, read_hsc, read_plain, sky_variance
from dmu0.published.lsst import read_lsst
from dmu0.published.masks import translate_mask
from dmu0.published.on_patch import on_patch
from dmu0.published.planes import OpticalCoadd, OpticalError
from dmu0.published.psf import PsfStamp, read_psf

__all__ = (
    "OpticalCoadd",
    "OpticalError",
    "PsfStamp",
    "on_patch",
    "read_coadd",
    "read_hsc",
    "read_lsst",
    "read_plain",
    "read_psf",
    "read_source",
    "sky_variance",
    "translate_mask",
)


def read_coadd(path: Path, *, zero_point: float | None = None) -> OpticalCoadd:
    """Read a published coadd from a FITS file of either type, with the available planes.

    Parameters
    ----------
    path
        The file: an HSC calexp, or an image with or without extensions MASK and VARIANCE.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers.

    Raises
    ------
    OpticalError
        If the file cannot be read, or has no image or no usable zero point.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2]
            # Files without names, three images in the order of HSC's: read as such, as kind hsc is.
            whole = set(PLANES) == set(named_planes(hdus)) or (not named_planes(hdus) and len(images) == len(PLANES))
    except OSError as error:
        raise OpticalError(f"{path}: {error}") from error
    return (read_hsc if whole else read_plain)(path, zero_point=zero_point)


def read_source(source: dict[str, str | float | None], data_id: dict[str, int | str]) -> OpticalCoadd:
    """Read the published coadd named by a dataset of the pipeline.

    Parameters
    ----------
    source
        kind (hsc, fits or lsst), path, zero_point; for lsst, path is the repository and collection is needed.
    data_id
        skymap, tract, patch and band.

    Raises
    ------
    OpticalError
        If the kind is unknown, or the file cannot be used.
    """
    kind, path = source["kind"], Path(str(source["path"]))
    if kind == "hsc":
        return read_hsc(path, zero_point=source.get("zero_point"))
    if kind == "fits":
        return read_plain(path, zero_point=source.get("zero_point"))
    if kind == "lsst":
        return read_lsst(Butler.from_config(str(path), collections=source["collection"]), data_id)
    raise OpticalError(f"{path}: its kind is {kind!r}; known are hsc, lsst and fits.")
