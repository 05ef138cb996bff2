"""Sky maps with cells: those of LSST by name, against their published configuration and boxes, and others by keys."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from lsst.images import Box
from lsst.images.cells import CellCoadd
from pydantic import ValidationError

from dmu0.sky.cells import common_cell, why_not_divisible
from dmu0.sky.skymap import CellsSkyMap, RingsSkyMap, make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu4.coadds.cell_coadd import cell_size

HSC = RingsSkyMap(name="hsc")


def cells_map(name: str, **keys: float) -> CellsSkyMap:
    """A sky map with cells."""
    made = make_sky_map(SkyMapConfig(kind="cells", name=name, **keys))
    assert isinstance(made, CellsSkyMap)
    return made


@pytest.mark.parametrize(("name", "border"), [("lsst_cells_v1", 50), ("lsst_cells_v2", 0)])
def test_lsst_maps_by_name(name: str, border: int) -> None:
    """The tracts are those of HSC's rings; 10 x 10 patches of 20 x 20 cells with one more around them."""
    cells = cells_map(name)
    assert len(cells) == len(HSC)
    for number in (0, 4848, 5063, 8524, 9813, len(HSC) - 1):
        assert cells.tract(number).center.separation(HSC.tract(number).center).arcsec == 0
    tract = cells.tract(5063)
    assert tract.num_patches == (10, 10)
    assert tract.wcs.wcs.cd[1, 1] * 3600 == pytest.approx(0.2, rel=1e-12)
    patch = tract.patch("9,3")
    assert patch.id == 39
    assert patch.inner_bbox == Box.factory[9000:12000, 27000:30000]
    assert patch.outer_bbox == patch.inner_bbox.padded(150 + border)
    assert patch.image_bbox == Box.factory[9000 - 150 : 12000 + 150, 27000 - 150 : 30000 + 150]
    assert patch.id in tract.find_patches(patch.outer_polygon)


@pytest.mark.parametrize(("name", "border"), [("lsst_cells_v1", 50), ("lsst_cells_v2", 0)])
def test_cells_of_a_patch(name: str, border: int) -> None:
    """22 x 22 cells of 150 px, counted from the border cell; inner cells 1 to 20; their borders reach the outer box."""
    patch = cells_map(name).tract(9813).patch(43)
    assert cell_size(patch) == 150
    inner = patch.inner_bbox
    assert patch.cell_bbox(column=1, row=1).start == inner.start
    assert patch.cell_bbox(column=20, row=20).stop == inner.stop
    assert patch.cell_bbox(column=3, row=7) == Box.factory[11850 + 1050 : 11850 + 1200, 8850 + 450 : 8850 + 600]
    assert patch.cell_outer_bbox(column=0, row=0).start == patch.outer_bbox.start
    assert patch.cell_outer_bbox(column=21, row=21).stop == patch.outer_bbox.stop
    assert patch.cell_outer_bbox(column=4, row=2).shape == (150 + 2 * border, 150 + 2 * border)
    for column, row in ((22, 0), (0, 22), (-1, 3)):
        with pytest.raises(ValueError, match=rf"no cell in column {column}, row {row}: columns 0 to 21"):
            patch.cell_bbox(column=column, row=row)


def test_neighbouring_patches_share_cells() -> None:
    """Where patches overlap, a cell of one is a cell of the other: its border cell is the other's first inner one."""
    tract = cells_map("lsst_cells_v2").tract(9813)
    for row in (0, 1, 13, 21):
        assert tract.patch("3,4").cell_bbox(column=21, row=row) == tract.patch("4,4").cell_bbox(column=1, row=row)
        assert tract.patch("3,4").cell_bbox(column=20, row=row) == tract.patch("4,4").cell_bbox(column=0, row=row)


def test_patch_of_a_published_coadd(realdata: Path) -> None:
    """The coadd of tract 9813, patch 43 says what the map says, but that its cells were shrunk from 150 to 6 px."""
    coadd = CellCoadd.read(realdata / "lsst" / "cell_coadd-1.0.0-as_shipped.json")
    patch = cells_map(coadd.skymap).tract(coadd.tract).patch(coadd.patch.id)
    assert (patch.index[0], patch.index[1]) == (coadd.patch.index.x, coadd.patch.index.y) == (3, 4)
    grid, shrunk = coadd.patch.cells, 150 // coadd.patch.cells.cell_shape.x
    assert grid.grid_size.i * 150 == patch.image_bbox.y.size
    assert grid.grid_size.j * 150 == patch.image_bbox.x.size
    inner = coadd.patch.inner_bbox
    for axis in "xy":
        ours, theirs, whole = (getattr(box, axis) for box in (patch.inner_bbox, inner, patch.image_bbox))
        assert (theirs.start * shrunk, theirs.stop * shrunk) == (ours.start - whole.start, ours.stop - whole.start)


