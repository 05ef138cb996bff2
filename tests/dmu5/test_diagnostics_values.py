"""Diagnostics by hand, on skies that are far from the equator, uneven, and in another order than the truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.sky.skymap import survey_patches
from dmu0.surveys import load_survey
from dmu3.truth import compare_fluxes
from dmu4.objects.columns import REFERENCE_PIXEL, make_object_table
from dmu5.checks import coverage_checks, locus_checks, selection_checks, star_checks
from dmu5.diagnostics import (
    Completeness,
    Locus,
    Offsets,
    compare_with_baseline,
    depth_at,
    offsets,
    star_fluxes,
    star_offsets,
    summarise_bands,
)
from dmu5.selection_function import (
    Curve,
    area_of_survey,
    completeness_curve,
    depth_map,
    purity_curve,
    selection_table,
)

BANDS = ("g", "vk")
DEC = -63.0
EAST = 1 / np.cos(np.radians(DEC)) / 3600
"""An arcsecond to the east, in degrees of right ascension."""


def catalogue(ra: np.ndarray, dec: np.ndarray, **values: object) -> Table:
    """Objects of 1,000 +- 10 nJy in every band, and what is asked for."""
    count = len(ra)
    columns = {"coord_ra": ra, "coord_dec": dec, "objectId": np.arange(count), "detect_isPrimary": np.ones(count)}
    columns |= {
        "refBand": np.full(count, "vk"),
        "deblend_blendNChild": np.ones(count),
        "refExtendedness": np.zeros(count),
    }
    for band in BANDS:
        for kind in ("psfFlux", "ap06Flux"):
            columns |= {f"{band}_{kind}": np.full(count, 1000.0), f"{band}_{kind}Err": np.full(count, 10.0)}
        columns |= {f"{band}_depth5": np.full(count, 25.0), f"{band}_usable": np.ones(count)}
        columns |= {f"{band}_coverage": np.ones(count), f"{band}_detected": np.ones(count)}
        columns |= {f"{band}_neighbourFraction": np.zeros(count)}
    return make_object_table(columns | values, BANDS, length=count)


def sky(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions some 10 arcsec apart, about 0 h at Dec -63, in no order."""
    side = int(np.ceil(np.sqrt(count)))
    columns, rows = np.meshgrid(np.arange(side), np.arange(side))
    order = rng.permutation(count)
    ra = (359.99 + (10 * columns.ravel()[:count] + rng.uniform(0, 2, count)) * EAST) % 360
    return ra[order], (DEC + (10 * rows.ravel()[:count] + rng.uniform(0, 2, count)) / 3600)[order]


def truth_of(ra: np.ndarray, dec: np.ndarray, flux: float = 1000.0) -> Table:
    """Stars at some positions, of one flux in every band."""
    table = Table({"id": np.arange(len(ra)), "ra": ra, "dec": dec, "type": np.full(len(ra), "star")})
    for band in BANDS:
        table[f"flux_{band}"] = np.full(len(ra), flux)
    return table


def test_offsets_are_on_the_sky(rng: np.random.Generator) -> None:
    """70 mas west and 30 north of the truth, across 0 h at Dec -63, whatever the order of the rows."""
    ra, dec = sky(60, rng)
    order = rng.permutation(60)
    found = catalogue((ra[order] - 0.07 * EAST) % 360, dec[order] + 0.03 / 3600)
    measured = offsets(truth_of(ra, dec), found)
    assert len(measured) == 60
    spoilt = Offsets(np.append(measured.ra[:10], 1e4), np.append(measured.dec[:10], -1e4))
    assert spoilt.bias == pytest.approx((-70, 30), abs=0.1)
    assert spoilt.radial == pytest.approx(np.hypot(70, 30), abs=0.1)
    assert measured.bias == pytest.approx((-70, 30), abs=0.05)
    assert measured.radial == pytest.approx(np.hypot(70, 30), abs=0.05)
    assert star_offsets(truth_of(ra, dec), found, BANDS).bias == pytest.approx((-70, 30), abs=0.05)
    # Below 20 sigma in the band that an object was measured in, its position does not count.
    found["vk_psfFluxErr"] = 60.0
    assert len(star_offsets(truth_of(ra, dec), found, BANDS)) == 0


