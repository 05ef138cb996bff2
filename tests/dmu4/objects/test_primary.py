"""Which patch an object belongs to: exactly one, however near it lies to a line between two."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.sky.skymap import SingleSkyMap, make_sky_map
from dmu0.surveys import SkyMapConfig
from dmu4.objects.primary import assign_primaries, distance_inside, in_own_area


@pytest.fixture(scope="module")
def grid():
    """A sky map with small patches, and a block of two by three of them in the middle of a tract far south."""
    sky_map = make_sky_map(SkyMapConfig(kind="rings", name="test", patch_inner=400, patch_border=60))
    tract = sky_map.find_tract(210.0, -61.0)
    middle = tract.num_patches[0] // 2
    return sky_map, tract, [tract.patch((middle + i, middle + j)) for i in range(2) for j in range(3)]


def on_sky(tract, x, y):
    """Sky positions of pixels of a tract."""
    return dict(zip(("ra", "dec"), tract.wcs.wcs_pix2world(x, y, 0), strict=True))


def test_every_position_belongs_to_one_patch(grid):
    """Positions on and beside every line between patches, to a thousandth of a pixel, are in exactly one of them."""
    sky_map, tract, patches = grid
    box, last = patches[0].inner_bbox, patches[-1].inner_bbox
    near = np.array([-0.501, -0.5, -0.499, 0.0, 0.3, 0.499, 0.5])
    x, y = np.meshgrid(
        np.concatenate([box.x.stop + near, [box.x.start + 7.2, last.x.stop - 9.9]]),
        np.concatenate([box.y.stop + near, last.y.start + near, [box.y.start + 3.3]]),
    )
    x, y = x.ravel(), y.ravel()
    inside = [in_own_area(x=x, y=y, **on_sky(tract, x, y), patch=patch, sky_map=sky_map) for patch in patches]
    np.testing.assert_array_equal(np.sum(inside, axis=0), 1)
    edge = np.array([box.x.start - 0.51, box.x.start - 0.5]), np.full(2, box.y.start + 50.0)
    own = in_own_area(x=edge[0], y=edge[1], **on_sky(tract, *edge), patch=patches[0], sky_map=sky_map)
    np.testing.assert_array_equal(own, [False, True])


def test_what_lies_in_another_tract_is_not_primary(grid):
    """At the edge of a tract, where tracts overlap, an object is primary in the tract whose area holds it."""
    sky_map, tract, _ = grid
    patch = tract.patch((0, tract.num_patches[1] // 2))
    box = patch.inner_bbox
    x, y = np.linspace(box.x.start, box.x.stop - 1, 25), np.full(25, box.y.start + 200.0)
    sky = on_sky(tract, x, y)
    own = in_own_area(x=x, y=y, **sky, patch=patch, sky_map=sky_map)
    truth = [sky_map.find_tract(ra, dec).id == tract.id for ra, dec in zip(sky["ra"], sky["dec"], strict=True)]
    np.testing.assert_array_equal(own, truth)
    assert not all(truth)


def test_distances_are_those_to_the_nearest_side(grid):
    """The distance inside a patch counts from the outer edge of its pixels, is negative outside, per patch."""
    sky_map, tract, patches = grid
    one, other = patches[0].inner_bbox, patches[4].inner_bbox
    x = np.array([one.x.start + 10.0, one.x.stop - 4.0, other.x.start + 50.0, one.x.start - 3.0])
    y = np.array([one.y.start + 30.0, one.y.start + 90.0, other.y.stop - 21.0, one.y.start + 90.0])
    patch = np.array([patches[0].id, patches[0].id, patches[4].id, patches[0].id])
    columns = {"x": x, "y": y, "patch": patch, "detect_isPrimary": [True, True, True, False]}
    sky = on_sky(tract, x, y)
    objects = Table(columns | {"coord_ra": sky["ra"], "coord_dec": sky["dec"]})
    np.testing.assert_allclose(distance_inside(objects, tract, sky_map, margin=5), [10.5, 3.5, 20.5, -2.5])


def test_sources_beyond_the_only_tract_are_not_primary():
    """A centre half a pixel beyond the last of a single grid is in no tract: its row is kept, and is not primary."""
    sky_map = SingleSkyMap(name="one", centre=(135.1, 0.5), shape=(90, 120), pixel_scale=0.339)
    tract = sky_map.tract(0)
    x, y = np.array([50.0, 120.3]), np.array([40.0, 40.0])
    sky = on_sky(tract, x, y)
    columns = {"x": x, "y": y, "patch": [0, 0], "detect_isPrimary": [False, False]}
    objects = Table(columns | {"coord_ra": sky["ra"], "coord_dec": sky["dec"]})
    found = distance_inside(objects, tract, sky_map, margin=5)
    assert found[0] == 40.5
    assert found[1] == -np.inf


def test_only_mutual_neighbours_are_one_object():
    """Of two rows of one patch near a row of another, the nearer is its partner, the other an object of its own."""
    rows = {
        "x": np.array([10.0, 10.6, 10.5, 40.0, 40.3]),
        "y": np.array([5.0, 5.0, 5.0, 7.0, 7.0]),
        "patch": np.array([3, 4, 3, 4, 3]),
        "primary": np.array([True, True, True, False, False]),
        "inside": np.array([0.2, 0.9, 0.4, -0.3, -0.1]),
    }
    np.testing.assert_array_equal(assign_primaries(**rows, radius=1.0), [True, True, False, False, True])
    # Further from each other than the radius, or far outside, rows keep what they have.
    np.testing.assert_array_equal(assign_primaries(**rows, radius=0.05), rows["primary"])
    far = rows | {"inside": rows["inside"] - np.array([0, 0, 0, 5, 5])}
    np.testing.assert_array_equal(assign_primaries(**far, radius=1.0), [True, True, False, False, False])
