"""Pieces of the coadds around a position, across the edges of patches, and the colours and fluxes of one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from lsst.daf.butler import Butler, DatasetNotFoundError, MissingCollectionError, MissingDatasetTypeError

from dmu0.files.atomic import written_whole
from dmu0.files.metadata import into_header
from dmu0.sky.skymap import Patch, survey_patches
from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from obs_vista.bands import get_band


@dataclass(frozen=True)
class Cutout:
    """A piece of the sky in one band.

    Attributes
    ----------
    band
        Label of the band.
    image
        Pixels [y, x] in nJy; NaN where there are no data.
    variance
        Variance of the pixels, nJy^2.
    wcs
        World coordinates of the pixels.
    """

    band: str
    image: np.ndarray
    variance: np.ndarray
    wcs: WCS

    @property
    def covered(self) -> float:
        """Fraction of the pixels that have data."""
        return float(np.isfinite(self.image).mean())


def make_cutouts(survey: Survey, bands: Sequence[str], *, ra: float, dec: float, size: float) -> list[Cutout]:
    """Pieces of the coadds of several bands, on the same pixels.

    Parameters
    ----------
    survey
        The survey; its Butler repository is that of dmu4.
    bands
        Labels of the bands.
    ra, dec
        Centre, ICRS, deg.
    size
        Length of a side, arcsec.

    Raises
    ------
    ValueError
        If the position is in no patch of the survey; the message gives the nearest one.
    """
    patch, x, y = _home(survey, ra, dec)
    half = max(round(size / 2 / (abs(patch.tract.wcs.wcs.cd[1, 1]) * 3600)), 1)
    x0, y0 = round(x) - half, round(y) - half
    side = 2 * half + 1
    wcs = patch.tract.wcs.deepcopy()
    wcs.wcs.crpix -= [x0, y0]
    around = [
        other
        for other in survey_patches(survey)
        if other.tract.id == patch.tract.id and _overlap(other, x0, y0, side) is not None
    ]
    with open_butler(survey) as butler:
        planes = {
            band: [_fill(butler, around, band, name, x0=x0, y0=y0, side=side) for name in ("image", "variance")]
            for band in bands
        }
    return [Cutout(band, image, variance, wcs) for band, (image, variance) in planes.items()]


def nearest_patch(survey: Survey, ra: float, dec: float) -> Patch:
    """The patch whose middle is nearest to a position (ICRS, deg) inside it.

    Raises
    ------
    ValueError
        If the position is in no patch of the survey; the message gives the nearest one.
    """
    return _home(survey, ra, dec)[0]


def _home(survey: Survey, ra: float, dec: float) -> tuple[Patch, float, float]:
    """The patch whose middle is nearest to a position inside it, and the pixel of the position."""
    places = []
    for patch in survey_patches(survey):
        x, y = (float(value) for value in patch.tract.wcs.wcs_world2pix(ra, dec, 0))
        box = patch.outer_bbox
        off_x, off_y = x - (box.x.start + box.x.stop) / 2, y - (box.y.start + box.y.stop) / 2
        inside = abs(off_x) <= box.x.size / 2 and abs(off_y) <= box.y.size / 2
        places.append((not inside, float(np.hypot(off_x, off_y)), patch.tract.id, patch.id, patch, x, y))
    outside, away, tract, number, patch, x, y = min(places, key=lambda place: place[:4])
    if outside or not np.isfinite(away):
        raise ValueError(
            f"RA {ra:.5f}, Dec {dec:.5f} is in no patch of {survey.name}; the nearest is {number} of tract {tract}."
        )
    return patch, x, y


def _overlap(patch: Patch, x0: int, y0: int, side: int) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns of the cutout, and of the patch, that both have; None if there are none."""
    box = patch.outer_bbox
    left, right = max(x0, box.x.start), min(x0 + side, box.x.stop)
    bottom, top = max(y0, box.y.start), min(y0 + side, box.y.stop)
    if left >= right or bottom >= top:
        return None
    here = slice(bottom - y0, top - y0), slice(left - x0, right - x0)
    there = slice(bottom - box.y.start, top - box.y.start), slice(left - box.x.start, right - box.x.start)
    return *here, *there


def _fill(
    butler: Butler, patches: Sequence[Patch], band: str, plane: str, *, x0: int, y0: int, side: int
) -> np.ndarray:
    """A plane of the cutout from the patches around; the first one that has data counts."""
    canvas = np.full((side, side), np.nan, np.float32)
    for patch in patches:
        try:
            whole = butler.get(f"deep_coadd.{plane}", tract=patch.tract.id, patch=patch.id, band=band)
        except (DatasetNotFoundError, MissingDatasetTypeError, MissingCollectionError):
            continue
        shared = _overlap(patch, x0, y0, side)
        if shared is None:
            continue
        rows, columns, from_rows, from_columns = shared
        piece = np.asarray(whole.array[from_rows, from_columns], np.float32)
        target = canvas[rows, columns]
        canvas[rows, columns] = np.where(np.isfinite(target), target, piece)
    return canvas


def write_cutout(cutout: Cutout, path: Path, words: dict[str, str]) -> Path:
    """Write a cutout as FITS with the extensions IMAGE and VARIANCE, world coordinates and provenance."""
    header = cutout.wcs.to_header()
    header["BAND"] = cutout.band
    hdus = [fits.PrimaryHDU()]
    for name, plane, unit in (("IMAGE", cutout.image, "nJy"), ("VARIANCE", cutout.variance, "nJy2")):
        hdu = fits.ImageHDU(plane, header, name=name)
        hdu.header["BUNIT"] = unit
        hdus.append(hdu)
    into_header(hdus[0].header, words)
    for hdu in hdus:
        hdu.add_checksum(when="checksum of this HDU")
    with written_whole(path) as part:
        fits.HDUList(hdus).writeto(part)
    return path


def energy_distribution(row: Table.Row, bands: Sequence[str], flux: str = "gaap1p0Flux") -> Table:
    """The fluxes of an object against wavelength.

    Parameters
    ----------
    row
        Row of a catalogue with ``{band}_<flux>`` and their errors and flags.
    bands
        Labels of the bands.
    flux
        Which flux.

    Returns
    -------
    Table
        Band, wavelength in nm, flux and error in nJy, whether it is flagged; in order of wavelength.
    """
    rows = []
    for band in bands:
        value, error = (row[f"{band}_{flux}{suffix}"] for suffix in ("", "Err"))
        flagged = bool(row[f"{band}_{flux}_flag"])
        values = [np.nan if np.ma.is_masked(number) else float(number) for number in (value, error)]
        rows.append((band, get_band(band).wavelength, *values, flagged))
    table = Table(rows=rows, names=("band", "wavelength", "flux", "error", "flagged"))
    for name, unit in (("wavelength", "nm"), ("flux", "nJy"), ("error", "nJy")):
        table[name].unit = unit
    table.sort("wavelength")
    return table
