"""What only `sample_lsst` can show: no step at the borders of LSST's cells, and VISTA fluxes as in the HSC sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.table import Table

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu0.surveys import Survey, load_survey
from dmu0.truth import MATCH_RADIUS, is_star, isolated, match_to_truth, read_truth
from dmu3.truth import NEIGHBOURS
from dmu4.butler.repository import open_butler
from dmu4.patches.cell_inputs import input_sets
from dmu5.diagnostics import good_flux, primary
from tests.scenes.cell_borders import border_distance
from tests.scenes.releases import released

pytestmark = pytest.mark.release
OPTICAL = ("u", "g", "r", "i", "z", "y")
VISTA = ("vz", "vy", "vj", "vh", "vk")


@dataclass(frozen=True)
class Release:
    """A survey, its objects and the true sky."""

    survey: Survey
    objects: Table
    truth: Table


@pytest.fixture(scope="module")
def lsst() -> Release:
    """The release of `sample_lsst`."""
    survey, catalogue = released("sample_lsst")
    return Release(survey, primary(catalogue), read_truth(survey))


@pytest.fixture(scope="module")
def hsc() -> Table:
    """The objects of the sample with HSC."""
    return primary(released("sample")[1])


def stars_near_borders(release: Release, band: str, *, snr: float) -> tuple[np.ndarray, np.ndarray]:
    """Measured over true flux of bright isolated stars, and their distance in px from cells of other visits."""
    good = release.objects[good_flux(release.objects, f"{band}_psfFlux", snr_min=snr)]
    good = good[np.asarray(good[f"{band}_usable"], bool)]
    stars = release.truth[is_star(release.truth) & isolated(release.truth, band, fraction=NEIGHBOURS)]
    pairs = match_to_truth(stars, good["coord_ra"], good["coord_dec"], radius=MATCH_RADIUS)
    rows, true = good[pairs.second], np.asarray(stars[f"flux_{band}"], float)[pairs.first]
    ratio, distance = np.asarray(rows[f"{band}_psfFlux"], float) / true, np.full(len(rows), np.inf)
    butler = open_butler(release.survey)
    for patch in np.unique(rows["patch"]):
        coadd = butler.get("deep_coadd", tract=8524, patch=int(patch), band=band)
        here, corner = np.asarray(rows["patch"]) == patch, coadd.bbox
        x, y = (np.asarray(rows[name], float)[here] for name in ("x", "y"))
        distance[here] = border_distance(
            input_sets(coadd), coadd.grid.cell_shape.x, x=x - corner.x.start, y=y - corner.y.start
        )
    return ratio, distance


def test_no_step_at_borders_of_cells(lsst: Release) -> None:
    """Bright stars within 10 px of a border where visits begin or end have the fluxes of others, to 0.3%."""
    near, far = [], []
    for band in OPTICAL:
        ratio, distance = stars_near_borders(lsst, band, snr=100)
        # The zero point of a band is the same on both sides of a border.
        near.append(ratio[distance < 10] / np.median(ratio))
        far.append(ratio[distance >= 10] / np.median(ratio))
    close, others = np.concatenate(near), np.concatenate(far)
    step = np.median(close) - np.median(others)
    error = MEDIAN_ERROR * np.hypot(*(robust_scatter(part) / np.sqrt(len(part)) for part in (close, others)))
    print(f"step {100 * step:+.3f} +- {100 * error:.3f} % of {len(close)} stars near borders, {len(others)} others")
    assert len(close) >= 50
    assert error < 0.001
    assert abs(step) < 0.003


@dataclass(frozen=True)
class Pairs:
    """The same objects in both releases: ratio of fluxes, and errors of the ratio as quoted, without and with floor."""

    ratio: np.ndarray
    error: np.ndarray
    total: np.ndarray


def same_objects(lsst: Release, hsc: Table, flux: str, *, snr: float) -> Pairs:
    """Isolated sources with unflagged fluxes above a signal to noise in both releases; stars only for PSF fluxes."""
    band, truth = flux.partition("_")[0], lsst.truth
    chosen = truth[isolated(truth, band, fraction=NEIGHBOURS) & (is_star(truth) | (not flux.endswith("psfFlux")))]
    tables = [table[good_flux(table, flux, snr_min=snr)] for table in (lsst.objects, hsc)]
    matches = [match_to_truth(chosen, table["coord_ra"], table["coord_dec"], radius=MATCH_RADIUS) for table in tables]
    _, *places = np.intersect1d(*(pairs.first for pairs in matches), return_indices=True)
    rows = [table[pairs.second[place]] for table, pairs, place in zip(tables, matches, places, strict=True)]
    value, error = (np.array([np.asarray(part[name], float) for part in rows]) for name in (flux, f"{flux}Err"))
    if "_ap" in flux:
        # Where the tiles of the two surveys hold other visits the PSF is another, and so is the light in a circle.
        value, error = np.array([value, error]) / [np.asarray(part[_fraction_of(flux)], float) for part in rows]
    floor = np.array([np.asarray(part[f"{band}_fluxFloor"], float) for part in rows])
    noise = np.sqrt(np.sum((error / value) ** 2, axis=0))
    return Pairs(value[0] / value[1], noise, np.hypot(noise, floor.max(axis=0)))


def _fraction_of(aperture: str) -> str:
    """Column with the fraction of an object's light in a circular aperture."""
    return f"{aperture.removesuffix('Flux')}Fraction"


