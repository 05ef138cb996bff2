"""The trade-off of completeness and contamination by hand, with equal probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt

from dmu5.vista_gain.gain_figures import plot_stars
from dmu5.vista_gain.stars import contamination_at, contaminations, trade_off

STAR = np.array([True, False, True, True, False, False])
PROBABILITY = np.array([0.9, 0.8, 0.8, 0.3, 0.2, np.nan])


def test_trade_off_by_hand():
    """The star and the galaxy of 0.8 are called stars together; NaN is last."""
    complete, wrong = trade_off(PROBABILITY, STAR)
    np.testing.assert_allclose(complete, [1 / 3, 2 / 3, 1, 1, 1])
    np.testing.assert_allclose(wrong, [0, 1 / 3, 1 / 4, 2 / 5, 1 / 2])
    assert contamination_at(PROBABILITY, STAR, completeness=0.6) == pytest.approx(1 / 3)
    assert len(trade_off(np.zeros(0), np.zeros(0, bool))[0]) == 0


def test_a_classification_without_grades_has_one_point():
    """If all are called stars, the contamination is the fraction of galaxies, in whatever order they come."""
    for order in (np.arange(6), np.arange(6)[::-1]):
        assert contamination_at(np.ones(6), STAR[order]) == 0.5
    assert np.isnan(contamination_at(PROBABILITY, np.zeros(6, bool)))


def test_table_and_figure():
    """One row per classification; without the four bands and without a truth the figure is empty, not an error."""
    ways = {"refExtendedness": np.ones(6), "sizes and colours, all bands": PROBABILITY}
    table = contaminations(ways, np.arange(6), STAR)
    assert list(table["contamination"]) == [0.5, 0.25]
    objects = Table({"starProbability": PROBABILITY})
    for some, row, star in ((ways, np.arange(6), STAR), ({}, [], [])):
        figure = plot_stars(objects, some, row, star)
        figure.draw_without_rendering()
        plt.close(figure)
