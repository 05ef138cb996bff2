"""Published coadds of the LSST pipelines: of cells (DP2) from a Butler or a file, and exposures (DP1) from their files.

A coadd of cells is read with lsst.images. An exposure in the format of afw (``ExposureF``) is read as a FITS file with
image, mask and variance: its PSF and aperture corrections are stored in a form that only the compiled stack can read,
so that its PSF has to come from its stars.
"""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from lsst.daf.butler import Butler
from lsst.images import Box, Mask, MaskedImage
from lsst.images.cells import CellCoadd
from lsst.images.serialization import ArchiveReadError, read_archive
from pydantic import ValidationError

from dmu0.published.cells import PublishedCells, moved_provenance
from dmu0.published.fits_files import read_hsc
from dmu0.published.masks import THEIR_NAMES
from dmu0.published.planes import OpticalCoadd, OpticalError, celestial_wcs, with_agreed_gaps
from obs_vista.bands import plain_band
from obs_vista.masks import BIT, from_mask

PSF_CORRECTION = "base_PsfFlux_instFlux"
"""The aperture correction of LSST's PSF fluxes: total flux over the flux fitted with the PSF, per cell."""

EXPOSURES = ("ExposureF", "Exposure", "ExposureD")
"""Storage classes of afw, which the pip-installable packages of LSST cannot read."""


def read_lsst(butler: Butler, data_id: dict[str, int | str]) -> OpticalCoadd:
    """Read a ``deep_coadd`` of the LSST pipelines from a Butler.

    Parameters
    ----------
    butler
        Butler of the repository, with the collection to search.
    data_id
        Data id: skymap, tract, patch and band.

    Raises
    ------
    OpticalError
        If there is no such coadd, or its unit is not a flux density.
    """
    plain = data_id | {"band": plain_band(str(data_id["band"]))}
    ref = butler.find_dataset("deep_coadd", plain)
    if ref is None:
        raise OpticalError(f"the repository has no deep_coadd {plain} in its collection.")
    if ref.datasetType.storageClass_name in EXPOSURES:
        return read_exposure(Path(butler.getURI(ref).ospath))
    return from_lsst(butler.get(ref), f"deep_coadd {data_id}")


_BLOCK = 2880
"""Bytes of a block of a FITS file."""


def is_json(path: Path) -> bool:
    """Whether a file is JSON and not FITS, by its first byte: files that are not complete have no name yet."""
    with path.open("rb") as stream:
        return stream.read(64).lstrip()[:1] == b"{"


def is_cell_coadd(path: Path) -> bool:
    """Whether a file is one of lsst.images, in JSON or in FITS with a tree in JSON, by its content."""
    if is_json(path):
        return True
    # The cards are looked at as they are: a damaged header is a matter of what reads the file next.
    with path.open("rb") as stream:
        while len(block := stream.read(_BLOCK)) == _BLOCK:
            keywords = {block[start : start + 8].rstrip() for start in range(0, _BLOCK, 80)}
            if b"JSONADDR" in keywords:
                return True
            if b"END" in keywords:
                return False
    return False


