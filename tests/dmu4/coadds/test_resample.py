"""Resampling: exact identities, accuracy against known functions, and what happens at edges and defects."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS
from lsst.images import Box

from dmu4.coadds.resample import GridError, coordinate_grid, fill_defects, lanczos_table, projection_map, warp
from obs_vista.masks import BIT

DROP = np.int32(BIT["NO_DATA"] | BIT["BAD"])
SCALE = 0.168 / 0.3412


def affine(*, x: float = 0.0, y: float = 0.0, scale: float = 1.0, angle: float = 0.0):
    """Pixels turned by an angle (rad), scaled and shifted."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return lambda a, b: (x + c * a - s * b, y + s * a + c * b)


def vista_wcs(crval: tuple[float, float] = (35.1, -5.2)) -> WCS:
    """A detector far off the axis of VISTA's projection, where it is most curved."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---ZPN", "DEC--ZPN"], crval, [5274.8, -4915.5]
    wcs.wcs.cd = np.array([[-9.48357e-5, -1.94e-7], [1.58e-7, -9.47842e-5]])
    wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 44.0), (2, 5, -10300.0)])
    wcs.wcs.set()
    return wcs


def tan_wcs(*, ra: float, dec: float, size: int) -> WCS:
    """A tract of HSC's pixels."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [size / 2, size / 2]
    wcs.wcs.cdelt = [-0.168 / 3600, 0.168 / 3600]
    wcs.wcs.set()
    return wcs


def resample(image: np.ndarray, to_input, box: Box, *, mask: np.ndarray | None = None, variance: float = 1.0, order=3):
    """Image, variance and mask of one plane."""
    mask = np.zeros(image.shape, np.int32) if mask is None else mask
    grid = coordinate_grid(box, to_input)
    noise = np.full(image.shape, variance, np.float32)
    planes, variance, mask = warp(image[None].astype(np.float32), noise, mask, grid, box, drop=DROP, order=order)
    return planes[0], variance, mask


def test_whole_pixel_shift_is_exact(rng):
    """A shift by whole pixels copies the pixels and their variance bit by bit."""
    image = rng.normal(size=(60, 70)).astype(np.float32)
    out, variance, _ = resample(image, affine(x=7, y=5), Box.factory[0:40, 0:40], variance=2.5)
    np.testing.assert_array_equal(out, image[5:45, 7:47])
    np.testing.assert_array_equal(variance, 2.5)


@pytest.mark.parametrize("order", [2, 3, 4, 5, 8])
def test_a_single_pixel_becomes_the_kernel(order):
    """Along x and y by Lanczos' formula, normalised; what lies beyond the kernel, or behind the image, has no part."""
    image = np.zeros((40, 33))
    image[21, 17] = 5.0
    out, variance, _ = resample(image, affine(x=0.25, y=0.5), Box.factory[0:40, 0:33], order=order)

    def kernel(offset: np.ndarray, fraction: float) -> np.ndarray:
        lanczos = lambda d: np.where(np.abs(d) < order, np.sinc(d) * np.sinc(d / order), 0.0)  # noqa: E731
        return lanczos(offset) / lanczos(np.arange(1 - order, order + 1) - fraction).sum()

    expected = 5 * np.outer(kernel(21 - np.arange(40) - 0.5, 0.5), kernel(17 - np.arange(33) - 0.25, 0.25))
    np.testing.assert_allclose(out[variance > 0], expected[variance > 0], atol=1e-6)
    assert (variance[order - 1 : 40 - order, order - 1 : 33 - order] > 0).all()
    assert not variance[:, 33 - order + 1 :].any()
    assert not variance[40 - order + 1 :].any()