def test_baseline_is_compared_where_objects_are_alone(rng: np.random.Generator) -> None:
    """Light of neighbours in a band, flagged and faint baseline fluxes do not count; what is left is ours over theirs.

    The number of objects in the blend is of no importance.
    """
    ra, dec = sky(40, rng)
    light = np.where(np.arange(40) < 15, 0.003, 0.001)
    light[14] = np.nan
    ours = catalogue(
        ra, dec, deblend_blendNChild=np.full(40, 3), **{f"{band}_neighbourFraction": light for band in BANDS}
    )
    theirs = Table({"ra": ra, "dec": dec})
    for band in BANDS:
        theirs[f"{band}_apFlux_2p0"] = np.where(np.arange(40) < 15, 500.0, 800.0)
        theirs[f"{band}_apFluxErr_2p0"] = np.where(np.arange(40) < 20, 10.0, 10.0)
        theirs[f"{band}_flags"] = np.where(np.arange(40) >= 35, 2, 0)
    theirs["g_apFluxErr_2p0"][20:] = 50.0
    theirs = theirs[rng.permutation(40)]
    table = compare_with_baseline(ours, theirs, BANDS)
    assert list(table["n"]) == [5, 20]
    assert np.asarray(table["ratio"]) == pytest.approx(1.25)
    # One in twenty that is wrong by a factor of ten does not move the median.
    ours["vk_ap06Flux"][30] = 10_000
    table = compare_with_baseline(ours, theirs, BANDS)
    assert table["ratio"][1] == pytest.approx(1.25)
    assert table["scatter"][1] == pytest.approx(0, abs=1e-6)


def test_depth_is_looked_up_on_the_sphere(rng: np.random.Generator) -> None:
    """25 arcsec east of an object is within the radius of 30; 40 north is not, nor are 45 east."""
    one = catalogue(np.array([120.0]), np.array([DEC]))
    ra = 120 + np.array([25, 0, 45, -25]) * EAST
    dec = np.array([DEC, DEC + 40 / 3600, DEC, DEC])
    depth = np.asarray(depth_at(one, ra, dec, BANDS)["g"])
    assert np.isfinite(depth).tolist() == [True, False, False, True]
    assert depth[0] == pytest.approx(10 ** (0.4 * 6.4), rel=1e-4)


def test_fluxes_beside_the_truth(rng: np.random.Generator) -> None:
    """Ratio and pull of each: 30 nJy too bright with an error of 15 is +3% and 2 sigma; faint truths do not count."""
    ra, dec = sky(30, rng)
    truth = truth_of(ra, dec)
    truth["flux_vk"][:10] = 250.0
    order = rng.permutation(30)
    found = compare_fluxes(truth, ra[order], dec[order], np.full(30, 1030.0), np.full(30, 15.0), "vk")
    assert len(found) == 20
    assert found.ratio == pytest.approx(1.03)
    assert found.pull == pytest.approx(2.0)
    assert found.bias == pytest.approx(0.03)


def test_fluxes_of_unflagged_stars(rng: np.random.Generator) -> None:
    """Twelve of thirty stars are flagged and 10% too bright; the others count, in their own band."""
    ra, dec = sky(30, rng)
    flagged = np.arange(30) < 12
    found = catalogue(ra, dec, vk_psfFlux=np.where(flagged, 1100.0, 1010.0), vk_psfFlux_flag=flagged)
    for band, count, bias in (("vk", 18, 0.01), ("g", 30, 0.0)):
        measured = star_fluxes(truth_of(ra, dec), found, band)
        assert (len(measured), measured.bias) == (count, pytest.approx(bias, abs=1e-4))


