"""Sky maps of rings whose patches consist of cells: those of LSST by name, and others by their keys."""

from __future__ import annotations

import math

from dmu0.sky.rings import RingsSkyMap
from dmu0.sky.tract import Tract
from dmu0.surveys import SkyMapConfig

MAX_CELL = 150
"""Largest side of a cell in pixels: 25" on HSC's grid, over which the VISTA PSF hardly changes."""

MOST_CELLS = 20_000
"""Largest number of cells of a patch: their PSFs take 0.4 GB of memory per band."""


def common_cell(*sides: int) -> int:
    """The largest side of a cell, up to `MAX_CELL`, of which some sides in pixels are multiples."""
    common = math.gcd(*sides)
    return max(size for size in range(1, MAX_CELL + 1) if common % size == 0)


def why_not_divisible(config: SkyMapConfig) -> str:
    """Why the patches of a sky map cannot be divided into cells, and what to write; empty if they can."""
    step = 100
    if config.kind == "single" and config.shape is not None:
        ny, nx = config.shape
        what, cell = f"shape {list(config.shape)}", common_cell(ny, nx)
        better = f"[{-(-ny // step) * step}, {-(-nx // step) * step}]; with centre_pixel the image stays where it is"
    elif config.kind == "rings":
        ny = nx = config.patch_inner + 2 * config.patch_border
        what = f"patch_inner {config.patch_inner} with patch_border {config.patch_border}"
        cell, better = common_cell(config.patch_inner, ny), "multiples of 50 px"
    else:
        return ""
    if ny * nx <= MOST_CELLS * cell**2:
        return ""
    return (
        f"{what} can only be divided into cells of {cell} px, whose PSFs would take "
        f"{ny * nx / cell**2 / MOST_CELLS * 0.4:.0f} GB of memory per band; write {better}"
    )


class CellsSkyMap(RingsSkyMap):
    """Rings whose patches consist of whole cells, like LSST's ``lsst_cells_v1`` and ``lsst_cells_v2``.

    The outer box of a patch contains its own cells, the border cells around them, and the border of the outermost
    cells; it extends beyond the edge of the tract.

    Parameters
    ----------
    name, num_rings, pixel_scale, tract_overlap
        Parameters of `RingsSkyMap`.
    cell_inner
        Side of a cell in pixels.
    cell_border
        Width in pixels of the border that is added to a cell for its coadd.
    patch_cells
        Number of cells along a side of the inner box of a patch.
    border_cells
        Number of additional cells of its outer box on each side.
    """

    _clip_border = False

    def __init__(
        self,
        *,
        name: str = "lsst_cells_v1",
        num_rings: int = 120,
        pixel_scale: float = 0.2,
        tract_overlap: float = 1 / 60,
        cell_inner: int = 150,
        cell_border: int = 50,
        patch_cells: int = 20,
        border_cells: int = 1,
    ) -> None:
        super().__init__(
            name=name,
            num_rings=num_rings,
            pixel_scale=pixel_scale,
            tract_overlap=tract_overlap,
            patch_inner=patch_cells * cell_inner,
            patch_border=border_cells * cell_inner + cell_border,
        )
        self.cell_inner = cell_inner
        self.cell_border = cell_border

    def _make_tract(self, tract: int) -> Tract:
        return super()._make_tract(tract).with_cells(self.cell_inner, border=self.cell_border)


def make_cells_map(config: SkyMapConfig) -> CellsSkyMap:
    """The sky map of a section ``sky_map`` of kind ``cells``; its ``patch_border`` beyond whole cells is their border.

    Raises
    ------
    ValueError
        If the section has no cells.
    """
    if config.cell is None:
        raise ValueError(f"sky_map {config.name!r} is of kind {config.kind!r}, and has no cells.")
    border_cells, cell_border = divmod(config.patch_border, config.cell)
    return CellsSkyMap(
        name=config.name,
        num_rings=config.num_rings,
        pixel_scale=config.pixel_scale,
        tract_overlap=config.tract_overlap,
        cell_inner=config.cell,
        cell_border=cell_border,
        patch_cells=config.patch_inner // config.cell,
        border_cells=border_cells,
    )
