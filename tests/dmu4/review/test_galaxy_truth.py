"""Galaxies held to their truth: medians, errors and colours that are put in come out."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt
from scipy import special

from dmu4.review.galaxy_truth import colour_offsets, model_fluxes_of_galaxies, plot_galaxies, total_flux

N = 90
BIAS = {"i": 1.03, "vk": 0.96}


@pytest.fixture
def sky(rng):
    """A grid of galaxies and a few stars of 200 nJy, and objects whose model fluxes are off by known factors."""
    row, column = np.divmod(np.arange(N), 10)
    truth = Table(
        {"ra": 35.0 + 0.01 * column, "dec": -5.0 + 0.01 * row, "type": np.where(np.arange(N) < 8, "star", "galaxy")}
    )
    objects = Table({"coord_ra": truth["ra"] + 1e-5, "coord_dec": truth["dec"], "detect_isPrimary": np.ones(N, bool)})
    for band, bias in BIAS.items():
        truth[f"flux_{band}"] = np.where(np.arange(N) % 2, 3000.0, 1500.0)
        error = np.full(N, 100.0)
        # Normal quantiles in one order for the bright and one for the faint, so that each half has a scatter of 50.
        half = 50 * special.ndtri((np.arange(N // 2) + 0.5) / (N // 2))
        noise = np.stack([rng.permutation(half), rng.permutation(half)], axis=1).ravel()
        for kind, factor in (("psfFlux", 1), ("cModelFlux", bias), ("kronFlux", 0.8 * bias)):
            objects[f"{band}_{kind}"] = factor * truth[f"flux_{band}"] + noise
            objects[f"{band}_{kind}Err"] = error
            objects[f"{band}_{kind}_flag"] = np.zeros(N, bool)
        objects[f"{band}_kronFraction"] = np.full(N, 0.8)
        objects[f"{band}_fluxFloor"] = np.zeros(N)
    return truth, objects


def test_fluxes_over_the_truth(sky):
    """Half of the galaxies have 15 sigma, half 30: factors and half of the scatter quoted come out, stars count not."""
    truth, objects = sky
    found = model_fluxes_of_galaxies(objects, truth)
    assert list(zip(found["band"], found["above"], found["galaxies"], strict=True)) == [
        ("i", 10, 41), ("i", 20, 41), ("vk", 10, 41), ("vk", 20, 41),
    ]  # fmt: skip
    for row in found:
        assert row["model"] == pytest.approx(BIAS[row["band"]], abs=0.02)
        assert row["kron"] == pytest.approx(BIAS[row["band"]], abs=0.02)
        assert row["pull"] == pytest.approx(0.5, abs=0.1)
        assert row["scatter"] == pytest.approx(50 / (1500 if row["above"] == 10 else 3000), rel=0.2)
        assert row["sampling"] == pytest.approx(1.2533 * row["scatter"] / np.sqrt(41), rel=0.01)


def test_flagged_fluxes_and_neighbours_are_left_out(sky):
    """A flag takes one away; a neighbour as bright as 5% takes the galaxy, and the neighbour, away."""
    truth, objects = sky
    objects["i_cModelFlux_flag"][9] = True
    truth.add_row([truth["ra"][11] + 2e-4, truth["dec"][11], "galaxy", 150.0, 0.0])
    found = model_fluxes_of_galaxies(objects, truth)
    assert list(found["galaxies"][found["band"] == "i"]) == [41, 39]


def test_neighbours_within_the_error_judge_it(sky):
    """Of two galaxies with neighbours of 1.9%, the one with 15 sigma judges the errors, that with 30 sigma does not."""
    truth, objects = sky
    for number in (10, 11):
        flux = truth["flux_i"][number]
        truth.add_row([truth["ra"][number] + 2e-4, truth["dec"][number], "galaxy", 0.019 * flux, 0.0])
    found = model_fluxes_of_galaxies(objects, truth)
    mine = found[found["band"] == "i"]
    assert list(mine["galaxies"]) == [41, 41]
    assert list(mine["alone"]) == [41, 40]
    assert mine["pull_alone"][1] == pytest.approx(0.5, abs=0.1)


def test_errors_of_bright_galaxies_contain_the_floor(sky):
    """A floor as large as the error makes pulls narrower by the root of two."""
    truth, objects = sky
    bare = model_fluxes_of_galaxies(objects, truth)
    objects["vk_fluxFloor"] = 100 / objects["vk_cModelFlux"]
    found = model_fluxes_of_galaxies(objects, truth)
    np.testing.assert_allclose(found["pull"] / bare["pull"], [1, 1, 2**-0.5, 2**-0.5], rtol=1e-6)


def test_colours(sky):
    """A colour is off by the ratio of the factors, in magnitudes, and scatters by half of its error; floors add to it.

    The floor of one band is as large as its error, that of the other twice as large.
    """
    truth, objects = sky
    found = colour_offsets(objects, truth, "cModelFlux", [("i", "vk")], snr_min=25)
    assert found["galaxies"][0] == 41
    assert found["median"][0] == pytest.approx(-2.5 * np.log10(1.03 / 0.96), abs=0.01)
    flux = {band: np.asarray(objects[f"{band}_cModelFlux"]) for band in BIAS}
    assert found["pull"][0] == pytest.approx(0.5, abs=0.1)
    objects["i_fluxFloor"], objects["vk_fluxFloor"] = 100 / flux["i"], 200 / flux["vk"]
    wider = colour_offsets(objects, truth, "cModelFlux", [("i", "vk")], snr_min=25)
    ratio = np.sqrt((1 + (1.03 / 0.96) ** 2) / (2 + 5 * (1.03 / 0.96) ** 2))
    assert wider["pull"][0] / found["pull"][0] == pytest.approx(ratio, rel=0.02)


def test_kron_fluxes_are_total(sky):
    """Kron fluxes and their errors are divided by the fraction of the light."""
    flux, error, good = total_flux(sky[1], "i", "kronFlux")
    np.testing.assert_allclose(flux, sky[1]["i_kronFlux"] / 0.8)
    np.testing.assert_allclose(error, 125)
    assert good.all()


def test_the_figure_shows_each_band(sky):
    """One panel a band, with both fluxes of all galaxies."""
    figure = plot_galaxies(sky[1], sky[0], ["i", "vk"])
    assert [axis.get_title() for axis in figure.axes] == ["i", "Ks"]
    assert [len(line.get_xdata()) for line in figure.axes[0].lines[:2]] == [82, 82]
    plt.close(figure)
