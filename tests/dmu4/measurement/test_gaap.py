"""GAaP: total fluxes of stars, the same light of galaxies whatever the seeing, errors that are the scatter."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.forced import project
from dmu4.measurement.gaap import (
    apertures_of,
    gaap_size,
    gaap_weights,
    model_in_gaap,
    sampling_step,
    sum_gaap,
    weight_transforms,
)
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.stamps import Kernels, render
from tests.scenes.patches import Scene, add_gaussian, correlated_noise, draw, psf_stamp

SIGMA = 5.95
SHAPE = (140, 150)


def measure(image, *, x, y, variance):
    """GAaP flux, its variance for unit pixels and the share of the weight on the image, at one place."""
    cell = np.zeros(1, int)
    transforms, possible = weight_transforms(psf_stamp(variance)[None], sigma=SIGMA)
    weights = gaap_weights(x=np.array([x]), y=np.array([y]), transforms=transforms, cell=cell, sigma=SIGMA)
    ones = np.ones(image.shape, np.float32)
    sums = project(weights, image=image.astype(np.float32), variance=ones, good=np.ones(image.shape, bool))
    assert possible.all()
    return sums.signal[0], sums.noise[0], sums.seen[0] / sums.whole[0]


@pytest.mark.parametrize("variance", [1.5, 3.0, 5.0])
def test_stars_have_their_total_flux(variance):
    """A star gives its flux to 0.3% in any seeing, wherever it is in its pixel."""
    for x, y in ((70.0, 66.0), (70.37, 65.81)):
        scene = Scene(x=np.array([x]), y=np.array([y]), covariance=np.zeros((1, 3)), flux=np.array([[1000.0]]))
        image = draw(scene, band=0, variance=variance, shape=SHAPE)
        assert measure(image, x=x, y=y, variance=variance)[0] == pytest.approx(1000, rel=3e-3)


def test_galaxies_give_the_same_light_in_any_seeing():
    """A Gaussian galaxy gives the analytic flux in the aperture to 0.5%, the same in good and bad seeing."""
    covariance = np.array([[9.0, 4.0, 2.0]])
    scene = Scene(x=np.array([70.4]), y=np.array([66.2]), covariance=covariance, flux=np.array([[1000.0]]))
    added = np.linalg.det([[9 + SIGMA**2, 2], [2, 4 + SIGMA**2]])
    expected = 1000 * SIGMA**2 / np.sqrt(added)
    for variance in (1.5, 5.0):
        image = draw(scene, band=0, variance=variance, shape=SHAPE)
        assert measure(image, x=70.4, y=66.2, variance=variance)[0] == pytest.approx(expected, rel=5e-3)


def test_error_is_the_scatter(rng):
    """The scatter of the flux of white noise is the quoted error to 10%."""
    values = []
    for _ in range(300):
        flux, variance, filled = measure(correlated_noise(rng, SHAPE, sigma=1, width=0), x=70.3, y=66.1, variance=3.0)
        values.append(flux / np.sqrt(variance))
    assert filled == pytest.approx(1)
    assert np.std(values) == pytest.approx(1, abs=0.1)


def test_too_wide_a_psf_is_refused():
    """A PSF as wide as the aperture cannot be measured through it, and that is said."""
    assert not weight_transforms(psf_stamp(30.0, size=81)[None], sigma=SIGMA)[1].any()
    assert gaap_size(SIGMA) >= 10 * SIGMA


def test_a_lopsided_psf_is_not_turned_round():
    """A star seen through a PSF with a tail to one side has its total flux to 0.3%: no weight is its mirror image."""
    psf = np.zeros((61, 61))
    for x, y, flux in ((30, 30, 0.6), (34, 28, 0.4)):
        add_gaussian(psf, x=x, y=y, xx=3.0, yy=2.0, xy=0.5, flux=flux)
    place = {"x": np.array([70.0]), "y": np.array([66.0]), "cell": np.zeros(1, int)}
    transforms, possible = weight_transforms(psf[None], sigma=SIGMA)
    weights = gaap_weights(**place, transforms=transforms, sigma=SIGMA)
    image = np.zeros(SHAPE, np.float32)
    image[66 - 30 : 66 + 31, 70 - 30 : 70 + 31] = 1000 * psf
    sums = project(weights, image=image, variance=np.ones_like(image), good=np.ones(SHAPE, bool))
    assert possible.all()
    assert sums.signal[0] == pytest.approx(1000, rel=3e-3)


@pytest.mark.parametrize(("sigma", "step"), [(2.3, 1), (4.2, 2), (6.3, 3), (9.1, 4), (15.2, 8)])
def test_coarse_samples_sum_the_same(rng, sigma, step):
    """Sampled every few pixels, a flux is that of all pixels to 5% of its noise, its error to 1.5%.

    The image has a hole, and a variance that changes from pixel to pixel.
    """
    shape = (420, 390)
    good = np.ones(shape, bool)
    good[150:210, 100:115] = False
    variance = rng.uniform(0.5, 4.0, shape).astype(np.float32)
    image = np.where(good, rng.normal(0.0, np.sqrt(variance)) + 1.5, 0).astype(np.float32)
    x, y = np.array([120.31, 200.5, 301.77, 96.2, 60.0]), np.array([130.8, 260.25, 99.4, 180.6, 20.3])
    psf = np.stack([psf_stamp(2.0), psf_stamp(3.5)]).astype(np.float32)
    cell = np.array([0, 1, 1, 0, 1])
    found = sum_gaap(image, variance, good, x=x, y=y, psf=psf, cell=cell, sigma=sigma)
    transforms, possible = weight_transforms(psf, sigma=sigma)
    weights = gaap_weights(x=x, y=y, transforms=transforms, cell=cell, sigma=sigma)
    sums = project(weights, image=image, variance=variance, good=good)
    assert sampling_step(sigma) == step
    np.testing.assert_allclose((found.flux - sums.signal) / np.sqrt(sums.noise), 0, atol=0.05)
    np.testing.assert_allclose(found.error, np.sqrt(sums.noise), rtol=0.015)
    # The second PSF is too wide for the smallest aperture.
    assert possible.tolist() == [True, sigma > 3]
    np.testing.assert_allclose(found.filled, possible[cell] * sums.seen / sums.whole, atol=0.012)
    assert 0.5 < found.filled[3] < 0.997


def test_models_in_the_aperture_are_those_of_their_stamps():
    """Point, disc and bulge through a PSF, summed with the weights, give what the formula says of them: to 0.3%."""
    disc = np.array([[0.0, 0, 0], [20.0, 9.0, -6.0], [0, 0, 0], [9.0, 9.0, 3.0]])
    bulge = np.array([[0.0, 0, 0], [0, 0, 0], [6.0, 12.0, 2.0], [4.0, 4.0, 0.0]])
    x, y = np.full(4, 210.4), np.full(4, 200.7)
    fraction = np.array([0, 0, 1, 0.4])
    profiles = make_profiles(x=x, y=y, covariance=disc, psf_size=41, bulge=bulge, bulge_fraction=fraction)
    psf = psf_stamp(2.5)[None].astype(np.float32)
    stamps, cell = render(profiles, Kernels(psf), np.zeros(4, int)), np.zeros(1, int)
    inside = model_in_gaap(profiles, SIGMA)
    assert inside[0] == 1
    for number in range(4):
        image = np.zeros((420, 430), np.float32)
        x0, y0, side = stamps.x0[number], stamps.y0[number], stamps.size[number]
        image[y0 : y0 + side, x0 : x0 + side] = stamps[number]
        whole = np.ones(image.shape, bool)
        found = sum_gaap(image, image * 0 + 1, whole, x=x[:1], y=y[:1], psf=psf, cell=cell, sigma=SIGMA)
        assert found.flux[0] == pytest.approx(inside[number], rel=3e-3)


def test_the_aperture_of_the_psf_weighs_with_the_psf():
    """For a Gaussian PSF the weight is the PSF, scaled: the error is that of the PSF flux."""
    sigma = 2.2
    psf = np.zeros((61, 61))
    add_gaussian(psf, x=30, y=30, xx=sigma**2, yy=sigma**2, xy=0, flux=1)
    image = np.zeros((90, 95), np.float32)
    one = {"x": np.array([45.0]), "y": np.array([44.0]), "psf": psf[None].astype(np.float32), "cell": np.zeros(1, int)}
    aperture = apertures_of((0.7,), psf_sigma=sigma, pixel_scale=0.2)
    np.testing.assert_allclose(aperture, [3.5, np.sqrt(2) * sigma])
    found = sum_gaap(image, image + 4, image == 0, **one, sigma=aperture[1])
    assert found.error[0] == pytest.approx(2 * np.sqrt(4 * np.pi) * sigma, rel=2e-3)
