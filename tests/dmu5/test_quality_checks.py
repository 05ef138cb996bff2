"""How good a band is: values from formulas, verdicts at the limits, and a fault in one band that only it shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from astropy.table import Table, vstack

from dmu0.robust_statistics import robust_scatter
from dmu3.truth import compare_fluxes
from dmu5.accuracy import (
    StarFluxes,
    census,
    close_pairs,
    depth_comparison,
    isolated_star_fluxes,
    reference_offset,
    width_error,
)
from dmu5.empty_sky import combine
from dmu5.quality_checks import (
    Limit,
    census_checks,
    depth_checks,
    empty_checks,
    flux_checks,
    reference_checks,
    short_value,
    verdict_table,
    worst,
)
from tests.dmu5.conftest import BANDS, ERROR


@pytest.fixture
def measured(objects: Table) -> Table:
    """The objects with everything that the accuracy of a band needs: half of a star's light is in the apertures."""
    for band in BANDS:
        objects[f"{band}_fluxFloor"] = 0.0
        objects[f"{band}_zeroPointErr"] = 0.012 if band == "vj" else np.nan
        objects[f"{band}_coverage"] = 1.0
        for kind in ("kron", "ap12"):
            objects[f"{band}_{kind}Fraction"] = 0.5
            objects[f"{band}_{kind}Flux"] = 0.5 * objects[f"{band}_psfFlux"]
            objects[f"{band}_{kind}Flux_flag"] = False
    return objects


@pytest.fixture
def reference(truth: Table) -> Table:
    """Reference stars 20 mas north of the truth, with 1% of error; one band is missing."""
    stars = truth[np.asarray(truth["type"]) == "star"]
    table = Table({"coord_ra": np.radians(stars["ra"]), "coord_dec": np.radians(stars["dec"] + 20 / 3.6e6)})
    table["extended"] = False
    for band in ("i", "vk"):
        table[f"{band}_flux"] = stars[f"flux_{band}"]
        table[f"{band}_fluxErr"] = 0.01 * stars[f"flux_{band}"]
    return table


def verdicts(truth: Table, catalogue: Table) -> dict[str, str]:
    """The worst verdict of each band against the truth."""
    return {b: worst([c.verdict for c in flux_checks(isolated_star_fluxes(truth, catalogue, b))]) for b in BANDS}


def too_bright(table: Table) -> None:
    """All fluxes 6% too bright: apertures are off, and most stars are outliers."""
    for kind in ("psf", "kron", "ap12"):
        table[f"vk_{kind}Flux"] *= 1.06


def too_sure(table: Table) -> None:
    """Errors a third of what they are."""
    table["vk_psfFluxErr"] /= 3


def scattered(table: Table) -> None:
    """Fluxes that scatter by 5%."""
    table["vk_psfFlux"] *= np.random.default_rng(4).normal(1, 0.05, len(table))


def aperture_loss(table: Table) -> None:
    """A tenth of the light inside the Kron ellipse is lost."""
    table["vk_kronFlux"] *= 0.9


@pytest.mark.parametrize("fault", [too_bright, too_sure, scattered, aperture_loss])
def test_a_fault_in_one_band_turns_it_red(truth: Table, measured: Table, fault: Callable[[Table], None]) -> None:
    """Ks fails, the others stay as they were: they pass."""
    assert verdicts(truth, measured) == dict.fromkeys(BANDS, "pass")
    fault(measured)
    assert verdicts(truth, measured) == dict.fromkeys(BANDS, "pass") | {"vk": "fail"}


