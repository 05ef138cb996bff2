"""Detection: what is found, what is not, and that bands leave each other alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import correlate2d, oaconvolve
from scipy.spatial import cKDTree

from dmu4.detection.detect import (
    DetectionSettings,
    combined_map,
    detect,
    merge_peaks,
)
from dmu4.detection.footprints import Peaks, find_peaks, make_footprints
from dmu4.detection.significance import ROWS, correlate, significance
from dmu4.patches.cube import BandPlanes, PatchCube, psf_sigma
from dmu4.patches.filling import make_cube
from tests.scenes.measured import less_sky
from tests.scenes.patches import Scene, add_gaussian, correlated_noise, draw, make_patch, make_scene, psf_stamp

BANDS = ("g", "i", "vk")
PSF = (3.0, 2.2, 3.4)
SIGMA = (4.0, 6.0, 20.0)
SHAPE = (420, 400)


@pytest.fixture(scope="module")
def patch():
    """A synthetic patch of three bands and its sources."""
    rng = np.random.default_rng(12)
    scene = make_scene(rng, shape=SHAPE, density=1.2e-3, bands=3, faintest=150, galaxies=0.3, margin=12)
    return scene, make_patch(scene, rng, bands=BANDS, psf_variance=PSF, sigma=SIGMA, shape=SHAPE)


def test_isolated_stars_are_found(patch):
    """Of the isolated stars of 5 sigma or more in any band at least 95% are detected, within 1.5 px."""
    scene, cube = patch
    found = detect(less_sky(cube), DetectionSettings())
    positions = np.column_stack([scene.x, scene.y])
    isolated = cKDTree(positions).query(positions, k=2)[0][:, 1] > 12
    # The noise is correlated: the error of a flux is the scatter of the noise plane after the filter.
    stamps = [psf_stamp(variance) for variance in PSF]
    filtered = [oaconvolve(cube.noise[..., band], stamp, mode="valid") for band, stamp in enumerate(stamps)]
    errors = [np.std(noise) / np.sum(stamp**2) for noise, stamp in zip(filtered, stamps, strict=True)]
    signal = (scene.flux / np.array(errors)).max(axis=1)
    stars = isolated & (scene.covariance[:, 0] == 0) & (signal > 5)
    distance, _ = cKDTree(np.column_stack([found.x, found.y])).query(positions)
    assert stars.sum() > 30
    assert np.mean(distance[stars] < 1.5) >= 0.95


def test_strips_give_the_sums_of_the_whole_image(rng):
    """Sums with lopsided kernels over an image of three strips and a part, and over one lower than a kernel."""
    kernels = rng.normal(size=(2, 9, 9))
    for shape in ((3 * ROWS + 50, 61), (5, 30)):
        image, scale = rng.normal(size=shape), rng.uniform(1, 2, shape)
        for kernel, found in zip(kernels, correlate(image, kernels, scale=scale), strict=True):
            np.testing.assert_allclose(found, scale * correlate2d(image, kernel, mode="same"), atol=2e-5)


def test_significance_of_a_star_on_uneven_noise(rng):
    """F sum(P^2) / sqrt(sum(P^2 v)): what counts of the variance is its part under the square of a tilted PSF."""
    stamp, shape = np.zeros((31, 31)), (200, 260)
    add_gaussian(stamp, x=15, y=15, xx=6.0, yy=3.0, xy=2.0, flux=1.0)
    variance = np.ones(shape)
    variance[:, 60::60] = 100.0
    noise = rng.normal(0, 1, shape) * np.sqrt(variance)
    image = np.zeros(shape)
    places = [(60, 40), (62, 120), (90, 80), (180, 150)]
    for x, y in places:
        add_gaussian(image, x=x, y=y, xx=6.0, yy=3.0, xy=2.0, flux=500.0)
    found = significance(image, variance, np.ones(shape, bool), stamp, noise).value
    for x, y in places:
        under = variance[y - 15 : y + 16, x - 15 : x + 16]
        assert found[y, x] == pytest.approx(500 * (stamp**2).sum() / np.sqrt((stamp**2 * under).sum()), rel=0.06)


def test_sharp_filter_of_a_star_and_of_a_slope(rng):
    """At a star it is its ratio times the significance; a plane of light of any slope vanishes."""
    shape, stamp = (150, 180), psf_stamp(4.0)
    star, noise = np.zeros(shape), rng.normal(0, 1, shape)
    star[30:71, 50:91] = 800 * stamp
    y, x = np.indices(shape)
    good, variance = np.ones(shape, bool), np.ones(shape)
    alone = significance(star, variance, good, stamp, noise)
    assert 0.5 < alone.sharp_ratio < 1
    assert alone.sharp[50, 70] == pytest.approx(alone.sharp_ratio * alone.value[50, 70], rel=0.01)
    tilted = significance(star + 3.0 * x - 2.0 * y, variance, good, stamp, noise)
    np.testing.assert_allclose(tilted.sharp[30:-30, 30:-30], alone.sharp[30:-30, 30:-30], atol=0.5)


def drawn(rng: np.random.Generator, sources: list[tuple[float, float, float, float]]) -> PatchCube:
    """A patch of one band with round sources (x, y, variance beyond the PSF, flux) on noise of 1 nJy."""
    shape, variance = (200, 260), 4.0
    x, y, wider, flux = np.array(sources).T
    scene = Scene(x, y, np.column_stack([wider, wider, 0 * wider]), flux[:, None])
    image, stamp = rng.normal(0, 1, shape) + draw(scene, band=0, variance=variance, shape=shape), psf_stamp(variance)
    planes = BandPlanes(
        image=image.astype(np.float32),
        variance=np.ones(shape, np.float32),
        mask=np.zeros(shape, np.int32),
        psf=np.broadcast_to(stamp, (1, 1, *stamp.shape)).astype(np.float32),
        noise=rng.normal(0, 1, shape).astype(np.float32),
        input_count=np.ones(shape, np.int16),
    )
    return make_cube({"i": planes}, x0=0, y0=0, pixel_scale=0.2)


def test_faint_sources_beside_bright_ones_are_found(rng):
    """Neighbours of a sixth of the flux at four PSF widths have no peak after the first filter, but one after the
    sharp one; a bright star and a large smooth galaxy alone remain one object each."""
    bright = [(60.0, 50.0, 0.0, 6000.0), (150.0, 60.0, 3.0, 6000.0), (70.0, 140.0, 30.0, 20000.0)]
    faint = [(67.6, 50.0, 0.0, 1000.0), (150.0, 69.3, 0.0, 1000.0)]
    found = detect(drawn(rng, bright), DetectionSettings())
    assert sorted(np.round(found.x, -1).astype(int)) == [60, 70, 150]
    both = drawn(rng, [*bright, *faint])
    found = detect(both, DetectionSettings())
    assert len(found.x) == 5
    planes = (both.plane(name, 0) for name in ("image", "variance", "good"))
    assert len(find_peaks(significance(*planes, psf_stamp(4.0), None).value, threshold=5, floor=3)) == 3
    for x, y, _, flux in faint:
        distance = np.hypot(found.x - x, found.y - y)
        assert distance.min() < 1.5
        # Its own light: a Gaussian of this flux alone has the height flux / (noise sqrt(4 pi) sigma).
        alone = flux / np.sqrt(4 * np.pi * 4.0)
        assert 0.3 * alone < found.height[np.argmin(distance), 0] < 1.2 * alone


def test_noise_and_inverted_image_give_next_to_nothing(patch):
    """The inverted image, and pure noise, hold at most one false peak per 40,000 pixels."""
    scene, cube = patch
    limit = SHAPE[0] * SHAPE[1] / 40_000
    noise_only = replace(cube, image=cube.noise.copy())
    assert len(detect(noise_only, DetectionSettings()).x) <= limit
    assert len(detect(replace(cube, image=-less_sky(cube).image), DetectionSettings()).x) <= limit
    assert len(scene.x) > 40 * limit


def test_an_empty_band_changes_nothing(patch):
    """Detections with a band of NaN and with that band left out are the same, to the last bit."""
    _, cube = patch
    empty = replace(cube, good=cube.good & (np.arange(3) != 1), image=np.where(np.arange(3) != 1, cube.image, 0))
    kept = [0, 2]
    with_empty, without = (detect(one, DetectionSettings()) for one in (empty, cube.of_bands(kept)))
    np.testing.assert_array_equal(with_empty.x, without.x)
    np.testing.assert_array_equal(with_empty.height[:, kept], without.height)
    np.testing.assert_array_equal(with_empty.detected[:, kept], without.detected)
    np.testing.assert_array_equal(with_empty.footprints.area, without.footprints.area)
    assert not with_empty.detected[:, 1].any()


def test_nothing_is_found_without_data(patch):
    """A patch without a good pixel has no detections."""
    _, cube = patch
    blank = replace(cube, good=np.zeros_like(cube.good), image=np.zeros_like(cube.image))
    assert len(detect(blank, DetectionSettings()).x) == 0


def test_significance_is_that_of_the_true_noise(rng):
    """Filtered correlated noise has unit scatter, with and without a noise realization."""
    shape = (300, 300)
    noise, other = (correlated_noise(rng, shape, sigma=3, width=1.0) for _ in range(2))
    good, variance = np.ones(shape, bool), np.full(shape, 9.0)
    for realization in (other, None):
        found = significance(noise, variance, good, psf_stamp(3.0), realization)
        for filtered in (found.value, found.sharp):
            assert np.std(filtered[20:-20, 20:-20]) == pytest.approx(1, abs=0.06)


def test_chi_square_image_has_a_gaussian_false_alarm_rate(rng):
    """The combination of n bands of noise exceeds 1, 2 and 3 sigma as often as a Gaussian does."""
    noise = rng.standard_normal((4, 1000, 1000)).astype(np.float32)
    for n in (1, 4):
        good = np.broadcast_to((np.arange(4) < n)[:, None, None], noise.shape)
        combined = combined_map(noise, good)
        for sigma, rate in ((1, 0.1587), (2, 0.02275), (3, 0.00135)):
            assert np.mean(combined > sigma) == pytest.approx(rate, rel=0.1)


def test_peaks_stand_out_or_are_not_peaks():
    """Two bumps with a deep saddle are two peaks; a ripple on a slope is none."""
    y, x = np.mgrid[:60, :80]
    two = 50 * np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 18) + 20 * np.exp(-((x - 42.3) ** 2 + (y - 30) ** 2) / 18)
    peaks = find_peaks(two, threshold=5, floor=1)
    assert sorted(np.round(peaks.x, 1)) == [30.0, 42.3]
    ripple = 50 * np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 200) + 1.0 * np.cos(x / 1.5)
    assert len(find_peaks(ripple, threshold=5, floor=1)) == 1


def test_footprints_share_all_pixels_and_stay_bounded():
    """Each pixel above the floor has one owner; a region over the limit is cut until it is small enough."""
    y, x = np.mgrid[:100, :100]
    bumps = 40 * np.exp(-((x - 30) ** 2 + (y - 50) ** 2) / 100) + 60 * np.exp(-((x - 60) ** 2 + (y - 50) ** 2) / 100)
    plateau = bumps + 4
    whole = make_footprints(plateau, x=np.array([30.0, 60]), y=np.array([50.0, 50]), floor=3, max_area=20_000)
    assert (whole.owner >= 0).all()
    assert whole.area.sum() == plateau.size
    assert list(whole.blend_size) == [2, 2]
    assert whole.owner[50, 30] == 0
    assert whole.owner[50, 60] == 1
    cut = make_footprints(plateau, x=np.array([30.0, 60]), y=np.array([50.0, 50]), floor=3, max_area=2_000)
    assert 0 < cut.area.sum() <= 2_000


def test_peaks_of_several_bands_are_merged_in_order():
    """The position of the first band is kept; what only a later band has is added."""
    first = Peaks(x=np.array([10.0, 50]), y=np.array([10.0, 50]), height=np.array([9.0, 9]))
    second = Peaks(x=np.array([10.8, 90]), y=np.array([10.0, 90]), height=np.array([9.0, 9]))
    nothing = Peaks(x=np.zeros(0), y=np.zeros(0), height=np.zeros(0))
    x, y, seen = merge_peaks([first, nothing, second], radius=[2, 2, 2])
    np.testing.assert_array_equal(x, [10, 50, 90])
    np.testing.assert_array_equal(y, [10, 50, 90])
    np.testing.assert_array_equal(seen, [[True, False, True], [True, False, False], [False, False, True]])


def test_sky_is_flat_after_subtraction_and_galaxies_stay(patch, rng):
    """A tilted sky is removed to 3% of the pixel noise in the median, and a large galaxy keeps its light to 8%."""
    _, cube = patch
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    galaxy = 8000 * np.exp(-((x - 200) ** 2 + (y - 210) ** 2) / (2 * 8.0**2)) / (2 * np.pi * 64)
    tilt = 2.0 + 0.01 * x
    image = cube.image + (galaxy + tilt)[..., None].astype(np.float32)
    flat = less_sky(replace(cube, image=image))
    error = (flat.image - cube.image - galaxy[..., None])[..., 1]
    assert abs(np.median(error)) < 0.03 * SIGMA[1]
    lost = np.sum(error[170:250, 160:240]) / galaxy.sum()
    assert abs(lost) < 0.08


def test_psf_width_is_that_of_a_gaussian():
    """The equivalent width of a Gaussian stamp is its sigma; an empty stamp has none."""
    y, x = np.mgrid[-20:21, -20:21]
    stamp = np.exp(-(x**2 + y**2) / (2 * 2.5**2))
    assert psf_sigma(stamp / stamp.sum()) == pytest.approx(2.5, rel=1e-4)
    assert np.isnan(psf_sigma(np.zeros((5, 5))))
