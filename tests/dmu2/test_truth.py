"""The reference catalogue beside a true sky whose stars move."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.robust_statistics import MAD_TO_SIGMA
from dmu0.sky.matching import DAYS_PER_YEAR
from dmu2.truth import compare_with_truth

NUMBER = 400
YEARS = 8.0
DEC = 41.0


@pytest.fixture
def sky(rng: np.random.Generator) -> tuple[Table, Table]:
    """References 8 years after the epoch of the truth, 20 mas east, 3% too bright, with 1% errors; in another order."""
    truth = Table({"id": np.arange(NUMBER), "type": np.where(np.arange(NUMBER) % 4, "star", "galaxy")})
    truth["ra"] = 359.9 + 0.0005 * np.arange(NUMBER)
    truth["dec"] = DEC + rng.uniform(0, 0.1, NUMBER)
    truth["pm_ra"], truth["pm_dec"] = rng.normal(0, 60, NUMBER), rng.normal(0, 60, NUMBER)
    truth["flux_vk"] = 10 ** rng.uniform(4, 5, NUMBER)
    truth["ra"] %= 360
    truth.meta["epoch_mjd_tai"] = 57000.0
    order = rng.permutation(NUMBER)
    east = (truth["pm_ra"] * YEARS + 20) / 3.6e6 / np.cos(np.radians(truth["dec"]))
    references = Table({"coord_ra": np.radians((truth["ra"] + east) % 360)[order]})
    references["coord_dec"] = np.radians(truth["dec"] + truth["pm_dec"] * YEARS / 3.6e6)[order]
    references["epoch"] = 57000.0 + YEARS * DAYS_PER_YEAR
    references["extended"] = (np.asarray(truth["type"]) == "galaxy")[order]
    references["position_from"] = "ps1"
    flux = (truth["flux_vk"] * 1.03 * rng.normal(1, 0.01, NUMBER))[order]
    for band in ("g", "r", "i", "z", "y", "u", "vz", "vy", "vj", "vh", "vk"):
        references[f"{band}_flux"], references[f"{band}_fluxErr"] = flux, 0.01 * flux
    return references, truth


def test_offsets_of_flux_and_position(sky: tuple[Table, Table]) -> None:
    """Stars are found where they have moved to; the offsets put in come out, galaxies do not count."""
    rows = compare_with_truth(*sky)
    assert list(rows["band"]) == ["vk"]
    assert rows["stars"][0] == NUMBER * 3 // 4
    assert rows["offset"][0] == pytest.approx(-2.5 * np.log10(1.03), abs=0.003)
    # 300 stars of 1%: 0.025 / ln 10 mag each, and a median is sqrt(pi / 2) as uncertain as a mean.
    expected = np.sqrt(np.pi / 2) * 0.025 / np.log(10) / np.sqrt(NUMBER * 3 / 4)
    assert rows["offset_error"][0] == pytest.approx(expected, rel=0.01)
    # Scatter about zero: 3% are 3 sigma, whose median distance counts as that of a normal distribution.
    assert rows["pull"][0] == pytest.approx(2.5 * np.log10(1.03) / (0.025 / np.log(10)) * MAD_TO_SIGMA, rel=0.05)
    assert rows.meta["ra_offset"] == pytest.approx(20, abs=0.5)
    assert rows.meta["dec_offset"] == pytest.approx(0, abs=0.5)


def test_the_epoch_counts(sky: tuple[Table, Table]) -> None:
    """A truth that is said to be of the references' own epoch loses the stars that move by more than the radius."""
    references, truth = sky
    truth.meta["epoch_mjd_tai"] = float(references["epoch"][0])
    assert compare_with_truth(references, truth)["stars"][0] < NUMBER / 2
