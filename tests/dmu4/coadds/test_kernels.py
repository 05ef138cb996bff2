"""What is done to rows of pixels, by hand: weights, lost weight, masks, counts, and the bridging of defects."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.coadds.kernels import add_bookkeeping, add_values, clip_rows, count_cells, drop_cells, normalise_rows
from dmu4.coadds.planes import CoaddSettings
from dmu4.coadds.resample import fill_defects
from obs_vista.masks import BIT

NO_DATA, BAD, SAT, CLIPPED, REJECTED = (
    np.int32(BIT[name]) for name in ("NO_DATA", "BAD", "SAT", "CLIPPED", "REJECTED")
)


def test_what_a_coadd_drops_and_carries() -> None:
    """Defects and trails exclude a pixel; what is true of the sky or of the detector there is carried along."""
    settings = CoaddSettings()
    carried = {name for name, bit in BIT.items() if settings.propagate & bit}
    dropped = {name for name, bit in BIT.items() if settings.drop & bit}
    assert carried == {"SAT", "INTRP", "SUSPECT", "EDGE"}
    assert dropped == {"NO_DATA", "BAD", "CR", "STREAK"}


def test_bookkeeping_of_one_input() -> None:
    """Weight 3: used, masked, clipped, without data, and used with a bit to carry; six pixels, all unlike."""
    variance = np.array([2.0, 0.0, 0.0, 0.0, 5.0, 1.0], np.float32)
    mask = np.array([0, BAD, CLIPPED, NO_DATA, SAT, 0], np.int32)
    out = (
        np.array([10, 0, 0, 0, 0, 1], np.float32),
        np.zeros(6, np.float32),
        np.array([0, 0, 0, 0, 0, SAT], np.int32),
        np.zeros(6, np.int16),
        np.zeros(6, np.float32),
        np.array([5, 5, 5, 5, 5, 12], np.uint32),
    )
    add_bookkeeping(variance, mask, np.float32(3), np.uint32(9), np.int32(NO_DATA | BAD), np.int32(SAT), out)
    weight, spread, bits, count, lost, signature = out
    assert weight.tolist() == [13, 0, 0, 0, 3, 4]
    assert spread.tolist() == [18, 0, 0, 0, 45, 9]
    assert bits.tolist() == [0, REJECTED, CLIPPED, 0, SAT, SAT]
    assert count.tolist() == [1, 0, 0, 0, 1, 1]
    assert lost.tolist() == [0, 3, 3, 0, 0, 0]
    assert signature.tolist() == [5 ^ 9, 5, 5, 5, 5 ^ 9, 12 ^ 9]


def test_values_are_added_where_there_are_some() -> None:
    """Weighted, and nothing from pixels of variance zero, however wild their values are."""
    out = np.array([1, 1, 1], np.float32)
    add_values(np.array([2, 1e30, -4], np.float32), np.array([1, 0, 2], np.float32), np.float32(0.5), out)
    assert out.tolist() == [2, 1, -1]


def test_sums_become_means() -> None:
    """Sum over weight, variance over its square, the lost share of all weight; NaN and NO_DATA without any weight."""
    planes = np.array([[[12.0, 5.0, 7.0]], [[-6.0, 5.0, 1.0]]], np.float32)
    variance, mask = np.array([[32.0, 9.0, 3.0]], np.float32), np.array([[0, SAT, 0]], np.int32)
    lost, weight = np.array([[2.0, 7.0, 0.0]], np.float32), np.array([[4.0, 0.0, 1.0]], np.float32)
    normalise_rows(planes, variance, mask, lost, weight)
    assert planes[:, 0, 0].tolist() == [3.0, -1.5]
    assert variance[0, 0] == 2.0
    assert lost[0].tolist() == pytest.approx([1 / 3, 1.0, 0.0])
    assert np.isnan(planes[:, 0, 1]).all()
    assert np.isinf(variance[0, 1])
    assert mask[0].tolist() == [0, SAT | NO_DATA, 0]
    assert planes[:, 0, 2].tolist() == [7.0, 1.0]


def test_clipping_is_looked_up_in_blocks_of_two() -> None:
    """Bit 4 of the second word at block row 3, column 5 takes output pixels of rows 6-7 and columns 10-11."""
    reject = np.zeros((2, 6, 9), np.uint32)
    reject[1, 3, 5] = 4
    reject[0, 4, 4] = 4
    variance, mask = np.ones((4, 7), np.float32), np.zeros((4, 7), np.int32)
    variance[2, 4] = 0.0
    assert clip_rows(variance, mask, reject, 1, np.uint32(4), 5, 7) == 3
    taken = np.argwhere(mask == CLIPPED).tolist()
    assert taken == [[1, 3], [1, 4], [2, 3]]
    assert variance[1, 3] == 0


def test_cells_of_a_row() -> None:
    """Pixels with a value are counted by column of cells; a cell that is not kept loses all of its pixels."""
    variance, mask = np.ones((2, 9), np.float32), np.zeros((2, 9), np.int32)
    variance[0, 4] = 0.0
    counts = np.zeros(3, np.int64)
    count_cells(variance, 3, counts)
    assert counts.tolist() == [6, 5, 6]
    drop_cells(variance, mask, 3, np.array([True, True, False]))
    assert (variance[:, 6:] == 0).all()
    assert (mask[:, 6:] == NO_DATA).all()
    assert not mask[:, :6].any()


def test_defects_are_bridged_linearly_along_the_shorter_gap() -> None:
    """A row that rises by 10 a pixel comes back exactly in a gap of two; a single pixel along its column."""
    planes = (10.0 * np.arange(8) + 1000.0 * np.arange(6)[:, None]).astype(np.float32)[None]
    truth = planes.copy()
    variance, mask = np.full((6, 8), 4.0, np.float32), np.zeros((6, 8), np.int32)
    variance[:, 5:] = 8.0
    mask[1:5, 3:5] = BAD
    mask[0, 0:7] = BAD
    mask[3, 0] = BAD
    planes[0, 1:5, 3:5], planes[0, 3, 0] = 777.0, -777.0
    fill_defects(planes, variance, mask, BAD, 2)
    np.testing.assert_allclose(planes[0, 1:5], truth[0, 1:5], rtol=1e-6)
    assert variance[2, 3] == 6.0
    assert variance[3, 0] == 4.0
    # The top row has good pixels on one side only: what cannot be bridged is zero, and keeps its distance.
    assert (planes[0, 0, :3] == 0).all()
    assert (mask[0, :7] & NO_DATA).all()
