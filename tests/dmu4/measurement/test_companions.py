"""Companions of stars: found with their fluxes, and only where the light of a star, and of nothing else, hid them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dmu4.detection.detect import DetectionSettings, detect
from dmu4.measurement.companions import FAINTER, find_companions, near_bright
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
    """A bright star with a companion 11 pixels away, a star without one, and a galaxy with one that is its own."""
    x, y = np.array([80.3, 89.1, 210.6, 150.2, 159.0]), np.array([70.7, 77.3, 60.4, 170.8, 177.4])
    covariance = np.zeros((5, 3))
    covariance[3] = 30.0, 18.0, 5.0
    one_sigma = 1 / np.sqrt(np.sum(np.square(psf_stamp(VARIANCE))))
    flux = one_sigma * np.array([[2000, 900], [16, 12], [1800, 700], [2000, 900], [16, 12]]) * list(SIGMA.values())
    return Scene(x=x, y=y, covariance=covariance, flux=flux)


@pytest.fixture(scope="module")
def patch(scene: Scene) -> PatchCube:
    """The scene with noise."""
    rng = np.random.default_rng(20261129)
    drawn = {band: draw(scene, band=k, variance=VARIANCE, shape=SHAPE) for k, band in enumerate(SIGMA)}
    images = {band: image + SIGMA[band] * rng.standard_normal(SHAPE) for band, image in drawn.items()}
    return make_patch(images, {band: SIGMA[band] * rng.standard_normal(SHAPE) for band in SIGMA})


def test_a_companion_is_an_object_like_others(scene: Scene, patch: PatchCube) -> None:
    """The peak of a companion appears once its star is subtracted; its fluxes are its own, and it is the last object.

    Neither the star alone nor the galaxy gets one.
    """
    found = detect(patch, DetectionSettings())
    peaks = cKDTree(np.column_stack([found.x, found.y]))
    assert peaks.query([scene.x[1], scene.y[1]])[0] > 5
    given = {"x": found.x, "y": found.y, "reference": found.reference}
    measured = measure(patch, **given, settings=MeasurementSettings())
    companions, shapes = measured.objects.companions, measured.shapes
    assert len(companions.x) == 1
    assert len(shapes.x) == len(found.x) + 1
    assert np.hypot(companions.x - scene.x[1], companions.y - scene.y[1])[0] < 0.7
    assert np.hypot(shapes.x[-1] - scene.x[1], shapes.y[-1] - scene.y[1]) < 0.7
    assert peaks.query([scene.x[0], scene.y[0]])[1] == companions.star[0]
    for number, band in enumerate(SIGMA):
        psf = measured.bands[band].psf
        assert abs(psf.value[-1] - scene.flux[1, number]) < 3.5 * psf.error[-1]
        assert psf.value[-1] > 5 * psf.error[-1]
        assert abs(companions.height[0, number] - [16, 12][number]) < 4
    assert companions.reference[0] == 0
    assert companions.combined[0] == pytest.approx(20, abs=4)
    assert 9 < companions.area[0] < 200
    without = MeasurementSettings(shapes=ShapeSettings(companions=False))
    assert len(measure(patch, **given, settings=without).shapes.x) == len(found.x)


def case(**changes: float) -> int:
    """Number of companions in a residual with one peak near a star of signal to noise 900, as drawn or changed.

    ``dx`` is the distance of the peak from the star in arcsec, ``height`` its significance in each band, ``light`` the
    share of the light there that is its own, ``kind`` and ``bright`` the morphology of the star and its signal to
    noise, ``galaxy`` the distance from the peak, in arcsec, of a galaxy of signal to noise 60, to the other side.
    """
    given = {"dx": 1.9, "height": 18.0, "light": 0.7, "kind": 0.0, "bright": 900.0, "galaxy": 9.0} | changes
    y, x = np.indices(SHAPE)
    at_x, at_y = 100.0 + np.rint(given["dx"] / SCALE), 90.0
    shape = np.exp(-0.5 * ((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * VARIANCE))
    unit = psf_stamp(VARIANCE) / np.sqrt(np.sum(np.square(psf_stamp(VARIANCE))))
    image = np.zeros(SHAPE)
    image[int(at_y) - 20 : int(at_y) + 21, int(at_x) - 20 : int(at_x) + 21] = unit * given["height"] / given["light"]
    image[90, 100] = 1e3  # where pixels are looked at
    patch = make_patch({"i": image, "vk": 3 * image}, dict.fromkeys(SIGMA, np.zeros(SHAPE)))
    places = {"x": np.array([100.0, at_x + given["galaxy"] / SCALE]), "y": np.array([90.0, at_y])}
    pixels = near_bright(patch, **places, reference=np.zeros(2, int))
    remains = (given["height"] * shape).astype(np.float16).ravel()[pixels]
    found = find_companions(
        patch,
        {0: remains, 1: remains},
        pixels,
        **places,
        star=np.array([given["kind"], 1.0]) == 0,
        height=np.array([given["bright"], 60.0]),
        inflations=[ErrorInflation(psf=1.0, gaap=np.ones(1), radius=np.ones(1), circle=np.ones(1), samples=1)] * 2,
    )
    return len(found.x)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"kind": 1.0}, 0),
        ({"kind": np.nan}, 0),
        ({"dx": 0.5}, 0),
        ({"dx": 3.2}, 1),
        ({"dx": 3.7, "bright": 9000.0}, 0),
        ({"height": 3.0}, 0),
        ({"bright": 1.1 * 18 * np.sqrt(2) / FAINTER}, 1),
        ({"bright": 0.9 * 18 * np.sqrt(2) / FAINTER}, 0),
        ({"light": 0.25}, 1),
        ({"light": 0.17}, 0),
        ({"galaxy": 1.7}, 1),
        ({"galaxy": 1.2}, 0),
    ],
)
def test_what_is_a_companion(changes: dict[str, float], expected: int) -> None:
    """A peak is one near a star, not at its core, much fainter than it, of its own light, and away from galaxies."""
    assert case(**changes) == expected


def test_pixels_near_what_is_bright() -> None:
    """A bright peak is surrounded by the reach of companions, cut at the edge; a faint one by nothing."""
    image = np.zeros(SHAPE)
    image[5, 300], image[100, 50] = 90.0, 4.0
    patch = make_patch({"i": image, "vk": image}, dict.fromkeys(SIGMA, np.zeros(SHAPE)))
    pixels = near_bright(patch, x=np.array([300.2, 50.0]), y=np.array([4.9, 100.0]), reference=np.array([0, 0]))
    row, column = np.indices(SHAPE)
    reach = int(np.ceil(3.3 / SCALE)) + 2
    expected = np.flatnonzero((row - 5) ** 2 + (column - 300) ** 2 <= reach**2)
    np.testing.assert_array_equal(pixels, expected)
