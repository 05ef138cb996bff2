"""Are the releases of the real surveys right? Reads what `make slow` has made of them, where it was run."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu5.diagnostics import good_flux, primary, stellar_locus
from dmu5.stellar_loci import KINDS, locus_summary, plane_stars, planes
from tests.scenes.releases import released

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def gama9(real_images) -> Table:
    """Objects of the nine real bands."""
    return primary(released("tests/real/gama9.yaml")[1])


def test_real_stars_are_dwarfs(gama9: Table) -> None:
    """Stars of 0.5 < g-i < 1.5 of the real nine bands have the J-Ks of dwarfs, to 0.1 mag in the median."""
    offset, count = stellar_locus(gama9).offset()
    assert count >= 10
    assert abs(offset) <= 0.1, f"{offset:+.3f} mag of {count} stars"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["J-Ks", "H-Ks"])
def test_real_stars_are_on_the_published_loci(gama9: Table, name: str, kind: str) -> None:
    """Real point sources above 50 sigma are within 0.05 mag of the published loci with J, H and Ks, in the median."""
    (plane,) = [plane for plane in planes() if plane.name == name]
    (row,) = locus_summary([plane_stars(gama9, plane, kind)])
    print(f"{name}, {kind}: offset {row['offset']:+.3f} +- {row['error']:.3f} mag of {row['stars']} (limit 0.05)")
    assert row["stars"] >= 30
    assert abs(row["offset"]) <= 0.05


def test_real_bands_are_all_measured(gama9: Table) -> None:
    """Each of the nine real bands has objects above 5 sigma."""
    for band in ("u", "g", "r", "i", "vz", "vy", "vj", "vh", "vk"):
        assert good_flux(gama9, f"{band}_psfFlux", snr_min=5).sum() > 100, band


def test_real_h_frames_make_a_catalogue(real_images) -> None:
    """The four H frames give a catalogue with stars on both patches."""
    _, catalogue = released("tests/real/video_h.yaml")
    objects = primary(catalogue)
    assert set(np.unique(objects["patch"])) == {41, 42}
    assert good_flux(objects, "vh_psfFlux", snr_min=20).sum() > 100
