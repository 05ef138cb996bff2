"""The sky maps: against HSC's published tracts, and against their own definition."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from lsst.images import Box
from lsst.sphgeom import LonLat, UnitVector3d

from dmu0.sky.skymap import (
    CellsSkyMap,
    RingsSkyMap,
    SingleSkyMap,
    chosen_patches,
    make_sky_map,
    sky_polygon,
    survey_patches,
)
from dmu0.surveys import SkyMapConfig, load_survey

HSC = RingsSkyMap(name="hsc")


def _offset(found: SkyCoord, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Distance to given positions, arcsec."""
    return found.separation(SkyCoord(ra, dec, unit="deg")).arcsec


@pytest.fixture(scope="module")
def published(realdata: Path) -> dict[tuple[int, str], dict[str, tuple[float, float]]]:
    """Centre and corners of every tract (patch "") and patch that HSC publishes for one of its fields."""
    text = (realdata / "hsc_tracts" / "tracts_patches_DUD-XMM-LSS.txt").read_text()
    line = r"Tract: (\d+)\s+(?:Patch: (\d+,\d+)\s+)?(Center|Corner\d) \(RA, Dec\): \(([-\d.]+) , ([-\d.]+)\)"
    boxes = defaultdict(dict)
    for tract, patch, what, ra, dec in re.findall(line, text):
        boxes[int(tract), patch][what] = (float(ra), float(dec))
    return dict(boxes)


def test_published_tracts_and_patches(published):
    """Nine tracts and their 729 patches, centres and corners, agree with HSC to 0.001 arcsec."""
    assert sum(patch != "" for _, patch in published) == 729
    assert len({tract for tract, _ in published}) == 9
    worst = 0.0
    for (tract_id, name), positions in published.items():
        tract = HSC.tract(tract_id)
        patch = tract.patch(name) if name else None
        corners = patch.inner_corners() if patch else tract.corners()
        center = patch.center if patch else tract.center
        wanted = np.array([positions[f"Corner{number}"] for number in range(4)])
        offsets = [*_offset(corners, *wanted.T), _offset(center, *positions["Center"])]
        worst = max(worst, *offsets)
        if patch:
            assert patch.name == name
            assert patch.id == int(name.split(",")[0]) + 9 * int(name.split(",")[1])
    assert worst < 0.001


def test_lsst_coadd_header(realdata):
    """A coadd that LSST software wrote for tract 8524, patch "3,5" has the patch's box and projection."""
    cards = (realdata / "headers" / "lsst_coadd_8524_3_5_ext1.txt").read_text().splitlines()
    header = {card[:8].strip(): card[10:].split("/")[0].strip() for card in cards if "=" in card[:10]}
    patch = HSC.tract(8524).patch("3,5")
    assert (patch.outer_bbox.x.min, patch.outer_bbox.y.min) == (-float(header["LTV1"]), -float(header["LTV2"]))
    assert patch.outer_bbox.shape == (int(header["NAXIS2"]), int(header["NAXIS1"]))
    assert patch.wcs.wcs.crpix == pytest.approx([float(header["CRPIX1"]), float(header["CRPIX2"])], abs=1e-9)
    assert patch.wcs.wcs.crval == pytest.approx([float(header["CRVAL1"]), float(header["CRVAL2"])], abs=1e-9)
    assert patch.wcs.wcs.cd[1, 1] == pytest.approx(float(header["CD2_2"]), rel=1e-9)


