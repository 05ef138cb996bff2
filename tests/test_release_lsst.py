"""What only `sample_lsst` can show: no step at the borders of LSST's cells, and VISTA fluxes as in the HSC sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.table import Table

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu0.sky.matching import match
from dmu0.surveys import Survey
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


def same_objects(lsst: Release, hsc: Table, band: str, kind: str, *, snr: float) -> tuple[np.ndarray, ...]:
    """Ratio of the fluxes of the same isolated objects in both releases, and their relative errors in each."""
    columns = [f"{band}_{kind}", f"{band}_{kind}Err"]
    one, two = (
        table[good_flux(table, columns[0], snr_min=snr) & (np.asarray(table["deblend_blendNChild"]) == 1)]
        for table in (lsst.objects, hsc)
    )
    places = [np.asarray(table[f"coord_{axis}"], float) for table in (one, two) for axis in ("ra", "dec")]
    pairs = match(*places, radius=0.3)
    values = [
        np.asarray(table[name], float)[rows]
        for table, rows in ((one, pairs.first), (two, pairs.second))
        for name in columns
    ]
    return values[0] / values[2], values[1] / values[0], values[3] / values[2]


@pytest.mark.parametrize("band", VISTA)
@pytest.mark.parametrize("kind", ["psfFlux", "gaap1p0Flux", "ap12Flux"])
def test_vista_fluxes_are_those_of_the_hsc_sample(lsst: Release, hsc: Table, band: str, kind: str) -> None:
    """From the same stacks, on pixels of 0.2 and of 0.168 arcsec, come the same fluxes."""
    ratio, error, other = same_objects(lsst, hsc, band, kind, snr=20)
    pull = (ratio - 1) / np.hypot(error, other)
    print(
        f"{band} {kind}: {100 * (np.median(ratio) - 1):+.3f} %, pulls {np.median(pull):+.2f} +- {robust_scatter(pull):.2f}, {len(ratio)}"
    )
