"""The band of the shape: the best one, unless the object is saturated there."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.reference_band import central_signal_to_noise, unsaturated_bands
from dmu4.patches.cube import FLAG_BIT, BandPlanes, PatchCube
from dmu4.patches.filling import make_cube
from tests.scenes.patches import psf_stamp

SHAPE, VARIANCE = (60, 80), 2.6
SIGMA = {"g": 2.0, "i": 1.0, "vk": 4.0}
PLACE = {"x": np.array([20.2, 45.8, 70.0]), "y": np.array([30.4, 15.0, 50.3])}
FLUX = np.array([[900, 2000, 600], [300, 2000, 4000], [500, 800, 300.0]])


@pytest.fixture
def cube() -> PatchCube:
    """Three stars in three bands of different noise."""
    planes = {}
    for k, (band, sigma) in enumerate(SIGMA.items()):
        image = np.zeros(SHAPE)
        for x, y, flux in zip(*PLACE.values(), FLUX[:, k], strict=True):
            image[round(y), round(x)] = flux * psf_stamp(VARIANCE).max()
        planes[band] = BandPlanes(
            image=image.astype(np.float32),
            variance=np.full(SHAPE, sigma**2, np.float32),
            mask=np.zeros(SHAPE, np.int32),
            psf=psf_stamp(VARIANCE)[None, None],
            noise=None,
            input_count=np.ones(SHAPE, np.int16),
        )
    return make_cube(planes, x0=0, y0=0, pixel_scale=0.2)


def test_signal_to_noise_of_the_central_pixel(cube: PatchCube) -> None:
    """That of the matched filter: flux times the root of the sum of the squared PSF, over the noise of a pixel."""
    root = np.sqrt(np.sum(np.square(psf_stamp(VARIANCE))))
    for k, sigma in enumerate(SIGMA.values()):
        np.testing.assert_allclose(central_signal_to_noise(cube, k, **PLACE), FLUX[:, k] * root / sigma, rtol=1e-5)
    cube.variance[15, 46, 1] = 0
    assert central_signal_to_noise(cube, 1, **PLACE)[1] == 0


def test_a_saturated_band_is_replaced_by_the_next_best(cube: PatchCube) -> None:
    """i is the best band of all; the first star is saturated there, the second in i and vk, the third nowhere."""
    cube.flags[31, 21, 1] = FLAG_BIT["SAT"]
    cube.flags[15, 44, 1:] = FLAG_BIT["SAT"]
    cube.flags[50, 70, 1] = FLAG_BIT["INEXACT_PSF"]
    np.testing.assert_array_equal(unsaturated_bands(cube, **PLACE, reference=np.array([1, 1, 1])), [0, 0, 1])


def test_where_all_bands_are_saturated_the_first_choice_stays(cube: PatchCube) -> None:
    """Nothing better is known, and the other objects keep theirs."""
    cube.flags[30, 20] = FLAG_BIT["SAT"]
    np.testing.assert_array_equal(unsaturated_bands(cube, **PLACE, reference=np.array([1, 2, 0])), [1, 2, 0])