def test_table_of_the_selection(rng: np.random.Generator) -> None:
    """Of 30 true stars of AB 22.3 in the area 20 have an object, beside 5 false ones of AB 21.2; without truth, -1."""
    survey, edges = load_survey("sample"), np.array([21.0, 22.0, 24.0])
    patch = survey_patches(survey)[0]
    box = patch.inner_bbox
    x, y = (
        values.ravel() for values in np.meshgrid(box.x.min + 80 + 60 * np.arange(6), box.y.min + 90 + 60 * np.arange(6))
    )
    order = rng.permutation(36)
    ra, dec = patch.tract.wcs.all_pix2world(x[order], y[order], 0)
    flux = np.full(36, 10 ** (0.4 * (31.4 - 22.3)))
    truth = truth_of(np.append(ra[:30], ra[0] + 10), np.append(dec[:30], dec[0]), flux=flux[0])
    flux[30:] = 10 ** (0.4 * (31.4 - 21.2))
    kept = np.arange(36) % 36 >= 10
    kept[35] = False
    found = catalogue(ra[kept], dec[kept], g_psfFlux=flux[kept], vk_psfFlux=flux[kept])
    table = selection_table(truth, found, BANDS, survey=survey, edges=edges)
    assert list(table["band"]) == ["g", "g", "vk", "vk"]
    assert list(table["magnitude"]) == [21.5, 23.0] * 2
    for band in BANDS:
        rows = table[table["band"] == band]
        assert (list(rows["n_true"]), list(rows["n_found"])) == ([0, 30], [0, 20])
        assert (list(rows["n_objects"]), list(rows["n_real"])) == ([5, 20], [0, 20])
        assert rows["completeness"][1] == pytest.approx(2 / 3)
        assert list(rows["purity"]) == [0, 1]
        assert list(rows["expected"]) == pytest.approx([1, 1])
    alone = selection_table(None, found, BANDS, survey=survey, edges=edges)
    assert set(alone["n_true"]) == set(alone["n_real"]) == {-1}
    assert np.isnan(alone["completeness"]).all()
    assert list(alone["expected"]) == pytest.approx([1] * 4)


def test_summary_counts_each_thing_once(rng: np.random.Generator) -> None:
    """Measured, above 5 sigma, detected, usable: five numbers that are not the same."""
    ra, dec = sky(20, rng)
    table = catalogue(ra, dec, g_psfFlux_flag=np.arange(20) < 3, g_detected=np.arange(20) < 7)
    table["g_psfFlux"][15:], table["g_usable"][:5], table["g_depth5"][:8] = 40.0, False, 24.5
    row = summarise_bands(table, BANDS)[0]
    assert (row["measured"], row["above_5_sigma"], row["detected"]) == (17, 12, 7)
    assert (row["usable"], row["depth5"]) == pytest.approx((0.75, 25.0))


def test_completeness_counts_where_the_band_has_data(rng: np.random.Generator) -> None:
    """Sources that the band does not cover are neither lost nor found; of the others those with an object are."""
    ra, dec = sky(40, rng)
    truth = truth_of(ra, dec, flux=10 ** (0.4 * (31.4 - 22.3)))
    kept = np.flatnonzero(np.arange(40) % 4 > 0)
    usable = np.arange(40)[kept] < 24
    found = catalogue(ra[kept], dec[kept], g_usable=usable)
    edges = np.array([20.0, 22.0, 23.0])
    curve = completeness_curve(truth, found, "g", edges=edges)
    covered = int(np.isfinite(np.asarray(depth_at(found, truth["ra"], truth["dec"], ["g"])["g"])).sum())
    assert 20 <= covered <= 34
    assert curve.total.tolist() == [0, covered]
    assert curve.chosen[1] == usable.sum()
    assert completeness_curve(truth, found, "vk", edges=edges).total.tolist() == [0, 40]
    # Brighter ones that have no object are lost in their own bin, whatever the number of the row that others have.
    truth["flux_vk"][np.arange(40) % 4 == 0] = 10 ** (0.4 * (31.4 - 21.0))
    curve = completeness_curve(truth, found[::-1], "vk", edges=edges)
    assert (curve.total.tolist(), curve.chosen.tolist()) == ([10, 30], [0, 30])


def test_purity_tells_objects_by_their_own_magnitude(rng: np.random.Generator) -> None:
    """Ten false objects of AB 21 among thirty real ones of AB 22, listed first: purity 0 and 1 in the two bins."""
    ra, dec = sky(40, rng)
    bright = np.arange(40) < 10
    flux = 10 ** (0.4 * (31.4 - np.where(bright, 21.0, 22.0)))
    found = catalogue(ra, dec, g_psfFlux=flux)
    real = truth_of(ra[10:][::-1], dec[10:][::-1])
    curve = purity_curve(real, found, "g", edges=np.array([20.5, 21.5, 22.5]))
    assert curve.total.tolist() == [10, 30]
    assert curve.chosen.tolist() == [0, 30]


