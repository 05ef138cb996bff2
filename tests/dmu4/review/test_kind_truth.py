"""Judgement of stars and galaxies: counts by hand, calibration of probabilities that are right and wrong."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt

from dmu4.objects.columns import make_object_table
from dmu4.review.kind_truth import (
    calibration,
    classifications,
    judge_kinds,
    kinds_by_magnitude,
    match_kinds,
    plot_kinds,
    well_seen,
)


@pytest.fixture
def scene():
    """Six true sources, of which the last is not in the table, and five objects with a secondary row before them."""
    truth = Table(
        {
            "ra": 35 + np.arange(6) / 360,
            "dec": np.full(6, -5.0),
            "type": ["star", "star", "galaxy", "galaxy", "star", "star"],
            "flux_i": 10 ** (-0.4 * (np.array([21.0, 23.5, 21.5, 23.2, 24.2, 21]) - 31.4)),
        }
    )
    rows = [0, 0, 1, 2, 3, 4]
    values = {
        "objectId": np.arange(1, 7),
        "coord_ra": np.asarray(truth["ra"])[rows],
        "coord_dec": np.asarray(truth["dec"])[rows],
        "detect_isPrimary": np.array([False, True, True, True, True, True]),
        "refExtendedness": np.array([1, 0, 0, 1, np.nan, 1]),
        "pointProbability": np.array([0, 0.9, 0.4, 0.1, 0.7, 0.2]),
        "starProbability": np.array([0, 0.9, 0.6, 0.1, 0.7, 0.2]),
        "vk_psfFlux": np.array([50.0, 50, 50, 50, 50, 500]),
        "vk_psfFluxErr": np.full(6, 10.0),
    }
    return make_object_table(values, ("i", "vk"), length=6), truth


def test_counts_by_hand(scene):
    """Completeness and contamination in ranges of magnitude; a missing classification is not a star."""
    objects, truth = scene
    probabilities = {name: np.asarray(objects[name], float) for name in ("pointProbability", "starProbability")}
    table = kinds_by_magnitude(objects, truth, probabilities, "i")
    at = {(row["by"], row["from"]): row for row in table}
    bright, faint = at["pointProbability", 20.0], at["pointProbability", 23.0]
    assert (bright["stars"], bright["galaxies"], bright["completeness"], bright["contamination"]) == (1, 1, 1, 0)
    assert (faint["stars"], faint["galaxies"], faint["completeness"], faint["contamination"]) == (1, 1, 0, 1)
    assert at["starProbability", 23.0]["completeness"] == 1
    assert at["starProbability", 23.0]["contamination"] == 0.5
    mine, row = match_kinds(objects, truth)
    assert list(row) == [1, 2, 3, 4, 5]
    assert len(mine) == 5
    assert judge_kinds(np.array([np.nan, 0.8]), np.array([True, True]), np.ones(2, bool)) == (2, 0.5, 0.0)


def test_well_seen_in_i_or_ks(scene):
    """Sources of i < 24, and the fainter star that has 50 sigma in Ks; the secondary row is not among them."""
    row, star = well_seen(*scene)
    assert list(row) == [1, 2, 3, 4, 5]
    assert list(star) == [True, True, False, False, True]
    objects = scene[0].copy()
    objects["vk_psfFlux"] = 50.0
    assert list(well_seen(objects, scene[1])[0]) == [1, 2, 3, 4]


def test_calibration_notices_overconfidence(rng):
    """Probabilities that are true lie within the sampling errors; those of twice the log odds do not."""
    log_odds = rng.normal(0, 2, 4000)
    true = 1 / (1 + np.exp(-log_odds))
    star = rng.random(4000) < true
    for values, kept in ((true, True), (1 / (1 + np.exp(-2 * log_odds)), False)):
        table = calibration(values, star)
        pull = np.abs(table["stars"] - table["probability"]) / table["sampling"]
        assert (pull < 3.5).all() == kept
    assert len(calibration(np.full(3, np.nan), star[:3])) == 0


def test_figure_and_names(scene):
    """All classifications are drawn; without VISTA bands there is nothing to compare with."""
    objects, truth = scene
    ways = classifications(objects)
    assert len(ways) == 5
    figure = plot_kinds(
        kinds_by_magnitude(objects, truth, ways, "i"),
        {"sizes, all bands": calibration(np.array([0.5]), np.ones(1, bool))},
    )
    assert [len(axis.get_lines()) for axis in figure.axes[:2]] == [6, 6]
    plt.close(figure)
    only = objects[[name for name in objects.colnames if not name.startswith("vk_")]]
    assert list(classifications(only)) == ["refExtendedness", "sizes, all bands", "sizes and colours, all bands"]
    infrared = objects[[name for name in objects.colnames if not name.startswith("i_")]]
    assert np.isnan(classifications(infrared)["sizes and colours, optical"]).all()
