"""Bands that are only measured: whatever happens to one of them, nothing changes in the columns of the others."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from lsst.pipe.base import NoWorkFound
from scipy.spatial import cKDTree

from dmu4.detection.detect import DetectionSettings, detect_in_maps
from dmu4.detection.significance import significance_maps
from dmu4.measurement.measure import MeasurementSettings, measure
from dmu4.measurement.object_rows import absorb, of_band, with_companions
from dmu4.objects.kinds import kind_columns
from dmu4.patches.cube import PatchCube
from dmu4.patches.detection_bands import DetectionBandsFirst
from dmu4.tasks.detect_patch import DetectPatchConfig, DetectPatchTask, detection_table
from tests.scenes.measured import less_sky
from tests.scenes.patches import make_patch, make_scene

BANDS, DETECTION = ("i", "vz", "vk"), ("vk", "i")
# The band that is only measured has the widest PSF and the least noise: it would lead if it could.
PSF, SIGMA, SHAPE = (2.2, 3.9, 3.4), (6.0, 4.0, 14.0), (300, 410)


def patch(seen: np.ndarray | None = None) -> PatchCube:
    """A synthetic patch, with some pixels of vz not seen."""
    rng = np.random.default_rng(23)
    scene = make_scene(rng, shape=SHAPE, density=9e-4, bands=3, faintest=500, galaxies=0.3, margin=14)
    # One star that only vz sees.
    scene.flux[0] = 0, 4000, 0
    seen = None if seen is None else {"vz": seen}
    return less_sky(make_patch(scene, rng, bands=BANDS, psf_variance=PSF, sigma=SIGMA, shape=SHAPE, seen=seen))


def catalogue(cube: PatchCube) -> Table:
    """Objects of a patch and what is measured of them."""
    data = DetectionBandsFirst(cube, DETECTION)
    maps = significance_maps(data, 1)
    found = detect_in_maps(maps, DetectionSettings(threads=1), pixel_scale=data.pixel_scale, count=data.count)
    place = {"x": found.x, "y": found.y, "reference": found.reference}
    measured = measure(data, **place, settings=MeasurementSettings(threads=1, detection_bands=data.count))
    peaks = detection_table(data, found)
    objects = absorb(peaks, measured.objects.kept, measured.objects.absorbed)
    objects = with_companions(objects, peaks, measured.objects.companions, data)
    for name in ("x", "y", "x_error", "extendedness", "kron"):
        objects[name] = getattr(measured.shapes, name)
    for name in ("radius", "axis_ratio", "bulge_fraction", "flux_error"):
        objects[name] = getattr(measured.objects.structure, name)
    objects["offset"], objects["refBand"] = measured.objects.motion.x, np.array(data.bands)[measured.objects.reference]
    objects["detect_isPrimary"] = True
    for band, one in measured.bands.items():
        for name, values in of_band(band, one).items():
            objects[name] = values
    for name, values in kind_columns(objects, cube.bands, detection=DETECTION).items():
        objects[name] = values
    return objects


@pytest.fixture(scope="module")
def whole() -> Table:
    """The catalogue of all pixels of all bands."""
    return catalogue(patch())


def assert_others_unchanged(changed: Table, whole: Table) -> None:
    """All columns but those of vz are equal to 1e-6, and there are such columns."""
    assert len(changed) == len(whole) > 60
    names = [name for name in changed.colnames if not name.startswith("vz_")]
    assert len(names) > 100
    for name in names:
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(changed[name], whole[name], rtol=1e-6, atol=0, err_msg=name)
        else:
            np.testing.assert_array_equal(changed[name], whole[name], err_msg=name)


@pytest.mark.parametrize("covered", ["a tenth", "a hole", "nothing"])
def test_holes_of_a_measured_band_change_no_other_column(whole: Table, covered: str) -> None:
    """A band that is only measured may have a tenth of its pixels, a hole, or none: others are the same to 1e-6."""
    seen = np.zeros(SHAPE, bool)
    if covered == "a tenth":
        seen[:, : SHAPE[1] // 10] = True
    elif covered == "a hole":
        seen[:] = True
        seen[80:190, 120:290] = False
    changed = catalogue(patch(seen))
    assert_others_unchanged(changed, whole)
    here = seen[tuple(np.rint(changed[axis]).astype(int) for axis in ("y", "x"))]
    assert np.isfinite(changed["vz_psfFlux"]).mean() == pytest.approx(here.mean(), abs=0.1)


def test_an_absent_measured_band_changes_no_other_column(whole: Table) -> None:
    """Without its coadd all other columns are the same to 1e-6."""
    assert_others_unchanged(catalogue(patch().of_bands([0, 2])), whole)


def test_a_measured_band_is_measured(whole: Table) -> None:
    """Its fluxes are those of the sources, with its own peaks and kinds; what only it shows is no object."""
    assert set(whole["refBand"]) == {"i", "vk"}
    bright = whole["vz_psfFlux"] > 20 * whole["vz_psfFluxErr"]
    assert bright.sum() > 30
    place = np.column_stack([whole["x"], whole["y"]])
    alone = cKDTree(place).query(place, k=2)[0][:, 1] > 15
    assert (bright & alone).sum() > 15
    assert whole["vz_detected"][bright & alone].all()
    assert not whole["vz_detected"][whole["vz_psfFlux"] < 3 * whole["vz_psfFluxErr"]].any()
    assert (whole["vz_detected"] <= (whole["vz_height"] > 4)).all()
    assert np.isfinite(whole["vz_pointProbability"][bright]).mean() > 0.9
    rng = np.random.default_rng(23)
    scene = make_scene(rng, shape=SHAPE, density=9e-4, bands=3, faintest=500, galaxies=0.3, margin=14)
    assert np.hypot(whole["x"] - scene.x[0], whole["y"] - scene.y[0]).min() > 3
    near = np.hypot(np.subtract.outer(scene.x, scene.x), np.subtract.outer(scene.y, scene.y))
    np.fill_diagonal(near, np.inf)
    ratio = [
        float(whole["vz_psfFlux"][np.argmin(distance)] / flux)
        for flux, extended, x, y, alone in zip(
            scene.flux[:, 1], scene.covariance.any(axis=1), scene.x, scene.y, near.min(axis=1) > 12, strict=True
        )
        if alone and not extended and flux > 1500
        for distance in [np.hypot(whole["x"] - x, whole["y"] - y)]
        if distance.min() < 1
    ]
    assert len(ratio) >= 4
    assert np.median(ratio) == pytest.approx(1, abs=0.02)


def test_the_order_of_bands() -> None:
    """Detection bands come first, in the order of the patch; without a list all are; each band keeps its pixels."""
    cube = patch()
    first = DetectionBandsFirst(cube, DETECTION)
    assert (first.bands, first.count) == (("i", "vk", "vz"), 2)
    assert DetectionBandsFirst(cube, ()).bands == BANDS
    assert DetectionBandsFirst(cube, ()).count == 3
    for number, band in enumerate(first.bands):
        one = first.prepare(first.read(number))
        assert one.bands == (band,)
        np.testing.assert_array_equal(one.image[..., 0], cube.image[..., BANDS.index(band)])


def test_no_detection_band_has_data() -> None:
    """A patch that only other bands cover has no objects, and the message names the bands that would be needed."""
    config = DetectPatchConfig()
    config.detectionBands = ["g", "vk"]
    with pytest.raises(NoWorkFound, match="g, vk"):
        DetectPatchTask(config=config).run(patch().of_bands([0, 1]))