def test_inputs_of_a_published_coadd_end_at_its_patch(realdata: Path) -> None:
    """LSST clips the outlines of a coadd's inputs to the patch: their common hull is its outer box, in tract pixels."""
    coadd = CellCoadd.read(realdata / "lsst" / "cell_coadd-1.0.0-as_shipped.json")
    box = cells_map(coadd.skymap).tract(coadd.tract).patch(coadd.patch.id).outer_bbox
    for axis in "xy":
        ends = [getattr(polygon, f"{axis}_vertices") for polygon in coadd.provenance.inputs["polygon"]]
        ours = getattr(box, axis)
        assert min(map(min, ends)) == ours.start - 0.5
        assert max(map(max, ends)) == ours.stop - 0.5


def test_tracts_of_the_deep_fields() -> None:
    """Positions in COSMOS and the Extended Chandra Deep Field South lie in the tracts that LSST names for them."""
    assert cells_map("lsst_cells_v2").find_tract(150.1, 2.2).id == 9813
    assert cells_map("lsst_cells_v1").find_tract(53.13, -28.1).id == 5063


def test_a_map_of_its_own() -> None:
    """A ring map has cells by its keys; what the border has beyond whole cells is the border of a cell."""
    sky_map = cells_map("mine", pixel_scale=0.25, cell=60, patch_inner=240, patch_border=130)
    assert (sky_map.cell_inner, sky_map.cell_border, sky_map.patch_border) == (60, 10, 130)
    patch = sky_map.tract(9813).patch("2,1")
    assert patch.image_bbox == Box.factory[240 - 120 : 480 + 120, 480 - 120 : 720 + 120]
    boxes = [patch.cell_bbox(column=column, row=row) for row, column in itertools.product(range(8), repeat=2)]
    assert sum(box.area for box in boxes) == patch.image_bbox.area
    assert cells_map("plain").digest() != cells_map("lsst_cells_v2").digest()
    assert cells_map("plain").tract(9813).patch(43).outer_bbox.shape == (3300, 3300)


def test_patch_pixels_count_from_the_first_cell() -> None:
    """The projection of a patch's images begins at its image box, on a map whose cells overlap as well."""
    patch = cells_map("lsst_cells_v1").tract(5063).patch("4,6")
    x, y = patch.image_bbox.x.start, patch.image_bbox.y.start
    apart = patch.wcs.pixel_to_world(7, 11).separation(patch.tract.wcs.pixel_to_world(x + 7, y + 11))
    assert apart.arcsec < 1e-6


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("mine", {"patch_inner": 4000}, "got 4000 and 150"),
        ("mine", {"patch_border": 230}, "less than half a cell; got 3000 and 230"),
        ("lsst_cells_v2", {"patch_border": 200}, "'lsst_cells_v2' has patch_border 150, not 200"),
        ("lsst_cells_v1", {"pixel_scale": 0.168}, "'lsst_cells_v1' has pixel_scale 0.2, not 0.168"),
    ],
)
def test_wrong_cells_are_refused(name: str, keys: dict[str, float], message: str) -> None:
    """Patches that are not whole cells, and maps that are not LSST's of their name, are refused with the numbers."""
    with pytest.raises(ValidationError, match=re.escape(message)):
        SkyMapConfig(kind="cells", name=name, **keys)


def test_other_maps_have_no_cells() -> None:
    """Patches of HSC's map have images of their outer box, and no cells."""
    patch: Patch = HSC.tract(8524).patch("3,5")
    assert patch.image_bbox == patch.outer_bbox
    with pytest.raises(ValueError, match="has no cells"):
        patch.cell_bbox(column=0, row=0)
    with pytest.raises(ValueError, match="has no cells"):
        make_sky_map(SkyMapConfig(kind="rings", name="hsc").model_copy(update={"kind": "cells"}))


@pytest.mark.parametrize(
    ("sides", "cell"), [((4000, 4200), 100), ((2600, 2600), 130), ((2205, 2244), 3), ((1071, 1084), 1), ((149,), 149)]
)
def test_common_cells(sides: tuple[int, ...], cell: int) -> None:
    """The largest side up to 150 px that divides all."""
    assert common_cell(*sides) == cell


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "single", "centre": (1, 2), "shape": (2205, 2244)}, r"cells of 3 px.* 11 GB .*\[2300, 2300\]"),
        ({"kind": "rings", "patch_inner": 4001, "patch_border": 100}, r"cells of 1 px.*multiples of 50"),
        ({"kind": "single", "centre": (1, 2), "shape": (2040, 2244)}, ""),
        ({"kind": "single", "centre": (1, 2), "shape": (101, 103)}, ""),
        ({"kind": "rings"}, ""),
        ({"kind": "cells"}, ""),
    ],
)
def test_patches_that_no_cell_divides(keys: dict, words: str) -> None:
    """Sides without a common divisor would need cells of a pixel: what to write is said; small patches may."""
    why = why_not_divisible(SkyMapConfig(name="some", **keys))
    assert re.search(words, why) if words else why == ""
