"""Published coadds of HSC and LSST and plain FITS images: one reader and one format for all stages."""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits
from astropy.wcs import WCS
from lsst.daf.butler import Butler
from lsst.images import Box

from dmu0.files.coadd_files import coadd_files
from dmu0.published.cells import PublishedCells
from dmu0.published.fits_files import PlainFile, read_hsc, read_plain
from dmu0.published.fits_files import read_geometry as read_fits_geometry
from dmu0.published.lsst import from_lsst, is_cell_coadd, is_json, read_cells, read_exposure, read_lsst
from dmu0.published.masks import translate_mask
from dmu0.published.noise import sky_variance
from dmu0.published.on_patch import is_on_grid, on_patch
from dmu0.published.plane_names import PLANES, named_planes
from dmu0.published.planes import OpticalCoadd, OpticalError
from dmu0.published.psf import PsfStamp, read_psf
from dmu0.published.zero_point import CasuScale
from dmu0.surveys import Survey, Vista
from obs_vista.cards import card_text
from obs_vista.image_planes import is_plane

__all__ = (
    "OpticalCoadd",
    "OpticalError",
    "PlainFile",
    "PsfStamp",
    "PublishedCells",
    "from_lsst",
    "is_on_grid",
    "on_patch",
    "plain_file",
    "read_cells",
    "read_coadd",
    "read_exposure",
    "read_geometry",
    "read_hsc",
    "read_lsst",
    "read_plain",
    "read_psf",
    "read_source",
    "sky_variance",
    "survey_source",
    "translate_mask",
)


def read_coadd(path: Path, *, zero_point: float | None = None, file: PlainFile | None = None) -> OpticalCoadd:
    """Read a published coadd from a file of any type, with all that it brings.

    Parameters
    ----------
    path
        The file: a coadd of cells of lsst.images in FITS or JSON, an HSC calexp or another exposure of afw, or a FITS
        image with or without extensions MASK and VARIANCE.
    zero_point
        AB magnitude of one count by the survey file; None: from the headers.
    file
        More of what the survey says of it; ``zero_point`` is then that of ``file``.

    Raises
    ------
    OpticalError
        If the file cannot be read, or has no image or no usable zero point.
    """
    file = PlainFile(path, zero_point) if file is None else file
    return _offset(_read_any(path, file), file.ab_offset)


def _read_any(path: Path, file: PlainFile) -> OpticalCoadd:
    try:
        if is_cell_coadd(path):
            return read_cells(path)
        with fits.open(path, memmap=False) as hdus:
            # Files without names, three images in the order of HSC's: read as such, as kind hsc is.
            whole = set(PLANES) == set(named_planes(hdus)) or _has_three_nameless(hdus)
    except OSError as error:
        raise OpticalError(f"{path}: {error}") from error
    if whole and file.weight is None and file.variance is None:
        return read_hsc(path, zero_point=file.zero_point)
    return read_plain(path, file=file)


def _has_three_nameless(hdus: fits.HDUList) -> bool:
    """Whether all images of a file are three extensions without names, after a primary HDU that is none."""
    images = [hdu for hdu in hdus if is_plane(hdu)]
    named = any(card_text(hdu.header, key) for hdu in images for key in ("EXTNAME", "EXTTYPE"))
    return len(images) == len(PLANES) and not named and not is_plane(hdus[0])


def _offset(coadd: OpticalCoadd, magnitudes: float) -> OpticalCoadd:
    """A coadd with the offset of its data release applied, in mag to be subtracted from its magnitudes."""
    return coadd.scaled(10 ** (0.4 * magnitudes), ab_offset=magnitudes) if magnitudes else coadd


def read_geometry(path: Path) -> tuple[WCS | None, tuple[int, int]]:
    """Projection of the image of a file into ICRS, None if it has none, and its shape (ny, nx).

    Of FITS files no pixel is read.

    Raises
    ------
    OpticalError
        If there is no image, or its projection makes no sense.
    """
    if not is_json(path):
        return read_fits_geometry(path)
    coadd = read_cells(path)
    return coadd.wcs, (coadd.image.shape[0], coadd.image.shape[1])


Source = dict[str, str | float | None]
"""Names a published coadd: kind (hsc, fits or lsst), path, zero_point and, as far as there are any, weight_path,
variance_path, ab_offset, and band and magnitudes for `CasuScale`; for lsst with a collection, path is a repository."""


def survey_source(survey: Survey, path: Path, band: str) -> Source:
    """What a survey says of one of its published coadds.

    Parameters
    ----------
    survey
        The survey.
    path
        The file, one of `dmu0.files.coadd_files.coadd_files`.
    band
        Label of its band.
    """
    optical = survey.optical_bands.get(band)
    half = optical or survey.vista
    source: Source = {"kind": optical.kind if optical else "fits", "path": str(path), "zero_point": None}
    if half is None:
        return source
    source["zero_point"] = half.zero_points.get(band)
    if optical is not None and band in optical.ab_offsets:
        source["ab_offset"] = optical.ab_offsets[band]
    if isinstance(half, Vista):
        source |= {"band": band, "magnitudes": half.magnitudes}
    if half.weights or half.variances:
        for found in coadd_files(survey, half):
            if found.band == band and found.path == path:
                maps = {"weight_path": found.weight, "variance_path": found.variance}
                source |= {name: str(value) for name, value in maps.items() if value is not None}
    return source


def plain_file(source: Source) -> PlainFile:
    """The file of a source, as `read_plain` takes it."""
    weight, variance = (source.get(name) for name in ("weight_path", "variance_path"))
    magnitudes = source.get("magnitudes")
    return PlainFile(
        path=Path(str(source["path"])),
        zero_point=source.get("zero_point"),
        weight=None if weight is None else Path(str(weight)),
        variance=None if variance is None else Path(str(variance)),
        casu=None if magnitudes is None else CasuScale(str(source["band"]), str(magnitudes)),
        ab_offset=float(source.get("ab_offset") or 0),
    )


def read_source(source: Source, data_id: dict[str, int | str], *, box: Box | None = None) -> OpticalCoadd:
    """Read the published coadd named by a dataset of the pipeline.

    Parameters
    ----------
    source
        The coadd.
    data_id
        skymap, tract, patch and band.
    box
        Pixels of its file to read; None: all. A coadd in a Butler repository is always read whole.

    Raises
    ------
    OpticalError
        If the kind is unknown, or the file cannot be used.
    """
    return _offset(_read_kind(source, data_id, box), float(source.get("ab_offset") or 0))


def _read_kind(source: Source, data_id: dict[str, int | str], box: Box | None) -> OpticalCoadd:
    kind, path = source["kind"], Path(str(source["path"]))
    if kind == "hsc":
        return read_hsc(path, zero_point=source.get("zero_point"), box=box)
    if kind == "fits":
        return read_plain(path, file=plain_file(source), box=box)
    if kind == "lsst" and source.get("collection") is None:
        if is_cell_coadd(path):
            return read_cells(path, box=box)
        return read_exposure(path, zero_point=plain_file(source).zero_point, box=box)
    if kind == "lsst":
        return read_lsst(Butler.from_config(str(path), collections=source["collection"]), data_id)
    raise OpticalError(f"{path}: its kind is {kind!r}; known are hsc, lsst and fits.")
