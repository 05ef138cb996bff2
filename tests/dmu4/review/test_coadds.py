"""What is looked at of coadds: binning, signal to noise, empty sky."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.review.coadds import binned, picture_of, sky_pixels
from tests.scenes.patches import add_gaussian


def test_blocks_are_averaged_and_an_incomplete_edge_is_left_out():
    """Means over blocks of an oblong image; rows and columns are not exchanged."""
    image = np.add.outer(10.0 * np.arange(7), np.arange(12))
    np.testing.assert_allclose(binned(image, 3), np.add.outer([10.0, 40.0], [1.0, 4.0, 7.0, 10.0]))


def test_pictures_are_signal_to_noise(rng):
    """White noise is 1 in a picture, whatever the binning; half a block without data counts as half; none as NaN."""
    shape = (700, 1000)
    image = rng.normal(0, 3, shape).astype(np.float32)
    good = np.ones(shape, bool)
    good[:, :99] = False
    picture = picture_of(np.where(good, image, 0), np.where(good, 9.0, 0), good)
    assert picture.shape == (233, 333)
    assert np.isnan(picture[:, :33]).all()
    assert np.std(picture[:, 33:]) == pytest.approx(1, abs=0.02)


def test_empty_sky_keeps_away_from_sources(rng):
    """Pixels near a source and without data are no sky; of the others most are."""
    shape = (200, 300)
    image = rng.normal(0, 2, shape).astype(np.float32)
    add_gaussian(image, x=210, y=50, xx=9, yy=4, xy=2, flux=5000)
    good = np.ones(shape, bool)
    good[150:, :40] = False
    sky = sky_pixels(image, np.full(shape, 4, np.float32), good)
    assert not sky[40:61, 198:223].any()
    assert not sky[150:, :40].any()
    assert sky[20:140, 20:180].mean() > 0.4