def test_curve_errors_and_limit() -> None:
    """sqrt(p q / n) with one source of each kind added; the limit is read at the centres of bins of five or more."""
    curve = Curve(np.array([20.0, 21, 22, 23]), np.array([8, 3, 10]), np.array([8, 0, 2]))
    assert curve.middle.tolist() == [20.5, 21.5, 22.5]
    assert curve.error[0] == pytest.approx(np.sqrt(0.9 * 0.1 / 8))
    assert curve.error[2] == pytest.approx(np.sqrt(0.25 * 0.75 / 10))
    assert curve.limit(0.6) == pytest.approx(20.5 + 2 * 0.5)


def test_area_of_the_survey() -> None:
    """Inside of the patches by more than the margin; patches join without a gap; outside is outside."""
    survey = load_survey("sample")
    patches = survey_patches(survey)
    boxes = [patch.inner_bbox for patch in patches]
    x0, x1 = min(box.x.min for box in boxes) - 0.5, max(box.x.max for box in boxes) + 0.5
    y0, y1 = min(box.y.min for box in boxes) - 0.5, max(box.y.max for box in boxes) + 0.5
    seam = boxes[0].x.max + 0.5
    x = np.array([(x0 + x1) / 2, seam, x0 + 1, x1 - 1, x0 - 1500, (x0 + x1) / 2])
    y = np.array([(y0 + y1) / 2, (y0 + y1) / 2, y0 + 1, y1 - 1, y0, y1 + 1500])
    ra, dec = patches[0].tract.wcs.all_pix2world(x, y, 0)
    assert area_of_survey(survey, ra, dec).tolist() == [True, True, True, True, False, False]
    # Images end a border beyond the patches: three pixels more than that cut three pixels off.
    border = boxes[0].x.min - patches[0].outer_bbox.x.min
    x, y = np.array([x0 + 2, x0 + 4, x1 - 2, x1 - 4]), np.full(4, (y0 + y1) / 2 + 40)
    ra, dec = patches[0].tract.wcs.all_pix2world(x, y, 0)
    narrow = area_of_survey(survey, ra, dec, margin=(border + 3) * survey.sky_map.pixel_scale)
    assert narrow.tolist() == [False, True, False, True]


def test_depth_map_has_declination_along_rows() -> None:
    """Deeper to the north and, by less, to the east; rows are declination."""
    ra, dec = (values.ravel() for values in np.meshgrid(150 + 0.1 * np.arange(6), DEC + 0.02 * np.arange(4)))
    table = catalogue(ra, dec, g_depth5=24 + 10 * (dec - DEC) + 0.1 * (ra - 150))
    depth, extent = depth_map(table, "g", cells=2)
    assert extent == pytest.approx((150, 150.5, DEC, DEC + 0.06))
    assert depth[1, 0] - depth[0, 0] == pytest.approx(0.4, abs=1e-4)
    assert depth[0, 1] - depth[0, 0] == pytest.approx(0.03, abs=1e-4)


def test_checks_of_coverage(rng: np.random.Generator) -> None:
    """A flux without data, and a missing one that is not flagged, are counted in their band alone."""
    ra, dec = sky(10, rng)
    table = catalogue(ra, dec)
    assert [row.verdict == "pass" for row in coverage_checks(table, BANDS)] == [True, True]
    table["g_coverage"][2] = 0
    table["vk_psfFlux"][3:5] = np.nan
    table["vk_psfFlux_flag"][3] = True
    rows = coverage_checks(table, BANDS)
    assert [(row.value, row.verdict) for row in rows] == [("1, 0", "fail"), ("0, 1", "fail")]
    table["vk_coverage"][7] = 0
    assert coverage_checks(table, BANDS)[1][1:5] == ("1, 1", "0, 0", "fail", "vk")


