"""Forced photometry: exact without noise, unbiased in blends, with errors that are the scatter."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.forced import find_overlaps, fit_fluxes, subtract_models
from dmu4.measurement.profiles import DISC_VARIANCES, DISC_WEIGHTS, make_profiles
from dmu4.measurement.stamps import Kernels, render
from tests.scenes.patches import Scene, draw, psf_stamp

SHAPE = (200, 220)
VARIANCE = 3.0


def stars(rng, n):
    """Random stars, some of them blended, and the stamps that model them."""
    x, y = rng.uniform(25, SHAPE[1] - 25, n), rng.uniform(25, SHAPE[0] - 25, n)
    x[1], y[1] = x[0] + 4.3, y[0] + 1.2
    flux = rng.uniform(200, 3000, (n, 1))
    scene = Scene(x=x, y=y, covariance=np.zeros((n, 3)), flux=flux)
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=41)
    stamps = render(profiles, Kernels(psf_stamp(VARIANCE)[None]), np.zeros(n, int))
    return scene, stamps


def test_noiseless_fluxes_are_exact(rng):
    """Without noise all fluxes of a crowded field come back to 0.3%, the light beyond the stamps; nothing remains."""
    scene, stamps = stars(rng, 60)
    image = draw(scene, band=0, variance=VARIANCE, shape=SHAPE).astype(np.float32)
    good = np.ones(SHAPE, bool)
    result = fit_fluxes(stamps, image=image, variance=np.ones(SHAPE, np.float32), good=good)
    np.testing.assert_allclose(result.flux, scene.flux[:, 0], rtol=3e-3)
    assert np.abs(subtract_models(image, good, stamps, result.flux)).max() < 2e-3 * image.max()


def test_pulls_are_normal_in_blends(rng):
    """Pulls have mean 0 +- 0.15 and scatter 1 +- 0.1, also those of close pairs, whose errors are larger."""
    scene, stamps = stars(rng, 60)
    truth = draw(scene, band=0, variance=VARIANCE, shape=SHAPE)
    good, variance = np.ones(SHAPE, bool), np.full(SHAPE, 9.0, np.float32)
    pulls = []
    for _ in range(20):
        image = (truth + rng.normal(0, 3, SHAPE)).astype(np.float32)
        result = fit_fluxes(stamps, image=image, variance=variance, good=good)
        pulls.append((result.flux - scene.flux[:, 0]) / result.error)
    pulls = np.array(pulls)
    assert abs(pulls.mean()) < 0.15
    assert pulls.std() == pytest.approx(1, abs=0.1)
    assert pulls[:, :2].std() == pytest.approx(1, abs=0.3)
    assert result.error[0] > 1.05 * result.isolated_error[0]


def test_marginal_errors_are_those_of_the_full_inverse(rng):
    """Errors from each source and its neighbours agree with the inverse of the whole normal matrix to 1%."""
    _, stamps = stars(rng, 40)
    matrix = np.zeros((40, SHAPE[0] * SHAPE[1]))
    for number in range(40):
        image = np.zeros((SHAPE[0] + 200, SHAPE[1] + 200))
        y, x, side = stamps.y0[number] + 100, stamps.x0[number] + 100, stamps.size[number]
        image[y : y + side, x : x + side] = stamps[number]
        matrix[number] = image[100:-100, 100:-100].ravel()
    exact = np.sqrt(np.diag(np.linalg.inv(matrix @ matrix.T)))
    blank = np.zeros(SHAPE, np.float32)
    result = fit_fluxes(stamps, image=blank, variance=np.ones(SHAPE, np.float32), good=np.ones(SHAPE, bool))
    np.testing.assert_allclose(result.error, exact, rtol=0.01)


def test_sources_without_data_have_no_flux(rng):
    """A source on bad pixels has NaN, and the others are exactly as if it were not there."""
    scene, stamps = stars(rng, 30)
    image = draw(scene, band=0, variance=VARIANCE, shape=SHAPE).astype(np.float32)
    good = np.ones(SHAPE, bool)
    ix, iy = int(scene.x[5]), int(scene.y[5])
    good[max(iy - 24, 0) : iy + 25, max(ix - 24, 0) : ix + 25] = False
    image[~good] = 0
    result = fit_fluxes(stamps, image=image, variance=np.ones(SHAPE, np.float32), good=good)
    assert np.isnan(result.flux[5])
    assert np.isnan(result.error[5])
    seen = result.covered > 0.5
    np.testing.assert_allclose(result.flux[seen], scene.flux[seen, 0], rtol=0.01)


def test_coincident_sources_get_large_errors():
    """Two sources at one place share the light with errors that say so, and nothing fails."""
    profiles = make_profiles(x=np.array([60.0, 60.0]), y=np.array([60.0, 60.0]), covariance=None, psf_size=41)
    stamps = render(profiles, Kernels(psf_stamp(VARIANCE)[None]), np.zeros(2, int))
    scene = Scene(x=profiles.x[:1], y=profiles.y[:1], covariance=np.zeros((1, 3)), flux=np.array([[500.0]]))
    image = draw(scene, band=0, variance=VARIANCE, shape=(120, 120)).astype(np.float32)
    planes = {"variance": np.ones((120, 120), np.float32), "good": np.ones((120, 120), bool)}
    result = fit_fluxes(stamps, image=image, **planes)
    assert result.flux.sum() == pytest.approx(500, rel=0.01)
    assert (result.error > 100 * result.isolated_error).all()


def test_large_stamps_find_their_neighbours():
    """Pairs of stamps of different sizes are those whose boxes overlap, and each once."""
    covariance = np.array([[0, 0, 0], [0, 0, 0], [400.0, 400.0, 0], [0, 0, 0]])
    profiles = make_profiles(x=np.array([50.0, 60, 120, 400]), y=np.full(4, 50.0), covariance=covariance, psf_size=41)
    first, second = find_overlaps(profiles)
    assert {tuple(sorted(pair)) for pair in zip(first, second, strict=True)} == {(0, 1), (0, 2), (1, 2)}
    assert len(first) == 3


def test_disc_mixture_is_an_exponential():
    """The Gaussians of the disc hold unit light, and within r what an exponential disc has: 1 - (1 + k r) exp(-k r).

    The half-light radius is 1, so that k is 1.67835; the light within any radius is right to 0.4% of the whole.
    """
    assert DISC_WEIGHTS.sum() == pytest.approx(1, abs=1e-5)
    for radius in (0.1, 0.3, 0.5, 1.0, 1.6, 2.318, 3.0):
        inside = np.sum(DISC_WEIGHTS * (1 - np.exp(-(radius**2) / (2 * DISC_VARIANCES))))
        share = 1 - (1 + 1.67835 * radius) * np.exp(-1.67835 * radius)
        assert inside == pytest.approx(share, abs=0.004)
