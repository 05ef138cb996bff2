"""The residual sky: recovered between sources, carried as a table, and subtracted where there are data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.patches.sky import SkySubtracted, mesh_sky, meshes_of, sky_surface, sky_table, source_mask, subtract_sky
from tests.scenes.patches import add_gaussian, make_patch, make_scene

SHAPE = (240, 400)


def slope(shape=SHAPE):
    """A sky that rises along x and falls along y."""
    y, x = np.indices(shape)
    return 5.0 + 0.02 * x - 0.05 * y


def test_mesh_of_a_tilted_sky():
    """A mesh of a plane is the plane at the centres of the boxes, but for the outermost, whose median is shifted."""
    mesh = mesh_sky(slope(), np.ones(SHAPE, bool), np.zeros(SHAPE, bool), box=40)
    assert mesh.shape == (6, 10)
    centres = slope()[19::40, 19::40]
    np.testing.assert_allclose(mesh[1:-1, 1:-1], centres[1:-1, 1:-1], atol=0.06)


def test_surface_is_linear_between_the_centres_and_level_beyond():
    """Half-way between two boxes the sky is half-way between their values, along either axis."""
    mesh = np.array([[1.0, 3.0, 3.0], [5.0, 7.0, 7.0]])
    surface = sky_surface(mesh, (20, 60))
    assert surface.shape == (20, 60)
    assert surface[0, 0] == pytest.approx(1)
    assert surface[19, 59] == pytest.approx(7)
    assert surface[4, 19:21].mean() == pytest.approx(2, abs=0.03)
    assert surface[9:11, 0].mean() == pytest.approx(3, abs=0.03)


def test_boxes_without_sky_take_that_of_their_neighbours():
    """A box that is masked or without data is filled from the nearest one; where nothing is known the sky is zero."""
    good, masked = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    good[:120], masked[120:, :200] = False, True
    image = np.where(good & ~masked, 9.0, 1e6)
    np.testing.assert_allclose(mesh_sky(image, good, masked, box=40), 9)
    assert not mesh_sky(image, np.zeros(SHAPE, bool), masked, box=40).any()


def test_sources_are_masked_with_their_wings(rng):
    """A source 20 sigma high is masked out to its skirts; of noise less than 6% of the pixels are."""
    noise = rng.normal(0, 1, SHAPE)
    good = np.ones(SHAPE, bool)
    assert source_mask(noise, np.ones(SHAPE), good, sigma=2.0).mean() < 0.06
    image = noise.copy()
    add_gaussian(image, x=300, y=60, xx=4, yy=4, xy=0, flux=20 * 2 * np.pi * 4)
    masked = source_mask(image, np.ones(SHAPE), good, sigma=2.0)
    assert masked[54:67, 294:307].all()
    assert not source_mask(image, np.ones(SHAPE), np.zeros(SHAPE, bool), sigma=2.0).any()


def test_mask_is_where_the_source_is_at_any_edge():
    """A bright source is at the centre of its mask, to a pixel, on images of odd and even sides."""
    y, x = np.indices((91, 140))
    for at_x, at_y in ((37.0, 62.0), (118.0, 21.0)):
        image = (500 * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * 2.0**2))).astype(np.float32)
        image += np.random.default_rng(2).normal(0, 1, image.shape)
        rows, columns = np.nonzero(source_mask(image, np.ones(image.shape), np.ones(image.shape, bool), sigma=2.0))
        near = (abs(rows - at_y) < 18) & (abs(columns - at_x) < 18)
        assert near.sum() > 300
        assert rows[near].mean() == pytest.approx(at_y, abs=1)
        assert columns[near].mean() == pytest.approx(at_x, abs=1)


def test_sky_of_a_patch_is_found_kept_and_subtracted(rng):
    """A slope in one band is found to a fifth of a pixel's noise, and none in the other; no data stays zero."""
    scene = make_scene(rng, shape=SHAPE, density=6e-4, bands=2, faintest=300)
    seen = np.ones(SHAPE, bool)
    seen[200:, :90] = False
    cube = make_patch(
        scene, rng, bands=("i", "vk"), psf_variance=(2.2, 3.4), sigma=(4.0, 4.0), shape=SHAPE, seen={"vk": seen}
    )
    slopes = np.stack([np.zeros(SHAPE), 0.5 * slope()], axis=-1)
    tilted = replace(cube, image=np.where(cube.good, cube.image + slopes, 0).astype(np.float32))
    taken = SkySubtracted(tilted, box=64)
    of_bands = [taken.prepare(taken.read(number)) for number in (1, 0)]
    table = sky_table(taken.sky)
    assert table["sky"].unit == "nJy"
    flat = subtract_sky(tilted, meshes_of(table))
    for number, one in zip((1, 0), of_bands, strict=True):
        np.testing.assert_array_equal(one.image[..., 0], flat.image[..., number])
    again = SkySubtracted(tilted, sky=meshes_of(table))
    known = again.prepare(again.read(1))
    np.testing.assert_array_equal(known.image[..., 0], flat.image[..., 1])
    left = np.median((flat.image - cube.image)[cube.good[..., 1], 1])
    assert abs(left) < 0.8
    rest = (flat.image - cube.image)[20:-20, 120:-20, 1]
    assert np.std(rest) < 0.8
    assert np.abs(np.median((flat.image - cube.image)[..., 0])) < 0.8
    assert not flat.image[200:, :90, 1].any()
    np.testing.assert_array_equal(tilted.image[..., 0], cube.image[..., 0])


def test_tables_hold_meshes_of_any_shape_in_any_order(rng):
    """Meshes of different shapes come back to the last bit from shuffled rows; a patch without sky has no rows."""
    sky = {"vk": rng.normal(size=(3, 5)), "g": rng.normal(size=(1, 2))}
    table = sky_table(sky)
    back = meshes_of(table[rng.permutation(len(table))])
    assert back.keys() == sky.keys()
    for band in sky:
        np.testing.assert_array_equal(back[band], sky[band])
    assert meshes_of(sky_table({})) == {}
