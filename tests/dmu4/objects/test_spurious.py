"""Probability of artefacts: trails, peaks of noise, residues, moved stars; all bands, some, one or none."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.objects import spurious
from dmu4.objects.columns import make_object_table
from dmu4.objects.misfit import SIGNALS, Signals, fit_misfit
from dmu4.objects.spurious import fit_spurious, spurious_probability, well_seen

BANDS = ("g", "i", "y", "vj", "vk")
DEPTHS = np.array([26.3, 26.0, 25.0, 23.8, 23.3])
REAL, TRAILS, PEAKS, NEGATIVE, MOVED = 2000, 40, 16, 10, 6
KINDS = np.repeat(["real", "trail", "peak", "negative", "moved"], [REAL, TRAILS, PEAKS, NEGATIVE, MOVED])
N = len(KINDS)


def fluxes():
    """Fluxes in units of their errors [N, band], and misfits: real sources of two colours, and four kinds of others."""
    rng = np.random.default_rng(31)
    magnitude = 25.6 - rng.exponential(1.6, N).clip(0, 7)
    t = rng.uniform(0, 1, N)
    colours = np.column_stack([1.2 * t + 0.1, np.zeros(N), -0.4 * t, -0.5 - 0.6 * t, -0.6 - 1.1 * t])
    signal = 5 * 10 ** (-0.4 * (magnitude[:, None] + colours + rng.normal(0, 0.03, (N, 5)) - DEPTHS))
    chi2 = np.exp(rng.normal(0, 0.15, (N, 5)))
    for kind, band, low, high in (("trail", 4, 6, 15), ("peak", 3, 5, 6.5)):
        chosen = kind == KINDS
        signal[chosen] = 0
        signal[chosen, band] = rng.uniform(low, high, chosen.sum())
    chi2[KINDS == "trail", 4] = rng.uniform(2, 7, TRAILS)
    signal[KINDS == "negative"] = 12 * rng.normal(size=(NEGATIVE, 5))
    signal[KINDS == "moved"] = [0, 0, 0, 40, 30]
    return signal + rng.normal(size=(N, 5)), chi2


def table_of(signal, chi2, bands=BANDS, **more):
    """An object table with these fluxes, of the errors of the depths."""
    values = {"objectId": np.arange(1, len(signal) + 1), "detect_isPrimary": np.ones(len(signal), bool)}
    for number, (band, depth) in enumerate(zip(bands, DEPTHS[[BANDS.index(one) for one in bands]], strict=True)):
        error = 10 ** (-0.4 * (depth - 31.4)) / 5
        values |= {f"{band}_psfFlux": signal[:, number] * error, f"{band}_psfFluxErr": np.full(len(signal), error)}
        values |= {f"{band}_modelChi2": chi2[:, number], f"{band}_neighbourFraction": np.zeros(len(signal))}
    return make_object_table(values | more, bands, length=len(signal))


@pytest.fixture(scope="module")
def sky():
    """The table of all kinds."""
    return table_of(*fluxes())


@pytest.fixture(scope="module")
def found(sky):
    """Its probabilities."""
    return spurious_probability(sky, BANDS)


def test_artefacts_are_called_and_sources_are_not(found):
    """Trails, peaks and most residues are above one half, real and moved sources below; numbers are as planted."""
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[KINDS == "trail"] > 0.9).all()
    assert (found[KINDS == "peak"] > 0.5).mean() > 0.8
    assert (found[KINDS == "negative"] > 0.5).mean() > 0.8
    assert (found[KINDS == "real"] > 0.5).mean() < 0.003
    assert (found[KINDS == "moved"] < 0.1).all()
    assert found.sum() == pytest.approx(TRAILS + PEAKS + NEGATIVE, rel=0.1)


def test_a_bad_fit_makes_an_artefact_more_likely(sky, found):
    """Peaks of the noise that do not fit a source are five times less likely to be real than those that do."""
    signal, chi2 = fluxes()
    few = np.flatnonzero(KINDS == "peak")[:4]
    chi2[few, 3] = 8.0
    worse = spurious_probability(table_of(signal, chi2), BANDS)
    assert (worse[few] > found[few]).all()
    assert ((1 - worse[few]) / (1 - found[few]) < 0.2).all()


def test_a_source_in_the_light_of_others_may_have_any_flux():
    """Fluxes of both signs are a residue where an object is alone, and a wrong fit beside bright neighbours."""
    signal, chi2 = fluxes()
    beside = np.flatnonzero(KINDS == "negative")[::2]
    others = {f"{band}_neighbourFraction": np.where(np.isin(np.arange(N), beside), 0.8, 0.0) for band in BANDS}
    found = spurious_probability(table_of(signal, chi2, **others), BANDS)
    assert (found[beside] < 0.4).all()
    assert (found[np.setdiff1d(np.flatnonzero(KINDS == "negative"), beside)] > 0.7).all()


def test_a_red_source_has_no_extreme_value():
    """Near the limit a source in the reddest bands alone is below that of one band, and neither is certain."""
    signal, chi2 = fluxes()
    signal[:2] = [[0.3, -0.4, 5.5, 2.0, 1.2], [0.3, -0.4, 5.5, -1.0, -0.4]]
    chi2[:2] = 1.0
    found = spurious_probability(table_of(signal, chi2), BANDS)
    assert 0.001 < found[0] < 0.5 * found[1]
    assert found[1] < 0.995


@pytest.mark.parametrize("change", ["absent", "empty", "partly blanked", "other"])
def test_a_band_that_is_only_measured_changes_nothing(sky, change):
    """Whatever becomes of a band that is not among the detection bands, values are the same to the last bit."""
    detection = ("g", "i", "vj", "vk")
    before, changed = spurious_probability(sky, BANDS, detection=detection), sky.copy()
    bands = BANDS
    if change == "absent":
        bands = detection
    elif change == "other":
        changed["y_psfFlux"] = 1000 * changed["y_psfFlux"] - 7
    else:
        rows = slice(None) if change == "empty" else slice(0, N // 3)
        changed["y_psfFlux"][rows], changed["y_psfFlux_flag"][rows] = np.nan, True
    np.testing.assert_array_equal(spurious_probability(changed, bands, detection=detection), before)
    assert np.abs(spurious_probability(sky, BANDS) - before).max() > 0.01


def test_missing_bands_drop_out(sky, found):
    """Objects without i have values from the other bands; a trail without the band of the trail has none to see."""
    holed = sky.copy()
    hole = np.arange(N) % 5 == 0
    holed["i_psfFlux"][hole], holed["i_psfFlux_flag"][hole] = np.nan, True
    after = spurious_probability(holed, BANDS)
    assert np.isfinite(after).all()
    assert (after[hole & (KINDS == "trail")] > 0.9).all()
    assert (after[hole & (KINDS == "real")] > 0.5).mean() < 0.01
    assert np.abs(after - found)[~hole].mean() < 0.005


@pytest.mark.parametrize("bands", [("i",), ("vj", "vk"), ("g", "i"), ("y", "vj", "vk")])
def test_few_bands_suffice(bands):
    """In one to three bands real sources are not called spurious; in several, trails are, if one has their band."""
    signal, chi2 = fluxes()
    number = [BANDS.index(band) for band in bands]
    shown = (signal[:, number] > 5).any(axis=1)
    table = table_of(signal[shown][:, number], chi2[shown][:, number], bands)
    found, kinds = spurious_probability(table, bands), KINDS[shown]
    assert np.isfinite(found).all()
    assert (found[kinds == "real"] > 0.5).mean() < 0.005
    if "vk" in bands:
        assert (found[kinds == "trail"] > 0.5).mean() > 0.9


def test_in_one_band_the_fit_alone_tells():
    """In a survey of one band what is badly fitted is more likely an artefact, and nothing is certain."""
    signal, chi2 = fluxes()
    shown = signal[:, 4] > 5
    found = spurious_probability(table_of(signal[shown][:, 4:], chi2[shown][:, 4:], ("vk",)), ("vk",))
    trail, real = (found[KINDS[shown] == kind] for kind in ("trail", "real"))
    assert np.median(trail) > 10 * np.median(real)
    assert real.max() < 0.9


def test_nothing_known_is_missing(sky):
    """An object that is flagged in every band has no value, nor have an empty table and one of too few objects."""
    table = sky.copy()
    for band in BANDS:
        table[f"{band}_psfFlux_flag"][5] = True
    found = spurious_probability(table, BANDS)
    assert np.isnan(found[5])
    assert np.isfinite(found).sum() == N - 1
    assert len(spurious_probability(sky[:0], BANDS)) == 0
    assert np.isnan(spurious_probability(sky[:24], BANDS)).all()


def test_only_primary_rows_are_learned_from(sky, found):
    """Secondary rows, here all trails, have values but do not change those of the others."""
    twice = np.concatenate([np.arange(N), np.flatnonzero(KINDS == "trail"), np.flatnonzero(KINDS == "trail")])
    table = make_object_table({name: np.asarray(sky[name])[twice] for name in sky.colnames}, BANDS, length=len(twice))
    table["detect_isPrimary"][N:] = False
    both = spurious_probability(table, BANDS)
    np.testing.assert_allclose(both[:N], found, atol=1e-12)
    assert (both[N:] > 0.9).all()


def test_order_and_parts_do_not_matter(sky, found, monkeypatch):
    """Rows in another order, and in parts of seven, have the same values to rounding."""
    order = np.random.default_rng(2).permutation(N)
    np.testing.assert_allclose(spurious_probability(sky[order], BANDS), found[order], atol=1e-9)
    monkeypatch.setattr(spurious, "ROWS", 7)
    np.testing.assert_allclose(spurious_probability(sky, BANDS), found, atol=1e-12)


def test_well_seen_objects():
    """20 sigma in one band, 5 in two more and no negative flux; with one band with data only 20 sigma in it."""
    signal = np.array([[30, 6, 6, 0, 0], [30, 6, 4, 0, 0], [19, 9, 9, 9, 9], [30, 6, 6, 0, -9.0]])
    signals = Signals.of_table(table_of(signal, np.ones_like(signal)), BANDS)
    assert list(well_seen(signals)) == [True, False, False, False]
    alone = np.where([True, False, False, False, False], signal, np.nan)
    assert list(well_seen(Signals.of_table(table_of(alone, np.ones_like(signal)), BANDS))) == [True, True, False, True]


def test_misfits_of_the_band_and_signal():
    """Bad fits are judged by those of the same band and signal to noise; ratios grow above the median only."""
    rng = np.random.default_rng(4)
    bright = np.arange(4000) % 2 == 1
    good, bad = np.exp(rng.normal(0, 0.15, (2, 4000))), np.exp(rng.normal(1.5, 0.6, 4000))
    signal = np.column_stack([np.where(bright, 300.0, 7.0), np.full(4000, 250.0)])
    chi2 = np.column_stack([np.where(bright, bad, good[0]), good[1]])
    misfit = fit_misfit(Signals.of_table(table_of(signal, chi2, ("g", "i")), ("g", "i")))
    np.testing.assert_allclose(misfit.real.sum(axis=2), 1)
    probes = np.array([[7, 0.0], [7, 0], [7, 0], [7, 0], [300, 0], [0, 250]])
    misfits = np.array([[0.7, 9], [4.5, 9], [20, 9], [np.nan, 9], [4.0, 9], [9, 4.0]])
    ratio, step = misfit.ratio(Signals.of_table(table_of(probes, misfits, ("g", "i")), ("g", "i")))
    assert ratio[0] == 0
    assert ratio[1] > 20
    assert ratio[2] >= 0.9 * ratio[1]
    assert ratio[3] == 1
    assert ratio[4] < 1
    assert ratio[5] > 20
    assert list(step) == [SIGNALS.index(6.0)] * 4 + [SIGNALS.index(100.0)] * 2


def test_fractions_are_those_of_the_survey(sky):
    """Fractions of artefacts follow their numbers in each band, at the signal to noise that they have."""
    model = fit_spurious(Signals.of_table(sky, BANDS), BANDS)
    np.testing.assert_allclose(model.share.sum(axis=1), 1)
    single = model.share[:, model.kinds == "single"]
    assert single[SIGNALS.index(8.0), 4] > 5 * single[SIGNALS.index(8.0), :4].max()
    assert single[SIGNALS.index(5.0), 3] > 2 * single[SIGNALS.index(5.0), :3].max()
    assert model.bad == pytest.approx(TRAILS / (TRAILS + PEAKS + NEGATIVE), abs=0.15)