@pytest.mark.parametrize("order", [0, 9])
def test_kernels_that_do_not_exist(order):
    """Another order is refused with those that there are."""
    with pytest.raises(ValueError, match=f"must be 1 to 8; got {order}"):
        lanczos_table(order)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_flat_sky_stays_flat(order):
    """A constant keeps its value under any rotation, times the ratio of the pixel areas."""
    out, variance, _ = resample(
        np.full((300, 300), 10.0),
        affine(x=150, y=150, scale=SCALE, angle=0.7),
        Box.factory[-90:90, -90:90],
        order=order,
    )
    assert (variance > 0).all()
    np.testing.assert_allclose(out, 10.0 * SCALE**2, rtol=2e-6)


def test_star_keeps_flux_and_place():
    """A star at any place keeps its flux to 1e-3 and its centroid to 1e-3 input pixels."""
    y, x = np.mgrid[0:64, 0:64]
    for cx, cy in ((30.0, 31.0), (30.37, 31.81), (31.5, 30.5)):
        star = 1000 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 0.95**2) / (2 * np.pi * 0.95**2)
        out, _, _ = resample(star, affine(x=31, y=31, scale=SCALE, angle=0.2), Box.factory[-50:51, -50:51])
        assert out.sum() == pytest.approx(1000, rel=1e-3)
        b, a = np.mgrid[-50:51, -50:51]
        u, v = affine(x=31, y=31, scale=SCALE, angle=0.2)((out * a).sum() / out.sum(), (out * b).sum() / out.sum())
        assert np.hypot(u - cx, v - cy) < 1e-3


def test_variance_is_that_of_the_noise(rng):
    """The scatter of many resampled noise images is the variance, pixel by pixel on average."""
    images = rng.normal(size=(300, 40, 40)).astype(np.float32)
    box = Box.factory[0:30, 0:30]
    grid = coordinate_grid(box, affine(x=6.3, y=7.6, scale=SCALE))
    planes, variance, _ = warp(
        images, np.ones((40, 40), np.float32), np.zeros((40, 40), np.int32), grid, box, drop=DROP
    )
    assert (planes.var(axis=0, ddof=1) / variance).mean() == pytest.approx(1.0, abs=0.02)
    assert variance.std() > 0  # it depends on where in a pixel one lands


def test_variance_of_a_confidence_map_is_interpolated():
    """Where the variance differs from pixel to pixel, so does the result: linear in between."""
    ramp = np.tile(np.arange(1.0, 41.0), (40, 1)).astype(np.float32)
    box = Box.factory[0:20, 0:20]
    grid = coordinate_grid(box, affine(x=8.5, y=8))
    _, variance, _ = warp(np.zeros((1, 40, 40), np.float32), ramp, np.zeros((40, 40), np.int32), grid, box, drop=DROP)
    squares = lanczos_table(3)[2048, -1]
    np.testing.assert_allclose(variance[5], squares * (np.arange(20) + 9.5), rtol=1e-5)


def test_grid_is_accurate_on_vista():
    """On VISTA's projection, 32-px steps are right to 1e-3 px against the exact transformation at every pixel."""
    detector = vista_wcs()
    ra, dec = detector.pixel_to_world_values(900, 900)
    box, to_input = Box.factory[0:1500, 0:1500], projection_map(tan_wcs(ra=ra, dec=dec, size=1500), detector)
    grid = coordinate_grid(box, to_input)
    assert grid.step == 32
    assert grid.error < 1e-3
    x, y = np.random.default_rng(500).uniform(0, 1499, (2, 2000))
    exact = np.array(to_input(x, y))
    quick = np.array([grid.at(x=a, y=b)[:2] for a, b in zip(x, y, strict=True)]).T
    assert np.hypot(*(exact - quick)).max() < 1e-3


def test_grid_is_refined_or_refused():
    """A curved map gets smaller steps; one that no step can follow is an error with the figure."""
    curved = coordinate_grid(Box.factory[0:200, 0:200], lambda x, y: (x + 3e-5 * x**2, y))
    assert curved.step < 32
    with pytest.raises(GridError, match="wrong by"):
        coordinate_grid(Box.factory[0:64, 0:64], lambda x, y: (x + 0.1 * np.sin(2 * x), y))