def test_fluxes_of_stars(truth: Table, measured: Table) -> None:
    """Stars, ratios and pulls are those of the comparison with the truth; totals are twice what is in the apertures."""
    stars = isolated_star_fluxes(truth, measured, "i")
    columns = ("coord_ra", "coord_dec", "i_psfFlux", "i_psfFluxErr")
    same = compare_fluxes(truth, *(np.asarray(measured[name]) for name in columns), "i", snr_min=5)
    np.testing.assert_allclose(stars.ratio, same.ratio)
    np.testing.assert_allclose(stars.pull, same.pull)
    assert stars.totals["kron"] == pytest.approx(stars.value, rel=1e-5)
    assert (stars.snr > 5).all()
    # A floor of 0.1% is as large as the error at 1000 sigma.
    at = StarFluxes("i", np.array([4e4]), np.array([4.004e4]), np.array([ERROR]), np.array([1e-3]), {})
    assert at.pull[0] == pytest.approx(1)
    assert at.total_pull[0] == pytest.approx(2**-0.5, rel=1e-3)


def test_outliers_count_the_error_of_a_star() -> None:
    """3% and three errors are the limit: 4% is too much at 1000 sigma, and within the errors at 100."""
    one = np.ones(2)
    stars = StarFluxes("vk", 1e3 * one, 1.04e3 * one, np.array([1.0, 10.0]), 0 * one, {})
    assert list(stars.outlier) == [True, False]


def test_limits() -> None:
    """A deviation passes, warns or fails on either side of zero; its sampling error widens both; unknown warns."""
    limit = Limit(0.1, 0.5)
    assert [limit.verdict(value) for value in (-0.1, 0.11, -0.5, 0.51, np.nan)] == [
        "pass",
        "warn",
        "warn",
        "fail",
        "warn",
    ]
    assert [limit.verdict(value, error=0.1) for value in (0.3, 0.31, 0.7, -0.71)] == ["pass", "warn", "warn", "fail"]


def test_few_stars_are_not_judged() -> None:
    """Nine stars warn in every row, whatever their fluxes are."""
    nine = np.full(9, 1e4)
    rows = flux_checks(StarFluxes("vj", nine, 3 * nine, 0.01 * nine, 0 * nine, {"kron": nine}))
    assert {row.verdict for row in rows} == {"warn"}
    assert all("not judged" in row.value and row.check.startswith("J: ") for row in rows)
    assert short_value(rows[0].value) == "?"


def test_references(truth: Table, measured: Table, reference: Table) -> None:
    """A zero point 0.08 mag off fails in its band; positions are 20 mas from the references; no flux, no verdict."""
    measured["vk_psfFlux"] *= 10 ** (-0.4 * 0.08)
    offsets = [reference_offset(reference, measured, band) for band in BANDS]
    by_band = {item.band: [row.verdict for row in reference_checks(item)] for item in offsets}
    assert by_band == {"g": ["warn"] * 2, "i": ["pass"] * 2, "vj": ["warn"] * 2, "vk": ["fail", "pass"]}
    assert offsets[3].magnitude == pytest.approx(0.08, abs=0.003)
    assert offsets[1].offsets.bias == pytest.approx((0, -20), abs=2)
    assert offsets[1].error == pytest.approx(np.hypot(0.01, ERROR / measured["i_psfFlux"][0]), rel=0.5)


def test_references_are_compared_with_isolated_stars(measured: Table, reference: Table) -> None:
    """Connected footprints leave no star out, a neighbour of a third of its light does, one of a thousandth not."""
    alone = len(reference_offset(reference, measured, "i"))
    measured["deblend_blendNChild"] = 60
    assert len(reference_offset(reference, measured, "i")) == alone
    bright = int(np.argmax(np.where(measured["refExtendedness"] < 0.5, measured["i_psfFlux"], 0)))
    second = measured[[bright]]
    second["coord_dec"] += 1.5 / 3600
    for fraction, expected in ((0.3, alone - 1), (0.001, alone)):
        second["i_psfFlux"] = fraction * measured["i_psfFlux"][bright]
        assert len(reference_offset(reference, vstack([measured, second]), "i")) == expected


