"""Sizes of point sources and galaxies: parameters and calibration of populations drawn from the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from dmu4.objects.sizes import (
    LOG_WIDTHS,
    PointWidths,
    Population,
    fit_points,
    fit_population,
    point_densities,
    point_density,
    point_log_odds,
    width_densities,
)

POINTS = PointWidths(offset=0.0015, scatter=0.002, tail=0.08, tail_scatter=0.012)


def drawn(rng, n, *, points=POINTS, noise=1.0):
    """Magnitudes, excess, errors and truth of stars and galaxies; errors grow with magnitude."""
    magnitude = rng.uniform(19, 25, n)
    star = rng.random(n) < np.interp(magnitude, [19, 25], [0.8, 0.1])
    error = noise * 0.001 * 10 ** (0.3 * (magnitude - 20)) * rng.uniform(0.7, 1.4, n)
    log_width = rng.normal(np.log(0.05) - 0.25 * (magnitude - Population.PIVOT), 0.6)
    width = np.exp(log_width)
    in_tail = rng.random(n) < points.tail
    deviation = rng.normal(0, np.where(in_tail, points.tail_scatter, points.scatter))
    true = points.offset + np.where(star, deviation, width * (1 + 0.25 * rng.normal(0, 1, n)))
    return magnitude, true + rng.normal(0, error), error, star


def probability(points, population, magnitude, excess, error):
    """Posterior probability of a point source."""
    evidence, prior = point_log_odds(
        population,
        magnitude,
        point_density(point_densities(excess, error, points)),
        width_densities(excess, error, points),
    )
    return expit(evidence + prior)


def test_parameters_are_those_that_were_drawn(rng):
    """Offset, scatter and tail of point sources, sizes and slope of galaxies, and the fraction of point sources."""
    magnitude, excess, error, _ = drawn(rng, 4000)
    points, population = fit_points(excess, error, magnitude)
    assert points.offset == pytest.approx(POINTS.offset, abs=0.0004)
    assert points.scatter == pytest.approx(POINTS.scatter, rel=0.2)
    assert points.tail_scatter == pytest.approx(POINTS.tail_scatter, rel=0.35)
    assert population.mean == pytest.approx(np.log(0.05), abs=0.12)
    assert population.slope == pytest.approx(-0.25, abs=0.06)
    assert population.spread == pytest.approx(0.6, abs=0.1)
    for at, fraction in ((20, 0.683), (22, 0.45), (24, 0.217)):
        assert population.point_fraction(np.array([at]))[0] == pytest.approx(fraction, abs=0.07)


@pytest.mark.parametrize("noise", [1.0, 4.0])
def test_probabilities_are_calibrated(rng, noise):
    """Of objects with a probability P a fraction P are stars, within three sampling errors, with good and bad data."""
    magnitude, excess, error, star = drawn(rng, 4000, noise=noise)
    found = probability(*fit_points(excess, error, magnitude), magnitude, excess, error)
    for low, high in ((0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 0.95), (0.95, 1)):
        mine = (found >= low) & (found <= high)
        p = found[mine]
        assert len(p) > 40
        sampling = np.sqrt(np.sum(p * (1 - p)) + 1) / len(p)
        assert abs(star[mine].mean() - p.mean()) < 3 * sampling + 0.01, f"{p.mean():.3f} {star[mine].mean():.3f}"


def test_bands_of_one_object_add_up(rng):
    """Two bands of equal error are as good as one of an error smaller by the root of two, for a star and a galaxy."""
    points = PointWidths(0.0, 1e-6, 1e-6, 2e-6)
    population, error = Population(np.array([20.0, 24.0]), np.array([0.5, 0.5])), np.array([0.02, 0.02])
    excess, magnitude = np.array([0.001, 0.03]), np.array([22.0, 22.0])
    two = [2 * one(excess, error, points) for one in (point_densities, width_densities)]
    one = [density(excess, error / np.sqrt(2), points) for density in (point_densities, width_densities)]
    odds = [point_log_odds(population, magnitude, point_density(a), b)[0] for a, b in (two, one)]
    # The scatter of profiles between bands averages out over two bands, which one band does not know.
    np.testing.assert_allclose(odds[0], odds[1], atol=0.15)
    assert odds[0][0] > 0 > odds[0][1]


def test_an_unknown_size_says_nothing():
    """Without a size, or its error, the densities are one, whatever the widths."""
    nothing = np.array([np.nan, 0.01]), np.array([0.01, np.nan])
    assert not point_densities(*nothing, POINTS).any()
    assert not width_densities(*nothing, POINTS).any()
    assert width_densities(*nothing, POINTS).shape == (2, len(LOG_WIDTHS))


def test_no_objects_and_few():
    """Without objects the starting values are returned; with one the fractions stay between zero and one."""
    nothing = np.zeros(0)
    points, population = fit_points(nothing, nothing, nothing)
    assert points.scatter == pytest.approx(PointWidths.scatter)
    one = np.array([0.0]), np.array([0.001]), np.array([21.0])
    points, population = fit_points(*one)
    assert 0 < population.point_fraction(np.array([21.0]))[0] < 1
    again = fit_population(one[2], point_density(point_densities(*one[:2], points)), width_densities(*one[:2], points))
    assert np.all((again.fraction > 0) & (again.fraction < 1))