def comparison(bias: float, count: int, band: str = "vk"):
    """A comparison of fluxes with a bias."""
    truth = truth_of(np.arange(count) * 0.1, np.full(count, DEC))
    flux = np.full(count, 1000 * (1 + bias))
    return compare_fluxes(truth, np.arange(count) * 0.1, np.full(count, DEC), flux, np.full(count, 10.0), band)


@pytest.mark.parametrize(
    ("found", "bias", "count", "offset", "expected"),
    [
        (96, 0.019, 12, 29.0, [True, True, True]),
        (94, -0.019, 12, 29.0, [False, True, True]),
        (96, -0.021, 12, 31.0, [True, False, False]),
        (96, 0.021, 12, 29.0, [True, True, False]),
        (96, 0.0, 9, 29.0, [True, False, False]),
    ],
)
def test_checks_of_stars(found: int, bias: float, count: int, offset: float, expected: list[bool]) -> None:
    """95% found, 30 mas, 2% either way, and at least ten stars: just inside passes, just outside does not."""
    positions = Offsets(np.full(count, offset), np.zeros(count))
    rows = star_checks(Completeness(100, found), [comparison(bias, count)], positions)
    assert [row.verdict == "pass" for row in rows] == expected
    assert star_checks(Completeness(0, 0), [], positions)[0].verdict == "fail"


def test_checks_of_the_locus() -> None:
    """0.09 mag from the dwarfs is within 0.1, 0.11 mag is not, either way; few stars say nothing."""
    for shift, count, kept in ((0.09, 12, [True]), (0.11, 12, [False]), (-0.11, 12, [False]), (0.0, 9, [])):
        # Covey et al. 2007 at g-i = 1: J-Ks = 0.49 + 0.10 (Vega, 2MASS); 0.975 of it less 0.900 in VISTA's AB.
        locus = Locus(np.full(count, 1.0), np.full(count, 0.975 * 0.59 - 0.900 + shift))
        assert locus.offset()[0] == pytest.approx(shift, abs=1e-6)
        assert [row.verdict == "pass" for row in locus_checks(locus)] == kept
    assert locus_checks(None) == []
    assert np.isnan(Locus(np.full(20, 2.0), np.zeros(20)).offset()[0])


def test_checks_of_the_selection_look_at_the_bright_bins(rng: np.random.Generator) -> None:
    """A magnitude above the depth of 25 and brighter: what is lost in fainter bins does not count, in those it does."""
    ra, dec = sky(10, rng)
    table = catalogue(ra, dec)
    edges = np.array([21.0, 22, 23, 24, 25, 26])
    total = np.full(5, 100)
    good = Curve(edges, total, np.array([95, 90, 86, 10, 0]))
    bad = Curve(edges, total, np.array([60, 90, 86, 100, 100]))
    rows = selection_checks(table, ("g",), {"g": good}, {"g": Curve(edges, total, np.array([100, 95, 90, 20, 0]))})
    assert [row.verdict == "pass" for row in rows] == [True, True, True]
    assert rows[1].value == "90.3% of 300 brighter than 24.0"
    assert [row.verdict == "pass" for row in selection_checks(table, ("g",), {"g": bad}, {"g": bad})] == [
        True,
        False,
        False,
    ]
    table["g_depth5"][4] = np.nan
    assert selection_checks(table, ("g",), {}, {})[0].verdict == "fail"


def test_circles_of_one_size_are_compared(rng: np.random.Generator) -> None:
    """The baseline's circles are 0.8% smaller: of light that grows with a power of the radius the ratio is 1."""
    ra, dec = sky(30, rng)
    power = rng.uniform(0.3, 1.6, 30)
    values = {
        f"{band}_ap{radius:02d}Flux": 700 * (radius * REFERENCE_PIXEL) ** power
        for band in BANDS
        for radius in (3, 6, 9)
    }
    theirs = Table({"ra": ra, "dec": dec})
    for band in BANDS:
        theirs[f"{band}_apFlux_2p0"], theirs[f"{band}_apFluxErr_2p0"], theirs[f"{band}_flags"] = 700.0, 1.0, 0
    for row in compare_with_baseline(catalogue(ra, dec, **values), theirs, BANDS):
        assert row["n"] == 30
        assert row["ratio"] == pytest.approx(1, abs=1e-6)
        assert row["scatter"] < 1e-6
