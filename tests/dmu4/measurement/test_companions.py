"""Companions of stars and galaxies: found with their fluxes, and only where they are not the light of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dmu4.detection.detect import DetectionSettings, detect
from dmu4.measurement.companions import FAINTER, LEAST_SHARE, WINGS, Hosts, find_companions, near_hosts
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.iterations import ShapeSettings
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.patches.cube import BandPlanes, PatchCube
from dmu4.patches.filling import make_cube
from tests.scenes.patches import Scene, draw, psf_stamp

SHAPE, SCALE, VARIANCE = (230, 310), 0.168, 3.2
SIGMA = {"i": 1.0, "vk": 3.0}


def make_patch(images: dict[str, np.ndarray], noise: dict[str, np.ndarray]) -> PatchCube:
    """Two bands with one PSF and their own noise."""
    planes = {
        band: BandPlanes(
            image=image.astype(np.float32),
            variance=np.full(SHAPE, SIGMA[band] ** 2, np.float32),
            mask=np.zeros(SHAPE, np.int32),
            psf=psf_stamp(VARIANCE)[None, None],
            noise=noise[band].astype(np.float32),
            input_count=np.ones(SHAPE, np.int16),
        )
        for band, image in images.items()
    }
    return make_cube(planes, x0=5000, y0=700, pixel_scale=SCALE)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A bright star and a small galaxy with companions, a star alone, a large galaxy whose peak is its own, and a star
    that moves."""
    x = np.array([80.3, 89.1, 210.6, 150.2, 159.0, 250.4, 254.9, 30.3])
    y = np.array([70.7, 77.3, 60.4, 170.8, 177.4, 120.3, 113.6, 25.4])
    covariance = np.zeros((8, 3))
    covariance[3], covariance[5] = (30.0, 18.0, 5.0), (5.0, 3.5, 1.0)
    one_sigma = 1 / np.sqrt(np.sum(np.square(psf_stamp(VARIANCE))))
    significance = np.array(
        [[2000, 900], [16, 12], [1800, 700], [2000, 900], [16, 12], [500, 240], [15, 13], [300, 200]]
    )
    return Scene(x=x, y=y, covariance=covariance, flux=one_sigma * significance * list(SIGMA.values()))


@pytest.fixture(scope="module")
def patch(scene: Scene) -> PatchCube:
    """The scene with noise; in the second band the last star is elsewhere."""
    rng = np.random.default_rng(20261129)
    moved = replace(scene, x=scene.x + 9.3 * (np.arange(8) == 7), y=scene.y - 4.1 * (np.arange(8) == 7))
    drawn = {
        band: draw(there, band=k, variance=VARIANCE, shape=SHAPE)
        for k, (band, there) in enumerate(zip(SIGMA, (scene, moved), strict=True))
    }
    images = {band: image + SIGMA[band] * rng.standard_normal(SHAPE) for band, image in drawn.items()}
    return make_patch(images, {band: SIGMA[band] * rng.standard_normal(SHAPE) for band in SIGMA})


def test_companions_are_objects_like_others(scene: Scene, patch: PatchCube) -> None:
    """The peak of a companion appears once its host is subtracted; its fluxes are its own, and it follows the peaks.

    Neither the star alone nor the large galaxy gets one. Hosts are known by their peaks, two of which are one star.
    """
    found = detect(patch, DetectionSettings())
    peaks = cKDTree(np.column_stack([found.x, found.y]))
    given = {"x": found.x, "y": found.y, "reference": found.reference}
    measured = measure(patch, **given, settings=MeasurementSettings())
    companions, shapes = measured.objects.companions, measured.shapes
    assert len(companions.x) == 2
    assert len(measured.objects.absorbed) == 1
    assert len(shapes.x) == len(found.x) - 1 + 2
    for host, true in ((0, 1), (5, 6)):
        assert peaks.query([scene.x[true], scene.y[true]])[0] > 5
        number = int(np.argmin(np.hypot(companions.x - scene.x[true], companions.y - scene.y[true])))
        row = number - 2
        assert np.hypot(companions.x - scene.x[true], companions.y - scene.y[true])[number] < 1
        assert np.hypot(shapes.x[row] - scene.x[true], shapes.y[row] - scene.y[true]) < 0.7
        assert peaks.query([scene.x[host], scene.y[host]])[1] == companions.host[number]
        for k, band in enumerate(SIGMA):
            psf = measured.bands[band].psf
            assert abs(psf.value[row] - scene.flux[true, k]) < 3.5 * psf.error[row]
            assert psf.value[row] > 5 * psf.error[row]
            # The first model of a galaxy takes some of the light of its companion.
            assert abs(companions.height[number, k] - [[16, 12], [15, 13]][host > 0][k]) < [4, 6][host > 0]
        assert companions.reference[number] == np.argmax(companions.height[number])
        assert companions.combined[number] == pytest.approx(20, abs=[4, 6][host > 0])
        assert 9 < companions.area[number] < 200
    without = MeasurementSettings(shapes=ShapeSettings(companions=False))
    assert len(measure(patch, **given, settings=without).shapes.x) == len(found.x) - 1


