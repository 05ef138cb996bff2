"""The colour picture of a tract: a mosaic of the coadds of its patches in three bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.visualization import make_lupton_rgb
from lsst.daf.butler import Butler, DatasetNotFoundError, MissingCollectionError, MissingDatasetTypeError
from PIL import Image

from dmu0.files.atomic import written_whole
from dmu0.robust_statistics import robust_scatter
from dmu0.sky.skymap import survey_patches
from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from dmu5.seeing import seeing_of, to_common_seeing

PICTURE_BANDS = (("vk", "vh", "vj", "y", "z"), ("i", "r", "z", "vz", "vy"), ("g", "u", "r", "vz", "vy"))
"""Bands to show as red, green and blue: the first available one of each."""

HOLE = (46, 52, 64)
"""Colour of pixels without data: lighter than the dark sky, and bluer than grey."""


def choose_bands(have: Sequence[str]) -> tuple[str, str, str]:
    """Red, green and blue of the picture: Ks, i and g, or the nearest available; a single band is used three times.

    Raises
    ------
    ValueError
        If there is no band.
    """
    if not have:
        raise ValueError("There is no band to make a picture of.")
    red, green, blue = (next((band for band in wanted if band in have), have[-1]) for wanted in PICTURE_BANDS)
    return red, green, blue


def read_coadd_image(butler: Butler, *, tract: int, patch: int, band: str) -> np.ndarray | None:
    """The pixels [y, x] of a coadd of the pipeline in nJy; None if it does not exist."""
    try:
        image = butler.get("deep_coadd.image", tract=tract, patch=patch, band=band)
    except (DatasetNotFoundError, MissingDatasetTypeError, MissingCollectionError):
        return None
    return np.asarray(image.array, np.float32)


def bands_with_coadds(survey: Survey, *, tract: int) -> list[str]:
    """The bands of a survey that have a coadd of any patch of a tract."""
    where = {"skymap": survey.sky_map.name, "tract": tract}
    with open_butler(survey) as butler:
        try:
            refs = butler.query_datasets("deep_coadd", data_id=where, explain=False, limit=None)
        except (MissingCollectionError, MissingDatasetTypeError):
            return []
    have = {str(ref.dataId["band"]) for ref in refs}
    return [band for band in survey.bands if band in have]


class TractBox(NamedTuple):
    """The part of a tract that its patches own, in tract pixels, half open.

    Attributes
    ----------
    x0, y0
        First column and row.
    x1, y1
        Column and row after the last.
    """

    x0: int
    y0: int
    x1: int
    y1: int


def tract_box(survey: Survey, *, tract: int) -> TractBox:
    """The smallest box around the inner boxes of the patches of a tract."""
    inner = [patch.inner_bbox for patch in survey_patches(survey) if patch.tract.id == tract]
    return TractBox(
        *(min(getattr(box, axis).start for box in inner) for axis in "xy"),
        *(max(getattr(box, axis).stop for box in inner) for axis in "xy"),
    )


def mosaic(survey: Survey, band: str, *, tract: int) -> np.ndarray | None:
    """A mosaic of the inner boxes of all patches of a tract in one band, in nJy; None if there is no coadd.

    Pixels without data are NaN.
    """
    patches = [patch for patch in survey_patches(survey) if patch.tract.id == tract]
    x0, y0, x1, y1 = tract_box(survey, tract=tract)
    canvas = np.full((y1 - y0, x1 - x0), np.nan, np.float32)
    found = False
    with open_butler(survey) as butler:
        for patch in patches:
            image = read_coadd_image(butler, tract=tract, patch=patch.id, band=band)
            if image is None:
                continue
            found = True
            inner, outer = patch.inner_bbox, patch.outer_bbox
            part = image[
                inner.y.start - outer.y.start : inner.y.stop - outer.y.start,
                inner.x.start - outer.x.start : inner.x.stop - outer.x.start,
            ]
            canvas[inner.y.start - y0 : inner.y.stop - y0, inner.x.start - x0 : inner.x.stop - x0] = part
    return canvas if found else None


def colour_picture(red: np.ndarray, green: np.ndarray, blue: np.ndarray, *, size: int = 1600) -> np.ndarray:
    """An RGB picture [y, x, 3] of three images in nJy, north up (Lupton et al. 2004, PASP 116, 133).

    Bands are scaled so that the median colour of bright pixels is white. Pixels without data in all bands have the
    colour `HOLE`; a band without data there adds nothing to the others.

    Parameters
    ----------
    red, green, blue
        Images [y, x] in nJy on the same grid.
    size
        Longest side of the picture in pixels; larger images are binned.
    """
    planes = [_shrink(plane, size) for plane in (red, green, blue)]
    clean, noises = [], []
    for plane in planes:
        good = np.isfinite(plane)
        middle = float(np.median(plane[good])) if good.any() else 0.0
        noises.append(max(robust_scatter(plane[good], about=middle) if good.any() else 1.0, 1e-30))
        clean.append(np.where(good, plane - middle, 0))
    bright = np.logical_and.reduce([plane > 10 * noise for plane, noise in zip(clean, noises, strict=True)])
    typical = [
        float(np.median(plane[bright])) if bright.any() else noise for plane, noise in zip(clean, noises, strict=True)
    ]
    scaled = [plane / level for plane, level in zip(clean, typical, strict=True)]
    grain = float(np.median([noise / level for noise, level in zip(noises, typical, strict=True)]))
    shown = make_lupton_rgb(*scaled, minimum=-0.5 * grain, stretch=15 * grain, Q=8)
    shown[~np.logical_or.reduce([np.isfinite(plane) for plane in planes])] = HOLE
    return shown[::-1]


def binning(shape: tuple[int, ...], size: int) -> int:
    """Number of pixels of an image that are averaged along each axis for its longest side to be at most a size."""
    return -(-max(shape) // size)


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    step = binning(image.shape, size)
    if step == 1:
        return image
    ny, nx = (length // step * step for length in image.shape)
    blocks = image[:ny, :nx].reshape(ny // step, step, nx // step, step)
    count = np.isfinite(blocks).sum(axis=(1, 3))
    total = np.nansum(blocks, axis=(1, 3))
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


class Picture(NamedTuple):
    """A picture of a tract on disk.

    Attributes
    ----------
    path
        The file, JPEG.
    tract
        Number of the tract.
    bands
        Bands shown as red, green and blue.
    binning
        Number of image pixels along the side of a pixel of the picture.
    width, height
        Size of the picture in its pixels.
    """

    path: Path
    tract: int
    bands: tuple[str, str, str]
    binning: int
    width: int
    height: int


def matched_mosaics(survey: Survey, bands: Sequence[str], *, tract: int) -> list[np.ndarray]:
    """Mosaics of bands that have coadds, in their order, blurred to the seeing of the worst of them."""
    mosaics = {band: mosaic(survey, band, tract=tract) for band in dict.fromkeys(bands)}
    images = {band: image for band, image in mosaics.items() if image is not None}
    images = to_common_seeing(images, {band: seeing_of(survey, band, tract=tract) for band in images})
    return [images[band] for band in bands]


def write_picture(survey: Survey, path: Path, *, tract: int, size: int = 4096) -> Picture | None:
    """Write the RGB picture of a tract as JPEG; None, and no file, if the tract has no coadds.

    Parameters
    ----------
    survey
        The survey.
    path
        The file.
    tract
        Number of the tract.
    size
        Longest side of the picture in pixels; larger images are binned.
    """
    have = bands_with_coadds(survey, tract=tract)
    if not have:
        path.unlink(missing_ok=True)
        return None
    bands = choose_bands(have)
    red, green, blue = matched_mosaics(survey, bands, tract=tract)
    picture = colour_picture(red, green, blue, size=size)
    with written_whole(path) as part:
        Image.fromarray(np.ascontiguousarray(picture)).save(part, "JPEG", quality=90)
    return Picture(path, tract, bands, binning(red.shape, size), picture.shape[1], picture.shape[0])
