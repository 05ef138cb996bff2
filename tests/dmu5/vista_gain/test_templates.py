"""Templates: band fluxes of a power law, dust and mixtures by formula, the prior by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dmu5.vista_gain.templates import (
    ATTENUATIONS,
    REDSHIFTS,
    SPECTRA,
    band_fluxes,
    prior,
    read_spectrum,
    template_grid,
)
from obs_vista.bands import get_band


def test_band_fluxes_of_a_power_law():
    """The mean of f_nu = wavelength^2 over a box, at each redshift, also in a band of a second optical survey."""
    wavelength = np.linspace(0.05, 3, 20_000)
    found = band_fluxes(wavelength, wavelength**2, ["g", "vk", "gkids"])
    for number, band in enumerate(("g", "vk")):
        low, high = np.array(get_band(band).range) / 1000
        expected = (high**3 - low**3) / (3 * (high - low)) / (1 + REDSHIFTS) ** 2
        np.testing.assert_allclose(found[:, number], expected, rtol=1e-3)
    np.testing.assert_array_equal(found[:, 0], found[:, 2])


def test_spectra_are_read():
    """All spectra reach from the ultraviolet to Ks; the elliptical is redder than the young population."""
    red = [np.interp(0.8, *read_spectrum(name)) / np.interp(0.35, *read_spectrum(name)) for name, _ in SPECTRA]
    assert red[0] > 3 > red[-1] > 0
    for name, _ in SPECTRA:
        wavelength, f_nu = read_spectrum(name)
        assert wavelength[0] < 0.1
        assert wavelength[-1] > 2.3
        assert np.isfinite(f_nu).all()


def test_dust_and_shares():
    """Attenuated templates differ by the power law; each type has shares that sum to one; ellipticals have no dust."""
    grid = template_grid(("g", "i", "vk"))
    np.testing.assert_allclose(grid.types.sum(axis=0), 1)
    # The first three are the elliptical and what lies between it and the spiral, then come groups of three.
    pure, dusty = grid.flux[3], grid.flux[5]
    at = 40
    rest = grid.wavelength / (1 + REDSHIFTS[at]) / 0.55
    np.testing.assert_allclose(dusty[at] / pure[at], 10 ** (-0.4 * ATTENUATIONS[2] * rest**-0.7), rtol=1e-6)
    assert len(grid.flux) == 3 + 19 * len(ATTENUATIONS)


def test_prior_by_hand():
    """At 20 mag 35% are ellipticals and half spirals; the shape of spirals at 23 mag is Benitez's formula."""
    found = prior(np.array([20.0, 18.0, 23.0]))
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1)
    np.testing.assert_allclose(found[0].sum(axis=1), [0.35, 0.5, 0.15])
    np.testing.assert_array_equal(found[1], found[0])
    spiral = found[2, 1]
    typical = 0.390 + 3 * 0.0636
    one, two = 30, 80
    ratio = (REDSHIFTS[one] / REDSHIFTS[two]) ** 1.806
    ratio *= np.exp(-((REDSHIFTS[one] / typical) ** 1.806) + (REDSHIFTS[two] / typical) ** 1.806)
    assert spiral[one] / spiral[two] == pytest.approx(ratio)
    assert spiral.sum() == pytest.approx(0.5 * np.exp(-0.147 * 3))
