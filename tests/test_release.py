"""Is the truth recovered? Reads the products of `make sample`, and of the other releases where they were made.

`sample_lsst`, the sample as LSST delivers it, is held to the limits of the sample, in each of its eleven bands.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.table import Table
from felis.datamodel import Schema

from dmu0.files.metadata import read_provenance
from dmu0.files.paths import PROJECT
from dmu0.robust_statistics import robust_scatter
from dmu0.schema.columns import schema_columns
from dmu0.surveys import Survey, load_survey
from dmu0.truth import is_star, isolated, match_to_truth, read_detector_truth, read_truth
from dmu3.catalogues import read_catalogues
from dmu4.review.galaxy_truth import colour_offsets, model_fluxes_of_galaxies
from dmu4.review.kind_truth import (
    calibration,
    classifications,
    judge_kinds,
    kinds_by_magnitude,
    match_kinds,
    well_seen,
)
from dmu4.review.spurious_truth import count_spurious, has_source, spurious_calibration
from dmu5.accuracy import isolated_star_fluxes, width_error
from dmu5.checks import read_checks
from dmu5.diagnostics import (
    compare_with_baseline,
    good_flux,
    primary,
    star_completeness,
    star_fluxes,
    star_offsets,
)
from dmu5.selection_function import area_of_survey
from dmu5.spurious_checks import spurious_checks
from obs_vista.photometry import magnitude_of
from tests.scenes.browser import CHROMIUM, visit
from tests.scenes.releases import released

pytestmark = pytest.mark.release
BANDS = {
    "sample": ("g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk"),
    "sample_lsst": ("u", "g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk"),
    "patch": ("g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk"),
}
"""The bands of the surveys whose truth is known."""
SKIES = {load_survey(path).name: path for path in os.environ.get("OTHER_SKIES", "").split()}
"""Name -> survey file of the sample under other skies, see `tests.skies`."""
BANDS |= dict.fromkeys(SKIES, BANDS["sample"])
RELEASES = [*(SKIES.get(name, name) for name in BANDS), "tests/real/gama9.yaml", "tests/real/video_h.yaml"]
"""Those, and the surveys of real images."""

IN_EACH_BAND = [pytest.param(name, band, id=f"{name}-{band}") for name, bands in BANDS.items() for band in bands]


@pytest.fixture(scope="module", params=list(BANDS))
def sample(request: pytest.FixtureRequest) -> tuple[Survey, Table]:
    """A survey whose truth is known, and its catalogue, all rows."""
    return released(SKIES.get(request.param, request.param))


@pytest.fixture(scope="module")
def objects(sample: tuple[Survey, Table]) -> Table:
    """One row an object."""
    return primary(sample[1])


@pytest.fixture(scope="module")
def truth(sample: tuple[Survey, Table]) -> Table:
    """Every true source."""
    return read_truth(sample[0])


def test_every_band_has_its_columns(sample: tuple[Survey, Table]) -> None:
    """All bands have the same columns, those of the schema; each is measured somewhere."""
    survey, catalogue = sample
    bands = survey.bands
    assert bands == BANDS[survey.name]
    assert catalogue.colnames == [column.name for column in schema_columns(bands)]
    stems = [{name.removeprefix(f"{b}_") for name in catalogue.colnames if name.startswith(f"{b}_")} for b in bands]
    assert all(stem == stems[0] for stem in stems)
    for band in bands:
        assert good_flux(catalogue, f"{band}_psfFlux", snr_min=5).sum() > 100, band


def test_no_check_fails(sample: tuple[Survey, Table]) -> None:
    """None of the checks of the release fails, and in every band stars and empty circles were judged."""
    survey, _ = sample
    rows = [row for found in read_checks(survey.folders[5] / "checks").values() for row in found]
    assert [str(row) for row in rows if row.verdict == "fail"] == []
    for band in survey.bands:
        mine = [row for row in rows if row.band == band and not row.value.startswith("only")]
        for what in (
            "off by more than",
            "scatter of stars",
            "width of the pulls above",
            "kron",
            "ap12",
            "empty circles",
        ):
            assert any(what in row.check for row in mine), f"{band}: {what}"


def test_stars_are_found(sample: tuple[Survey, Table], objects: Table, truth: Table) -> None:
    """Of the isolated true stars with 5 sigma in any band, at least 95% are in the catalogue."""
    inside = area_of_survey(sample[0], truth["ra"], truth["dec"])
    found = star_completeness(truth, objects, sample[0].bands, inside=inside)
    assert found.wanted > 100
    assert found.fraction >= 0.95, f"{found.found} of {found.wanted}"


@pytest.mark.parametrize(("sample", "band"), IN_EACH_BAND, indirect=["sample"])
def test_psf_fluxes_of_stars(objects: Table, truth: Table, band: str) -> None:
    """Isolated stars brighter than 20 sigma have forced PSF fluxes right to 2% in the median."""
    comparison = star_fluxes(truth, objects, band)
    assert len(comparison) >= 30
    assert abs(comparison.bias) <= 0.02, f"{100 * comparison.bias:+.2f}% of {len(comparison)} stars"


@pytest.mark.parametrize(("sample", "band"), IN_EACH_BAND, indirect=["sample"])
def test_fluxes_do_not_jump(objects: Table, truth: Table, band: str) -> None:
    """PSF fluxes of bright stars scatter by less than 1% in VISTA bands, across detectors, cells and patches, and by
    less than 0.5% in optical bands, whose PSF varies over a patch; in VISTA bands none is far off."""
    stars = star_fluxes(truth, objects, band)
    bright = stars.ratio > 50 * np.abs(stars.ratio - 1) / np.maximum(np.abs(stars.pull), 1e-9)
    assert bright.sum() >= 40
    assert abs(stars.bias) <= 0.01, f"{100 * stars.bias:+.2f}% of {len(stars)} stars"
    scatter = robust_scatter(stars.ratio[bright])
    assert scatter < (0.01 if band.startswith("v") else 0.005), f"{100 * scatter:.2f}% of {bright.sum()} stars"
    wrong = stars.far_off[bright]
    assert not band.startswith("v") or wrong.mean() <= 0.005, (
        f"{wrong.sum()} of {len(wrong)} stars of 50 sigma are off by more than 3% + 3 sigma"
    )


@pytest.mark.parametrize(("sample", "band"), IN_EACH_BAND, indirect=["sample"])
def test_errors_with_the_floor(objects: Table, truth: Table, band: str) -> None:
    """Pulls of stars above 50 sigma, the floor in their errors, are 1 wide within 0.1 and three sampling errors.

    Of eleven bands one is beyond two sampling errors in every other sky.
    """
    stars = isolated_star_fluxes(truth, objects, band)
    pulls, block = stars.total_pull[stars.bright], stars.block[stars.bright]
    width, error = robust_scatter(pulls), max(width_error(pulls, block), 1.16 / np.sqrt(len(pulls)))
    assert abs(width - 1) < 0.1 + 3 * error, f"{width:.2f} +- {error:.2f}"


@pytest.mark.parametrize(("sample", "band"), IN_EACH_BAND, indirect=["sample"])
@pytest.mark.parametrize("kind", ["kron", "ap09", "ap12", "ap25"])
def test_apertures_give_total_fluxes(objects: Table, truth: Table, band: str, kind: str) -> None:
    """Kron and circle fluxes of stars, over the fraction of the PSF in the aperture, are total: within 1%."""
    total = objects.copy(copy_data=False)
    total[f"{band}_totalFlux"] = total[f"{band}_{kind}Flux"] / total[f"{band}_{kind}Fraction"]
    total[f"{band}_totalFluxErr"] = total[f"{band}_{kind}FluxErr"] / total[f"{band}_{kind}Fraction"]
    total[f"{band}_totalFlux_flag"] = total[f"{band}_{kind}Flux_flag"]
    stars = star_fluxes(truth, total, band, kind="totalFlux")
    assert len(stars) >= 25
    assert abs(stars.bias) <= 0.01, f"{100 * stars.bias:+.2f}% of {len(stars)} stars"


@pytest.mark.parametrize("above", [10, 20])
def test_model_fluxes_of_galaxies(objects: Table, truth: Table, above: int) -> None:
    """Isolated galaxies above 10 sigma: model fluxes true to 5% in the median of each band, above 20 sigma to 2%.

    Two sampling errors of the median are added to the limits. The pulls of those whose neighbours are within half an
    error are 1 wide within 0.15 in the median of the bands, and its sampling error: bands have their shapes in common.
    """
    found = model_fluxes_of_galaxies(objects, truth)
    mine = found[(found["above"] == above) & (found["galaxies"] >= 10)]
    assert len(mine) >= 9
    limit = 0.02 if above == 20 else 0.05
    for row in mine:
        assert abs(row["model"] - 1) < limit + 2 * row["sampling"], row["band"]
    width, count = np.median(mine["pull_alone"]), np.median(mine["alone"])
    print(
        f"above {above} sigma: pulls {width:.2f} (limit 1 +- 0.15), {np.median(mine['pull']):.2f} with neighbours of 2%"
    )
    assert abs(width - 1) < 0.15 + 2 * 1.16 / np.sqrt(count)


@pytest.mark.parametrize("kind", ["gaap0p7Flux", "gaap1p0Flux", "cModelFlux"])
def test_colours_of_galaxies(objects: Table, truth: Table, kind: str) -> None:
    """Colours of isolated galaxies through optical and VISTA bands are true to 0.01 mag and two sampling errors.

    Those of GAaP fluxes scatter by their errors, to a tenth and two sampling errors; the errors of models contain those
    of their shapes, which cancel in colours.
    """
    for row in colour_offsets(objects, truth, kind, [("g", "vk"), ("i", "vj"), ("r", "i"), ("vj", "vk")]):
        assert row["galaxies"] >= 10
        pull, sampling = row["pull"], 1.16 / np.sqrt(row["galaxies"])
        print(
            f"{kind} {row['colour']}: {1e3 * row['median']:+.1f} +- {1e3 * row['sampling']:.1f} mmag (limit 10), "
            f"pulls {pull:.2f} +- {sampling:.2f} of {row['galaxies']} (GAaP: 1 +- 0.1)"
        )
        assert abs(row["median"]) < 0.01 + 2 * row["sampling"], row["colour"]
        if kind.startswith("gaap"):
            assert abs(pull - 1) < 0.1 + 2 * sampling, row["colour"]


def test_stars_and_galaxies(objects: Table, truth: Table) -> None:
    """Of the stars of i < 24 or 10 sigma in Ks 95% are called stars, with less than 5% of galaxies among them.

    At 24 < i < 25 the probability is purer than the extendedness by half at least. Probabilities are calibrated, to
    three sampling errors and, near zero and one, to blends and rare kinds: a hundredth.
    """
    ways = classifications(objects)
    print("\n".join(kinds_by_magnitude(objects, truth, ways, "i").pformat(max_lines=-1)))
    row, star = well_seen(objects, truth)
    stars, complete, wrong = judge_kinds(ways["sizes and colours, all bands"][row], star, np.ones(len(row), bool))
    print(
        f"stars of i < 24 or 10 sigma in Ks: {complete:.3f} of {stars} (limit 0.95), galaxies {wrong:.3f} (limit 0.05)"
    )
    assert stars > 300
    assert complete >= 0.95
    assert wrong < 0.05
    mine, row = match_kinds(objects, truth)
    faint = np.abs(magnitude_of(np.asarray(mine["flux_i"])) - 24.5) < 0.5
    impure = [
        judge_kinds(ways[name][row], is_star(mine), faint)[2]
        for name in ("refExtendedness", "sizes and colours, all bands")
    ]
    print(f"galaxies among stars of 24 < i < 25: by extendedness {impure[0]:.3f}, by probability {impure[1]:.3f}")
    assert impure[1] < 0.5 * impure[0]
    for name in ("sizes, all bands", "sizes and colours, all bands"):
        for one in calibration(ways[name][row], is_star(mine)):
            difference = abs(one["stars"] - one["probability"])
            assert difference < 3 * one["sampling"] + 0.01, f"{name}: {one['probability']:.3f} is {one['stars']:.3f}"


def test_spurious_objects_are_told(objects: Table, truth: Table) -> None:
    """Of the objects below 0.5, 99% are real, and fewer than 0.5% of the real ones are above, to two sampling errors.

    Above 0.5 probabilities are calibrated to three sampling errors and a tenth; below 0.02 what is left are parts of
    galaxies and blends.
    """
    real = has_source(objects, truth)
    counts, table = count_spurious(objects, truth, real), spurious_calibration(objects, real)
    print("\n".join(map(str, [counts, *spurious_checks(counts), table])))
    assert counts.kept > 0.95 * counts.all
    assert [str(check) for check in spurious_checks(counts) if check.verdict != "pass"] == []
    assert counts.kept_real / counts.kept > counts.real / counts.all
    high = table[table["from"] >= 0.7]
    assert (high["spurious"] > high["probability"] - 3 * high["sampling"] - 0.1).all()


def test_moving_stars_are_followed(objects: Table, truth: Table) -> None:
    """Offsets between the surveys are true motions times the years between them, with pulls of 1; no galaxy moves."""
    stars = truth[is_star(truth)]
    pairs = match_to_truth(stars, objects["coord_ra"], objects["coord_dec"], radius=0.8)
    rows, true = objects[pairs.second], stars[pairs.first]
    known = np.isfinite(np.asarray(rows["vistaOffset_ra"]))
    motion = np.hypot(true["pm_ra"], true["pm_dec"])
    assert known.sum() > 300
    pulls = []
    for axis in ("ra", "dec"):
        offset, speed = (
            np.asarray(t[n], float)[known] for t, n in ((rows, f"vistaOffset_{axis}"), (true, f"pm_{axis}"))
        )
        years = np.sum(offset * speed) / np.sum(speed**2)
        assert abs(years) * 1000 == pytest.approx(3.1, abs=0.3)
        pulls.append((offset - years * speed) / np.asarray(rows[f"vistaOffset_{axis}Err"])[known])
    width = np.std(np.concatenate(pulls))
    print(f"offsets of {known.sum()} stars: pulls {width:.2f}")
    assert width == pytest.approx(1, abs=0.15)
    error = np.hypot(rows["vistaOffset_raErr"], rows["vistaOffset_decErr"])
    fast = known & (np.asarray(motion) > 40) & (np.asarray(motion) * 0.0031 > 6 * np.asarray(error))
    assert fast.sum() >= 8
    assert np.asarray(rows["vistaOffset_used"])[fast].all()
    galaxies = np.ones(len(objects), bool)
    galaxies[pairs.second] = False
    assert not np.asarray(objects["vistaOffset_used"])[galaxies].any()


@pytest.mark.parametrize("name", RELEASES)
def test_pages_have_no_dead_links(name: str) -> None:
    """The release page and the pages of its notebooks link to what exists, show no local path, and fetch nothing."""
    survey, _ = released(name)
    release = survey.folders[5] / "release" / "index.html"
    pages = [release, *sorted(PROJECT.glob(f"dmu[0-9]/data/{survey.name}/runs/[0-9]*.html"))]
    assert len(pages) >= 10
    for page in pages:
        text = page.read_text()
        links = re.findall(r'(?:href|src)="([^"#]+)', text)
        local = [unquote(link.partition("?")[0]) for link in links if not re.match(r"(https?|data|mailto):", link)]
        assert [link for link in local if not (page.parent / link).exists()] == [], page
        assert not [link for link in local if link.endswith(".ipynb")], page
        assert str(PROJECT) not in text, page
        assert not re.search(r'<(script|img|link|iframe)[^>]+(src|href)="(https?:)?//', text), page
        assert "width=device-width" in text, page
        assert page.stat().st_size < 3e6, page
    if CHROMIUM is not None:
        seen = [visit(page, survey.folders[5] / "release" / ".browser") for page in pages[:1]]
        assert [(item.console, item.requests) for item in seen] == [([], [])]


@pytest.mark.parametrize("name", RELEASES)
def test_numbers_of_the_page_are_those_of_the_files(name: str) -> None:
    """Numbers of objects and depths of the page, from the Parquet files alone."""
    survey, _ = released(name)
    text = (survey.folders[5] / "release" / "index.html").read_text()
    frame = pd.read_parquet(survey.folders[5] / "catalogue" / "parquet")
    frame = frame[frame["detect_isPrimary"]]
    assert f"<dd>{len(frame):,}</dd>" in text
    heads = re.findall(r"<th>([^<]*)</th>", text[text.index('id="bands"') :])
    place = heads.index("depth (5 sigma, AB)") - 2
    for band in survey.bands:
        good = ~frame[f"{band}_psfFlux_flag"] & (frame[f"{band}_psfFlux"] > 5 * frame[f"{band}_psfFluxErr"])
        row = re.search(rf"<td>{band}_</td>(.*?)</tr>", text)[1]
        cells = re.findall(r"<td>([^<]*)</td>", row)
        assert cells[place : place + 3] == [
            f"{frame[f'{band}_depth5'].median():.2f}",
            str(good.sum()),
            str(frame[f"{band}_detected"].sum()),
        ]


def test_positions_of_stars(sample: tuple[Survey, Table], objects: Table, truth: Table) -> None:
    """Bright isolated stars are within 30 mas of the truth in the median, and without a shift of the frame."""
    positions = star_offsets(truth, objects, sample[0].bands)
    assert len(positions) > 50
    assert positions.radial <= 30
    assert np.hypot(*positions.bias) <= 15


def test_one_row_an_object(sample: tuple[Survey, Table], objects: Table, truth: Table) -> None:
    """No objectId twice; isolated bright stars are primary exactly once, across the edges of patches too."""
    assert len(np.unique(sample[1]["objectId"])) == len(sample[1])
    inside = truth[area_of_survey(sample[0], truth["ra"], truth["dec"])]
    bright = inside[isolated(inside, "i", fraction=0.1) & is_star(inside)]
    bright = bright[(bright["flux_i"] > 20_000) & (bright["flux_i"] < 200_000)]
    pairs = match_to_truth(bright, objects["coord_ra"], objects["coord_dec"], radius=0.3)
    assert len(bright) >= 30
    assert len(pairs) == len(bright), f"{len(bright) - len(pairs)} of {len(bright)} have no row"
    assert pairs.candidates.max() == 1, f"{(pairs.candidates > 1).sum()} have several rows"


def test_no_flux_without_data(sample: tuple[Survey, Table], objects: Table) -> None:
    """Where a band has no data its fluxes are NaN and flagged; no value is repeated over and over."""
    for band in sample[0].bands:
        flux = np.asarray(objects[f"{band}_psfFlux"])
        empty = np.asarray(objects[f"{band}_coverage"]) == 0
        assert np.isnan(flux[empty]).all()
        assert np.asarray(objects[f"{band}_psfFlux_flag"])[np.isnan(flux)].all()
        values, counts = np.unique(flux[np.isfinite(flux)], return_counts=True)
        assert counts.max() <= 2, f"{band}: {values[counts.argmax()]} comes {counts.max()} times"


def test_agrees_with_the_baseline(sample: tuple[Survey, Table], objects: Table) -> None:
    """Fluxes in circles of 2 arcsec diameter are those of SWarp and SExtractor to 2% in every band.

    The baseline takes the zero points of the headers, whose errors are known: 0.01 mag for each of a few visits.
    """
    compared = compare_with_baseline(objects, read_catalogues(sample[0], primary=True), sample[0].bands)
    detectors = read_detector_truth(sample[0])
    for row in compared:
        own = detectors["band"] == row["band"]
        header = np.mean(detectors["magzpt"][own] - detectors["zero_point"][own]) if own.any() else 0.0
        ratio = row["ratio"] * 10 ** (-0.4 * header)
        print(f"{row['band']}: {row['ratio']:.4f}, with true zero points {ratio:.4f}")
        assert row["n"] >= 100
        assert abs(ratio - 1) < 0.02, f"{row['band']}: {ratio:.3f}"


def test_products_can_be_read(sample: tuple[Survey, Table]) -> None:
    """pandas and astropy read the same rows as the page says; the schema beside them is valid Felis."""
    survey, catalogue = sample
    folder = survey.folders[5] / "catalogue"
    frame = pd.read_parquet(folder / "parquet")
    assert len(frame) == len(Table.read(folder / "object.fits")) == len(catalogue)
    schema = Schema.model_validate(yaml.safe_load((folder / "schema.yaml").read_text()))
    assert [column.name for column in schema.tables[0].columns] == list(frame.columns)
    page = (survey.folders[5] / "release" / "index.html").read_text()
    assert "sky_8524.jpg" in (survey.folders[5] / "release" / "sky.js").read_text()
    files = [folder / "parquet" / "8524" / "object.parquet", folder / "object.fits", folder / "object.vot"]
    said = [read_provenance(path) for path in files]
    assert said[0] == said[1] == said[2]
    assert said[0]["survey"] == f"{survey.name}.yaml"
    assert all(value in page for value in said[0].values())
    assert (survey.folders[5] / "release" / "sky_8524.jpg").stat().st_size > 10_000
