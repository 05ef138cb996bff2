"""Figures of bands that two optical surveys have: the label of the second is no key of colours and markers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

from dmu5.figures import plot_counts, plot_expected

BANDS = ("r", "rkids", "vk")


def test_figures_know_labels_of_a_second_survey(rng):
    """Each band has its panel of counts and its curve of completeness, ``rkids`` in the colour of ``r``."""
    catalogue = Table({f"{band}_kronFlux": 10 ** rng.uniform(2, 4, 50) for band in BANDS})
    for band in BANDS:
        catalogue[f"{band}_kronFluxErr"] = np.full(50, 3.0)
        catalogue[f"{band}_kronFlux_flag"] = np.zeros(50, bool)
        catalogue[f"{band}_depth5"] = np.full(50, 24.0)
    catalogue["detect_isPrimary"] = np.ones(50, bool)
    counts = plot_counts(catalogue, BANDS)
    assert sum(bool(axis.patches) for axis in counts.axes) == 3
    magnitude = np.linspace(18, 26, 9)
    expected = plot_expected(magnitude, {band: np.linspace(1, 0, 9) for band in BANDS})
    lines = {line.get_label(): line.get_color() for line in expected.axes[0].lines}
    assert tuple(lines["r"]) == tuple(lines["r (kids)"]) != tuple(lines["Ks"])
    plt.close("all")