@dataclass(frozen=True)
class CommonZeroPoints:
    """Zero points of the detectors that both releases used in a band: means of differences, and their errors, mag."""

    difference: float
    error: float
    detectors: int


def common_zero_points(lsst: Survey, hsc: Survey, band: str) -> CommonZeroPoints:
    """Compare the zero points of the same detectors.

    Each release fits those of all its detectors together, so that they depend on which others there are: the tiles of
    the two surveys do not reach the same ones.
    """
    tables = [open_butler(one).get("common_zero_points", tract=8524, band=band) for one in (lsst, hsc)]
    values = [{(int(row["visit"]), int(row["detector"])): float(row["zero_point"]) for row in one} for one in tables]
    both = sorted(values[0].keys() & values[1].keys())
    difference = np.mean([values[0][key] - values[1][key] for key in both])
    error = np.hypot(*(float(one["common_err"][0]) for one in tables))
    return CommonZeroPoints(float(difference), float(error), len(both))


@pytest.mark.parametrize("band", VISTA)
def test_zero_points_are_those_of_the_hsc_sample(lsst: Release, band: str) -> None:
    """The mean zero point of the detectors that both tiles reach is the same within the errors that both quote."""
    found = common_zero_points(lsst.survey, load_survey("sample"), band)
    print(
        f"{band}: {1e3 * found.difference:+.2f} mmag of {found.detectors} detectors, error {1e3 * found.error:.2f} mmag"
    )
    assert found.detectors >= 10
    assert abs(found.difference) < 2 * found.error
    assert found.error < 0.006


@pytest.mark.parametrize("flux", ["psfFlux", "gaap1p0Flux", "ap12Flux"])
@pytest.mark.parametrize("band", VISTA)
def test_vista_fluxes_are_those_of_the_hsc_sample(lsst: Release, hsc: Table, band: str, flux: str) -> None:
    """The same stacks give the same fluxes on pixels of 0.2 and of 0.168 arcsec, beside LSST and beside HSC.

    Fluxes in circles are divided by the fractions of the light in them, as the catalogue gives them.

    Noise is common to both, and zero points but for the difference that the test above judges, so that the differences
    of fluxes must be much smaller than the errors quoted by each: 0.1% in the median of bright objects, where the
    smallest floor is 0.5%; a median of 0.1 sigma and two sampling errors; a scatter of half a sigma; and no more than
    1% of the objects beyond 3 sigma, with the floor.
    """
    pairs, bright = (same_objects(lsst, hsc, f"{band}_{flux}", snr=snr) for snr in (10, 50))
    expected = 10 ** (-0.4 * common_zero_points(lsst.survey, load_survey("sample"), band).difference)
    pull, offset = (pairs.ratio / expected - 1) / pairs.error, float(np.median(bright.ratio / expected) - 1)
    wrong = np.abs(pairs.ratio / expected - 1) > 3 * pairs.total
    sampling = MEDIAN_ERROR * robust_scatter(pull) / np.sqrt(len(pull))
    print(
        f"{band}_{flux}: {100 * offset:+.3f} % of {len(bright.ratio)} (limit 0.1); pulls of {len(pull)}: "
        f"{np.median(pull):+.2f} +- {sampling:.2f} (0.1), scatter {robust_scatter(pull):.2f} (0.5), "
        f"{wrong.sum()} beyond 3 sigma (1%)"
    )
    assert len(bright.ratio) >= 40
    assert abs(offset) <= 0.001
    assert abs(np.median(pull)) <= 0.1 + 2 * sampling
    assert robust_scatter(pull) <= 0.5
    assert wrong.mean() <= 0.01
