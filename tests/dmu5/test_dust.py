"""Galactic extinction, held against published coefficients."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from astropy.table import Table, vstack

from dmu5 import extinction, extinction_coefficient, magnitude
from dmu5.dust import _law
from obs_vista.bands import BAND_ORDER

HSC = {"g": 3.240, "r": 2.276, "i": 1.633, "z": 1.263, "y": 1.075}
"""A / E(B-V) of HSC's bands: obs_subaru, config/filterExtinction.py of LSST, numbers of M. Tanaka (NAOJ)."""

UKIDSS = {"vy": 1.017, "vj": 0.709, "vh": 0.449, "vk": 0.302}
"""Those of UKIDSS's Y, J, H and K, whose filters are nearly VISTA's: Schlafly & Finkbeiner 2011, table 6."""


@pytest.mark.parametrize(("band", "published"), HSC.items())
def test_hsc(band: str, published: float) -> None:
    """The coefficients agree with those that are used for HSC."""
    assert extinction_coefficient(band) == pytest.approx(published, rel=0.015)


@pytest.mark.parametrize(("band", "published"), UKIDSS.items())
def test_ukidss(band: str, published: float) -> None:
    """In the near-infrared they agree with those of UKIDSS; K reaches farther to the red than Ks."""
    assert extinction_coefficient(band) == pytest.approx(published, rel=0.06)


def test_law() -> None:
    """The law is that of its table where it is given, and B and V differ by one."""
    assert _law()(1 / 547.0) == pytest.approx(3.055)
    assert float(_law()(1 / 440.0) - _law()(1 / 550.0)) == pytest.approx(1.0, abs=0.03)


def test_bluer_bands_lose_more() -> None:
    """The coefficients fall with the wavelength; a band of a second survey has that of its filter."""
    values = [extinction_coefficient(band) for band in ("u", "g", "r", "i", "vz", "z", "y", "vy", "vj", "vh", "vk")]
    assert set(BAND_ORDER) <= {"u", "g", "r", "i", "vz", "z", "y", "vy", "vj", "vh", "vk"}
    assert all(first > second for first, second in pairwise(values))
    assert extinction_coefficient("gkids") == extinction_coefficient("g")


def test_magnitudes_without_dust() -> None:
    """A magnitude is brighter by the coefficient times E(B-V); without a value it is missing, not uncorrected."""
    table = Table({"ebv": np.array([0.1, 0.0, np.nan]), "g_psfFlux": [100.0] * 3, "g_psfFluxErr": [1.0] * 3})
    plain, free = magnitude(table, "g_psfFlux"), magnitude(table, "g_psfFlux", deredden=True)
    assert (plain - free)[:2] == pytest.approx([0.1 * extinction_coefficient("g"), 0.0])
    assert np.isnan(free[2])
    masked = vstack([table, Table({"g_psfFlux": [100.0], "g_psfFluxErr": [1.0]})])
    assert np.isnan(extinction(masked, "g")[3])
