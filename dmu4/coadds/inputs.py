"""Calibrated detector images as inputs of a coadd: what they weigh, how their noise is correlated, where they fall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import astropy.units as u
import numpy as np
from lsst.daf.butler import DeferredDatasetHandle
from lsst.images import Box, Image, Mask, SkyProjection, VisitImage

from dmu0.sky.tract import Patch
from dmu4.butler.dataset_cache import DatasetCache
from dmu4.coadds.cell_coadd import InputRecord, outline
from dmu4.coadds.correlated_noise import sky_noise_kernel
from dmu4.coadds.psf import Psf
from dmu4.coadds.resample import coordinate_grid, projection_map
from dmu4.coadds.stack import CoaddInput, CoaddSettings, input_box
from obs_vista.masks import from_mask

Weighting = Literal["variance", "point_source", "uniform"]


class UnusableInput(ValueError):
    """An image cannot go into the coadd; the message is the reason."""


@dataclass(frozen=True)
class OpenInput:
    """A detector image that overlaps the patch, with what its coadd needs beside the pixels.

    Parameters
    ----------
    source, psf, record
        For the engine, for the cells' PSFs, for provenance.
    psf_correction
        Total flux of a star over its flux from the PSF, whose stamp has a sum of 1.
    """

    source: CoaddInput
    psf: Psf
    record: InputRecord
    psf_correction: float = 1.0


VISIT_IMAGES = DatasetCache(256_000_000, lambda image: 3 * image.image.array.nbytes)
"""Those read lately: the next patch of the band needs most of them again."""


def pixels_of(image: Image, variance: Image, mask: Mask) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (nJy), variance (nJy^2) and mask bits of the planes of a visit image, as new arrays.

    Raises
    ------
    UnusableInput
        If the unit is not a flux density.
    """
    try:
        scale = (1 * image.unit).to_value(u.nJy)
    except (u.UnitConversionError, TypeError) as error:
        raise UnusableInput(f"its unit is {image.unit}, not nJy") from error
    values, noise = np.array(image.array, np.float32), np.array(variance.array, np.float32)
    if scale != 1:
        values *= np.float32(scale)
        noise *= np.float32(scale**2)
    return values, noise, from_mask(mask)


def typical_variance(variance: np.ndarray, mask: np.ndarray, *, drop: int) -> float:
    """Median variance of the usable pixels of a whole image.

    Raises
    ------
    UnusableInput
        If there is none.
    """
    usable = ((mask & drop) == 0) & np.isfinite(variance) & (variance > 0)
    if not usable.any():
        raise UnusableInput("it has no usable pixel")
    return float(np.median(variance[usable]))


def weight_of(variance: float, seeing: float, *, weighting: Weighting) -> float:
    """The weight of an image: 1 / variance; that over seeing^2, best for point sources; or 1."""
    if weighting == "variance":
        return 1 / variance
    return 1 / (variance * seeing**2) if weighting == "point_source" else 1.0


def open_input(
    handle: DeferredDatasetHandle,
    patch: Patch,
    *,
    seeing: float,
    weighting: Weighting,
    settings: CoaddSettings,
    step: int,
    factor: float = 1.0,
    keep: Callable[[int], bool] = lambda size: False,
) -> OpenInput:
    """Look at one visit image in a Butler, and prepare it for `make_coadd`.

    Weight and noise come from the whole image, so that they are the same in every patch.

    Parameters
    ----------
    handle
        Of the visit image.
    patch
        Where it goes.
    seeing
        FWHM in arcsec.
    weighting, factor
        How it is weighted, and a factor on top.
    settings
        Of the coadd.
    step
        Of the coordinate grid, in pixels.
    keep
        Is told how many bytes the pixels take, and says whether they may stay in memory; otherwise they are read
        again, only the part that is needed.

    Raises
    ------
    UnusableInput
        If it does not reach the patch, or has no usable pixel.
    """
    recent = VISIT_IMAGES.find(handle)
    bbox: Box = handle.get(component="bbox") if recent is None else recent.bbox
    projection: SkyProjection = handle.get(component="sky_projection") if recent is None else recent.sky_projection
    wcs, data_id = patch.tract.wcs, handle.dataId
    grid = coordinate_grid(patch.outer_bbox, projection_map(wcs, projection), step=step)
    place = CoaddInput("", bbox, grid, lambda area: (), 1.0, seeing)
    if input_box(place, patch.outer_bbox.y.start, patch.outer_bbox.y.stop, settings.order) is None:
        raise UnusableInput("it does not reach the patch")
    whole: VisitImage = VISIT_IMAGES.get(handle)
    image, variance, mask = pixels = pixels_of(whole.image, whole.variance, whole.mask)
    weight = factor * weight_of(typical_variance(variance, mask, drop=settings.drop), seeing, weighting=weighting)
    kernel = sky_noise_kernel(image, variance, mask, drop=settings.drop) if settings.n_noise else np.ones((1, 1))
    kept = pixels if keep(sum(plane.nbytes for plane in pixels)) else None

    def read(area: Box) -> tuple[np.ndarray, ...]:
        if kept is None:
            planes = ("image", "variance", "mask")
            return pixels_of(*(handle.get(component=plane, parameters={"bbox": area}) for plane in planes))
        part = area.slice_within(bbox)
        return tuple(plane[part].copy() for plane in kept)

    source = CoaddInput(
        name=f"{data_id['visit']:012d}_{data_id['detector']:03d}",
        bbox=bbox,
        grid=grid,
        read=read,
        weight=weight,
        seeing=seeing,
        noise_kernel=kernel,
        seed=1000 * int(data_id["visit"]) + int(data_id["detector"]),
    )
    record = InputRecord(
        instrument=str(data_id["instrument"]),
        visit=int(data_id["visit"]),
        detector=int(data_id["detector"]),
        physical_filter=str(data_id["physical_filter"]),
        day_obs=int(data_id["day_obs"]),
        polygon=outline(bbox, projection, wcs),
    )
    field = whole.aperture_corrections.get("psf")
    correction = float(field(x=bbox.x.center, y=bbox.y.center)) if field is not None else 1.0
    return OpenInput(source, whole.psf, record, correction)
