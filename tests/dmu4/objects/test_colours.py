"""Colours of stars and galaxies: a curve that is known, mixtures drawn from spectra, missing bands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from dmu4.objects.colours import POGSON, Spectra, fill_from_similar, fit_colours, rarely_other, stellar_curve

BANDS = 4


def star_colours(t):
    """Magnitudes along a curve in four bands, relative to the first."""
    return np.column_stack([0 * t, -t, -1.5 * t + 0.12 * t**2, -1.2 * t - 0.5 * np.tanh(t - 1.2)])


def galaxy_colours(rng, n):
    """Magnitudes of galaxies off the curve."""
    t, bent = rng.uniform(0.2, 2, n), rng.normal(0, 0.12, n)
    return np.column_stack([0 * t, -0.9 * t, -1.3 * t + bent, -2.2 * t + bent])


def observed(rng, colours, magnitude, *, depth=24.0, scatter=0.02):
    """Fluxes and errors of objects of given colours and magnitudes in the second band."""
    colours = colours + rng.normal(0, scatter, colours.shape)
    flux = 10 ** (-0.4 * (magnitude[:, None] + colours - colours[:, [1]] - 31.4))
    error = np.full_like(flux, 10 ** (-0.4 * (depth - 31.4)) / 5)
    return flux + rng.normal(0, error), np.hypot(error, 0.005 * flux)


@pytest.fixture
def sky(rng):
    """Fluxes, errors, magnitudes, true kinds and probabilities by size of stars and galaxies."""
    n = 1500
    star = np.arange(n) < 500
    magnitude = rng.uniform(19, 25, n)
    colours = np.where(star[:, None], star_colours(rng.uniform(0.2, 2.4, n)), galaxy_colours(rng, n))
    flux, error = observed(rng, colours, magnitude)
    certain = magnitude < 23
    point = np.where(certain, np.where(star, 0.99, 0.01), 1 / 3)
    return flux, error, magnitude, star, point


def test_the_curve_is_found(rng):
    """Colours along the curve are true to 0.02 mag, with outliers and a band that a third of the stars lack."""
    t = rng.uniform(0.2, 2.4, 400)
    flux, error = observed(rng, star_colours(t), rng.uniform(17, 21, 400))
    flux[::3, 3] = np.nan
    flux[:8, 2] *= 2
    curve = stellar_curve(flux, error)
    magnitude = -2.5 * np.log10(curve)
    along = magnitude[:, 0] - magnitude[:, 2]
    inner = (along > np.percentile(along, 8)) & (along < np.percentile(along, 92))
    fine = np.linspace(0, 2.6, 1000)
    true = star_colours(fine)
    for band in (1, 3):
        expected = np.interp(along, -true[:, 2], true[:, band])
        np.testing.assert_allclose((magnitude[:, band] - magnitude[:, 0])[inner], expected[inner], atol=0.02)


def test_colours_tell_faint_stars_from_galaxies(sky):
    """Above 5 sigma the ratios of densities tell nine of ten apart; the scatter of stars is that drawn, to a step."""
    flux, error, magnitude, star, point = sky
    colours = fit_colours(flux, error, magnitude, point, bright=magnitude < 23)
    assert colours.stars.scatter * POGSON == pytest.approx(0.02, abs=0.011)
    ratio = colours.log_ratio(flux, error, magnitude)
    seen = (magnitude > 23) & (magnitude < 24)
    assert np.mean(ratio[seen & star] > 0) > 0.9
    assert np.mean(ratio[seen & ~star] < 0) > 0.9


def test_probabilities_with_colours_are_calibrated(sky):
    """Of objects without sizes, a third of them stars, the fraction of stars is the probability from the colours."""
    flux, error, magnitude, star, point = sky
    colours = fit_colours(flux, error, magnitude, point, bright=magnitude < 23)
    faint = magnitude > 23
    log_odds = np.log(0.5) + colours.log_ratio(flux, error, magnitude)
    p, true = expit(log_odds)[faint], star[faint]
    for low, high in ((0, 0.1), (0.1, 0.6), (0.6, 1)):
        mine = (p >= low) & (p <= high)
        sampling = np.sqrt(np.sum(p[mine] * (1 - p[mine])) + 1) / mine.sum()
        assert mine.sum() > 20
        assert abs(true[mine].mean() - p[mine].mean()) < 3 * sampling + 0.02


def test_missing_bands_drop_out(sky):
    """One band left says nothing; a band that is missing everywhere changes nothing that the others say."""
    flux, error, magnitude, _, point = sky
    bright = magnitude < 23
    empty = np.column_stack([flux, np.full(len(flux), np.nan)]), np.column_stack([error, np.full(len(flux), np.nan)])
    with_empty = fit_colours(*empty, magnitude, point, bright=bright).log_ratio(*empty, magnitude)
    without = fit_colours(flux, error, magnitude, point, bright=bright)
    np.testing.assert_allclose(with_empty, without.log_ratio(flux, error, magnitude), atol=1e-9)
    alone = np.where(np.arange(BANDS) == 1, flux, np.nan)
    assert not without.log_ratio(alone, error, magnitude).any()
    assert fit_colours(flux[:, :1], error[:, :1], magnitude, point, bright=bright) is None


def test_too_few_stars_say_nothing(sky):
    """With a dozen bright stars there is no curve."""
    flux, error, magnitude, star, point = sky
    few = star & (np.cumsum(star & (magnitude < 23)) > 12)
    assert fit_colours(flux, error, magnitude, np.where(few, 0.5, point), bright=magnitude < 23) is None


def test_the_brightness_of_a_spectrum_is_free():
    """The density is that of the best brightness, whatever the unit of the fluxes; 1 sigma off it is exp(-1/2)."""
    spectra = Spectra(np.array([[1.0, 2.0]]), 0.0)
    flux, error = np.array([[10.0, 20.0], [1000.0, 2000.0]]), np.array([[1.0, 1.0], [100.0, 100.0]])
    density = spectra.log_densities(flux, error)[:, 0] + np.log(error).sum(axis=1)
    assert density[0] == pytest.approx(density[1])
    off = spectra.log_densities(flux[:1] + np.array([[2.0, -1.0]]) / np.sqrt(5), error[:1])[0, 0]
    assert spectra.log_densities(flux[:1], error[:1])[0, 0] - off == pytest.approx(0.5)


def test_rare_members_of_the_other_kind_bound_the_ratio():
    """Ratios stay within those of the rare fraction, zero stays zero, and a small one is hardly changed."""
    bounded = rarely_other(np.array([-1e3, 0.0, 1e3, 0.1]), 0.02)
    np.testing.assert_allclose(bounded[:3], [np.log(0.02 / 0.98), 0, np.log(0.98 / 0.02)], atol=1e-6)
    assert bounded[3] == pytest.approx(0.1, rel=0.06)
    # Of the second kind ten times fewer look like the first: such an object is the surer of the first.
    uneven = rarely_other(np.array([-1e3, 0.0, 1e3]), 0.02, 0.002)
    np.testing.assert_allclose(uneven, [np.log(0.02 / 0.998), 0, np.log(0.98 / 0.002)], atol=1e-6)


def test_missing_bands_are_those_of_similar_spectra():
    """A missing flux is that of spectra of the same shape, at the brightness of its own; what nobody has is missing."""
    slope = np.repeat([0.0, 1.0, -2.0], 6)
    logs = np.arange(18)[:, None] + slope[:, None] * np.arange(4) + np.where(np.arange(4) == 3, np.nan, 0)
    holed = logs.copy()
    holed[7, 1] = holed[13, 2] = np.nan
    filled = fill_from_similar(holed)
    np.testing.assert_allclose(filled[:, :3], logs[:, :3], atol=1e-12)
    assert np.isnan(filled[:, 3]).all()
