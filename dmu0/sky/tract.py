"""Tracts and patches: a tangent-plane pixel grid on part of the sky, divided into overlapping rectangles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from lsst.images import YX, Box
from lsst.images.cells import CellGrid, PatchDefinition
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

Region = ConvexPolygon | Sequence[tuple[float, float]] | np.ndarray
"""A convex part of the sky: a polygon, or its vertices as (RA, Dec) pairs in ICRS deg."""


def sky_polygon(vertices: Region) -> ConvexPolygon:
    """The convex polygon around some positions.

    Parameters
    ----------
    vertices
        A polygon, which is returned unchanged, or at least three (RA, Dec) pairs in ICRS deg.

    Raises
    ------
    ValueError
        If there are fewer than three pairs, or they are not finite.
    """
    if isinstance(vertices, ConvexPolygon):
        return vertices
    pairs = np.asarray(vertices, float)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) < 3:
        raise ValueError(f"a region needs three or more (RA, Dec) pairs; got an array of shape {pairs.shape}.")
    if not np.isfinite(pairs).all():
        raise ValueError(f"a region needs finite positions; got {pairs.tolist()}.")
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(ra, dec)) for ra, dec in pairs])


def tangent_wcs(*, ra: float, dec: float, pixel_scale: float, x: float, y: float) -> WCS:
    """A gnomonic projection, north up and east to the left.

    Parameters
    ----------
    ra, dec
        Tangent point, ICRS deg.
    pixel_scale
        Pixel size at the tangent point, arcsec.
    x, y
        Pixel position of the tangent point; the centre of the first pixel is (0, 0).
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [x + 1, y + 1]  # FITS counts from one
    wcs.wcs.cd = np.diag([-pixel_scale, pixel_scale]) / 3600
    wcs.wcs.set()
    return wcs


