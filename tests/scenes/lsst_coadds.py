"""Coadds of cells as LSST delivers them: known pixels, and PSFs and inputs that differ from cell to cell."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from lsst.images import (
    YX,
    Image,
    Mask,
    MaskSchema,
    Polygon,
    SkyProjection,
    TractFrame,
    get_legacy_deep_coadd_mask_planes,
)
from lsst.images.cells import (
    CellCoadd,
    CellField,
    CellGrid,
    CellGridBounds,
    CellIJ,
    CellPointSpreadFunction,
    CoaddProvenance,
    PatchDefinition,
)

from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig

CELL = 30
"""Side of a cell in pixels."""

MISSING = CellIJ(i=3, j=17)
"""The cell that is missing."""

SATURATED = (slice(200, 207), slice(333, 338))
"""Pixels [y, x] of the centre of a saturated star."""


def cell_patch() -> Patch:
    """A patch of 22 x 22 cells, like those of ``lsst_cells_v2`` but for the size of its cells."""
    config = SkyMapConfig(kind="cells", name="small_cells", cell=CELL, patch_inner=20 * CELL, patch_border=CELL)
    return make_sky_map(config).tract(9813).patch("23,31")


def cell_stamp(row: int, column: int, *, size: int = 11) -> np.ndarray:
    """A PSF stamp [y, x] of unit sum, different in each cell and along each axis."""
    y, x = np.mgrid[:size, :size] - size // 2
    stamp = np.exp(-0.5 * (x**2 / (1.6 + 0.02 * column) ** 2 + y**2 / (1.9 + 0.01 * row) ** 2))
    return stamp / stamp.sum()


def inputs_of(row: int, column: int) -> list[int]:
    """Visits of a cell: the third has left the columns from 12 on, the fourth is in the rows from 7 on only."""
    return [11, 12, *([13] if column < 12 else []), *([14] if row >= 7 else [])]


def make_lsst_coadd(rng: np.random.Generator, *, correction: bool = True) -> CellCoadd:
    """A coadd with noise, a missing cell of infinite variance, a saturated star, and all that DP2 has beside them."""
    patch = cell_patch()
    box = patch.image_bbox
    grid = CellGrid(bbox=box, cell_shape=YX(y=CELL, x=CELL))
    image = rng.normal(2, 3, box.shape).astype(np.float32)
    variance = rng.uniform(8, 10, box.shape).astype(np.float32)
    noise = rng.normal(0, 3, box.shape).astype(np.float32)
    mask = Mask(0, schema=MaskSchema(list(get_legacy_deep_coadd_mask_planes().values())), bbox=box)
    gap = grid.bbox_of(MISSING).slice_within(box)
    image[gap], variance[gap], noise[gap] = 0, np.inf, 0
    for name, part in (("NO_DATA", gap), ("SATURATED", SATURATED), ("REJECTED", SATURATED), ("INEXACT_PSF", SATURATED)):
        mask.set(name, _plane(box.shape, part))
    mask.set("DETECTION_EDGE", _plane(box.shape, (slice(0, 4), slice(None))))
    mask.set("COSMIC_RAY", _plane(box.shape, (slice(90, 92), slice(100, 105))))
    mask.set("INTERPOLATED", _plane(box.shape, (slice(90, 92), slice(100, 105))))
    bounds = CellGridBounds(grid=grid, bbox=box, missing=frozenset([MISSING]))
    stamps = np.array([[cell_stamp(row, column) for column in range(22)] for row in range(22)])
    stamps[MISSING.i, MISSING.j] = np.nan
    light = 1.01 + 0.001 * np.arange(22 * 22).reshape(22, 22)
    fields = {"modelfit_CModel_instFlux": CellField(bounds, 2 * light)}
    if correction:
        fields["base_PsfFlux_instFlux"] = CellField(bounds, light)
    return CellCoadd(
        Image(image, bbox=box, unit=u.nJy),
        mask=mask,
        variance=Image(variance, bbox=box, unit=u.nJy**2),
        mask_fractions={"rejected": Image(_plane(box.shape, SATURATED).astype(np.float32), bbox=box)},
        noise_realizations=[Image(noise, bbox=box)],
        sky_projection=SkyProjection.from_fits_wcs(
            patch.tract.wcs, TractFrame(skymap="small_cells", tract=9813, bbox=box), pixel_bounds=box
        ),
        band="i",
        psf=CellPointSpreadFunction(stamps, bounds),
        aperture_corrections=fields,
        patch=PatchDefinition(
            id=patch.id, index=YX(y=patch.index[1], x=patch.index[0]), inner_bbox=patch.inner_bbox, cells=grid
        ),
        provenance=_provenance(),
    )


def _plane(shape: tuple[int, int], part: tuple[slice, slice]) -> np.ndarray:
    plane = np.zeros(shape, bool)
    plane[part] = True
    return plane


def _provenance() -> CoaddProvenance:
    square = Polygon(x_vertices=np.array([0.0, 9.0, 9.0, 0.0]), y_vertices=np.array([0.0, 0.0, 9.0, 9.0]))
    inputs = CoaddProvenance.make_empty_input_table(4)
    for number, row in enumerate(inputs):
        row["instrument"], row["visit"], row["detector"] = "LSSTCam", 11 + number, 94
        row["physical_filter"], row["day_obs"], row["polygon"] = "i_39", 20250520 + number, square
    places = [(i, j, visit) for i in range(22) for j in range(22) if (i, j) != (3, 17) for visit in inputs_of(i, j)]
    table = CoaddProvenance.make_empty_contribution_table(len(places))
    for row, (i, j, visit) in zip(table, places, strict=True):
        row["cell_i"], row["cell_j"], row["instrument"], row["visit"], row["detector"] = i, j, "LSSTCam", visit, 94
        row["overlaps_center"], row["overlap_fraction"], row["unmasked_fraction"], row["weight"] = True, 1, 1, 0.5
    return CoaddProvenance(inputs, table)
