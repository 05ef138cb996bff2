"""Probabilities of point sources and stars: all bands, some, one or none; what each depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.objects.columns import make_object_table
from dmu4.objects.kinds import KNOWN_GALAXIES, RARE, Evidence, compact_fraction, find_kinds, fit_kinds, kind_columns

BANDS = ("g", "i", "vj", "vk")
N = 900


@pytest.fixture(scope="module")
def sky():
    """An object table of a third stars and two thirds galaxies, and which are stars.

    Sizes are sharp in i and coarse in VISTA bands; g - i of both kinds overlap, J - Ks of galaxies is redder.
    """
    rng = np.random.default_rng(11)
    star = np.arange(N) % 3 == 0
    magnitude = rng.uniform(18, 24.5, N)
    t = np.where(star, rng.uniform(0.3, 2.5, N), rng.uniform(0.5, 2.2, N))
    infrared = np.where(star, 0.4 * np.tanh(t - 1), 0.5 + 0.2 * t)
    offsets = {"g": t, "i": 0 * t, "vj": -0.4 * t, "vk": -0.4 * t - infrared}
    width = np.where(star, 0.0, np.exp(rng.normal(np.log(0.05) - 0.2 * (magnitude - 23), 0.5)))
    values = {"objectId": np.arange(1, N + 1), "detect_isPrimary": np.ones(N, bool)}
    for band, depth, seeing in (("g", 26.3, 0.10), ("i", 26.0, 0.06), ("vj", 23.5, 0.14), ("vk", 23.0, 0.12)):
        flux = 10 ** (-0.4 * (magnitude + offsets[band] + rng.normal(0, 0.02, N) - 31.4))
        error = np.full(N, 10 ** (-0.4 * (depth - 31.4)) / 5)
        of_width = 8 * seeing * error / flux
        values |= {
            f"{band}_psfFlux": flux + rng.normal(0, error),
            f"{band}_psfFluxErr": error,
            f"{band}_gaap0p7Flux": flux + rng.normal(0, 1.5 * error),
            f"{band}_gaap0p7FluxErr": 1.5 * error,
            f"{band}_fluxFloor": np.full(N, 0.005),
            f"{band}_sizeExcess": width + rng.normal(0, np.hypot(of_width, 0.001)),
            f"{band}_sizeExcessErr": of_width,
        }
    return make_object_table(values, BANDS, length=N), star, magnitude


def right(probability, star):
    """Fraction of the sources on the right side of one half."""
    return np.mean((probability > 0.5) == star)


def test_all_bands_are_better_than_one(sky):
    """All sizes are as good as the best band and better than others, colours better: mean squares of deviations."""
    table, star, magnitude = sky
    found = kind_columns(table, BANDS)
    assert set(found) == {"pointProbability", "starProbability", *(f"{band}_pointProbability" for band in BANDS)}
    faint = magnitude > 23
    wrong = [
        np.mean(np.square(found[name][faint] - star[faint]))
        for name in ("vk_pointProbability", "i_pointProbability", "pointProbability", "starProbability")
    ]
    assert wrong[2] < 1.03 * wrong[1] < 0.5 * wrong[0]
    assert wrong[3] < 0.6 * wrong[2]
    bright = magnitude < 22
    assert right(found["pointProbability"][bright], star[bright]) > 0.99


@pytest.mark.parametrize("bands", [("i",), ("vj", "vk"), ("g", "i")])
def test_what_is_there_is_used(sky, bands):
    """One optical band, VISTA alone, or optical bands alone: probabilities of all, right for bright objects."""
    table, star, magnitude = sky
    found = kind_columns(table, bands)
    bright = magnitude < 20
    for name in ("pointProbability", "starProbability"):
        assert np.isfinite(found[name]).all()
        assert right(found[name][bright], star[bright]) > 0.95
    if len(bands) == 1:
        np.testing.assert_allclose(found["starProbability"], found["pointProbability"])


def test_a_hole_in_a_band_changes_no_other_band(sky):
    """Without a tenth of Ks the other bands are as before, and objects in the hole still have probabilities."""
    table, star, magnitude = sky
    before, holed = kind_columns(table, BANDS), table.copy()
    hole = np.arange(N) < N // 10
    for name in ("psfFlux", "psfFluxErr", "gaap0p7Flux", "gaap0p7FluxErr", "sizeExcess", "sizeExcessErr", "fluxFloor"):
        holed[f"vk_{name}"][hole] = np.nan
    holed["vk_psfFlux_flag"][hole] = holed["vk_gaap0p7Flux_flag"][hole] = True
    after = kind_columns(holed, BANDS)
    for band in BANDS[:-1]:
        np.testing.assert_array_equal(after[f"{band}_pointProbability"], before[f"{band}_pointProbability"])
    assert np.isnan(after["vk_pointProbability"][hole]).all()
    assert np.isfinite(after["starProbability"]).all()
    assert np.abs(after["starProbability"] - before["starProbability"])[~hole].mean() < 0.02
    assert right(after["starProbability"][hole & (magnitude < 22)], star[hole & (magnitude < 22)]) > 0.97


def test_a_band_without_any_data_changes_nothing(sky):
    """A band that no object has leaves all other columns as they are to 1e-6, and is missing itself."""
    table, _, _ = sky
    wider = make_object_table({name: np.asarray(table[name]) for name in table.colnames}, (*BANDS, "vh"), length=N)
    before, after = kind_columns(table, BANDS), kind_columns(wider, (*BANDS, "vh"))
    assert np.isnan(after.pop("vh_pointProbability")).all()
    for name, values in after.items():
        np.testing.assert_allclose(values, before[name], atol=1e-6)


def test_nothing_known_is_missing(sky):
    """An object that is flagged in every band has no probability; an empty table has none at all."""
    table = sky[0].copy()
    for band in BANDS:
        table[f"{band}_psfFlux_flag"][5] = table[f"{band}_gaap0p7Flux_flag"][5] = True
    found = kind_columns(table, BANDS)
    assert all(np.isnan(values[5]) for values in found.values())
    assert all(len(values) == 0 for values in kind_columns(table[:0], BANDS).values())
    assert np.isnan(kind_columns(table[5:6], BANDS)["starProbability"]).all()


def test_only_primary_rows_are_learned_from(sky):
    """Secondary rows, here with absurd sizes, have probabilities but do not change those of the others."""
    table, _, _ = sky
    more = table[:50].copy()
    more["detect_isPrimary"] = False
    more["i_sizeExcess"] += 5
    both = make_object_table(
        {n: np.concatenate([np.asarray(table[n]), np.asarray(more[n])]) for n in table.colnames}, BANDS, length=N + 50
    )
    before, after = kind_columns(table, BANDS), kind_columns(both, BANDS)
    np.testing.assert_allclose(after["starProbability"][:N], before["starProbability"], atol=1e-12)
    assert np.isfinite(after["starProbability"][N:]).all()


def test_parts_of_a_table_have_the_probabilities_of_the_whole(sky):
    """A model that is learned once gives any part of the objects the same probabilities."""
    evidence = Evidence.of_table(sky[0], BANDS)
    model = fit_kinds(evidence)
    np.testing.assert_allclose(find_kinds(model, evidence[::7]).star, find_kinds(model, evidence).star[::7], atol=1e-12)


@pytest.mark.parametrize("fraction", [0.002, 0.05])
def test_colours_count_the_compact_galaxies(fraction):
    """Of 20,000 galaxies among 1,000 stars the fraction with stellar sizes comes back, whatever was assumed."""
    rng = np.random.default_rng(8)
    galaxies, stars = 20_000, 1_000
    star = np.arange(galaxies + stars) >= galaxies
    point = star ^ (rng.uniform(size=len(star)) < np.where(star, RARE, fraction))
    # Sizes and colours are normal, of unit scatter, 8 and 6 apart: the logs of the ratios are straight lines.
    size, colour = rng.normal(8.0 * point), rng.normal(6.0 * star)
    of_sizes, of_colours = 8.0 * (size - 4.0), 6.0 * (colour - 3.0)
    found = compact_fraction(of_sizes, of_colours, np.full(len(star), np.log(stars / galaxies)))
    assumed = (fraction * galaxies + RARE * KNOWN_GALAXIES) / (galaxies + KNOWN_GALAXIES)
    assert found == pytest.approx(assumed, abs=3 * np.sqrt(fraction / galaxies) + 1e-4)


def test_sizes_are_as_sure_as_galaxies_are_extended(sky):
    """If no galaxy looks like a star, colours say so, and stars have higher probabilities from their sizes alone."""
    table, star, magnitude = sky
    evidence = Evidence.of_table(table, BANDS)
    model = fit_kinds(evidence)
    assert 0 < model.compact < 0.5 * RARE
    bright = star & (magnitude < 21)
    taught, assumed = (find_kinds(one, evidence).point[bright] for one in (model, replace(model, compact=RARE)))
    assert (taught > assumed).mean() > 0.95
    odds = np.median(taught / (1 - taught)) / np.median(assumed / (1 - assumed))
    assert odds == pytest.approx(RARE / model.compact, rel=0.1)
