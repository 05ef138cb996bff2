"""Types of the files of a folder: VISTA stacks, coadds with PSFs and weight maps, reference catalogues."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from dmu0.draft.filter_names import band_of
from dmu0.files.catalogue_files import READ_ERRORS, WARNING_FILTERS, CatalogueError, read_catalogue_file
from dmu0.published.plane_names import OTHER_PLANE, VARIANCE, WEIGHT
from dmu0.surveys.first_look import FirstLook, NotAnImageError, look_at
from obs_vista.cards import card_value
from obs_vista.image_planes import is_plane, plane_pixels

MOST_PSF = 128
"""Side in pixels that separates PSF stamps from larger coadds."""

MOST_DETECTOR = 2600
"""Largest side in pixels of a stack of one VIRCAM detector: 2048 plus jitter. Larger images are tiles."""

_IMAGE_NAME = re.compile(r"\.fits?(\.fz|\.gz)?$", re.IGNORECASE)
_TABLE_NAME = re.compile(r"\.(fits?(\.gz)?|parquet|csv|ecsv|vot|xml|votable|tbl|tsv|txt)$", re.IGNORECASE)
_PSF = re.compile(r"psf", re.IGNORECASE)

# Columns that only the catalogue of that name has.
_SIGNATURES = (
    ("gaia", ({"source_id", "phot_g_mean_mag"}, {"Source", "Gmag"})),
    ("ps1", ({"gKmag", "gmag"}, {"gMeanPSFMag"}, {"objID", "gmag"})),
    ("twomass", ({"Jmag", "Hmag", "Qflg"}, {"Jmag", "Hmag", "Kmag"}, {"j_m", "h_m", "k_m"})),
    ("vista", ({"sourceID", "jAperMag3"}, {"sourceID", "ksAperMag3"})),
)


@dataclass
class Contents:
    """The files of a folder by type.

    Attributes
    ----------
    folder
        The folder.
    stacks
        Band -> pawprint stacks of VIRCAM detectors.
    confidence
        Suffix of the names of confidence maps; None if there are none.
    coadds
        Band -> coadds.
    weights, variances, psfs
        Band -> weight maps, variance maps and PSF stamps of coadds.
    catalogues
        Key of the section ``references`` -> files.
    left_out
        File that is not used -> reason.
    sources
        Band -> source of the information.
    """

    folder: Path
    stacks: dict[str, list[FirstLook]] = field(default_factory=dict)
    confidence: str | None = None
    coadds: dict[str, list[FirstLook]] = field(default_factory=dict)
    weights: dict[str, list[Path]] = field(default_factory=dict)
    variances: dict[str, list[Path]] = field(default_factory=dict)
    psfs: dict[str, list[Path]] = field(default_factory=dict)
    catalogues: dict[str, list[Path]] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


def sort_folder(folder: Path) -> Contents:
    """Determine the types of the files in a folder and its subfolders from their headers and names.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder.")
    found = Contents(folder)
    looks, tables = [], []
    for path in _files(folder):
        try:
            looks.append(look_at(path))
        except NotAnImageError as error:
            if "no two-dimensional image" in str(error) or not _IMAGE_NAME.search(path.name):
                tables.append(path)
            else:
                found.left_out[path] = str(error)
    _sort_images(looks, found)
    for band, coadds in found.coadds.items():
        found.coadds[band] = _without_maps(coadds, band, found)
    for path in tables:
        _sort_table(path, found)
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Files that may be images or tables, sorted, except hidden files and those in quarantine and truth."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part in ("quarantine", "truth", "runs") for part in parts) or path.is_dir():
            continue
        if _TABLE_NAME.search(path.name) or _IMAGE_NAME.search(path.name):
            yield path


def _words(path: Path) -> list[str]:
    return re.split(r"[_\-.\s]+", _IMAGE_NAME.sub("", path.name))


def _is_called(path: Path, pattern: re.Pattern[str]) -> bool:
    """Whether a file name contains one of some words."""
    return any(pattern.fullmatch(word) for word in _words(path))


