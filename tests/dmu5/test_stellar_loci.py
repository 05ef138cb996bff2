"""Stellar loci: distances from a known curve, offsets and scatter that were put in, patches that differ."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from matplotlib import pyplot as plt

from dmu5.diagnostics import DWARF_LOCUS
from dmu5.locus_figures import plot_loci, plot_patch_offsets
from dmu5.stellar_loci import (
    loci_checks,
    locus_summary,
    patch_offsets,
    perpendicular,
    photometric_scatter,
    plane_stars,
    planes,
    unexplained,
)

BANDS = ("g", "r", "i", "z", "vj", "vh", "vk")
W, Y, JK, HK = planes()
N = 1200


def catalogue(rng, *, scatter=0.0, shift=None, patch_shift=0.0):
    """Point sources on the published loci; a shift in mag of single bands, and of r in patch 2."""
    t = rng.uniform(0.45, 2.9, N)
    along = 0.4 + 0.2 * np.arange(14)
    mag = {"i": np.full(N, 18.0)}
    mag["g"] = mag["i"] + t
    mag["r"] = mag["i"] + np.interp(t, along, W.curve[:, 1])
    mag["z"] = mag["i"] - np.interp(t, along, Y.curve[:, 1])
    mag["vk"] = np.full(N, 17.0)
    mag["vh"] = mag["vk"] + np.interp(t, along, HK.curve[:, 1])
    mag["vj"] = mag["vk"] + np.interp(t, along, JK.curve[:, 1])
    patch = rng.integers(1, 5, N)
    for band, by in (shift or {}).items():
        mag[band] = mag[band] + by
    mag["r"] = mag["r"] + patch_shift * (patch == 2)
    table = Table(
        {"pointProbability": np.where(np.arange(N) < N - 5, 0.99, 0.2), "tract": np.full(N, 7), "patch": patch}
    )
    table["coord_ra"], table["coord_dec"] = 30 + 0.1 * patch + rng.uniform(0, 0.1, N), rng.uniform(-2, -1.9, N)
    for band in BANDS:
        flux = 10 ** (-0.4 * (mag[band] + rng.normal(0, scatter, N) - 31.4))
        table[f"{band}_psfFlux"], table[f"{band}_psfFluxErr"] = flux, 0.005 * flux
        table[f"{band}_psfFlux_flag"] = np.zeros(N, bool)
    return table


def test_distance_from_a_bent_line():
    """By hand: left of the first piece positive, right of the second negative, beyond the end to its corner."""
    curve = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 4.0]])
    distance, unit = perpendicular(np.array([1.5 - 0.8, 5.0, 9.0]), np.array([2.0 + 0.6, 3.5, 8.0]), curve)
    np.testing.assert_allclose(distance, [1.0, -0.5, 5.0])
    np.testing.assert_allclose(unit, [[0.6, 0.8], [1, 0], [1, 0]])


def test_the_published_locus_is_that_of_other_modules():
    """J-Ks against g-i is the locus of dmu5.diagnostics, to the rounding of both."""
    g_i, j_k = np.transpose(DWARF_LOCUS)
    np.testing.assert_allclose(np.interp(g_i, *JK.curve.T), j_k, atol=0.03)


def test_stars_on_the_locus_have_no_offset(rng):
    """Without scatter all distances vanish; the extended sources and those beyond the range are left out."""
    table = catalogue(rng)
    for plane in planes():
        locus = plane_stars(table, plane, "psfFlux")
        assert 50 < len(locus) < N - 4
        # Published to 0.01 mag: g-r is not exactly g-i less r-i.
        np.testing.assert_allclose(locus.distance, 0, atol=0.005)
        # Errors of 0.005 in each band: those of a band in both colours add up or cancel.
        assert 0.003 < np.median(locus.error) < 0.02


def test_errors_are_perpendicular_to_the_locus(rng):
    """Independent errors in g, r and i: r moves a star along both axes, in opposite directions."""
    locus = plane_stars(catalogue(rng), W, "psfFlux")
    along_x, along_y = perpendicular(locus.x, locus.y, W.curve)[1].T
    one = 0.005 * 2.5 / np.log(10)
    expected = one * np.sqrt(along_y**2 + (along_x + along_y) ** 2 + along_x**2)
    np.testing.assert_allclose(locus.error, expected, rtol=1e-3)


def test_offsets_and_scatter_are_those_put_in(rng):
    """A shift of z by 0.06 mag moves y by its projection; scatter is that of the bands, projected; K breaks a limit."""
    table = catalogue(rng, scatter=0.02, shift={"z": -0.06, "vk": 0.2})
    loci = [plane_stars(table, plane, "psfFlux") for plane in planes()]
    summary = locus_summary(loci)
    slope = 0.5
    assert summary["offset"][1] == pytest.approx(0.06 / np.hypot(1, slope), abs=0.004)
    expected = 0.02 * np.sqrt(slope**2 + (1 + slope) ** 2 + 1) / np.hypot(1, slope)
    assert summary["scatter"][1] == pytest.approx(expected, rel=0.12)
    verdicts = {row.check: row.verdict for row in loci_checks(loci) if "median" in row.check}
    assert verdicts["w locus, psfFlux: median offset"] == "pass"
    assert verdicts["J-Ks locus, psfFlux: median offset"] == "fail"
    assert not any(row.stops for row in loci_checks(loci))


def test_a_patch_with_another_zero_point_is_found(rng):
    """r 0.05 mag off in one of four patches: its offset is seen, and the check of homogeneity fails."""
    for shift, kept in ((0.0, True), (0.05, False)):
        locus = plane_stars(catalogue(rng, scatter=0.01, patch_shift=shift), W, "psfFlux")
        table = patch_offsets(locus)
        assert list(table["patch"]) == [1, 2, 3, 4]
        differs = table["offset"][1] - np.median(table["offset"])
        # w is 0.48 (g - r) off the line in r - i: r moves it by 1.48 / sqrt(1 + 0.48^2).
        assert differs == pytest.approx(1.33 * shift, abs=0.01)
        assert (unexplained(table)[0] < 0.01) == kept
        (check,) = [row for row in loci_checks([locus]) if "patches" in row.check]
        assert (check.verdict == "pass") == kept


def test_what_the_photometry_adds(rng):
    """Scatter of measured minus true distances: that of the errors, not that of the stars."""
    table = catalogue(rng, scatter=0.03)
    truth = Table({"ra": table["coord_ra"], "dec": table["coord_dec"], "type": np.full(N, "star")})
    for band in BANDS:
        truth[f"flux_{band}"] = np.asarray(table[f"{band}_psfFlux"])
        table[f"{band}_psfFlux"] *= 1 + rng.normal(0, 0.004, N)
    added = photometric_scatter([plane_stars(table, Y, "psfFlux")], truth)
    expected = 0.004 * 1.086 * np.sqrt(0.25 + 2.25 + 1) / np.hypot(1, 0.5)
    assert added["scatter"][0] == pytest.approx(expected, rel=0.15)
    assert abs(added["offset"][0]) < 0.001


def test_a_missing_band_and_few_stars(rng):
    """No plane without its bands; with three stars neither numbers nor checks, and figures are drawn nevertheless."""
    table = catalogue(rng)
    without = table[[name for name in table.colnames if not name.startswith("vh_")]]
    assert plane_stars(without, HK, "psfFlux") is None
    few = plane_stars(table[:3], JK, "psfFlux")
    assert np.isnan(locus_summary([few])["offset"][0])
    assert loci_checks([few]) == []
    assert np.isnan(unexplained(patch_offsets(few))[0])
    full = plane_stars(table, JK, "psfFlux")
    for plot in (plot_loci, plot_patch_offsets):
        figure = plot([few, full])
        figure.draw_without_rendering()
        plt.close(figure)
