"""The comparison of epochs, pixel by pixel: limits, tolerance beside stars, connected regions, parts of a box."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from lsst.images import Box
from scipy import ndimage

from dmu4.coadds import artefacts
from dmu4.coadds.artefacts import RejectionLimits, compare_rows, find_rejected, grow
from dmu4.coadds.resample import coordinate_grid, planes_with_margin


def compared(planes: np.ndarray, variance: np.ndarray, tolerance: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Seeds and candidates of `compare_rows` with limits of 5 and 2.5 sigma, boolean [input, y, x]."""
    n = len(planes)
    bits = [np.zeros((1, *planes.shape[1:]), np.uint64) for _ in range(2)]
    limits = (np.full(n, tolerance, np.float32), np.float32(5), np.float32(2.5), 0)
    compare_rows(planes.astype(np.float32), variance.astype(np.float32), *limits, *bits)
    return tuple(
        (found[0] >> np.uint64(k) & np.uint64(1)).astype(bool) for found in bits for k in [np.arange(n)[:, None, None]]
    )


def test_deviations_in_units_of_their_error() -> None:
    """Of four epochs the variance of the difference from the median is 1 + 1.57 / 4 times that of the pixel."""
    planes, variance = np.zeros((4, 5, 7)), np.full((4, 5, 7), 4.0)
    sigma = 2 * np.sqrt(1 + 1.57 / 4)
    planes[2, 1, 3], planes[1, 3, 5], planes[0, 4, 0] = -5.01 * sigma, 4.99 * sigma, 2.49 * sigma
    seeds, candidates = compared(planes, variance)
    assert np.argwhere(seeds).tolist() == [[2, 1, 3]]
    assert np.argwhere(candidates).tolist() == [[1, 3, 5], [2, 1, 3]]


def test_two_epochs_say_nothing() -> None:
    """Where only two of four inputs have a value it is unknown which is wrong."""
    planes, variance = np.zeros((4, 3, 6)), np.ones((4, 3, 6))
    planes[1, 1, 1:5] = 100
    variance[2:, 1, 2:4] = 0
    seeds, _ = compared(planes, variance)
    assert np.argwhere(seeds).tolist() == [[1, 1, 1], [1, 1, 4]]


def test_near_a_star_more_is_tolerated() -> None:
    """A fifth of the brightest pixel within two pixels of the median of the epochs, which one epoch cannot raise."""
    planes, variance = np.zeros((4, 9, 11)), np.ones((4, 9, 11))
    planes[:, 4, 5] = 1000
    planes[3, 4, 5] = 5000
    planes[0, 2, 7], planes[1, 4, 8] = 150, 150
    planes[2, 8, 0] = 900
    seeds, _ = compared(planes, variance)
    assert np.argwhere(seeds).tolist() == [[1, 4, 8], [2, 8, 0], [3, 4, 5]]


@pytest.mark.parametrize("dilate", [0, 1, 3])
def test_regions_are_what_is_connected_to_a_seed(rng: np.random.Generator, dilate: int) -> None:
    """As labelled by scipy with diagonal neighbours, each input by itself, then widened to squares."""
    bit = np.uint64(1) << np.arange(3, dtype=np.uint64)[:, None, None]
    some = rng.random((3, 40, 57)) < 0.3
    few = some & (rng.random(some.shape) < 0.02)
    seeds, candidates = ((plane * bit).sum(axis=0, dtype=np.uint64)[None] for plane in (few, some))
    rejected = grow(seeds, candidates, 3, dilate)[0]
    assert 0 < np.count_nonzero(rejected) < rejected.size
    for k in range(3):
        labels, _ = ndimage.label(some[k], np.ones((3, 3)))
        expected = np.isin(labels, labels[few[k]])
        expected = ndimage.maximum_filter(expected, size=2 * dilate + 1, mode="constant")
        np.testing.assert_array_equal((rejected & bit[k, 0, 0]) != 0, expected)


def test_parts_of_rows_do_not_matter(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stars on the border of two parts are as bright for both."""
    box = Box.factory[0:90, 0:110]
    inputs = []
    for _ in range(4):
        plane = planes_with_margin(1, 70, 80)
        plane[0, :, :80] = rng.normal(0, 3, (70, 80)) + 60 * (rng.random((70, 80)) < 0.02)
        grid = coordinate_grid(box, lambda x, y: (4.3 + 0.6 * x, 5.1 + 0.55 * y))
        inputs.append((plane, np.full((70, 80), 1.0, np.float32), np.zeros((70, 80), np.int32), grid))
    found = []
    for rows in (64, 7):
        monkeypatch.setattr(artefacts, "_ROWS", rows)
        with ThreadPoolExecutor(2) as pool:
            found.append(find_rejected(inputs, [2.0] * 4, box, drop=1, limits=RejectionLimits(), order=3, pool=pool))
    assert found[0].any()
    np.testing.assert_array_equal(*found)
