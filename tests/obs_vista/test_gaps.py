"""Where an image has no data, and what the noise makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dmu3.inputs import read_detector
from obs_vista.gaps import empty_pixels
from obs_vista.headers import merged_header
from obs_vista.noise import skynoise_variance


@pytest.mark.parametrize("sky", [0.0, 8382.56])
@pytest.mark.parametrize("columns", [0, 100, 120])
def test_stack_without_map_whose_gaps_are_zero(tmp_path: Path, write_casu, sky: float, columns: int) -> None:
    """Gaps of zeros have no data, and do not dilute the noise: the true sigma in the pipeline and in the baseline."""
    image = np.random.default_rng(0).normal(sky, 8.8, (230, 256)).astype(np.float32)
    image[:, :columns] = 0
    path = write_casu(tmp_path / "v_st.fit", {1: image})
    with fits.open(path) as hdus:
        header, pixels = merged_header(hdus[0].header, hdus[1].header), np.array(hdus[1].data)
    expected = np.zeros(image.shape, bool)
    expected[:, :columns] = True
    noise = skynoise_variance(pixels, header, 1)
    np.testing.assert_array_equal(noise.no_data, expected)
    assert np.sqrt(np.median(noise.variance[~expected])) == pytest.approx(8.8, rel=0.02)
    baseline = read_detector(path, 1, "vh", confidence=None)
    np.testing.assert_array_equal(baseline.weight == 0, expected)
    nanojansky = 10 ** (0.4 * (31.4 - 23.867 - 1.385)) / 10
    assert 1 / np.sqrt(np.median(baseline.weight[~expected])) == pytest.approx(
        8.8 * nanojansky, rel=0.05
    )  # a seventh of the pixels


def test_nothing_but_gaps() -> None:
    """An image of one value is empty, a noisy one is not, nor is one of NaN anything else."""
    assert empty_pixels(np.zeros((5, 7))).all()
    assert empty_pixels(np.full((5, 7), np.nan)).all()
    assert not empty_pixels(np.random.default_rng(1).normal(size=(50, 70))).any()


@pytest.mark.parametrize("value", [65535, 9999, 1e30, -1e35, 0, -99])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_fill_values_of_any_sign(value: float, dtype: type) -> None:
    """Large blocks of one value have no data, wherever they are; cores of saturated stars, and edges, stay."""
    if dtype == np.int32 and abs(value) > 1e9:
        return
    image = np.random.default_rng(3).normal(1000, 100, (130, 171)).astype(dtype)
    expected = np.zeros(image.shape, bool)
    expected[60:90, 33:48] = expected[:, 150:] = expected[3:19, :16] = True
    image[expected] = value
    image[100:112, 100:112] = 60000
    np.testing.assert_array_equal(empty_pixels(image), expected)


def test_blocks_are_whole() -> None:
    """Three by three zeros at a corner are a block, two by nine at an edge are none."""
    image = np.random.default_rng(3).normal(size=(40, 50))
    image[:3, :3] = image[-2:, 10:19] = image[20, :] = 0
    expected = np.zeros(image.shape, bool)
    expected[:3, :3] = True
    np.testing.assert_array_equal(empty_pixels(image), expected)
