"""Coadds as LSST cell coadds: pixels, cell PSFs, noise, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.wcs import WCS
from lsst.images import YX, Box, Image, Polygon, SkyProjection, TractFrame
from lsst.images.cells import (
    CellCoadd,
    CellField,
    CellGrid,
    CellGridBounds,
    CellIJ,
    CellPointSpreadFunction,
    CoaddProvenance,
)

from dmu0.files.code_version import code_version
from dmu0.published.lsst import PSF_CORRECTION
from dmu0.sky.cells import common_cell
from dmu0.sky.tract import Patch
from dmu2.bright_stars import BrightStars
from dmu4.coadds.halos import coadd_mask
from dmu4.coadds.maps import describe_coadd
from dmu4.coadds.planes import CoaddInput, CoaddPlanes
from obs_vista.masks import BIT


@dataclass(frozen=True)
class InputRecord:
    """The provenance record of an input.

    Attributes
    ----------
    instrument, visit, detector, physical_filter, day_obs
        Values of its data id.
    polygon
        Outline of the image in tract pixels.
    """

    instrument: str
    visit: int
    detector: int
    physical_filter: str
    day_obs: int
    polygon: Polygon


def cell_size(patch: Patch) -> int:
    """The side of a cell of a patch: that of its sky map, or the largest that divides its images and its inner box.

    It is at most `dmu0.sky.cells.MAX_CELL`. The cells of neighbouring patches are then identical where the patches
    overlap: 100 px on HSC's sky map; on one with cells they are those of LSST's coadds.
    """
    if patch.tract.cell:
        return patch.tract.cell
    return common_cell(*patch.image_bbox.shape, *patch.inner_bbox.shape)


def tract_projection(patch: Patch, *, skymap: str) -> SkyProjection[TractFrame]:
    """The projection of a patch's tract, in tract pixels."""
    box = Box.factory[
        min(patch.image_bbox.y.start, patch.tract.bbox.y.start) : patch.tract.bbox.y.stop,
        min(patch.image_bbox.x.start, patch.tract.bbox.x.start) : patch.tract.bbox.x.stop,
    ]
    frame = TractFrame(skymap=skymap, tract=patch.tract.id, bbox=box)
    return SkyProjection.from_fits_wcs(patch.tract.wcs, frame, pixel_bounds=box)


def outline(bbox: Box, projection: SkyProjection, tract_wcs: WCS, *, points: int = 5) -> Polygon:
    """The outline of a detector image in tract pixels, with several points per side because it is slightly curved."""
    low, high = np.array([bbox.x.start, bbox.y.start]) - 0.5, np.array([bbox.x.stop, bbox.y.stop]) - 0.5
    s = np.linspace(0, 1, points, endpoint=False)
    x = np.concatenate([low[0] + s * (high - low)[0], 0 * s + high[0], high[0] - s * (high - low)[0], 0 * s + low[0]])
    y = np.concatenate([0 * s + low[1], low[1] + s * (high - low)[1], 0 * s + high[1], high[1] - s * (high - low)[1]])
    sky = projection.pixel_to_sky(x=x, y=y)
    a, b = tract_wcs.world_to_pixel(sky)
    return Polygon(x_vertices=a, y_vertices=b)


def make_cell_coadd(
    planes: CoaddPlanes,
    stamps: np.ndarray,
    patch: Patch,
    *,
    skymap: str,
    band: str,
    provenance: CoaddProvenance | None = None,
    light: np.ndarray | None = None,
    stars: BrightStars | None = None,
    metadata: dict[str, int | float | str | bool] | None = None,
) -> CellCoadd:
    """A `CellCoadd` in nJy.

    Parameters
    ----------
    planes
        Pixels over `Patch.image_bbox`.
    stamps
        PSF of each cell (cell row, cell column, y, x); NaN where there is none.
    patch
        The patch.
    skymap, band
        Names of the sky map and the band.
    provenance
        Provenance of the inputs, from `make_provenance`.
    light
        Fraction of a star's light in the stamp of each cell [cell row, cell column], NaN where it is unknown, stored as
        aperture correction of PSF fluxes; None: nothing is known of it.
    stars
        Bright stars around the patch, whose halos become the mask plane BRIGHT_OBJECT; None: the plane is that of
        ``planes``.
    metadata
        Metadata to store, in addition to the statistics of `describe_coadd` and the version of the code.
    """
    box = patch.image_bbox
    cell = box.y.size // stamps.shape[0]
    grid = CellGrid(bbox=box, cell_shape=YX(y=cell, x=cell))
    bounds = CellGridBounds(grid=grid, bbox=box, missing=_cells_of(~np.isfinite(stamps[:, :, 0, 0])))
    corrections = None
    if light is not None:
        unknown = CellGridBounds(grid=grid, bbox=box, missing=bounds.missing | _cells_of(~np.isfinite(light)))
        corrections = {PSF_CORRECTION: CellField(unknown, 1 / light)}
    coadd = CellCoadd(
        Image(planes.image, bbox=box, unit=u.nJy),
        mask=coadd_mask(planes.mask, patch, stars),
        variance=Image(planes.variance, bbox=box, unit=u.nJy**2),
        mask_fractions={"rejected": Image(planes.rejected, bbox=box)} if planes.rejected.any() else None,
        noise_realizations=[Image(noise, bbox=box, unit=u.nJy) for noise in planes.noise],
        sky_projection=tract_projection(patch, skymap=skymap),
        band=band,
        psf=CellPointSpreadFunction(stamps, bounds),
        aperture_corrections=corrections,
        patch=patch.definition(grid),
        provenance=provenance,
    )
    described = describe_coadd(planes, stamps, pixel_scale=pixel_scale(patch))
    coadd.metadata.update(code_version().words() | (metadata or {}) | described)
    return coadd


