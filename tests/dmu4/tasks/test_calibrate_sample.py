"""Accuracy of the calibrated sample against its truth, in every band, in the good and in the worst seeing."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu0.surveys import load_survey
from dmu0.truth import is_star, read_detector_truth, read_truth
from dmu4.butler.repository import open_butler, repository_folder
from dmu4.review.visit_truth import compare_with_truth
from dmu4.review.visits import read_sources, read_summaries
from obs_vista.bands import VISTA_BANDS

pytestmark = pytest.mark.release
SURVEY = load_survey("sample")


@pytest.fixture(scope="module")
def butler() -> Butler:
    """The repository of the sample."""
    if not (repository_folder(SURVEY) / "butler.yaml").exists():
        pytest.skip("the sample has no repository: run make sample")
    return open_butler(SURVEY)


@pytest.fixture(scope="module")
def summaries(butler: Butler) -> Table:
    """All detectors."""
    table = read_summaries(butler)
    if not len(table):
        pytest.skip("the detectors of the sample are not calibrated: run make sample")
    return table


@pytest.fixture(scope="module")
def errors(summaries: Table) -> Table:
    """Their errors against truth."""
    return compare_with_truth(summaries, read_detector_truth(SURVEY))


@pytest.fixture(params=list(VISTA_BANDS))
def band(request: pytest.FixtureRequest) -> str:
    """Each VISTA band."""
    return request.param


def _extreme_visits(summaries: Table, band: str) -> dict[str, int]:
    """The visits of best and of worst seeing in a band."""
    part = summaries[np.asarray(summaries["band"]).astype(str) == band]
    seeing = {
        int(visit): float(np.median(part["seeing"][part["visit"] == visit])) for visit in np.unique(part["visit"])
    }
    return {"best": min(seeing, key=seeing.get), "worst": max(seeing, key=seeing.get)}


def test_all_detectors_are_there(summaries: Table, band: str) -> None:
    """Three visits a band have detectors on the patches of the release, each once and with one state."""
    part = summaries[np.asarray(summaries["band"]).astype(str) == band]
    assert len(np.unique(part["visit"])) >= 3
    for visit in np.unique(part["visit"]):
        numbers = part["detector"][part["visit"] == visit]
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= set(range(1, 17))
    assert set(np.asarray(part["status"]).astype(str)) <= {"calibrated", "header_solution"}


@pytest.mark.parametrize("which", ["best", "worst"])
def test_positions(summaries: Table, errors: Table, band: str, which: str) -> None:
    """Positions are right to 10 mas in the median."""
    chosen = np.asarray(errors["visit"]) == _extreme_visits(summaries, band)[which]
    for axis in ("east", "north"):
        assert abs(np.median(errors[axis][chosen])) < 10


def test_scatter_of_a_star(summaries: Table, band: str) -> None:
    """Stars scatter about their references by less than 25 mas in one axis."""
    part = summaries[np.asarray(summaries["band"]).astype(str) == band]
    assert np.nanmedian(part["astrometric_scatter"]) < 0.025


@pytest.mark.parametrize("which", ["best", "worst"])
def test_zero_point(summaries: Table, errors: Table, band: str, which: str) -> None:
    """Zero points are right to 0.01 mag in the median of a visit."""
    chosen = np.asarray(errors["visit"]) == _extreme_visits(summaries, band)[which]
    assert abs(np.median(errors["zero_point_error"][chosen])) < 0.01


@pytest.mark.parametrize("which", ["best", "worst"])
def test_psf_size(butler: Butler, summaries: Table, band: str, which: str) -> None:
    """Reserved stars are as large as the PSF: |dT/T| below 0.002 beyond the error of the median."""
    sources = read_sources(butler, _extreme_visits(summaries, band)[which])
    chosen = np.asarray(sources["psf_reserved"], bool) & (np.asarray(sources["signal_to_noise"]) > 80)
    residual = np.asarray(sources["psf_dt"])[chosen]
    residual = residual[np.isfinite(residual)]
    error = MEDIAN_ERROR * robust_scatter(residual) / np.sqrt(len(residual))
    assert len(residual) > 40
    assert abs(np.median(residual)) < 0.002 + 2 * error


def test_noise(summaries: Table, band: str) -> None:
    """The scatter of empty pixels over the quoted error is 1 within 0.03, on every detector within 0.06."""
    part = summaries[np.asarray(summaries["band"]).astype(str) == band]
    ratio = np.asarray(part["noise_ratio_after"])
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert np.abs(ratio - 1).max() < 0.06


def test_fluxes_of_stars(butler: Butler, summaries: Table, band: str) -> None:
    """Total PSF fluxes of isolated bright stars are the true ones to 2 per cent in the median of each visit."""
    truth = read_truth(SURVEY)
    stars = truth[is_star(truth)]
    for visit in _extreme_visits(summaries, band).values():
        sources = read_sources(butler, visit)
        bright = sources[np.asarray(sources["point_like"], bool) & (np.asarray(sources["signal_to_noise"]) > 100)]
        dec = np.radians(np.mean(stars["dec"]))
        east = (np.asarray(bright["coord_ra"])[:, None] - np.asarray(stars["ra"])) * np.cos(dec)
        distance = np.hypot(east, np.asarray(bright["coord_dec"])[:, None] - np.asarray(stars["dec"])) * 3600
        nearest = distance.argmin(axis=1)
        found = distance[np.arange(len(bright)), nearest] < 0.3
        ratio = np.asarray(bright["psf_flux"])[found] / np.asarray(stars[f"flux_{band}"])[nearest[found]]
        assert found.sum() > 100
        assert np.median(ratio) == pytest.approx(1, abs=0.02)
