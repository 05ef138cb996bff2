"""What went wrong with catalogues before (failures 7, 12, 24, 25 and 26), made to happen again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dmu4.detection.detect import DetectionSettings, detect
from dmu4.objects.primary import assign_primaries
from tests.scenes.measured import catalogue, less_sky
from tests.scenes.patches import make_patch, make_scene

BANDS = ("i", "vz", "vk")
PSF = (2.2, 3.0, 3.4)
SIGMA = (6.0, 12.0, 14.0)
SHAPE = (330, 480)


def patch(seen=None, *, bands=BANDS):
    """The same synthetic patch with some pixels of some bands not seen, or with bands left out."""
    rng = np.random.default_rng(21)
    scene = make_scene(rng, shape=SHAPE, density=9e-4, bands=3, faintest=500, galaxies=0.3, margin=14)
    cube = make_patch(scene, rng, bands=BANDS, psf_variance=PSF, sigma=SIGMA, shape=SHAPE, seen=seen)
    if bands == BANDS:
        return cube
    kept = [BANDS.index(band) for band in bands]
    return cube.of_bands(kept)


def columns(cube):
    """Columns of a cube, without a fit of the sky, which is local by boxes and tested elsewhere."""
    return catalogue(cube)[1]


@pytest.fixture(scope="module")
def corner():
    """A band seen in the left tenth of the patch only, and the catalogues with it and without it."""
    seen = np.zeros(SHAPE, bool)
    seen[:, : SHAPE[1] // 10] = True
    return columns(patch({"vz": seen})), columns(patch(bands=("i", "vk")))


def test_failure_7_a_partial_band_changes_no_other_band(corner):
    """A band seen in a tenth of the patch changes no other band's fluxes elsewhere."""
    partial, absent = corner
    distance, row = cKDTree(np.column_stack([partial["x"], partial["y"]])).query(
        np.column_stack([absent["x"], absent["y"]])
    )
    far = absent["x"] - 1000 > SHAPE[1] // 10 + 110
    assert far.sum() > 40
    assert distance[far].max() < 1e-3
    for band in ("i", "vk"):
        for kind in ("psfFlux", "ap12Flux", "kronFlux", "gaap1p0Flux"):
            change = partial[f"{band}_{kind}"][row][far] - absent[f"{band}_{kind}"][far]
            assert np.nanmax(np.abs(change) / absent[f"{band}_{kind}Err"][far]) < 0.01
        for name in ("inputCount", "coverage", "depth5", "usable"):
            np.testing.assert_array_equal(partial[f"{band}_{name}"][row][far], absent[f"{band}_{name}"][far])


def test_failure_26_no_flux_without_coverage_and_no_repeated_values(corner):
    """Where a band has no data its fluxes are NaN and flagged, coverage is 0; no two values are the same."""
    partial, _ = corner
    outside = partial["x"] - 1000 > SHAPE[1] // 10 + 60
    for kind in ("psfFlux", "ap03Flux", "ap12Flux", "kronFlux", "gaap1p0Flux"):
        assert np.isnan(partial[f"vz_{kind}"][outside]).all()
        assert np.isnan(partial[f"vz_{kind}Err"][outside]).all()
        assert partial[f"vz_{kind}_flag"][outside].all()
        for band in BANDS:
            given = partial[f"{band}_{kind}"][np.isfinite(partial[f"{band}_{kind}"])].astype(np.float32)
            assert len(np.unique(given)) == len(given)
    assert (partial["vz_coverage"][outside] == 0).all()
    assert (partial["vz_inputCount"][outside] == 0).all()
    assert not partial["vz_usable"][outside].any()
    assert np.isnan(partial["vz_depth5"][outside]).all()
    assert np.isfinite(partial["vz_psfFlux"]).any()


def test_failure_7_a_hole_of_nan_stays_a_hole():
    """A hole of NaN in one band makes no NaN elsewhere, no detection on its rim, and no flux inside."""
    hole = np.ones(SHAPE, bool)
    hole[120:220, 180:320] = False
    whole, holed = detect(patch(), DetectionSettings()), detect(patch({"i": hole}), DetectionSettings())
    known = cKDTree(np.column_stack([whole.x, whole.y]))
    distance, _ = known.query(np.column_stack([holed.x, holed.y]))
    assert np.isfinite(holed.height).all()
    assert (distance > 3).sum() <= 1
    cube = patch({"i": hole})
    values = columns(cube)
    x, y = (values["x"] - cube.x0).astype(int), (values["y"] - cube.y0).astype(int)
    inside = (x > 195) & (x < 305) & (y > 135) & (y < 205)
    assert inside.sum() >= 2
    assert np.isnan(values["i_psfFlux"][inside]).all()
    assert np.isfinite(values["vk_psfFlux"][inside]).all()


def test_failure_12_footprints_stay_bounded():
    """A background that is 5 sigma too high everywhere makes no footprint larger than the limit."""
    cube = patch()
    raised = replace(cube, image=cube.image + np.float32(5 * np.array(SIGMA)))
    settings = DetectionSettings(max_area=3000)
    found = detect(raised, settings)
    blend = found.footprints.blend
    areas = np.bincount(blend[blend >= 0], weights=found.footprints.area[blend >= 0])
    assert areas.max() <= settings.max_area
    assert len(detect(raised, DetectionSettings(max_area=10**9)).x) == len(found.x)
    flat = less_sky(raised)
    assert abs(np.median(flat.image[..., 0]) - np.median(cube.image[..., 0])) < 0.2 * SIGMA[0]


def test_failure_12_the_inverted_image_is_empty():
    """The inverted image holds less than 2% of the detections of the image."""
    cube = less_sky(patch())
    inverted = detect(replace(cube, image=-cube.image), DetectionSettings())
    assert len(inverted.x) <= 0.02 * len(detect(cube, DetectionSettings()).x)


def test_failure_24_bright_stars_have_an_error_floor(corner):
    """The error floor is a column of its own, known wherever the band has data."""
    partial, _ = corner
    for band in BANDS:
        covered = partial[f"{band}_coverage"] > 0
        floor = partial[f"{band}_fluxFloor"]
        assert np.isfinite(floor[covered]).all()
        assert (floor[covered] >= 0).all()
        assert np.isnan(floor[~covered]).all()
    # With fewer than eight bright stars in this small patch it is the assumed one.
    assert partial["vz_fluxFloor"][partial["vz_coverage"] > 0][0] == pytest.approx(0.01)


def test_failure_25_one_primary_row_however_many_matches():
    """Two rows of one patch near one row of the next: only mutual nearest rows are one object, nothing is lost."""
    x = np.array([99.0, 99.9, 100.2])
    patches, inside = np.array([1, 1, 2]), np.array([1.0, 0.1, 0.2])
    assigned = assign_primaries(x=x, y=np.zeros(3), patch=patches, primary=inside > 0, inside=inside, radius=3)
    np.testing.assert_array_equal(assigned, [True, False, True])


def test_failure_25_the_corner_of_four_patches():
    """An object at the corner where four patches meet is primary once, whatever each of them found."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.normal(100, 0.3, 4), rng.normal(100, 0.3, 4)
        low_x, low_y = np.array([0, 100, 0, 100]), np.array([0, 0, 100, 100])
        inside = np.min([x - low_x, low_x + 100 - x, y - low_y, low_y + 100 - y], axis=0)
        assigned = assign_primaries(x=x, y=y, patch=np.arange(4), primary=inside > 0, inside=inside, radius=3)
        assert assigned.sum() == 1