def _sort_images(looks: list[FirstLook], found: Contents) -> None:
    for look in looks:
        if _is_called(look.path, _PSF) and max(look.shape) <= MOST_PSF:
            _by_band(found, found.psfs, look, look.path)
        elif _is_called(look.path, WEIGHT) and card_value(look.header, "BSOFTEN") is not None:
            _by_band(found, found.variances, look, look.path)  # Pan-STARRS calls its variances wt
        elif _is_called(look.path, WEIGHT):
            suffix = _suffix_of_confidence(look, looks)
            if suffix is None:
                _by_band(found, found.weights, look, look.path)
            elif found.confidence in (None, suffix):
                found.confidence = suffix
            else:
                found.left_out[look.path] = f"confidence maps of others end with {found.confidence!r}"
        elif _is_called(look.path, VARIANCE):
            _by_band(found, found.variances, look, look.path)
        elif _is_called(look.path, OTHER_PLANE):
            found.left_out[look.path] = (
                "a map beside an image by its name; weights and variances can be used, and errors if squared"
            )
        elif look.detectors and max(look.shape) <= MOST_DETECTOR:
            _sort_stack(look, found)
        elif min(look.shape) > MOST_PSF:
            _by_band(found, found.coadds, look, look)
        else:
            found.left_out[look.path] = f"an image of {look.shape[1]} x {look.shape[0]} px, too small for a coadd"


def _without_maps(coadds: list[FirstLook], band: str, found: Contents) -> list[FirstLook]:
    """The coadds of a band, without maps beside them whose names do not tell: on the same pixels, and never negative.

    The sky of an image scatters around zero unless it was not subtracted; then no file is taken for a map.
    """
    kept = []
    for look in coadds:
        images = [other for other in coadds if other is not look and _has_pixels_of(other, look)]
        if images and not _is_negative_somewhere(look) and any(map(_is_negative_somewhere, images)):
            found.left_out[look.path] = (
                f"has the pixels of {images[0].path.name}, and none is negative: a map beside it? If it is its weight "
                f"map, add the key weights: {{{band}: name}}; if its variance, variances"
            )
        else:
            kept.append(look)
    return kept


def _has_pixels_of(one: FirstLook, other: FirstLook) -> bool:
    """Whether two images have the same pixels on the sky."""
    if one.wcs is None or other.wcs is None or one.shape != other.shape:
        return False
    ny, nx = one.shape
    first, second = (np.array(look.projection.all_pix2world([0, nx], [0, ny], 0)) for look in (one, other))
    return bool(np.allclose(first, second, rtol=0, atol=1e-7))


def _is_negative_somewhere(look: FirstLook) -> bool:
    """Whether pixels of some rows in the middle of an image are negative."""
    with WARNING_FILTERS, fits.open(look.path) as hdus:
        hdu = next(hdu for hdu in hdus if is_plane(hdu))
        middle = look.shape[0] // 2
        pixels = plane_pixels(hdu, slice(middle, middle + 16), slice(0, look.shape[1]))
    return bool((pixels < 0).any())


def _suffix_of_confidence(look: FirstLook, looks: list[FirstLook]) -> str | None:
    """The suffix of the name of a confidence map relative to its VIRCAM stack; None if there is no such stack."""
    stem, ending = _split(look.path)
    for other in looks:
        name, kind = _split(other.path)
        beside = other.path.parent == look.path.parent and kind == ending
        if beside and other.detectors and stem != name and stem.startswith(name):
            return stem.removeprefix(name)
    return None


def _split(path: Path) -> tuple[str, str]:
    """Name of a file without its ending, and its ending."""
    match = _IMAGE_NAME.search(path.name)
    return (path.name[: match.start()], match[0]) if match else (path.stem, path.suffix)


def _sort_stack(look: FirstLook, found: Contents) -> None:
    band, source = band_of(look)
    if band is None:
        found.left_out[look.path] = "no card names its filter"
        return
    found.stacks.setdefault(band, []).append(look)
    found.sources.setdefault(band, source)


def _by_band(found: Contents, target: dict, look: FirstLook, item: FirstLook | Path) -> None:
    """Add a file to those of its band."""
    band, source = band_of(look)
    if band is None:
        found.left_out[look.path] = "neither a card nor its name tells its filter"
        return
    target.setdefault(band, []).append(item)
    if target is found.coadds:
        found.sources.setdefault(band, source)


def _sort_table(path: Path, found: Contents) -> None:
    try:
        columns = _column_names(path)
    except (CatalogueError, *READ_ERRORS) as error:
        found.left_out[path] = f"neither an image nor a table: {error}"
        return
    for key, signatures in _SIGNATURES:
        if any(signature <= columns for signature in signatures):
            found.catalogues.setdefault(key, []).append(path)
            return
    found.left_out[path] = "a table that is none of PS1, 2MASS, Gaia and the VISTA Science Archive"


def _column_names(path: Path) -> set[str]:
    """The columns of a table; only the header is read for FITS."""
    if not _IMAGE_NAME.search(path.name):
        return set(read_catalogue_file(path).colnames)
    with WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        with fits.open(path) as hdus:
            return {
                name for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) for name in hdu.columns.names
            }
