"""Diagnostics: a good catalogue passes, and each kind of fault shows."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu5.diagnostics import (
    compare_with_baseline,
    depth_at,
    good_flux,
    star_completeness,
    star_fluxes,
    star_offsets,
    stellar_locus,
    summarise_bands,
)

BANDS = ("g", "i", "vj", "vk")


def everywhere(table: Table) -> np.ndarray:
    """All rows."""
    return np.ones(len(table), bool)


def test_a_good_catalogue(truth: Table, objects: Table) -> None:
    """Complete, unbiased in flux and position, with true errors."""
    assert star_completeness(truth, objects, BANDS, inside=everywhere(truth)).fraction > 0.98
    for band in BANDS:
        comparison = star_fluxes(truth, objects, band)
        assert len(comparison) > 50
        assert abs(comparison.bias) < 0.01
        assert comparison.pull.std() == pytest.approx(1, abs=0.25)
    offsets = star_offsets(truth, objects, BANDS)
    assert offsets.radial == pytest.approx(8 * 1.177, rel=0.15)  # median of a Rayleigh distribution
    assert np.hypot(*offsets.bias) < 3


def test_lost_stars_show(truth: Table, objects: Table) -> None:
    """A third of the objects gone is a third of the completeness."""
    kept = objects[np.arange(len(objects)) % 3 > 0]
    fraction = star_completeness(truth, kept, BANDS, inside=everywhere(truth)).fraction
    assert fraction == pytest.approx(2 / 3, abs=0.06)


def test_stars_where_there_are_no_data_are_not_wanted(truth: Table, objects: Table) -> None:
    """A region that no band covers counts neither as found nor as lost."""
    for band in BANDS:
        objects[f"{band}_usable"] = np.asarray(objects["coord_ra"]) < 150
    kept = objects[np.asarray(objects["coord_ra"]) < 150.002]
    assert star_completeness(truth, kept, BANDS, inside=everywhere(truth)).fraction > 0.95


def test_a_wrong_zero_point_shows(truth: Table, objects: Table) -> None:
    """Five percent too bright in one band is a bias of that band alone."""
    objects["vk_psfFlux"] *= 1.05
    assert star_fluxes(truth, objects, "vk").bias == pytest.approx(0.05, abs=0.01)
    assert abs(star_fluxes(truth, objects, "vj").bias) < 0.01


def test_flagged_fluxes_do_not_count(truth: Table, objects: Table) -> None:
    """A flux that is flagged or missing is not compared."""
    objects["i_psfFlux_flag"] = True
    objects["g_psfFlux"] = np.nan
    assert len(star_fluxes(truth, objects, "i")) == 0
    assert np.isnan(star_fluxes(truth, objects, "i").bias)
    assert not good_flux(objects, "g_psfFlux").any()


def test_shifted_positions_show(truth: Table, objects: Table) -> None:
    """21 mas, the step between FK5 and ICRS, is found with its sign."""
    objects["coord_dec"] += 21 / 3.6e6
    assert star_offsets(truth, objects, BANDS).bias[1] == pytest.approx(21, abs=2)


def test_depth_is_that_of_the_nearest_object(objects: Table) -> None:
    """Depth follows the objects, and is infinite flux away from them and where the band is not usable."""
    objects["vk_usable"] = False
    depths = depth_at(objects, np.array([150.0, 151.0]), np.array([0.0, 0.0]), BANDS)
    assert depths["g"][0] == pytest.approx(200, rel=1e-4)
    assert np.isinf(depths["g"][1])
    assert np.isinf(depths["vk"]).all()


def test_locus(objects: Table) -> None:
    """Stars are on the locus; a Ks zero point in Vega would be 1.8 mag off; galaxies do not count."""
    offset, count = stellar_locus(objects).offset()
    assert count > 30
    assert abs(offset) < 0.03
    objects["vk_gaap1p0Flux"] *= 10 ** (-0.4 * 1.816)
    assert stellar_locus(objects).offset()[0] < -1.5
    objects.remove_column("vj_gaap1p0Flux")
    assert stellar_locus(objects) is None


def test_baseline(objects: Table) -> None:
    """Our fluxes beside a baseline that is 10% fainter in one band."""
    baseline = Table({"ra": objects["coord_ra"], "dec": objects["coord_dec"]})
    for band in BANDS:
        scale = 0.9 if band == "vj" else 1.0
        baseline[f"{band}_apFlux_2p0"] = np.asarray(objects[f"{band}_ap06Flux"]) * scale
        baseline[f"{band}_apFluxErr_2p0"] = objects[f"{band}_ap06FluxErr"]
        baseline[f"{band}_flags"] = 0
    table = compare_with_baseline(objects, baseline, BANDS)
    ratios = dict(zip(table["band"], table["ratio"], strict=True))
    assert ratios["vj"] == pytest.approx(1 / 0.9, rel=1e-3)
    assert ratios["g"] == pytest.approx(1, rel=1e-3)


def test_summary_of_bands(objects: Table) -> None:
    """One row a band with its depth; an empty catalogue gives NaN, not an error."""
    table = summarise_bands(objects, BANDS)
    assert list(table["band"]) == list(BANDS)
    assert table["depth5"][0] == pytest.approx(25.65, abs=0.01)
    assert np.isnan(summarise_bands(objects[:0], BANDS)["depth5"]).all()
