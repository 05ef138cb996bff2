"""The true sky beside what was measured: on a sky far from the equator, across right ascension zero."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.paths import DataFolders
from dmu0.files.tables import write_table
from dmu0.truth import (
    detectable,
    is_star,
    isolated,
    match_to_truth,
    neighbour_fraction,
    read_detector_truth,
    read_truth,
    true_positions,
)

DEC = -63.0
EAST = 1 / np.cos(np.radians(DEC)) / 3600
"""Degrees of right ascension per arcsec there."""


@pytest.fixture
def truth() -> Table:
    """Two sources 2 arcsec apart at right ascension zero, and one alone; two bands of opposite colours."""
    ra = np.array([359.9998, 359.9998 + 2 * EAST - 360, 11.0])
    table = Table({"ra": ra, "dec": np.full(3, DEC), "type": ["star", "galaxy", "star"]})
    table["flux_g"], table["flux_vk"] = [100.0, 100.0, 30.0], [1000.0, 20.0, 90.0]
    table["pm_ra"], table["pm_dec"] = [100.0, 0.0, -200.0], [0.0, 50.0, 0.0]
    table.meta["epoch_mjd_tai"] = 57357.0
    return table


def test_neighbours_count_within_the_radius(truth: Table) -> None:
    """The light of a neighbour 2 arcsec away counts within 2.1, not within 1.9; a dark source has infinitely much."""
    assert neighbour_fraction(truth, "vk", radius=2.1) == pytest.approx([0.02, 50.0, 0.0])
    assert neighbour_fraction(truth, "vk", radius=1.9) == pytest.approx([0.0, 0.0, 0.0])
    truth["flux_vk"][1] = 0
    assert neighbour_fraction(truth, "vk", radius=2.1)[1] == np.inf


def test_light_of_several_neighbours_adds_up() -> None:
    """Each of three neighbours has 1%, together they have 3%."""
    step = np.array([0, 1, -1, 0.0]) * EAST
    group = Table({"ra": 10 + step, "dec": DEC + np.array([0, 0, 0, 1]) / 3600, "flux_g": [100.0, 1, 1, 1]})
    assert isolated(group, "g", fraction=0.031)[0]
    assert not isolated(group, "g", fraction=0.029)[0]


def test_isolated_in_one_band_and_in_a_band_of_each(truth: Table) -> None:
    """The first has a neighbour of 2% in Ks and of 100% in g; the band is one for all, or one for each."""
    assert isolated(truth, "vk", fraction=0.05).tolist() == [True, False, True]
    assert isolated(truth, "vk", fraction=0.01).tolist() == [False, False, True]
    assert isolated(truth, "g", fraction=0.05).tolist() == [False, False, True]
    assert isolated(truth, np.array(["vk", "g", "vk"]), fraction=0.05).tolist() == [True, False, True]
    assert isolated(truth, np.array(["g", "vk", "g"]), fraction=0.05).tolist() == [False, False, True]
    assert isolated(truth, "g", fraction=0.05, radius=1.0).all()


def test_detectable_in_the_best_band(truth: Table) -> None:
    """Above the limit in one band is enough; the best band is that of most sigmas, limits are numbers or arrays."""
    seen, best = detectable(truth, {"g": 90.0, "vk": np.full(3, 100.0)})
    assert seen.tolist() == [True, True, False]
    assert best.tolist() == ["vk", "g", "vk"]
    seen, best = detectable(truth, Table({"g": [np.inf] * 3, "vk": [100.0, 100.0, 80.0]}))
    assert seen.tolist() == [True, False, True]
    assert best.tolist() == ["vk"] * 3
    assert is_star(truth).tolist() == [True, False, True]


def test_pairs_are_rows_of_the_truth_and_of_the_measured(truth: Table) -> None:
    """Measured sources in another order, 0.3 arcsec off, find their true ones across right ascension zero."""
    order = [2, 0]
    ra, dec = np.asarray(truth["ra"])[order] + 0.3 * EAST, np.asarray(truth["dec"])[order]
    pairs = match_to_truth(truth, ra, dec)
    assert pairs.first.tolist() == [0, 2]
    assert pairs.second.tolist() == [1, 0]
    assert pairs.separation == pytest.approx([0.3, 0.3], abs=1e-6)
    assert len(match_to_truth(truth, ra, dec, radius=0.25)) == 0


def test_true_sources_move(truth: Table) -> None:
    """After ten Julian years a star with 100 mas/yr is an arcsec east; without an epoch it stays."""
    epoch = 57357.0 + 3652.5
    ra, dec = true_positions(truth, epoch=epoch)
    assert (ra - truth["ra"] + 180) % 360 - 180 == pytest.approx(np.array([1.0, 0, -2.0]) * EAST, abs=1e-9)
    assert (dec - truth["dec"]) * 3600 == pytest.approx([0, 0.5, 0], abs=1e-4)
    assert np.array_equal(true_positions(truth)[0], truth["ra"])
    assert match_to_truth(truth, ra, dec, radius=0.6).first.tolist() == [1]
    assert match_to_truth(truth, ra, dec, epoch=epoch).separation == pytest.approx(np.zeros(3), abs=1e-6)


def test_reading(truth: Table, tmp_path) -> None:
    """Simulated surveys have a truth or say what to run; real ones have none."""
    survey = SimpleNamespace(has_truth=True, folders=DataFolders("toy", root=tmp_path))
    with pytest.raises(FileNotFoundError, match="run the notebooks of dmu0"):
        read_truth(survey)
    write_table(truth, survey.folders[0] / "truth" / "truth.parquet")
    write_table(Table({"detector": [3]}), survey.folders[0] / "truth" / "detectors.parquet")
    assert read_truth(survey).meta["epoch_mjd_tai"] == 57357.0
    assert read_detector_truth(survey)["detector"].tolist() == [3]
    survey.has_truth = False
    assert read_truth(survey) is None
    assert read_detector_truth(survey) is None