def test_every_tract_is_found_at_its_centre():
    """find_tract at the centre of a tract gives the tract, for all tracts from pole to pole."""
    for number in (0, 1, 2, 3, 500, 8524, len(HSC) // 2, len(HSC) - 3, len(HSC) - 2, len(HSC) - 1):
        tract = HSC.tract(number)
        assert HSC.find_tract(tract.ra, tract.dec).id == number
    small = RingsSkyMap(name="small", num_rings=5, pixel_scale=30.0, patch_inner=500, patch_border=10)
    for number in range(len(small)):
        tract = small.tract(number)
        assert small.find_tract(tract.ra, tract.dec).id == number


def test_tracts_cover_the_sky(rng):
    """Every position is inside the tract that it belongs to, and inside the inner box of exactly one patch there."""
    small = RingsSkyMap(name="small", num_rings=11, pixel_scale=20.0, patch_inner=300, patch_border=10)
    ra, dec = rng.uniform(0, 360, 400), np.degrees(np.arcsin(rng.uniform(-1, 1, 400)))
    for position in zip([*ra, 0.0, 359.9999999, 12.0, 12.0], [*dec, 0.0, 7.0, 90.0, -90.0], strict=True):
        tract = small.find_tract(*position)
        x, y = tract.wcs.all_world2pix(*position, 0)
        assert tract.bbox.contains(x=float(x), y=float(y))
        assert sum(patch.inner_bbox.contains(x=float(x), y=float(y)) for patch in tract.patches) == 1


def test_find_patches_equals_brute_force(rng):
    """The patches found for random quadrilaterals are those that a test of every patch of the sky finds."""
    small = RingsSkyMap(name="small", num_rings=7, pixel_scale=60.0, patch_inner=400, patch_border=20)
    everything = [(tract, patch) for tract in range(len(small)) for patch in small.tract(tract).patches]
    bearings = [40, 130, 220, 310] * u.deg
    for ra, dec in [(0.01, 3.0), (77.0, 89.0), (10.0, -90.0), (359.9, 60.0), *rng.uniform(-60, 60, (8, 2))]:
        corners = SkyCoord(ra, dec, unit="deg").directional_offset_by(bearings, 1.5 * u.deg)
        region = np.column_stack([corners.ra.deg, corners.dec.deg])
        polygon = sky_polygon(region)
        wanted = [(tract, patch.id) for tract, patch in everything if polygon.intersects(patch.outer_polygon)]
        assert small.find_patches(region) == wanted
        assert wanted


def test_find_patches_on_the_real_map():
    """The footprint of a patch is found in its own tract, its neighbours with it, and in the tracts beside."""
    tract = HSC.tract(8524)
    inside = HSC.find_patches(tract.patch("4,4").inner_polygon)
    assert set(inside) == {(8524, x + 9 * y) for x in (3, 4, 5) for y in (3, 4, 5)}
    assert {number for number, _ in HSC.find_patches(tract.patch("0,4").inner_polygon)} == {8524, 8525}
    assert HSC.find_patches([(1.0, 80.0), (1.1, 80.0), (1.0, 80.001)]) == HSC.find_patches(
        sky_polygon([(1.0, 80.001), (1.0, 80.0), (1.1, 80.0)])
    )


def test_patch_boxes():
    """Inner boxes tile the tract; outer boxes have the border except at the edge of the tract."""
    tract = HSC.tract(8524)
    assert tract.num_patches == (9, 9)
    assert tract.bbox == Box.factory[0:36000, 0:36000]
    assert tract.patch("0,8").outer_bbox == Box.factory[31900:36000, 0:4100]
    assert tract.patch(39).inner_bbox == Box.factory[16000:20000, 12000:16000]
    assert tract.patch(39).outer_bbox.shape == (4200, 4200)
    assert sum(patch.inner_bbox.area for patch in tract.patches) == tract.bbox.area


def test_patch_projection_is_that_of_its_tract():
    """The first pixel of a patch's image is at the first pixel of its outer box in the tract."""
    patch = HSC.tract(8524).patch("6,4")
    there = patch.tract.wcs.pixel_to_world(patch.outer_bbox.x.min + 7.25, patch.outer_bbox.y.min + 3.5)
    assert patch.wcs.pixel_to_world(7.25, 3.5).separation(there).arcsec < 1e-6
    corners = patch.outer_corners()
    ends = patch.wcs.pixel_to_world([0, 4199, 4199, 0], [0, 0, 4199, 4199])
    assert corners.separation(ends).arcsec.max() < 1e-6


def test_patch_names_round_trip():
    """Number, "x,y" and (x, y) name the same patch, with two digits as well as one (failure 17)."""
    tract = make_sky_map(load_survey("sample").sky_map).tract(8524)
    assert tract.num_patches == (41, 41)
    for patch in tract.patches:
        for name in (patch.id, patch.name, patch.index, str(patch.id), f" {patch.index[0]}, {patch.index[1]} "):
            assert tract.patch(name) == patch


@pytest.mark.parametrize("patch", [81, -1, "9,0", "0,9", (0, -1), "3;4", "3,", "", "3,4,5", "-1", "a"])
def test_wrong_patches_are_refused(patch):
    """A patch that is not in the tract is an error that repeats what was asked for."""
    with pytest.raises(ValueError, match=re.escape(repr(patch))):
        HSC.tract(8524).patch(patch)


def test_wrong_positions_and_tracts_are_refused():
    """Positions off the sky, tracts off the map and regions of two points are errors that carry the value."""
    with pytest.raises(ValueError, match="no tract 99999; tracts are 0 to"):
        HSC.tract(99999)
    with pytest.raises(ValueError, match=r"\(10, 91\) is not a position"):
        HSC.find_tract(10, 91)
    with pytest.raises(ValueError, match="three or more"):
        HSC.find_patches([(1, 2), (3, 4)])
    with pytest.raises(ValueError, match="finite"):
        HSC.find_patches([(1, 2), (3, 4), (np.nan, 2)])
    with pytest.raises(ValueError, match="pixel_scale must be positive; got 0"):
        RingsSkyMap(name="x", pixel_scale=0.0)
    with pytest.raises(ValueError, match="num_rings must be positive; got 0"):
        RingsSkyMap(name="x", num_rings=0)


def test_single_tract():
    """A grid of its own is one patch, centred where the survey says."""
    config = SkyMapConfig(kind="single", name="one", pixel_scale=0.339, centre=(179.0, -0.5), shape=(2600, 2500))
    single = make_sky_map(config)
    assert isinstance(single, SingleSkyMap)
    patch = single.find_tract(179.0, -0.5).patch("0,0")
    assert patch.outer_bbox == patch.inner_bbox == Box.factory[0:2600, 0:2500]
    assert _offset(patch.center, 179.0, -0.5) < 1e-6
    assert single.find_patches(patch.inner_polygon) == [(0, 0)]
    assert single.find_patches([(20, 20), (21, 20), (20, 21)]) == []
    with pytest.raises(ValueError, match="outside the one tract"):
        single.find_tract(10.0, 10.0)


def test_polygons_reach_the_edges_of_pixels():
    """The polygon of a box contains its corner pixels whole, and not the centres of the pixels beyond."""
    patch = HSC.tract(8524).patch("4,4")
    box = patch.outer_bbox
    for x, y, inside in [(box.x.min - 0.49, box.y.min - 0.49, True), (box.x.min - 0.51, box.y.min, False)]:
        position = patch.tract.wcs.pixel_to_world(x, y)
        point = UnitVector3d(LonLat.fromDegrees(position.ra.deg, position.dec.deg))
        assert patch.outer_polygon.contains(point) == inside


def test_digest_tells_maps_apart():
    """The hash of a map is the same for equal maps and different for different ones."""
    assert HSC.digest() == RingsSkyMap(name="hsc").digest()
    assert len({HSC.digest(), RingsSkyMap(name="hsc", patch_border=50).digest(), CellsSkyMap().digest()}) == 3


def test_sample_patches():
    """The sample's four patches are inside their tract, near its centre, and share one corner."""
    survey = load_survey("sample")
    sky_map = make_sky_map(survey.sky_map)
    (tract_id,) = survey.tracts
    tract = sky_map.tract(tract_id)
    patches = [tract.patch(name) for name in survey.tracts[tract_id]]
    assert {patch.outer_bbox.shape for patch in patches} == {(900, 900)}
    common = patches[0].outer_bbox
    for patch in patches[1:]:
        common = common.intersection(patch.outer_bbox)
    assert common.shape == (100, 100)
    assert max(patch.center.separation(tract.center).deg for patch in patches) < 0.2
    corner = tract.wcs.pixel_to_world(common.x.start + 49.5, common.y.start + 49.5)
    assert sky_map.find_tract(corner.ra.deg, corner.dec.deg).id == tract_id


def test_patches_are_chosen_by_tract():
    """Tracts may be narrowed; one that the survey does not have is named."""
    sample = load_survey("sample")
    chosen = chosen_patches(sample)
    assert {(patch.tract.id, patch.id) for patch in survey_patches(sample)} == {
        (tract, patch) for tract, patches in chosen.items() for patch in patches
    }
    first = next(iter(chosen))
    assert chosen_patches(sample, str(first)) == {first: chosen[first]}
    with pytest.raises(ValueError, match="9999"):
        chosen_patches(sample, "9999")
