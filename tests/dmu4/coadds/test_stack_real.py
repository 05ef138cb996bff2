"""Four real VIRCAM H images, coadded on HSC's grid in tract 8525, patches 41 and 42: fluxes, positions, depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box

from dmu0.published.coadds import sky_variance
from dmu0.robust_statistics import robust_scatter
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import SkyMapConfig
from dmu4.coadds.correlated_noise import aperture_error_scale, aperture_sums, noise_kernel, sky_noise_correlation
from dmu4.coadds.planes import CoaddInput, CoaddSettings
from dmu4.coadds.resample import coordinate_grid, projection_map
from dmu4.coadds.stack import make_coadd
from dmu4.review.coadds import sky_pixels
from obs_vista.masks import BIT
from obs_vista.photometry import nanojansky_per_count
from obs_vista.world_coordinates import icrs_wcs

SCALE, CELL = 0.168, 150


@dataclass(frozen=True)
class Frame:
    """One image in nJy, less its sky."""

    image: np.ndarray
    variance: np.ndarray
    wcs: WCS
    seeing: float


@pytest.fixture(scope="module")
def frames(realdata) -> list[Frame]:
    """The four images, each with the variance of its sky."""
    found = []
    for n in range(1, 5):
        with fits.open(realdata / "vista_video_h" / f"image_{n}.fits") as hdus:
            header = hdus[1].header
            image = np.ascontiguousarray(hdus[1].data, np.float32) * np.float32(nanojansky_per_count(header["MAGZPT"]))
        image -= sep.Background(image, bw=128, bh=128).back()
        variance = sky_variance(image, np.zeros(image.shape, bool))
        found.append(Frame(image, variance, icrs_wcs(header), float(header["SEEING"]) * 0.3413))
    return found


def sources(frames: list[Frame], tract_wcs: WCS, box: Box) -> list[CoaddInput]:
    """The frames as the engine takes them."""

    def source(n: int, frame: Frame) -> CoaddInput:
        mask, whole = np.zeros(frame.image.shape, np.int32), Box.from_shape(frame.image.shape)

        def read(area: Box) -> tuple[np.ndarray, ...]:
            part = area.slice_within(whole)
            return tuple(plane[part].copy() for plane in (frame.image, frame.variance, mask))

        grid = coordinate_grid(box, projection_map(tract_wcs, frame.wcs))
        assert grid.error < 1e-3
        weight = 1 / float(np.median(frame.variance))
        kernel = noise_kernel(sky_noise_correlation(frame.image, frame.variance, mask, drop=int(BIT["NO_DATA"])))
        return CoaddInput(f"{n}", whole, grid, read, weight, frame.seeing, kernel, seed=n)

    return [source(n, frame) for n, frame in enumerate(frames)]


def common_box(frames: list[Frame], tract_wcs: WCS, outer: Box) -> Box:
    """Whole cells in the part of a patch that all frames cover, at most ten a side."""
    low, high = np.array([outer.x.start, outer.y.start]), np.array([outer.x.stop, outer.y.stop])
    for frame in frames:
        ny, nx = frame.image.shape
        corners = frame.wcs.pixel_to_world([20, nx - 20, nx - 20, 20], [20, 20, ny - 20, ny - 20])
        x, y = tract_wcs.world_to_pixel(corners)
        low = np.maximum(low, [np.sort(x)[1], np.sort(y)[1]])
        high = np.minimum(high, [np.sort(x)[2], np.sort(y)[2]])
    cells = np.minimum((high - low) // CELL, 10).astype(int)
    x0, y0 = np.ceil(low).astype(int)
    return Box.factory[y0 : y0 + CELL * cells[1], x0 : x0 + CELL * cells[0]]


@pytest.fixture(scope="module")
def tract():
    """HSC's tract 8525."""
    return make_sky_map(SkyMapConfig(name="hscPdr2")).tract(8525)


@pytest.fixture(scope="module")
def deep(frames, tract):
    """The coadd of the part of patch 42 that all four cover, and its box."""
    box = common_box(frames, tract.wcs, tract.patch("6,4").outer_bbox)
    assert min(box.shape) >= 4 * CELL
    return make_coadd(sources(frames, tract.wcs, box), box, cell=CELL, settings=CoaddSettings()), box