def test_grid_nodes_are_those_of_the_tract():
    """Two overlapping patches interpolate the same coordinates, bit by bit."""
    to_input = projection_map(tan_wcs(ra=36.0, dec=-5.0, size=4000), vista_wcs())
    one = coordinate_grid(Box.factory[700:1650, 700:1650], to_input)
    two = coordinate_grid(Box.factory[700:1650, 1500:2450], to_input)
    shift = (two.x - one.x) // one.step
    np.testing.assert_array_equal(one.u[:, shift:], two.u[:, : one.u.shape[1] - shift])


def test_half_size_grid_is_the_same_map():
    """Pixels twice as large have their centres between those of their four."""
    grid = coordinate_grid(Box.factory[0:200, 0:200], affine(x=3, y=4, scale=SCALE, angle=0.1))
    half = grid.halved()
    for x, y in ((0, 0), (31, 17), (90, 95)):
        np.testing.assert_allclose(half.at(x=x, y=y)[:2], grid.at(x=2 * x + 0.5, y=2 * y + 0.5)[:2], atol=1e-9)


def test_outside_and_masked_pixels_have_no_value(rng):
    """Outside the image is NO_DATA; beside a dropped pixel there is no value; elsewhere nothing changes."""
    image = rng.normal(size=(50, 50)).astype(np.float32)
    mask = np.zeros(image.shape, np.int32)
    mask[20, 30] = BIT["BAD"]
    mask[40, 10] = BIT["SAT"]
    out, variance, found = resample(image, affine(x=0.5, y=0.5), Box.factory[-5:60, -5:60], mask=mask)
    assert (found[0] == BIT["NO_DATA"]).all()
    assert not variance[0].any()
    assert not np.isnan(out).any()
    lost = np.argwhere((variance == 0) & (found == BIT["BAD"])) - 5
    assert {tuple(p) for p in lost} == {(19, 29), (19, 30), (20, 29), (20, 30)}
    assert found[45, 15] == BIT["SAT"]
    assert variance[45, 15] > 0


def test_defects_are_bridged_without_ringing():
    """A wild or missing value in a column changes nothing beside the pixels that are dropped."""
    image = np.full((50, 50), 100.0, np.float32)
    variance, mask = np.ones((50, 50), np.float32), np.zeros((50, 50), np.int32)
    image[:, 20], mask[:, 20] = 1e6, BIT["BAD"]
    image[30, 35] = np.nan
    planes = image[None].copy()
    fill_defects(planes, variance, mask, DROP, 3)
    np.testing.assert_allclose(planes, 100.0)
    assert mask[30, 35] == BIT["NO_DATA"]
    out, variance, _ = resample(planes[0], affine(x=4.3, y=4.3), Box.factory[0:40, 0:40], mask=mask)
    np.testing.assert_allclose(out[variance > 0], 100.0, rtol=1e-5)
    assert (variance == 0).sum() == 2 * 40 + 4


def test_large_holes_keep_their_distance():
    """Around a hole that cannot be bridged, no kernel reaches into it."""
    planes = np.ones((1, 40, 40), np.float32)
    variance, mask = np.ones((40, 40), np.float32), np.zeros((40, 40), np.int32)
    variance[10:25, 10:25] = 0
    fill_defects(planes, variance, mask, DROP, 3)
    assert ((mask & BIT["NO_DATA"]) != 0).sum() == 21 * 21
    assert np.isfinite(planes).all()


def test_flux_is_conserved_on_the_sky():
    """Over VISTA's changing pixel area, the sum over output pixels is that over input pixels."""
    detector = vista_wcs()
    ra, dec = detector.pixel_to_world_values(150, 150)
    y, x = np.mgrid[0:300, 0:300]
    blob = np.exp(-0.5 * ((x - 150) ** 2 + (y - 150) ** 2) / 20**2)
    out, _, _ = resample(
        blob, projection_map(tan_wcs(ra=ra, dec=dec, size=800), detector), Box.factory[100:700, 100:700]
    )
    assert out.sum() == pytest.approx(blob.sum(), rel=1e-4)