def read_cells(path: Path, *, box: Box | None = None) -> OpticalCoadd:
    """Read a coadd of cells from a FITS or JSON file of lsst.images: that of a whole patch, or a cutout.

    Parameters
    ----------
    path
        The file.
    box
        Pixels of the file to read, counted from its first; None: all.

    Raises
    ------
    OpticalError
        If it cannot be read, is not a coadd of cells, or is not in a unit of flux density.
    """
    try:
        json = is_json(path)
        if box is None or json:
            coadd = read_archive(str(path), CellCoadd, format="json" if json else "fits")
            coadd = coadd if box is None else coadd[_absolute(box, coadd.bbox.x.start, coadd.bbox.y.start)]
        else:
            header = fits.getheader(path, "IMAGE")
            place = _absolute(box, round(header["CRVAL1A"]), round(header["CRVAL2A"]))
            coadd = read_archive(str(path), CellCoadd, format="fits", bbox=place)
    except (OSError, ValueError, TypeError, KeyError, ArchiveReadError, ValidationError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OpticalError(f"{path}: it cannot be read as a coadd of cells of lsst.images: {said}") from error
    return from_lsst(coadd, str(path), corner=(0, 0) if box is None else (box.x.start, box.y.start))


def _absolute(box: Box, x0: int, y0: int) -> Box:
    return Box.factory[box.y.start + y0 : box.y.stop + y0, box.x.start + x0 : box.x.stop + x0]


def read_exposure(path: Path, *, zero_point: float | None = None, box: Box | None = None) -> OpticalCoadd:
    """Read an ``ExposureF`` of afw from its FITS file: image, mask with ``MP_`` planes, variance, BUNIT and WCS.

    Parameters and errors are those of `dmu0.published.fits_files.read_hsc`.
    """
    coadd = read_hsc(path, zero_point=zero_point, box=box)
    left = "PSF, aperture corrections and list of inputs, which only the LSST stack can read"
    return coadd.scaled(1.0, not_used=left)


def from_lsst(coadd: MaskedImage, name: str, *, corner: tuple[int, int] = (0, 0)) -> OpticalCoadd:
    """The published coadd in an image of lsst.images, with all that a coadd of cells brings.

    Parameters
    ----------
    coadd
        A `CellCoadd`, or an image with mask and variance.
    name
        What to call it in an error.
    corner
        Pixel (x, y) of its file that is its first.

    Raises
    ------
    OpticalError
        If its unit is not a flux density.
    """
    try:
        scale = np.float32(u.Quantity(1, coadd.unit).to_value(u.nJy))
    except (u.UnitConversionError, TypeError) as error:
        raise OpticalError(f"{name}: its unit is {coadd.unit}, not nJy.") from error
    known, left_out = _planes(coadd.mask)
    rest: dict = {"origin": (coadd.bbox.x.start, coadd.bbox.y.start), "left_out": left_out, "corner": corner}
    header = coadd.fits_wcs.to_header() if coadd.fits_wcs is not None else fits.Header()
    wcs = celestial_wcs(header)
    if wcs is not None:
        wcs.wcs.crpix = wcs.wcs.crpix + np.array(corner)
        wcs.wcs.set()
    if isinstance(coadd, CellCoadd):
        rejected = coadd.mask_fractions.get("rejected")
        rest |= {
            "cells": _cells(coadd),
            "noise": tuple(np.asarray(plane.array, np.float32) * scale for plane in coadd.noise_realizations),
            "rejected": None if rejected is None else np.asarray(rejected.array, np.float32),
            "notes": _notes(coadd),
        }
    image, variance = coadd.image.array * scale, coadd.variance.array * scale**2
    return with_agreed_gaps(image, variance, known, wcs=wcs, **rest)


def _planes(mask: Mask) -> tuple[np.ndarray, tuple[str, ...]]:
    """The mask with our bits, and the names of planes that have no meaning here."""
    known = from_mask(mask)
    for theirs, ours in THEIR_NAMES.items():
        if theirs in mask.schema.names:
            known[mask.get(theirs)] |= BIT[ours]
    return known, tuple(name for name in mask.schema.names if THEIR_NAMES.get(name, name) not in BIT)


def _cells(coadd: CellCoadd) -> PublishedCells:
    """The cells of a coadd."""
    bounds = coadd.bounds
    start, shape = bounds.subgrid_start, (bounds.subgrid_size.i, bounds.subgrid_size.j)
    stamps, light = np.full((*shape, *coadd.psf.kernel_bbox.shape), np.nan), np.full(shape, np.nan)
    correction = coadd.aperture_corrections.get(PSF_CORRECTION)
    for cell in bounds.cell_indices():
        place = (cell.i - start.i, cell.j - start.j)
        stamps[place] = coadd.psf[cell].array
        if correction is not None and correction.bounds.contains_cell(cell):
            light[place] = 1 / correction.value_in_cell(cell)
    try:
        provenance = moved_provenance(coadd.provenance, (-start.i, -start.j), shape)
    except AttributeError:  # what CellCoadd raises if it has none
        provenance = None
    return PublishedCells(
        origin=(bounds.bbox.x.start, bounds.bbox.y.start),
        size=bounds.grid.cell_shape.x,
        stamps=stamps,
        light=light,
        provenance=provenance,
    )


def _notes(coadd: CellCoadd) -> dict[str, str | int | float]:
    """What of a coadd is used, and what is not, for the metadata."""
    has = PSF_CORRECTION in coadd.aperture_corrections
    unused = [] if not coadd.backgrounds else [f"models of backgrounds {', '.join(coadd.backgrounds)}"]
    others = len(coadd.aperture_corrections) - has
    if others:
        unused.append(f"aperture corrections of {others} kinds of flux that are not measured here")
    unused += [f"mask fraction {name}" for name in coadd.mask_fractions if name != "rejected"]
    if len(coadd.noise_realizations) > 1:
        unused.append(f"noise realizations after the first of {len(coadd.noise_realizations)}")
    applied = f"{PSF_CORRECTION} per cell" if has else f"none, for the coadd has no {PSF_CORRECTION}"
    return {"aperture_correction": applied, "not_used": "; ".join(unused)}
