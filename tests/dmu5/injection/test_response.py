"""Selection function from recovered sources: weights, bins, places, and what the function says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.tables import write_table
from dmu5.injection.injection_checks import bias_checks, depth_checks, half_magnitude, truth_checks, truth_differences
from dmu5.injection.recovery import match_sources
from dmu5.injection.response import (
    SelectionFunction,
    completeness_table,
    flux_response,
    matched_weights,
    population_weights,
)
from dmu5.selection_function import Curve

EDGES = np.arange(20.0, 26.01, 0.5)


@pytest.fixture
def recovered(rng: np.random.Generator) -> Table:
    """8,000 sources of two patches: patch 7 sees half a magnitude deeper than patch 3; galaxies are lost earlier."""
    count = 8000
    table = Table({"magnitude": rng.uniform(20, 26, count), "extended": np.arange(count) // 2 % 4 == 0})
    table["tract"], table["patch"] = 8524, np.where(np.arange(count) % 2, 7, 3)
    table["flux_i"] = 10 ** (0.4 * (31.4 - table["magnitude"]))
    table["flux_vk"] = 2 * table["flux_i"]
    limit = np.where(table["patch"] == 7, 24.5, 24.0) - 0.5 * table["extended"]
    table["found"] = table["magnitude"] < limit + 0.5
    table["i_detected"], table["vk_detected"] = table["magnitude"] < limit, np.zeros(count, bool)
    table["measured"] = np.arange(count) < 4000
    for band in ("i", "vk"):
        for name in ("psfFlux", "kronFlux", "cModelFlux", "gaap1p0Flux", "ap06Flux", "ap12Flux"):
            table[f"{band}_{name}Err"] = 20.0
            table[f"{band}_{name}"] = 1.03 * table[f"flux_{band}"] + rng.normal(0, 20, count)
            table[f"{band}_{name}_flag"] = False
        table[f"{band}_kronFraction"] = 0.8
    return table


@pytest.fixture
def function(recovered: Table) -> SelectionFunction:
    """Its selection function, without weights."""
    return SelectionFunction(completeness_table(recovered, ("i", "vk"), edges=EDGES, weights=np.ones(len(recovered))))


def test_completeness_of_places_selections_and_kinds(function: SelectionFunction) -> None:
    """The step of each patch, band and kind is where it was made, in the magnitudes of either band."""
    points = {"band": "i", "kind": "point"}
    assert function(23.25, **points) == 1
    assert function(24.75, **points) == pytest.approx(0.5, abs=0.08)  # found in patch 7 alone
    assert function(24.25, selection="i", **points) == pytest.approx(0.5, abs=0.08)
    assert function(24.75, band="i", tract=8524, patch=7) > function(24.75, band="i", tract=8524, patch=3) + 0.5
    assert function(24.75 - 2.5 * np.log10(2), band="vk", kind="point") == pytest.approx(0.5, abs=0.15)
    assert function(23.0, band="vk", selection="vk") == 0
    assert function(np.array([15.0, 28.0]), band="i").tolist() == [1, 0]
    half, error = half_magnitude(function, "i")
    assert half == pytest.approx(24.25, abs=0.2)
    assert 0 < error < 0.1
    assert np.isnan(half_magnitude(function, "vk")).all()
    with pytest.raises(KeyError, match="patch 9"):
        function(22.0, band="i", tract=8524, patch=9)


def test_a_bin_of_few_sources_is_not_the_depth(function: SelectionFunction) -> None:
    """One of four bright sources is found by chance: half are still found where they were, with the same error."""
    table = function.table.copy()
    bins = np.flatnonzero((table["band"] == "i") & (table["selection"] == "i") & (table["kind"] == "point"))
    bright = bins[np.argmin(table["magnitude"][bins])]
    table["n"][bright], table["completeness"][bright], table["error"][bright] = 4, 0.25, 0.24
    assert half_magnitude(SelectionFunction(table), "i") == pytest.approx(half_magnitude(function, "i"), abs=0.01)


def test_the_function_comes_back(function: SelectionFunction, tmp_path: Path) -> None:
    """What is read from disk says the same."""
    path = tmp_path / "completeness.parquet"
    write_table(function.table, path)
    grid = np.linspace(19, 27, 30)
    np.testing.assert_allclose(SelectionFunction.read(path)(grid, band="i"), function(grid, band="i"))


def test_weights_make_number_counts(recovered: Table) -> None:
    """Sources a magnitude fainter count 10^slope times as much; the errors are those of the effective number."""
    weights = population_weights(recovered, slope=0.4)
    faint = np.argsort(recovered["magnitude"])
    step = recovered["magnitude"][faint[-1]] - recovered["magnitude"][faint[0]]
    assert weights[faint[-1]] / weights[faint[0]] == pytest.approx(10 ** (0.4 * step))
    plain = completeness_table(recovered, ("i",), edges=np.array([23.0, 25.0]), weights=np.ones(len(recovered)))
    heavy = completeness_table(recovered, ("i",), edges=np.array([23.0, 25.0]), weights=weights)
    assert heavy["completeness"][0] < plain["completeness"][0] - 0.03
    assert heavy["error"][0] > plain["error"][0]
    assert heavy["n"][0] == plain["n"][0]


def test_fluxes(recovered: Table) -> None:
    """A bias of 3% and a width of one are found; Kron fluxes are over their fraction; only measured ones count."""
    table = flux_response(recovered, ("i",), edges=EDGES)
    rows = table[(table["flux"] == "psfFlux") & (table["kind"] == "point")]
    assert rows["bias"][0] == pytest.approx(0.03, abs=0.002)
    assert rows["n"].sum() < 4000
    assert rows["width"][-2] == pytest.approx(1, abs=0.25)
    kron = table[(table["flux"] == "kronFlux") & (table["kind"] == "extended")]
    assert kron["bias"][0] == pytest.approx(1.03 / 0.8 - 1, abs=0.005)
    checks = bias_checks(table, Table({"i_depth5": [25.0]}), ("i",))
    assert (checks[0].band, checks[0].verdict) == ("i", "warn")
    assert checks[0].value.startswith("+3.0")


def test_half_of_the_points_at_the_depth(function: SelectionFunction) -> None:
    """Within 0.3 mag passes, beyond 0.6 mag fails; a band in which nothing is detected is not judged good."""
    for depth, verdict in ((24.2, "pass"), (24.75, "warn"), (25.1, "fail")):
        assert depth_checks(function, Table({"i_depth5": [depth]}), ("i",))[0].verdict == verdict
    assert depth_checks(function, Table({"vk_depth5": [24.0]}), ("vk",))[0].verdict == "warn"


def test_against_the_truth(function: SelectionFunction, recovered: Table) -> None:
    """The same sources agree; a tenth of the true ones lost at one magnitude is noticed."""
    total = np.histogram(recovered["magnitude"], EDGES)[0]
    chosen = np.histogram(recovered["magnitude"][recovered["found"]], EDGES)[0]
    same = truth_checks(truth_differences(function, {"i": Curve(EDGES, total, chosen)}))
    assert [row.verdict for row in same] == ["pass"]
    chosen[4] -= total[4] // 6
    (off,) = truth_checks(truth_differences(function, {"i": Curve(EDGES, total, chosen)}))
    assert off.verdict == "fail"
    assert "at 22.25" in off.value


def test_sources_compete_with_the_objects_of_before() -> None:
    """A source beside an object is found; one that an old object is nearer to is lost; far ones are lost."""
    sources = Table({"x": [10.0, 50.0, 90.0], "y": [10.0, 50.0, 90.0]})
    originals = Table({"x": [51.0], "y": [50.0]})
    objects = Table({"x": [10.5, 50.9, 95.0], "y": [10.0, 50.0, 90.0]})
    assert match_sources(sources, originals, objects, radius=3).tolist() == [0, -1, -1]
    assert match_sources(sources, originals[:0], objects, radius=3).tolist() == [0, 1, -1]
    assert match_sources(sources, originals, objects[:0], radius=3).tolist() == [-1, -1, -1]


def test_weights_after_a_population(recovered: Table) -> None:
    """Weighted sources have the numbers of the population in its band, and none where it has none."""
    wanted = np.repeat([21.2, 22.7], [30, 90])
    edges = np.array([20.5, 21.5, 22.5, 23.5])
    weights = matched_weights(recovered, wanted, "i", edges=edges)
    magnitude = np.asarray(recovered["magnitude"])
    sums = np.histogram(magnitude, edges, weights=weights)[0]
    assert sums == pytest.approx([30, 0, 90])
    assert not weights[(magnitude < 20.5) | (magnitude > 23.5)].any()
    table = completeness_table(recovered, ("i",), edges=edges, weights=weights)
    assert 22.0 not in table["magnitude"]