def spot(image: np.ndarray, height: float, *, x: float, y: float) -> None:
    """Add a point source of a signal to noise."""
    unit = psf_stamp(VARIANCE) / np.sqrt(np.sum(np.square(psf_stamp(VARIANCE))))
    i, j = round(y), round(x)
    image[i - 20 : i + 21, j - 20 : j + 21] += height * unit


COMBINED = 18 * np.sqrt(2)
"""Significance of the peak in both bands together."""


def case(**changes: float) -> int:
    """Number of companions in a residual with one peak near a star of signal to noise 900, as drawn or changed.

    ``dx`` is the distance of the peak from its host in arcsec, ``height`` its significance in the first band and
    ``second`` that in the other one, ``light`` the share of the light there that is its own. ``kind``, ``bright`` and
    ``radius`` (arcsec) are the morphology, signal to noise and size of the host. ``other`` is the distance from the
    peak in arcsec of an object of ``other_kind`` and ``other_bright``, to the other side. ``negative`` is the share of
    the light of a negative peak at another star.
    """
    given = {"dx": 1.9, "height": 18.0, "light": 0.7, "kind": 0.0, "bright": 900.0, "radius": 0.4, "negative": 0.0}
    given |= {"other": 9.0, "other_kind": 1.0, "other_bright": 60.0, "second": 18.0} | changes
    y, x = np.indices(SHAPE)
    at_x, at_y = 100.0 + np.rint(given["dx"] / SCALE), 90.0
    shape, far = (
        np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * VARIANCE))
        for place in ((at_x, at_y), (252.0, 160.0))
    )
    image = np.zeros(SHAPE)
    spot(image, 18 / given["light"], x=at_x, y=at_y)
    spot(image, 18 / max(given["negative"], 1e-3), x=252, y=160)
    patch = make_patch({"i": image, "vk": 3 * image}, dict.fromkeys(SIGMA, np.zeros(SHAPE)))
    objects = Hosts(
        x=np.array([100.0, at_x + given["other"] / SCALE, 240.0]),
        y=np.array([90.0, at_y, 160.0]),
        extendedness=np.array([given["kind"], given["other_kind"], 0.0]),
        radius=np.array([given["radius"] * (given["kind"] == 1), given["radius"] * (given["other_kind"] == 1), 0])
        / SCALE,
        height=np.array([given["bright"], given["other_bright"], 900.0]),
    )
    pixels = near_hosts(patch, objects)
    remains = {
        band: (given[name] * shape - (18.0 if given["negative"] else 0) * far).astype(np.float16).ravel()[pixels]
        for band, name in enumerate(("height", "second"))
    }
    inflations = [ErrorInflation(psf=1.0, gaap=np.ones(1), radius=np.ones(1), circle=np.ones(1), samples=1)] * 2
    return len(find_companions(patch, remains, pixels, objects, inflations).x)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"kind": np.nan}, 0),
        ({"dx": 0.5}, 0),
        ({"dx": 3.2}, 1),
        ({"dx": 3.7, "bright": 9000.0}, 0),
        ({"height": 3.0, "second": 3.0}, 0),
        ({"second": 0.0}, 1),
        ({"bright": 1.1 * COMBINED / FAINTER}, 1),
        ({"bright": 0.9 * COMBINED / FAINTER}, 0),
        ({"light": 1.3 * LEAST_SHARE}, 1),
        ({"light": 0.7 * LEAST_SHARE}, 0),
        ({"light": 0.08, "negative": 0.1}, 0),
        ({"light": 0.12, "negative": 0.1}, 1),
        ({"light": 0.17, "negative": 0.3}, 0),
        ({"light": 0.25, "negative": 0.3}, 1),
        ({"other": 1.2}, 1),
        ({"other": 0.8}, 0),
        ({"other": 0.8, "other_bright": 20.0}, 1),
        ({"other": 1.2, "radius": 0.9}, 0),
        ({"other": 8.0, "radius": 2.1, "other_bright": 600.0}, 0),
        ({"other": 8.0, "radius": 1.9, "other_bright": 600.0}, 1),
        ({"other": 14.0, "radius": np.inf, "other_bright": 600.0}, 0),
        ({"other": 16.0, "radius": np.inf, "other_bright": 600.0}, 1),
    ],
)
def test_what_is_a_companion_of_a_star(changes: dict[str, float], expected: int) -> None:
    """A peak near a star, not at its core, much fainter than it, more than errors of PSFs, and away from galaxies."""
    assert case(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"dx": 0.9}, 0),
        ({"dx": 3.7}, 0),
        ({"radius": 0.9, "dx": 1.3}, 0),
        ({"radius": 0.9, "dx": 1.5}, 1),
        ({"radius": 1.1, "dx": 3.2}, 0),
        ({"bright": 22.0}, 1),
        ({"bright": 18.0}, 0),
        ({"bright": 0.9 * COMBINED / WINGS}, 1),
        ({"bright": 1.1 * COMBINED / WINGS}, 0),
        ({"light": 0.25}, 1),
        ({"light": 0.17}, 0),
        ({"second": 0.0}, 0),
        ({"other": 4.0, "other_kind": 0.0, "other_bright": 0.9 * COMBINED / WINGS}, 1),
        ({"other": 4.0, "other_kind": 0.0, "other_bright": 1.1 * COMBINED / WINGS}, 0),
        ({"other": 7.0, "other_kind": 0.0, "other_bright": 0.9 * COMBINED / WINGS * (7 / 5) ** 4}, 1),
        ({"other": 7.0, "other_kind": 0.0, "other_bright": 1.1 * COMBINED / WINGS * (7 / 5) ** 4}, 0),
    ],
)
def test_what_is_a_companion_of_a_galaxy(changes: dict[str, float], expected: int) -> None:
    """A peak in two bands near a small galaxy, not in its middle, with enough light of its own, beyond wings."""
    assert case(**({"kind": 1.0, "bright": 300.0} | changes)) == expected


def test_pixels_near_what_is_bright() -> None:
    """A bright star is surrounded by the reach of companions, cut at the edge, and so is a fainter galaxy; fainter ones
    and what is neither have nothing."""
    patch = make_patch(dict.fromkeys(SIGMA, np.zeros(SHAPE)), dict.fromkeys(SIGMA, np.zeros(SHAPE)))
    objects = Hosts(
        x=np.array([300.2, 50.0, 200.0, 250.0, 120.0]),
        y=np.array([4.9, 100.0, 60.0, 180.0, 180.0]),
        extendedness=np.array([0.0, 0.0, 1.0, 1.0, np.nan]),
        radius=np.zeros(5),
        height=np.array([90.0, 80.0, 22.0, 18.0, 500.0]),
    )
    row, column = np.indices(SHAPE)
    reach = int(np.ceil(3.3 / SCALE)) + 2
    near = ((row - y) ** 2 + (column - x) ** 2 <= reach**2 for x, y in ((300, 5), (200, 60)))
    np.testing.assert_array_equal(near_hosts(patch, objects), np.flatnonzero(np.logical_or(*near)))