def test_census(measured: Table) -> None:
    """Shares are of the objects with data; a band without data fails; a source measured twice counts as a pair."""
    count = len(measured)
    measured["vk_coverage"][: count // 2] = 0
    half = count - count // 2
    measured["vk_psfFlux"][-half // 4 :] = np.nan
    measured["g_psfFlux_flag"] = True
    measured["vj_coverage"] = 0
    table = census(measured, BANDS)
    assert table["covered"][table["band"] == "vk"][0] == half
    assert table["missing"][table["band"] == "vk"][0] == pytest.approx(0.25, abs=0.01)
    assert np.isnan(table["missing"][table["band"] == "vj"][0])
    rows = {(row.band, row.check.split(": ")[-1]): row.verdict for row in census_checks(table, 0, objects=count)}
    assert rows["vk", "psfFlux missing where there is data"] == "fail"
    assert rows["g", "psfFlux flagged where there is data"] == "fail"
    assert rows["vj", "objects with data"] == "fail"
    assert rows["i", "psfFlux missing where there is data"] == "pass"
    pairs = close_pairs(measured, radius=0.3)
    measured["coord_ra"][1], measured["coord_dec"][1] = measured["coord_ra"][0], measured["coord_dec"][0] + 0.2 / 3600
    assert close_pairs(measured, radius=0.3) == pairs + 1
    assert close_pairs(measured, radius=0.1) <= pairs
    assert census_checks(table, count // 50, objects=count)[-1].verdict == "fail"


def test_empty_sky_and_depth(measured: Table) -> None:
    """Errors 25% too small make the catalogue look 0.24 mag deeper than it is: both fail; a level warns."""
    known = {"ratio": [1.0, 1.25], "error": [0.02, 0.02], "offset": [0.25, 0.0]}
    one = Table({"band": ["i", "vk"], "samples": [1000, 1000]} | known)
    known = {"ratio": [1.0, np.nan], "error": [0.01, np.nan], "offset": [0.25, np.nan]}
    many = Table({"band": ["i", "vk"], "samples": [3000, 0]} | known)
    empty = combine([one, many], BANDS)
    assert list(empty["samples"]) == [4000, 1000]
    np.testing.assert_allclose(empty["error"], [np.hypot(0.25 * 0.02, 0.75 * 0.01), 0.02])
    assert [row.verdict for row in empty_checks(empty)] == ["pass", "warn", "fail", "pass"]
    depths = depth_comparison(measured, None, empty, BANDS, expected={"vk": 25.9})
    vk = depths[depths["band"] == "vk"][0]
    assert vk["catalogue"] == pytest.approx(31.4 - 2.5 * np.log10(5 * ERROR), abs=1e-3)
    assert vk["catalogue"] - vk["measured"] == pytest.approx(2.5 * np.log10(1.25))
    rows = depth_checks(depths)
    assert [(row.band, row.verdict) for row in rows] == [("i", "pass"), ("vk", "fail")]
    assert "headers 25.90" in rows[1].value


def test_verdicts_as_a_table(truth: Table, measured: Table) -> None:
    """One row per name of a check, one column per band, whatever the band is called in its text."""
    checks = [row for band in ("i", "vk") for row in flux_checks(isolated_star_fluxes(truth, measured, band))]
    names, table = verdict_table(checks, BANDS)
    assert len(names) == len(checks) / 2
    assert len(table) == len(checks)
    assert all(not name.startswith(("i:", "Ks:", "vk:")) for name in names)


def test_width_of_pulls_that_stars_share() -> None:
    """The error of a width is that of as many values as are independent: stars, or squares that share an offset."""
    rng = np.random.default_rng(5)
    alone = [width_error(rng.normal(size=240), None) for _ in range(20)]
    assert np.mean(alone) == pytest.approx(1.16 / np.sqrt(240), rel=0.15)
    block = np.arange(240) // 30
    shared = [rng.normal(size=8)[block] + 0.2 * rng.normal(size=240) for _ in range(60)]
    quoted = np.mean([width_error(pulls, block) for pulls in shared])
    true = np.std([robust_scatter(pulls) for pulls in shared])
    assert quoted == pytest.approx(true, rel=0.35)
    assert quoted > 3 * np.mean(alone)


def test_a_width_is_judged_with_its_sampling_error(truth: Table, measured: Table) -> None:
    """A width of 1.8 of stars that share offsets by squares does not fail; that of independent stars does."""
    stars = isolated_star_fluxes(truth, measured, "vk")
    assert len(np.unique(stars.block)) > 1
    rng = np.random.default_rng(3)
    n, floor = 240, 0.01
    block, true = np.arange(n) // 30, np.full(n, 1e5)
    found = {}
    for name, offsets, blocks in (("shared", rng.normal(size=8)[block], block), ("alone", rng.normal(size=n), None)):
        value = true * (1 + 1.8 * floor * offsets / robust_scatter(offsets))
        ours = StarFluxes("vk", true, value, np.full(n, 1.0), np.full(n, floor), {}, blocks)
        found[name] = next(row for row in flux_checks(ours) if "floor included" in row.check)
    assert found["alone"].verdict == "fail"
    assert found["shared"].verdict != "fail"
    assert found["alone"].value.startswith("1.8")


def test_a_common_offset_is_judged_by_the_error_of_the_zero_point() -> None:
    """Fluxes 3% too bright with an error of 1.2% of the zero point: 2.5 sigma, and pulls as if there was no offset."""
    true, error = np.geomspace(1e3, 1e5, 400), np.full(400, 10.0)
    found = {}
    for name, known in (("known", 0.012), ("unknown", np.nan)):
        value = 1.03 * true + error * np.random.default_rng(4).normal(size=400)
        found[name] = StarFluxes("vj", true, value, error, 0 * true, {"kron": value}, None, known)
    assert robust_scatter(found["known"].total_pull[found["known"].bright]) == pytest.approx(1, abs=0.15)
    assert robust_scatter(found["unknown"].total_pull[found["unknown"].bright]) > 5
    assert found["known"].common == pytest.approx(1.03, abs=0.002)
    rows = {row.check.partition(": ")[2]: row for row in flux_checks(found["known"])}
    row = rows["offset of bright stars over the error of the zero point"]
    assert row.verdict == "warn"
    assert row.value.startswith("+3.0")
    assert "+2.5 sigma" in row.value
    # 3% is within the total's limit of 1% and two errors of 1.2%; without that error it fails.
    total = "kron flux over the light inside, of stars, over truth"
    assert rows[total].verdict == "pass"
    others = {row.check.partition(": ")[2]: row for row in flux_checks(found["unknown"])}
    assert others[total].verdict == "fail"
    assert "offset of bright stars over the error of the zero point" not in others
    far = StarFluxes("vj", true, 1.05 * true, error, 0 * true, {}, None, 0.012)
    assert next(row for row in flux_checks(far) if "offset" in row.check).verdict == "fail"


def test_depth_of_the_baseline(measured: Table) -> None:
    """Its error in a circle of 2 arcsec diameter, over the light of a star in it, is that of a point source."""
    measured["vk_ap06Fraction"] = 0.5
    baseline = Table({f"{band}_apErrLocal_2p0": [10.0, 10.0, np.nan] for band in BANDS})
    depths = depth_comparison(measured, baseline, None, BANDS, expected={})
    assert depths["baseline"][3] == pytest.approx(31.4 - 2.5 * np.log10(5 * 10 / 0.5))
    assert np.isnan(depths["circle"][:3]).all()
    measured["refExtendedness"], measured["vk_ap06FluxErr"] = 0.0, 9.3
    measured["vk_psfFlux"] = np.where(np.arange(len(measured)) % 3 == 0, 1e9, 7.0 * measured["vk_psfFluxErr"])
    measured["vk_ap06FluxErr"][::3] = 500.0
    depths = depth_comparison(measured, baseline, None, BANDS, expected={})
    assert depths["circle"][3] == pytest.approx(31.4 - 2.5 * np.log10(5 * 9.3 / 0.5))
