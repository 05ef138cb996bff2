"""Common zero points for people: numbers in mmag, and a figure about the means of visits."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt

from dmu4.review.zero_points import plot_zero_points, summarise_zero_points


@pytest.fixture
def found() -> Table:
    """Two bands: of Ks two visits, whose zero points alone were 10 mmag wrong and are now 2 mmag wrong, plus 1."""
    table = Table({"visit": [9, 9, 5, 5, 3], "detector": [2, 1, 4, 7, 1]})
    table["tract"], table["band"] = 8524, ["vk"] * 4 + ["vj"]
    sign = np.array([1, -1, 1, -1, 0])
    table["true_alone"], table["true_common"] = 0.010 * sign + 0.001, 0.002 * sign + 0.001
    table["correction"] = table["true_common"] - table["true_alone"]
    table["zero_point"] = 28 + table["true_common"] + 0.05 * (table["visit"] == 9)
    table["alone_err"], table["relative_err"], table["common_err"] = 0.011, 0.0032, 0.0015
    table["psf_err"] = 0.0024
    table["visit_spread"], table["n_stars"], table["n_shared"] = 0.006, [10, 20, 30, 40, 5], 4
    return table


def test_numbers_in_millimagnitudes(found: Table) -> None:
    """One row per band from blue to red; scatters are about the mean, whose offset has its own column."""
    table = summarise_zero_points(found)
    assert table["band"].tolist() == ["vj", "vk"]
    row = dict(zip(table.colnames, table[1], strict=True))
    expected = {"detectors": 4, "stars": 25, "shared": 4, "moved": 8, "alone_err": 11, "relative_err": 3.2}
    expected |= {"common_err": 1.5, "visit_spread": 6, "alone": 10, "common": 2, "offset": 1, "pull": 0.5}
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert len(summarise_zero_points(Table())) == 0


def test_figure_about_the_means_of_visits(found: Table) -> None:
    """In order of visit and detector; a level of a visit does not show, and the truth only where it is known."""
    figure = plot_zero_points(found)
    ks = figure.axes[1]
    alone, common = (np.array(bars[0].get_xydata()) for bars in ks.containers)
    np.testing.assert_allclose(common[:, 1], [2, -2, -2, 2], atol=1e-6)
    np.testing.assert_allclose(alone[:, 1], [10, -10, -10, 10], atol=1e-6)
    truth = next(line for line in ks.lines if line.get_label() == "truth")
    np.testing.assert_allclose(truth.get_ydata(), 0, atol=1e-6)
    found["true_common"] = np.nan
    again = plot_zero_points(found)
    assert not [line for line in again.axes[1].lines if line.get_label() == "truth"]
    plt.close("all")
