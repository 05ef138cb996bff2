"""Fluxes and magnitudes."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from obs_vista.photometry import flux_of, magnitude_error, magnitude_of, nanojansky_per_count, zero_point_of


def test_magnitudes_are_those_of_astropy() -> None:
    """AB magnitudes agree with astropy's to 1e-4: 31.4 is rounded from 31.40006; back and forth is exact."""
    fluxes = np.array([[0.3, 1.0], [3631e9, 250.0]])
    np.testing.assert_allclose(magnitude_of(fluxes), (fluxes * u.nJy).to_value(u.ABmag), atol=1e-4)
    np.testing.assert_allclose(flux_of(magnitude_of(fluxes)), fluxes, rtol=1e-12)


def test_no_magnitude_without_flux() -> None:
    """Fluxes of zero, below and NaN have no magnitude, and raise no warning."""
    assert np.isnan(magnitude_of([0.0, -3.0, np.nan])).all()
    assert np.isnan(flux_of(np.nan))


def test_errors_of_magnitudes() -> None:
    """A flux of 2% error has a magnitude of 0.0217 mag error, the derivative; none without flux."""
    step = magnitude_of(100.0 - 1e-4) - magnitude_of(100.0 + 1e-4)
    assert magnitude_error(100.0, 2.0) == pytest.approx(2 * step / 2e-4, rel=1e-6)
    assert magnitude_error(100.0, 2.0) == pytest.approx(0.021715, rel=1e-4)
    assert np.isnan(magnitude_error([0.0, -3.0, np.nan], 1.0)).all()


def test_counts() -> None:
    """A count at zero point 27 is 57.5 nJy; FLUXMAG0 of HSC is zero point 27."""
    assert nanojansky_per_count(27.0) == pytest.approx(57.544, rel=1e-4)
    assert zero_point_of(63095734448.0194) == pytest.approx(27.0, abs=1e-9)