def bright_stars(planes, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Positions (array) of bright, single, round sources of the coadd."""
    found = sep.extract(planes.image, 30.0, err=np.sqrt(planes.variance), minarea=9)
    half = sep.flux_radius(planes.image, found["x"], found["y"], np.full(len(found), 15.0), 0.5)[0]
    compact = np.abs(half / np.median(half[found["flux"] > np.median(found["flux"])]) - 1) < 0.25
    edge = (found["x"] > 40) & (found["y"] > 40) & (found["x"] < box.x.size - 40) & (found["y"] < box.y.size - 40)
    distance = np.hypot(found["x"][:, None] - found["x"], found["y"][:, None] - found["y"])
    np.fill_diagonal(distance, np.inf)
    keep = compact & edge & (distance.min(axis=1) > 40) & (found["flag"] == 0) & (found["a"] / found["b"] < 1.25)
    x, y, _ = sep.winpos(planes.image, found["x"][keep], found["y"][keep], np.full(keep.sum(), 2.2))
    return x, y


def test_fluxes_and_positions_are_those_of_the_frames(deep, frames, tract):
    """Stars: coadd against each single frame within 0.02 mag in the median, positions within 0.03 arcsec."""
    planes, box = deep
    x, y = bright_stars(planes, box)
    assert len(x) >= 10
    flux = sep.sum_circle(planes.image, x, y, 2.0 / SCALE, bkgann=(4.0 / SCALE, 6.0 / SCALE))[0]
    sky = tract.wcs.pixel_to_world(x + box.x.start, y + box.y.start)
    differences, offsets = [], []
    for frame in frames:
        u, v = (np.asarray(value) for value in frame.wcs.world_to_pixel(sky))
        single = sep.sum_circle(frame.image, u, v, 2.0 / 0.3413, bkgann=(4.0 / 0.3413, 6.0 / 0.3413))[0]
        differences.append(-2.5 * np.log10(single / flux))
        a, b, _ = sep.winpos(frame.image, u, v, np.full(len(u), 1.1))
        offsets.append([np.median(a - u) * 0.3413, np.median(b - v) * 0.3413])
    assert abs(np.median(differences)) < 0.02
    assert np.abs(np.median(differences, axis=1)).max() < 0.03
    assert np.hypot(*np.mean(offsets, axis=0)) < 0.03
    assert np.hypot(*np.array(offsets).T).max() < 0.06


def test_depth_is_that_of_four(deep, frames):
    """Empty apertures scatter as the weighted mean of four frames should, to 10%, and as the noise plane says."""
    planes, _ = deep
    single = []
    for frame in frames:
        good = sky_pixels(frame.image, frame.variance, np.ones(frame.image.shape, bool))
        single.append(robust_scatter(aperture_sums(frame.image, frame.variance, good, radius=1.0 / 0.3413)[0]))
    weights = np.array([1 / np.median(frame.variance) for frame in frames])
    expected = np.sqrt(((weights * single) ** 2).sum()) / weights.sum()
    assert expected == pytest.approx(np.mean(single) / 2, rel=0.1)
    good = sky_pixels(planes.image, planes.variance, planes.count == 4)
    sums, variances, _, _ = aperture_sums(planes.image, planes.variance, good, radius=1.0 / SCALE)
    assert len(sums) > 200
    assert robust_scatter(sums) == pytest.approx(expected, rel=0.1)
    scale = aperture_error_scale(list(planes.noise), planes.variance, planes.count == 4, radii=np.array([1.0 / SCALE]))
    assert robust_scatter(sums / np.sqrt(variances)) / scale[0] == pytest.approx(1.0, abs=0.15)


def test_rejection_takes_little_and_no_stars(deep):
    """In good frames the comparison of epochs leaves out less than a percent, and no core of a star."""
    planes, box = deep
    assert planes.clipped.sum() < 0.01 * planes.cell_counts.sum()
    x, y = bright_stars(planes, box)
    cores = planes.mask[np.rint(y).astype(int), np.rint(x).astype(int)]
    assert ((cores & BIT["CLIPPED"]) != 0).mean() < 0.1


@pytest.mark.parametrize("name", ["5,4", "6,4"])
def test_patches_are_partly_covered(frames, tract, name):
    """Each of the two patches is covered in part: in a strip of it there are data here and NO_DATA elsewhere."""
    box = tract.patch(name).outer_bbox
    corner = Box.factory[box.y.start + 1500 : box.y.start + 2100, box.x.start : box.x.stop]
    planes = make_coadd(
        sources(frames, tract.wcs, corner), corner, cell=CELL, settings=CoaddSettings(n_noise=0, rejection=None)
    )
    covered = planes.count > 0
    assert 0.05 < covered.mean() < 0.95
    np.testing.assert_array_equal(np.isnan(planes.image), ~covered)
    assert planes.count.max() <= 4
