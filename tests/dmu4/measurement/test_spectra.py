"""Spectra of sources: sums over frequencies are sums over pixels, about the centre of each source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmu4.measurement.band_fit import fit_band
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.spectra import psf_reach, source_spectra
from tests.scenes.patches import psf_stamp
from tests.scenes.tilted import make_tilted, psf_at

PLACES = [(140.7, 95.2), (60.3, 40.8), (141.9, 99.6), (6.2, 70.4)]
FLUX = [900.0, 500.0, 700.0, 400.0]
SIDE = 64


@pytest.fixture(scope="module")
def band():
    """Noiseless stars in PSFs that differ from cell to cell, two blended, one at the edge; and spectra of three."""
    cube = make_tilted([(*p, f) for p, f in zip(PLACES, FLUX, strict=True)], sigma=2.0)
    x, y = np.array(PLACES).T
    profiles = make_profiles(x=x, y=y, covariance=None, psf_size=cube.psf_size)
    fit = fit_band(cube, 0, profiles, find_overlaps(profiles))
    members = np.array([1, 3, 0])
    return profiles, fit, source_spectra(profiles, fit, members, np.full(3, SIDE))


def sums(spectra, number):
    """Sums over all frequencies of cross and power of one source: columns above 0 stand for two halves."""
    k = spectra.reach[number]
    n = (2 * k + 1) * (k + 1)
    twice = np.where(np.arange(k + 1) == 0, 1, 2)
    at, of_power = spectra.cross_at[number], spectra.power_at[number]
    cross, power = spectra.cross[at : at + n], spectra.power[of_power : of_power + n]
    return (cross.reshape(-1, k + 1) * twice).sum(), (power.reshape(-1, k + 1) * twice).sum()


def test_a_point_source_has_its_flux(band):
    """Sum of Re(D P*) over that of |P|^2 is the flux of a star, its neighbour subtracted, wherever in the pixel."""
    _, _, spectra = band
    for number, source in enumerate(spectra.members):
        cross, power = sums(spectra, number)
        assert cross / power == pytest.approx(FLUX[source], rel=2e-3)


def test_power_is_that_of_the_pixels(band):
    """Parseval: the sum of |P|^2 over frequencies, by the number of pixels, is 1 / (4 pi sqrt(det)) of a Gaussian.

    Without zero frequency it is less by the square of the mean, which is 1 over the number of pixels.
    """
    _, _, spectra = band
    for number, source in enumerate(spectra.members):
        xx, yy, xy = psf_at(x=PLACES[source][0], y=PLACES[source][1])
        expected = 1 / (4 * np.pi * np.sqrt(xx * yy - xy**2)) - 1 / SIDE**2
        assert sums(spectra, number)[1] / SIDE**2 == pytest.approx(expected, rel=5e-3)


def test_the_variance_is_that_of_the_image(band):
    """The variance of a pixel is 4 nJy^2 everywhere in this patch."""
    np.testing.assert_allclose(band[2].variance, 4.0, rtol=1e-5)


def test_missing_pixels_are_those_of_the_model(band):
    """With the pixels right of a star gone, its spectrum is that of the whole star."""
    profiles, _, whole = band
    cube = make_tilted([(*p, f) for p, f in zip(PLACES, FLUX, strict=True)], sigma=2.0)
    good = cube.good.copy()
    good[:, 62:70] = False
    fit = fit_band(replace(cube, good=good, image=np.where(good, cube.image, 0)), 0, profiles, find_overlaps(profiles))
    spectra = source_spectra(profiles, fit, np.array([1]), np.array([SIDE]))
    assert sums(spectra, 0)[0] == pytest.approx(sums(whole, 0)[0], rel=3e-3)


def test_a_constant_changes_nothing(band):
    """Spectra of sources on a pedestal, which no model has, are those of the sources: profiles do not grow with it."""
    profiles, fit, spectra = band
    raised = source_spectra(
        profiles, replace(fit, residual=fit.residual + np.float32(3)), np.array([1, 0]), np.full(2, SIDE)
    )
    for number, same in ((0, 0), (1, 2)):
        assert sums(raised, number)[0] == pytest.approx(sums(spectra, same)[0], rel=1e-4)


def test_a_sharp_psf_reaches_farther():
    """Twice the width, half the frequencies."""
    narrow, wide = psf_reach(psf_stamp(1.5)[None]), psf_reach(psf_stamp(6.0, size=81)[None])
    assert narrow / wide == pytest.approx(2, rel=0.15)
    assert 0 < wide < narrow < 0.5


def test_nothing_to_measure(band):
    """Without members there is nothing, and no error."""
    profiles, fit, _ = band
    assert not len(source_spectra(profiles, fit, np.zeros(0, int), np.zeros(0, int)).cross)
