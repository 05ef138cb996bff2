"""Calibrated detector images as inputs of a coadd: their positions, their weights, and reading their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import astropy.units as u
import numpy as np
from lsst.daf.butler import DeferredDatasetHandle
from lsst.images import Box, Image, Mask, SkyProjection, VisitImage

from dmu0.sky.tract import Patch
from dmu4.butler.dataset_cache import DatasetCache
from dmu4.coadds.cell_coadd import InputRecord, outline
from dmu4.coadds.correlated_noise import noise_kernel
from dmu4.coadds.planes import CoaddInput, CoaddSettings
from dmu4.coadds.psf import psf_nodes
from dmu4.coadds.resample import coordinate_grid, projection_map
from dmu4.coadds.strips import input_box
from dmu4.coadds.visit_quality import UnusableInput, VisitQuality
from obs_vista.masks import from_mask

Weighting = Literal["variance", "point_source", "uniform"]


@dataclass(frozen=True)
class OpenInput:
    """A detector image that overlaps the patch, with the data needed for its coadd besides the pixels.

    Attributes
    ----------
    source
        The image in the form used by `make_coadd`.
    nodes
        PSF drawn at nodes over the detector, see `psf_nodes`.
    record
        Provenance record.
    psf_correction
        Ratio of the total flux of a star to its flux fitted with the PSF, whose stamp has a sum of 1.
    zero_point_error, position_error
        Standard errors of the zero point in magnitudes, and of positions along one axis in arcsec; the latter NaN if
        unknown.
    """

    source: CoaddInput
    nodes: np.ndarray
    record: InputRecord
    psf_correction: float = 1.0
    zero_point_error: float = 0.0
    position_error: float = np.nan


def _read_nodes(handle: DeferredDatasetHandle) -> np.ndarray:
    return psf_nodes(handle.get(component="psf"), PROJECTIONS.get(handle).pixel_bounds.bbox)


PROJECTIONS = DatasetCache(
    16_000_000, lambda projection: 40_000, read=lambda handle: handle.get(component="sky_projection")
)
PSF_NODES = DatasetCache(64_000_000, lambda nodes: nodes.nbytes, read=_read_nodes)
"""Caches of the projections and PSFs of visit images: small compared to the pixels, and used by several patches."""


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


def weight_of(variance: float, seeing: float, *, weighting: Weighting) -> float:
    """The weight of an image: 1 / variance; 1 / (variance seeing^2), optimal for point sources; or 1."""
    if weighting == "variance":
        return 1 / variance
    return 1 / (variance * seeing**2) if weighting == "point_source" else 1.0


def shared_error(cell_counts: np.ndarray, weights: np.ndarray, errors: np.ndarray) -> float:
    """Typical error of a coadd due to an error that all pixels of an input share, as that of its zero point.

    The errors of inputs are added, not their squares: images of the same sky are calibrated with the same stars.

    Parameters
    ----------
    cell_counts
        Number of pixels [cell row, cell column, input], see `dmu4.coadds.stack.CoaddPlanes`.
    weights
        Weight of a pixel of each input [input].
    errors
        Standard errors [input]; inputs for which it is NaN take no part.

    Returns
    -------
    float
        Root of the mean square over the cells with data; 0 if there is none.
    """
    parts = cell_counts * np.where(np.isfinite(errors), weights, 0)
    whole = parts.sum(axis=2)
    if not (whole > 0).any():
        return 0.0
    error = (parts * np.nan_to_num(errors)).sum(axis=2)[whole > 0] / whole[whole > 0]
    return float(np.sqrt(np.mean(error**2)))


def open_input(
    handle: DeferredDatasetHandle,
    patch: Patch,
    quality: VisitQuality,
    *,
    weight: float,
    settings: CoaddSettings,
    step: int,
) -> OpenInput:
    """Prepare a visit image of a Butler for `make_coadd`, which reads the boxes it needs.

    Parameters
    ----------
    handle
        Handle of the visit image.
    patch
        Patch of the coadd.
    quality
        Quality of the image, from its visit summary.
    weight
        Weight of its pixels.
    settings
        Settings of the coadd.
    step
        Distance between the nodes of the coordinate grid in pixels.

    Raises
    ------
    UnusableInput
        If the image does not overlap the patch.
    """
    projection: SkyProjection = PROJECTIONS.get(handle)
    bbox, wcs, data_id = projection.pixel_bounds.bbox, patch.tract.wcs, handle.dataId
    source = CoaddInput(
        name=f"{data_id['visit']:012d}_{data_id['detector']:03d}",
        bbox=bbox,
        grid=coordinate_grid(patch.image_bbox, projection_map(wcs, projection), step=step),
        read=partial(read_box, handle, bbox, factor=quality.flux_factor),
        weight=weight,
        seeing=quality.seeing,
        noise_kernel=noise_kernel(quality.noise.correlation),
        seed=1000 * int(data_id["visit"]) + int(data_id["detector"]),
    )
    if input_box(source, patch.image_bbox.y.start, patch.image_bbox.y.stop, settings.order) is None:
        raise UnusableInput("it does not reach the patch")
    record = InputRecord(
        instrument=str(data_id["instrument"]),
        visit=int(data_id["visit"]),
        detector=int(data_id["detector"]),
        physical_filter=str(data_id["physical_filter"]),
        day_obs=int(data_id["day_obs"]),
        polygon=outline(bbox, projection, wcs),
    )
    return OpenInput(
        source, PSF_NODES.get(handle), record, quality.psf_correction, quality.zero_point_error, quality.position_error
    )


def read_box(
    handle: DeferredDatasetHandle, bbox: Box, area: Box, *, factor: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (nJy), variance (nJy^2) and mask bits of a box of a visit image whose pixels are ``bbox``.

    The image is multiplied by a factor, and its variance by the square. Whole rows are read, because they are
    contiguous in the file.
    """
    rows = Box.factory[area.y.start : area.y.stop, bbox.x.start : bbox.x.stop]
    part: VisitImage = handle.get(parameters={"bbox": rows})
    image, variance, mask = pixels_of(part.image[area], part.variance[area], part.mask[area])
    if factor != 1:
        image *= np.float32(factor)
        variance *= np.float32(factor**2)
    return image, variance, mask
