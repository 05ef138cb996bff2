"""The release of nine bands of one field, from coadds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dmu0.surveys import Survey
from dmu5.diagnostics import primary, stellar_locus
from dmu5.steps import read_catalogue


@pytest.fixture(scope="module")
def gama9(release: Callable[[str], Survey]) -> Survey:
    """Nine bands of one field, as coadds."""
    return release("gama9")


@pytest.mark.slow
def test_gama9_has_all_bands(gama9: Survey) -> None:
    """A catalogue of thousands of objects with fluxes in all nine bands."""
    catalogue = primary(read_catalogue(gama9))
    assert gama9.bands == ("u", "g", "r", "i", "vz", "vy", "vj", "vh", "vk")
    assert len(catalogue) > 2000
    for band in gama9.bands:
        flux, error = (np.asarray(catalogue[f"{band}_gaap1p0Flux{end}"], float) for end in ("", "Err"))
        good = np.isfinite(flux)
        assert good.mean() > 0.95, band
        assert (error[good] > 0).all(), band
        assert (flux[good] > 5 * error[good]).sum() > 100, band


@pytest.mark.slow
def test_gama9_stars_lie_on_the_dwarf_sequence(gama9: Survey) -> None:
    """Median J-Ks (AB) of the stars with 0.5 < g-i < 1.5 is within 0.1 mag of the dwarf sequence."""
    locus = stellar_locus(primary(read_catalogue(gama9)))
    offset, count = locus.offset()
    print(f"gama9: J-Ks of {count} stars is {offset:+.3f} mag from the dwarf sequence (limit 0.1)")
    assert count >= 15
    assert abs(offset) < 0.1