def _cells_of(chosen: np.ndarray) -> frozenset[CellIJ]:
    """Indices of the cells that are True in an array [cell row, cell column]."""
    return frozenset(CellIJ(i=int(i), j=int(j)) for i, j in np.argwhere(chosen))


def pixel_scale(patch: Patch) -> float:
    """Pixel size at the centre of the tract in arcsec."""
    return float(3600 * np.sqrt(abs(np.linalg.det(patch.tract.wcs.pixel_scale_matrix))))


def make_provenance(
    inputs: Sequence[CoaddInput], records: Sequence[InputRecord], planes: CoaddPlanes, nominal: np.ndarray, box: Box
) -> CoaddProvenance | None:
    """The inputs of each cell and their weights; None if there are no inputs.

    Parameters
    ----------
    inputs, records
        Inputs and their provenance records, in the same order.
    planes
        Coadd of these inputs.
    nominal
        Whether each input contributes to the PSF of each cell [cell row, cell column, input].
    box
        Pixels of the coadd.
    """
    cell = box.y.size // nominal.shape[0]
    used = np.flatnonzero(planes.cell_counts.any(axis=(0, 1)))
    if not len(used):
        return None
    table = CoaddProvenance.make_empty_input_table(len(used))
    for row, n in enumerate(used):
        for name in ("instrument", "visit", "detector", "physical_filter", "day_obs", "polygon"):
            table[name][row] = getattr(records[n], name)
    where = np.argwhere(planes.cell_counts[:, :, used] > 0)
    contributions = CoaddProvenance.make_empty_contribution_table(len(where))
    overlaps = {n: _overlap(inputs[n], box, cell) for n in used}
    for row, (i, j, k) in enumerate(where):
        n = used[k]
        record, (overlap, middle) = records[n], overlaps[n][:, i, j]
        values = {
            "cell_i": i, "cell_j": j, "instrument": record.instrument, "visit": record.visit,
            "detector": record.detector, "overlaps_center": bool(middle), "overlap_fraction": overlap,
            "unmasked_fraction": planes.cell_counts[i, j, n] / cell**2,
            "weight": inputs[n].weight if nominal[i, j, n] else 0.0,
            "psf_shape_xx": np.nan, "psf_shape_yy": np.nan, "psf_shape_xy": np.nan, "psf_shape_flag": False,
        }  # fmt: skip
        for name, value in values.items():
            contributions[name][row] = value
    return CoaddProvenance(table, contributions)


def _overlap(source: CoaddInput, box: Box, cell: int) -> np.ndarray:
    """The fraction of each cell [cell row, cell column] that an input covers, and whether it covers the centre."""
    shape = (box.y.size // cell, box.x.size // cell)
    inside = np.empty((5, 5, *shape), bool)
    for b in range(5):
        for a in range(5):
            x = box.x.start + (np.arange(shape[1]) + (a + 0.5) / 5) * cell - 0.5
            y = box.y.start + (np.arange(shape[0]) + (b + 0.5) / 5) * cell - 0.5
            u_in, v_in = source.grid.nearest(*np.meshgrid(x, y))
            inside[a, b] = source.bbox.contains(x=np.nan_to_num(u_in, nan=-1e9), y=np.nan_to_num(v_in, nan=-1e9))
    return np.stack([inside.mean(axis=(0, 1)), inside[2, 2]])


def has_data(mask: np.ndarray) -> np.ndarray:
    """Whether each pixel of the integer mask of a coadd has data."""
    return (mask & BIT["NO_DATA"]) == 0
