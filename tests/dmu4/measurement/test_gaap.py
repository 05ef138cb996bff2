"""GAaP: total fluxes of stars, the same light of galaxies whatever the seeing, errors that are the scatter."""

from __future__ import annotations

import numpy as np
import pytest

from dmu4.measurement.forced import project
from dmu4.measurement.gaap import gaap_size, gaap_weights, weight_transforms
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