def _box_corners(box: Box, *, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions x and y of the corner pixels of a box, moved outwards by a margin, anticlockwise from the minimum."""
    x0, x1 = box.x.min - margin, box.x.max + margin
    y0, y1 = box.y.min - margin, box.y.max + margin
    return np.array([x0, x1, x1, x0], float), np.array([y0, y0, y1, y1], float)


@dataclass(frozen=True)
class Patch:
    """One rectangle of a tract; `Tract.patch` makes it.

    Attributes
    ----------
    tract
        Tract of the patch.
    index
        Column and row (x, y) of the patch in its tract.
    inner_bbox
        Box, in tract pixels, owned by this patch only.
    outer_bbox
        Box of its images: the inner box with a border that overlaps with its neighbours.
    """

    tract: Tract
    index: tuple[int, int]
    inner_bbox: Box = field(compare=False)
    outer_bbox: Box = field(compare=False)

    @property
    def image_bbox(self) -> Box:
        """Box of our images: the outer box, of a map with cells only its whole cells, without the border of the last.

        The border of cells that overlap belongs to no cell of the patch, and its pixels are inside other patches.
        """
        return self.outer_bbox.padded(-self.tract.cell_border)

    def cell_bbox(self, *, column: int, row: int) -> Box:
        """Inner box of a cell of a map with cells; they are counted from the first of `image_bbox`, as LSST does.

        Raises
        ------
        ValueError
            If the map has no cells, or the patch no such cell.
        """
        box, cell = self.image_bbox, self.tract.cell
        if cell == 0:
            raise ValueError(f"{self}: its sky map has no cells.")
        if not (0 <= column < box.x.size // cell and 0 <= row < box.y.size // cell):
            counts = f"columns 0 to {box.x.size // cell - 1}, rows 0 to {box.y.size // cell - 1}"
            raise ValueError(f"{self} has no cell in column {column}, row {row}: {counts}.")
        x, y = box.x.start + column * cell, box.y.start + row * cell
        return Box.factory[y : y + cell, x : x + cell]

    def cell_outer_bbox(self, *, column: int, row: int) -> Box:
        """Box of a cell with its border, parameters and errors as for `cell_bbox`."""
        return self.cell_bbox(column=column, row=row).padded(self.tract.cell_border)

    @property
    def id(self) -> int:
        """Number of the patch: x + y times the number of columns."""
        return self.index[0] + self.index[1] * self.tract.num_patches[0]

    @property
    def name(self) -> str:
        """The patch as ``"x,y"``, the form in HSC file names."""
        return f"{self.index[0]},{self.index[1]}"

    def definition(self, cells: CellGrid) -> PatchDefinition:
        """The patch as coadds of cells of the middleware hold it."""
        return PatchDefinition(
            id=self.id, index=YX(y=self.index[1], x=self.index[0]), inner_bbox=self.inner_bbox, cells=cells
        )

    @property
    def center(self) -> SkyCoord:
        """The centre of the inner box, which is between pixels if their number is even."""
        box = self.inner_bbox
        return self.tract.wcs.pixel_to_world((box.x.min + box.x.max) / 2, (box.y.min + box.y.max) / 2)

    def inner_corners(self) -> SkyCoord:
        """Centres of the corner pixels of the inner box: four, from (x min, y min) by (x max, y min) round."""
        return self.tract.wcs.pixel_to_world(*_box_corners(self.inner_bbox, margin=0))

    def outer_corners(self) -> SkyCoord:
        """Centres of the corner pixels of the outer box, in the order of `inner_corners`."""
        return self.tract.wcs.pixel_to_world(*_box_corners(self.outer_bbox, margin=0))

    @cached_property
    def inner_polygon(self) -> ConvexPolygon:
        """The sky inside the inner box, to the outer edges of its pixels."""
        return self.tract.box_polygon(self.inner_bbox)

    @cached_property
    def outer_polygon(self) -> ConvexPolygon:
        """The sky inside the outer box, to the outer edges of its pixels."""
        return self.tract.box_polygon(self.outer_bbox)

    @property
    def wcs(self) -> WCS:
        """Projection of the patch's own images: pixel (0, 0) is the first of `image_bbox`.

        For pixels of the whole tract, in which the boxes are given, use ``patch.tract.wcs``.
        """
        wcs = self.tract.wcs.deepcopy()
        wcs.wcs.crpix = self.tract.wcs.wcs.crpix - [self.image_bbox.x.min, self.image_bbox.y.min]
        wcs.wcs.set()
        return wcs

    def __str__(self) -> str:
        return f"tract {self.tract.id} patch {self.id} ({self.name})"


@dataclass(frozen=True, eq=False)
class Tract:
    """A tangent plane with a grid of patches, made by a sky map.

    Attributes
    ----------
    id
        Number of the tract in its sky map.
    ra, dec
        Tangent point, ICRS deg.
    wcs
        Projection; pixel (0, 0) is the first pixel of the tract.
    num_patches
        Number of columns and rows of patches, (nx, ny).
    patch_inner
        Size of the inner box of a patch in x and y, in pixels.
    patch_border
        Number of pixels by which the outer box exceeds the inner box on each side.
    clip_border
        Whether outer boxes end at the edge of the tract.
    cell
        Side of a cell in pixels; 0: the map has no cells.
    cell_border
        Width in pixels of the border of a cell.
    """

    id: int
    ra: float
    dec: float
    wcs: WCS
    num_patches: tuple[int, int]
    patch_inner: tuple[int, int]
    patch_border: int
    clip_border: bool = True
    cell: int = 0
    cell_border: int = 0

    def with_cells(self, cell: int, *, border: int) -> Tract:
        """The same tract with patches of cells of a side and a border in pixels."""
        return replace(self, cell=cell, cell_border=border)

    @property
    def center(self) -> SkyCoord:
        """The tangent point."""
        return SkyCoord(self.ra, self.dec, unit="deg")

    @property
    def bbox(self) -> Box:
        """All pixels of the tract: the union of the inner boxes."""
        return Box.factory[0 : self.num_patches[1] * self.patch_inner[1], 0 : self.num_patches[0] * self.patch_inner[0]]

    def corners(self) -> SkyCoord:
        """Centres of the corner pixels, in the order of `Patch.inner_corners`."""
        return self.wcs.pixel_to_world(*_box_corners(self.bbox, margin=0))

    @cached_property
    def outer_polygon(self) -> ConvexPolygon:
        """The sky inside the tract, to the outer edges of its pixels."""
        return self.box_polygon(self.bbox)

    def box_polygon(self, box: Box) -> ConvexPolygon:
        """The sky inside a box of this tract's pixels, to their outer edges."""
        ra, dec = self.wcs.all_pix2world(*_box_corners(box, margin=0.5), 0)
        return sky_polygon(np.column_stack([ra, dec]))

    @property
    def patches(self) -> Iterator[Patch]:
        """All patches, in the order of their numbers."""
        return (self.patch(number) for number in range(self.num_patches[0] * self.num_patches[1]))

    def patch(self, patch: int | str | tuple[int, int]) -> Patch:
        """One patch.

        Parameters
        ----------
        patch
            Number of the patch, ``"x,y"``, or (x, y).

        Raises
        ------
        ValueError
            If there is no such patch in the tract, or the text is not a patch.
        """
        x, y = self._index(patch)
        nx, ny = self.num_patches
        if not (0 <= x < nx and 0 <= y < ny):
            raise ValueError(
                f"tract {self.id} has no patch {patch!r}: columns are 0 to {nx - 1}, rows 0 to {ny - 1}, "
                f"numbers 0 to {nx * ny - 1}."
            )
        width, height = self.patch_inner
        inner = Box.factory[y * height : (y + 1) * height, x * width : (x + 1) * width]
        outer = inner.padded(self.patch_border)
        if self.clip_border:
            outer = outer.intersection(self.bbox)
        return Patch(self, (x, y), inner, outer)

    def _index(self, patch: int | str | tuple[int, int]) -> tuple[int, int]:
        if isinstance(patch, str):
            match = re.fullmatch(r"\s*(\d+)\s*(?:,\s*(\d+)\s*)?", patch)
            if match is None:
                raise ValueError(f"{patch!r} is not a patch: write a number or 'x,y', e.g. 39 or '3,4'.")
            if match[2] is not None:
                return int(match[1]), int(match[2])
            patch = int(match[1])
        if isinstance(patch, tuple):
            return int(patch[0]), int(patch[1])
        row, column = divmod(int(patch), self.num_patches[0])
        return column, row

    def find_patches(self, region: Region) -> list[int]:
        """Numbers of the patches whose outer boxes overlap a region of the sky.

        Parameters
        ----------
        region
            A convex polygon, or its vertices as (RA, Dec) pairs in ICRS deg.
        """
        polygon = sky_polygon(region)
        if polygon.isDisjointFrom(self.outer_polygon) and self.clip_border:
            return []
        vertices = [LonLat(vertex) for vertex in polygon.getVertices()]
        x, y = self.wcs.all_world2pix(
            [v.getLon().asDegrees() for v in vertices], [v.getLat().asDegrees() for v in vertices], 0
        )
        if not (np.isfinite(x).all() and np.isfinite(y).all()):  # a vertex is behind the tangent plane
            columns, rows = range(self.num_patches[0]), range(self.num_patches[1])
        else:
            columns, rows = self._span(x, axis=0), self._span(y, axis=1)
        candidates = (self.patch((column, row)) for row in rows for column in columns)
        return [patch.id for patch in candidates if polygon.intersects(patch.outer_polygon)]

    def _span(self, pixels: np.ndarray, *, axis: int) -> range:
        """Columns (axis 0) or rows (axis 1) of patches whose outer boxes overlap some pixel positions."""
        size, border = self.patch_inner[axis], self.patch_border
        first = int(np.floor((pixels.min() - border - 1) / size))
        last = int(np.floor((pixels.max() + border + 1) / size))
        return range(max(first, 0), min(last, self.num_patches[axis] - 1) + 1)
