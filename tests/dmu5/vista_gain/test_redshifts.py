"""Photometric redshifts: templates found again, missing bands, accuracy by hand, selections."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt

from dmu5.vista_gain.gain_figures import plot_redshift_distributions, plot_redshifts
from dmu5.vista_gain.redshifts import (
    accuracy,
    accuracy_table,
    fit_redshifts,
    galaxies,
    optical,
    prior_band,
    redshifts,
    true_redshifts,
)
from dmu5.vista_gain.templates import REDSHIFTS, template_grid

BANDS = ("g", "r", "i", "z", "vj", "vk")
N = 150


@pytest.fixture(scope="module")
def drawn():
    """Fluxes with errors of 2% of galaxies that are templates at known redshifts, their redshifts, and the grid."""
    rng = np.random.default_rng(8)
    grid = template_grid(BANDS)
    # Not the bluest templates, whose redshifts broad bands do not tell.
    template, at = rng.integers(0, 20, N), rng.integers(20, 105, N)
    flux = 5000 * grid.flux[template, at] / grid.flux[template, at][:, [2]]
    error = 0.02 * flux
    return flux + rng.normal(0, error), error, REDSHIFTS[at], grid


def test_templates_are_found_again(drawn):
    """With all bands most redshifts are right to 0.05 (1 + z); without VISTA's they are worse."""
    flux, error, true, grid = drawn
    magnitude = np.full(N, 22.0)
    _, scatter, outliers, bias = accuracy(fit_redshifts(flux, error, magnitude, grid), true)
    assert scatter < 0.06
    assert outliers < 0.15
    assert abs(bias) < 0.03
    bare = np.where(np.isin(BANDS, optical(BANDS)), flux, np.nan)
    worse = accuracy(fit_redshifts(bare, error, magnitude, grid), true)
    assert worse[1] > 1.2 * scatter
    few = template_grid(optical(BANDS))
    np.testing.assert_allclose(
        fit_redshifts(flux[:, :4], error[:, :4], magnitude, few),
        fit_redshifts(bare, error, magnitude, grid),
        atol=0.05,  # mixtures of spectra depend a little on the bands that they are scaled to
    )


def test_without_any_flux_the_prior_is_left(drawn):
    """An object without fluxes has the median redshift of the prior, larger for fainter objects; none gives none."""
    grid = drawn[3]
    nothing = np.full((2, len(BANDS)), np.nan)
    bright, faint = fit_redshifts(nothing, nothing, np.array([20.0, 25.0]), grid)
    assert 0.2 < bright < faint < 1.5
    assert len(fit_redshifts(nothing[:0], nothing[:0], np.zeros(0), grid)) == 0


def test_accuracy_by_hand():
    """Scatter, outliers beyond 0.15 and bias of five redshifts; NaN are left out; two are too few."""
    true = np.array([1.0, 1, 1, 1, 1, np.nan, 1])
    measured = np.array([1.0, 1.02, 1.04, 1.10, 2.0, 1, np.nan])
    count, scatter, outliers, bias = accuracy(measured, true)
    assert count == 5
    assert scatter == pytest.approx(1.4826 * 0.02)
    assert outliers == 0.2
    assert bias == pytest.approx(0.02)
    assert np.isnan(accuracy(measured[:2], true[:2])[1])
    table = accuracy_table({"a": measured}, true, {"redshift": (true, (0, 1, 2))})
    assert list(table["galaxies"]) == [0, 5]


@pytest.fixture
def sky(drawn):
    """A catalogue of the drawn galaxies, one arcmin apart, and the truth; some rows are not galaxies to be used."""
    flux, error, true, _ = drawn
    names = {"coord_ra": 30 + np.arange(N) / 60, "coord_dec": np.zeros(N), "detect_isPrimary": np.arange(N) != 3}
    catalogue = Table(names | {"starProbability": np.where(np.arange(N) == 4, 0.9, 0.1)})
    catalogue["starProbability"][5] = np.nan
    for number, band in enumerate(BANDS):
        catalogue[f"{band}_gaap1p0Flux"], catalogue[f"{band}_gaap1p0FluxErr"] = flux[:, number], error[:, number]
        catalogue[f"{band}_gaap1p0Flux_flag"] = np.zeros(N, bool)
    catalogue["i_gaap1p0FluxErr"][6] = 1e6
    truth = Table({"ra": names["coord_ra"], "dec": names["coord_dec"], "redshift": true})
    truth["type"], truth["flux_i"] = np.where(np.arange(N) == 7, "star", "galaxy"), np.full(N, 100.0)
    truth["ra"][9] = truth["ra"][8] + 1 / 3600
    return catalogue, truth


def test_selection_and_truth(sky, drawn):
    """Secondary, star-like, unclassified and faint rows are left out; stars and blends have no true redshift."""
    catalogue, truth = sky
    chosen = galaxies(catalogue, BANDS)
    assert len(chosen) == N - 4
    found = true_redshifts(catalogue, truth, "i")
    assert np.isnan(found[[7, 8, 9]]).all()
    np.testing.assert_array_equal(found[10:], drawn[2][10:])
    assert prior_band(("u", "g", "z", "vz")) == "z"
    assert prior_band(BANDS) == "i"
    assert optical(("gkids", "vj", "y")) == ["gkids", "y"]


def test_of_a_catalogue(sky, drawn):
    """The columns of a catalogue give what the arrays give; a flagged band is left out; figures are drawn."""
    catalogue, _ = sky
    flux, error, true, grid = drawn
    catalogue["vk_gaap1p0Flux_flag"][20] = True
    values = flux.copy()
    values[20, 5] = np.nan
    magnitude = 31.4 - 2.5 * np.log10(flux[:, 2])
    errors = error.copy()
    errors[6, 2] = 1e6
    expected = fit_redshifts(values, errors, magnitude, grid)
    found = redshifts(catalogue, BANDS)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    both = {"optical": found, "optical and VISTA": expected}
    ranges = {"redshift": (true, (0, 0.5, 3)), "magnitude": (magnitude, (18, 22, 25))}
    for figure in (plot_redshifts(both, true, accuracy_table(both, true, ranges)), plot_redshift_distributions(both)):
        figure.draw_without_rendering()
        plt.close(figure)
