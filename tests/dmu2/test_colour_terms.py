"""Colour terms: published ones, fits with noisy colours, and which is used."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu2.colour_terms import (
    PUBLISHED,
    TABLE_COLUMNS,
    Fit,
    apply,
    choose,
    fit_term,
    table_row,
    terms_in_use,
    terms_table,
    vega_to_ab,
)
from obs_vista.photometry import magnitude_of


def put(table: Table, name: str, magnitude: np.ndarray, error: np.ndarray, rng) -> None:
    """Add a noisy flux of given AB magnitudes."""
    table[f"{name}_flux"] = 10 ** (0.4 * (31.4 - magnitude - rng.normal(0, 1, len(magnitude)) * error))
    table[f"{name}_fluxErr"] = table[f"{name}_flux"] * error / 1.0857


def twomass_stars(
    rng, n: int, slope: float, *, band: str = "vz", noise: float = 0.03, zero_point: float = 0.02
) -> Table:
    """Stars of 2MASS with a VISTA flux that follows a colour term exactly, but for 5 mmag, noise and a few blends."""
    colour = np.where(rng.random(n) < 0.5, rng.normal(0.45, 0.12, n), rng.normal(0.82, 0.05, n))
    j = rng.uniform(12, 15.5, n)
    table, error = Table(), np.full(n, noise)
    put(table, "tmass_j", j + vega_to_ab("tmass_j"), error, rng)
    put(table, "tmass_k", j - colour + vega_to_ab("tmass_k"), error, rng)
    own = j + slope * colour + vega_to_ab(band) + zero_point + rng.normal(0, 0.005, n)
    own[: n // 20] -= 0.6
    put(table, "instrument", own, np.full(n, 0.01), rng)
    return table


def test_published_values() -> None:
    """The published terms are those of Gonzalez-Fernandez et al. 2018 and of the HSC pipeline."""
    slopes = {band: PUBLISHED[band].coefficients[1] for band in ("vz", "vy", "vj", "vh", "vk")}
    assert slopes == {"vz": 0.86, "vy": 0.46, "vj": -0.031, "vh": 0.015, "vk": -0.006}
    for band in slopes:
        term = PUBLISHED[band]
        assert (term.coefficients[0], term.coefficients[2], term.magnitudes, term.order) == (0, 0, "Vega", 1)
        assert (term.first, term.second, term.colour_range) == ("tmass_j", "tmass_k", (0.0, 1.0))
    bases = [PUBLISHED[band].base for band in slopes]
    assert bases == ["tmass_j", "tmass_j", "tmass_j", "tmass_h", "tmass_k"]
    hsc = {
        "g": ("r", 0.005728, 0.061749, -0.001125),
        "r": ("i", -0.000144, 0.001369, -0.008380),
        "i": ("z", 0.000643, -0.130078, -0.006855),
        "z": ("y", -0.005362, -0.221551, -0.308279),
        "y": ("z", -0.002055, 0.209680, 0.227296),
    }
    for band, (other, *coefficients) in hsc.items():
        term = PUBLISHED[band]
        assert (term.base, term.first, term.second) == (f"ps1_{band}", f"ps1_{band}", f"ps1_{other}")
        assert (list(term.coefficients), term.magnitudes) == (coefficients, "AB")


def test_apply_vega_and_ab() -> None:
    """A star of J = 15 and J-Ks = 0.5 (Vega) has Z = 15.43 (Vega), that is 15.936 in AB, with errors propagated."""
    stars, rng = Table(), np.random.default_rng(0)
    put(stars, "tmass_j", np.array([15 + 0.8938]), np.array([0.0]), rng)
    put(stars, "tmass_k", np.array([14.5 + 1.8402]), np.array([0.0]), rng)
    for name, error in (("tmass_j", 0.02), ("tmass_k", 0.03)):
        stars[f"{name}_fluxErr"] = stars[f"{name}_flux"] * error / 1.0857362
    flux, error = apply(PUBLISHED["vz"], stars)
    assert magnitude_of(flux)[0] == pytest.approx(15 + 0.86 * 0.5 + 0.506, abs=1e-9)
    # Z = 1.86 J - 0.86 Ks
    assert 1.0857362 * error[0] / flux[0] == pytest.approx(np.hypot(1.86 * 0.02, 0.86 * 0.03), rel=1e-6)


def test_missing_colour_and_range() -> None:
    """Without the colour, or outside its range, a flux is NaN; without the columns all are."""
    rng = np.random.default_rng(1)
    stars = Table()
    put(stars, "ps1_g", np.array([18.0, 18.0, 18.0]), np.full(3, 0.01), rng)
    put(stars, "ps1_r", np.array([17.5, np.nan, 15.0]), np.full(3, 0.01), rng)
    flux, error = apply(PUBLISHED["g"], stars)
    assert np.isfinite(flux).tolist() == [True, False, False]
    assert np.isfinite(error).tolist() == [True, False, False]
    assert not np.isfinite(apply(PUBLISHED["i"], stars)[0]).any()


@pytest.mark.parametrize(("band", "ks_factor"), [("vz", -0.86), ("vj", 0.031), ("vk", 1.006)])
def test_noisy_colours_near_the_range(band: str, ks_factor: float, rng) -> None:
    """M dwarfs of J-Ks = 0.9, near the end of the range, have unbiased fluxes in spite of errors of 0.12 mag in Ks.

    J is exact: a band changes by ``ks_factor`` times the error of Ks. A limit of 1.0 would drop those that are too
    bright in Ks by 0.83 sigma, which shifts the mean of the others by 0.28 / 0.80 sigma, 0.042 mag.
    """
    n, error = 20_000, 0.12
    stars, j = Table(), np.full(n, 15.0)
    put(stars, "tmass_j", j + 0.8938, np.zeros(n), rng)
    put(stars, "tmass_h", j - 0.6 + 1.3743, np.zeros(n), rng)
    put(stars, "tmass_k", j - 0.9 + 1.8402, np.full(n, error), rng)
    flux, _ = apply(PUBLISHED[band], stars)
    true = 15.0 + PUBLISHED[band].coefficients[1] * 0.9 - 0.9 * (band == "vk") + vega_to_ab(band)
    known = np.isfinite(flux)
    assert known.mean() > 0.995
    noise = abs(ks_factor) * error / np.sqrt(n)
    assert np.mean(magnitude_of(flux[known])) == pytest.approx(true, abs=4 * noise + 1e-6)


def test_colours_far_outside_the_range(rng) -> None:
    """A star of J-Ks = 1.2 +- 0.05 is no ordinary star, one of 1.2 +- 0.1 may be; parabolas are not extrapolated."""
    stars = Table()
    put(stars, "tmass_j", np.full(2, 15 + 0.8938), np.zeros(2), rng)
    put(stars, "tmass_k", np.full(2, 13.8 + 1.8402), np.zeros(2), rng)
    stars["tmass_k_fluxErr"] = stars["tmass_k_flux"] * np.array([0.05, 0.1]) / 1.0857362
    stars["tmass_j_fluxErr"] = 0.001 * stars["tmass_j_flux"]
    assert np.isfinite(apply(PUBLISHED["vk"], stars)[0]).tolist() == [False, True]
    put(stars, "ps1_g", np.full(2, 18.0), np.zeros(2), rng)
    put(stars, "ps1_r", np.full(2, 16.4), np.zeros(2), rng)
    stars["ps1_g_fluxErr"] = stars["ps1_r_fluxErr"] = 0.1 * stars["ps1_g_flux"]
    assert not np.isfinite(apply(PUBLISHED["g"], stars)[0]).any()


def test_fit_is_unbiased(rng) -> None:
    """Slopes fitted through noisy colours agree with the truth on average, and their errors say how well."""
    fits = [fit_term(PUBLISHED["vz"], twomass_stars(rng, 400, 0.86, noise=0.05), resamples=30)[0] for _ in range(25)]
    slopes = np.array([fit.coefficients[1] for fit in fits])
    pulls = (slopes - 0.86) / np.array([fit.errors[1] for fit in fits])
    assert abs(slopes.mean() - 0.86) < 0.015
    assert 0.6 < pulls.std() < 1.5


def test_fit_of_parabola(rng) -> None:
    """The parabola of HSC i is found from PS1 colours, blends notwithstanding."""
    n, term = 2000, PUBLISHED["i"]
    colour = rng.uniform(-0.1, 0.8, n)
    stars, z = Table(), rng.uniform(15, 18, n)
    put(stars, "ps1_i", z + colour, np.full(n, 0.01), rng)
    put(stars, "ps1_z", z, np.full(n, 0.01), rng)
    c0, c1, c2 = term.coefficients
    own = z + colour + c0 + 0.01 + c1 * colour + c2 * colour**2
    own[:100] -= rng.uniform(0, 1, 100)
    put(stars, "instrument", own, np.full(n, 0.005), rng)
    fit, points = fit_term(term, stars, resamples=40)
    assert fit.coefficients[0] == pytest.approx(c0 + 0.01, abs=0.003)
    assert fit.coefficients[1] == pytest.approx(c1, abs=0.02)
    assert fit.coefficients[2] == pytest.approx(c2, abs=0.03)
    assert np.nanmedian(points["residual"]) == pytest.approx(0, abs=0.002)


def test_consistent_fit_is_used(rng) -> None:
    """Many stars that follow the published slope give a fit that is used, without its intercept."""
    fit, _ = fit_term(PUBLISHED["vj"], twomass_stars(rng, 6000, -0.031, band="vj", zero_point=0.3), resamples=30)
    row = table_row(PUBLISHED["vj"], fit)
    assert row["used"] == "fitted", row["reason"]
    used = terms_in_use(terms_table([row]))["vj"]
    assert used.coefficients[0] == 0.0
    assert used.coefficients[1] == pytest.approx(-0.031, abs=0.02)
    assert row["intercept"] == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
    ("number", "slope", "reason"), [(60, 0.86, "typical stars"), (6000, 1.2, "differs by"), (20, 0.86, "fewer than")]
)
def test_published_term_is_used(rng, number, slope, reason) -> None:
    """Too few stars, or a slope far from the published one: the published one is used, and the reason says why."""
    fit, _ = fit_term(PUBLISHED["vz"], twomass_stars(rng, number, slope), resamples=30)
    used, why = choose(PUBLISHED["vz"], fit)
    assert used == "published"
    assert reason in why
    assert terms_in_use(terms_table([table_row(PUBLISHED["vz"], fit)]))["vz"] == PUBLISHED["vz"]


def test_no_stars() -> None:
    """A band without stars has a row of the published term; no rows at all is a table with all columns."""
    row = table_row(PUBLISHED["vh"], Fit.nothing())
    table = terms_table([row])
    assert table["used"][0] == "published"
    assert np.isnan(table["slope"][0])
    assert terms_table([]).colnames == [name for name, _ in TABLE_COLUMNS]
    assert terms_in_use(terms_table([])) == dict(PUBLISHED)
