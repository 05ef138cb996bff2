"""The mask plane of bright stars: the circles of the catalogue's flag, on the pixels of any patch."""

from __future__ import annotations

import time

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import SkyMapConfig
from dmu2.bright_stars import BrightStars
from dmu4.coadds.halos import coadd_mask, halo_pixels
from obs_vista.masks import BIT, from_mask

SCALE = 0.25
"""Pixel size in arcsec."""

SHAPE = (210, 330)
"""Rows and columns, which differ."""


def patch_at(dec: float) -> Patch:
    """A patch of unequal sides across RA 0, whose tangent point is far from its centre: pixel (1500, -900)."""
    config = SkyMapConfig(
        kind="single", name="one", centre=(359.99, dec), shape=SHAPE, pixel_scale=SCALE, centre_pixel=(1500.0, -900.0)
    )
    return make_sky_map(config).tract(0).patch(0)


def patch_of_tract(inner: int, name: str) -> Patch:
    """A patch far from the middle of a tract, on pixels of 0.168 arcsec."""
    return make_sky_map(SkyMapConfig(name="rings", patch_inner=inner, patch_border=20)).tract(16800).patch(name)


def stars_at(patch: Patch, *stars: tuple[float, float, float]) -> BrightStars:
    """Stars with halos at columns and rows of an image of a patch, the radii in arcsec."""
    x, y, radius = np.array(stars, float).T
    sky = patch.wcs.pixel_to_world(x, y)
    return BrightStars(sky.ra.deg, sky.dec.deg, radius)


def flagged(stars: BrightStars, patch: Patch) -> np.ndarray:
    """Whether the centre of each pixel has the flag that the catalogue would give to an object there [y, x]."""
    rows, columns = np.indices(patch.image_bbox.shape)
    sky = patch.wcs.pixel_to_world(columns, rows)
    distance = stars.distances(sky.ra.deg.ravel(), sky.dec.deg.ravel())
    return (np.nan_to_num(distance, nan=np.inf) < 1).reshape(rows.shape)


@pytest.mark.parametrize(
    "patch", [patch_at(-5.0), patch_at(62.0), patch_at(-88.0), patch_of_tract(400, "3,41")], ids=str
)
def test_every_pixel_agrees_with_the_flag(patch: Patch) -> None:
    """Of 40 stars inside and around the patch, each pixel has the plane just where an object would have the flag."""
    rng = np.random.default_rng(5)
    ny, nx = patch.image_bbox.shape
    places = [rng.uniform(-100, side + 100, 40) for side in (nx, ny)]
    stars = stars_at(patch, *zip(*places, rng.uniform(2, 12, 40), strict=True), (nx + 2000.0, 40.0, 330.0))
    expected = flagged(stars, patch)
    assert 0.2 < expected.mean() < 0.9
    np.testing.assert_array_equal(halo_pixels(stars, patch), expected)


def test_where_a_circle_is() -> None:
    """By hand, at declination 60: 16 arcsec east is 32 arcsec of right ascension and 64 pixels to the left."""
    config = SkyMapConfig(kind="single", name="one", centre=(0.001, 60.0), shape=SHAPE, pixel_scale=SCALE)
    patch = make_sky_map(config).tract(0).patch(0)  # the centre is pixel (164.5, 104.5)
    star = BrightStars(np.array([0.001 + 32 / 3600]), np.array([60 + 5 / 3600]), np.array([10.1]))
    rows, columns = np.nonzero(halo_pixels(star, patch))
    assert (columns.min(), columns.max()) == (61, 140)  # 100.5 -+ 40.4
    assert (rows.min(), rows.max()) == (85, 164)  # 124.5 -+ 40.4
    assert len(rows) == pytest.approx(np.pi * 40.4**2, rel=0.005)


def test_a_star_outside_reaches_in() -> None:
    """To the right of the patch, near its lower edge: only a cap there is marked; a smaller halo does not reach."""
    patch = patch_at(-35.0)
    inside = coadd_mask(np.zeros(SHAPE, np.int32), patch, stars_at(patch, (400, 50, 20.0))).get("BRIGHT_OBJECT")
    rows, columns = np.nonzero(inside)
    assert columns.min() == pytest.approx(400 - 80, abs=1)
    half = np.sqrt(80**2 - (400 - 329) ** 2)
    assert (rows.min(), rows.max()) == pytest.approx((50 - half, 50 + half), abs=1)
    assert not coadd_mask(np.zeros(SHAPE, np.int32), patch, stars_at(patch, (400, 50, 17.0))).get("BRIGHT_OBJECT").any()
    assert coadd_mask(np.zeros(SHAPE, np.int32), patch, stars_at(patch, (400, 50, 120.0))).get("BRIGHT_OBJECT").all()


def test_stars_on_the_other_side_of_the_sky_are_nowhere() -> None:
    """They have no place on the tangent plane."""
    stars = BrightStars(np.array([179.99, 100.0]), np.array([35.0, 80.0]), np.array([60.0, 60.0]))
    assert not halo_pixels(stars, patch_at(-35.0)).any()


def test_only_this_plane_changes() -> None:
    """What a published image says of its own bright stars is replaced, all else is kept, and the input untouched."""
    patch, rng = patch_at(-5.0), np.random.default_rng(3)
    array = rng.integers(0, 1 << len(BIT), SHAPE).astype(np.int32)
    before, bit = array.copy(), int(BIT["BRIGHT_OBJECT"])
    stars = stars_at(patch, (30, 40, 5.0))
    made = from_mask(coadd_mask(array, patch, stars))
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(made & ~bit, array & ~bit)
    np.testing.assert_array_equal(made & bit != 0, flagged(stars, patch))
    nothing = BrightStars.joined([])
    np.testing.assert_array_equal(from_mask(coadd_mask(array, patch, nothing)), array & ~bit)
    np.testing.assert_array_equal(from_mask(coadd_mask(array, patch, None)), array)


def test_halos_of_a_full_patch_take_no_time() -> None:
    """A thousand halos on 4200 x 4200 pixels, of which only what is in them is touched: 0.2 s, limit 2 s."""
    patch, rng = patch_of_tract(4000, "0,5"), np.random.default_rng(7)
    middle: SkyCoord = patch.center
    away = rng.uniform(-0.12, 0.12, (2, 1000))
    ra = middle.ra.deg + away[0] / np.cos(middle.dec.rad)
    stars = BrightStars(ra, middle.dec.deg + away[1], rng.uniform(10, 25, 1000))
    start = time.process_time()
    share = halo_pixels(stars, patch).mean()
    seconds = time.process_time() - start
    print(f"{share:.2f} of the patch in {seconds:.2f} s (limit 2)")
    assert share > 0.5
    assert seconds < 2
