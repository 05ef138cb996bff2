"""Photometry of nine real bands: fluxes of stars against sep, what models leave, and a band that has no data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import sep
from astropy.table import Table

from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from dmu4.objects.columns import REFERENCE_PIXEL
from dmu4.patches.cube import PatchCube, PatchData
from dmu4.patches.load import StoredPatch
from dmu4.patches.sky import SkySubtracted, meshes_of
from dmu4.tasks.consolidate_tract import ConsolidateTractTask
from dmu4.tasks.detect_patch import DetectPatchTask
from dmu4.tasks.measure_patch import MeasurePatchTask
from dmu5.diagnostics import primary
from dmu5.injection.recovery import stored_patch
from dmu5.steps import read_catalogue

pytestmark = pytest.mark.slow

PLANES = ("image", "variance", "good", "noise", "flags", "input_count")


@dataclass(frozen=True)
class Measured:
    """The patch: its pixels minus the sky, its coadds, and how to measure them."""

    survey: Survey
    data: SkySubtracted
    stored: StoredPatch

    def catalogue(self, patch: PatchData) -> Table:
        """The objects of the patch as detected and measured with other data."""
        detect, settings, consolidate = (
            task.ConfigClass() for task in (DetectPatchTask, MeasurePatchTask, ConsolidateTractTask)
        )
        for config in (detect, settings, consolidate):
            config.detectionBands = list(self.survey.detection_bands)
        settings.bands, settings.threads = list(self.survey.bands), 2
        (place,), sky_map = survey_patches(self.survey), make_sky_map(self.survey.sky_map)
        found = DetectPatchTask(config=detect).run(patch)
        flat = SkySubtracted(patch, sky=meshes_of(found.sky))
        measured = MeasurePatchTask(config=settings).run(flat, self.stored.projection, found.detections, place, sky_map)
        return ConsolidateTractTask(config=consolidate).run([measured.objects], place.tract, sky_map).objects


class Changed:
    """A patch of which one band is absent, or has no data in some rows."""

    def __init__(self, data: PatchData, band: str, *, absent: bool = False, rows: slice = slice(None)) -> None:
        self._data, self._band, self._rows = data, band, rows
        self._numbers = [n for n, label in enumerate(data.bands) if not absent or label != band]
        self.bands = tuple(data.bands[n] for n in self._numbers)
        self.shape, self.x0, self.y0, self.pixel_scale = data.shape, data.x0, data.y0, data.pixel_scale

    def read(self, number: int) -> PatchCube:
        """One band."""
        return self._data.read(self._numbers[number])

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read`, without the pixels of the rows if it is the one."""
        one = self._data.prepare(one)
        if one.bands != (self._band,):
            return one
        planes = {name: getattr(one, name).copy() for name in PLANES if getattr(one, name) is not None}
        for plane in planes.values():
            plane[self._rows] = 0
        return replace(one, **planes)


@pytest.fixture(scope="module")
def gama9(release: Callable[[str], Survey]) -> Measured:
    """The one patch of the nine bands."""
    survey = release("gama9")
    (patch,) = survey_patches(survey)
    where = {"skymap": survey.sky_map.name, "tract": patch.tract.id, "patch": patch.id}
    with open_butler(survey) as butler:
        stored = stored_patch(butler, survey, patch)
        sky = butler.get(butler.query_datasets("sky_mesh", data_id=where)[0])
        yield Measured(survey, SkySubtracted(stored, sky=meshes_of(sky)), stored)


def test_stars_agree_with_sep(gama9: Measured) -> None:
    """PSF fluxes of isolated stars above 50 sigma are those of sep's circles over the light inside, to 0.03 mag."""
    objects, data = primary(read_catalogue(gama9.survey)), gama9.data
    for number, band in enumerate(data.bands):
        pixels = np.ascontiguousarray(data.prepare(data.read(number)).image[..., 0])
        flux, error = (np.asarray(objects[f"{band}_psfFlux{end}"], float) for end in ("", "Err"))
        stars = (np.asarray(objects["refExtendedness"]) == 0) & (flux > 50 * error)
        stars &= ~np.asarray(objects[f"{band}_psfFlux_flag"], bool) & (np.asarray(objects["neighbourDistance"]) > 4)
        stars &= np.asarray(objects[f"{band}_neighbourFraction"], float) < 0.01
        x, y = (np.asarray(objects[axis], float)[stars] - start for axis, start in (("x", data.x0), ("y", data.y0)))
        for radius in ("06", "12"):
            circle, _, _ = sep.sum_circle(pixels, x, y, int(radius) * REFERENCE_PIXEL / data.pixel_scale)
            total = circle / np.asarray(objects[f"{band}_ap{radius}Fraction"], float)[stars]
            offset = float(np.median(-2.5 * np.log10(total / flux[stars])))
            print(f"{band} ap{radius}: {stars.sum()} stars, sep - psfFlux {offset:+.4f} mag (limit 0.03)")
            assert stars.sum() >= 30, band
            assert abs(offset) < 0.03, band


def test_models_leave_noise(gama9: Measured) -> None:
    """Under the models of objects of 5 to 20 sigma the residual is that of noise, and galaxies leave no light."""
    objects = primary(read_catalogue(gama9.survey))
    for band in gama9.survey.bands:
        flux, error, residual = (
            np.asarray(objects[f"{band}_{name}"], float) for name in ("cModelFlux", "cModelFluxErr", "modelResidual")
        )
        chosen = (flux > 5 * error) & (flux < 20 * error) & ~np.asarray(objects[f"{band}_cModelFlux_flag"], bool)
        galaxies = chosen & (np.asarray(objects["refExtendedness"]) == 1)
        chi2 = float(np.median(np.asarray(objects[f"{band}_modelChi2"], float)[chosen]))
        left = float(np.median((residual / flux)[galaxies]))
        print(f"{band}: {chosen.sum()} objects, chi^2 {chi2:.2f} (0.8 to 1.2), residual {left:+.4f} (limit 0.03)")
        assert galaxies.sum() > 50, band
        assert 0.8 < chi2 < 1.2, band
        assert abs(left) < 0.03, band


@pytest.mark.parametrize("change", [{"absent": True}, {"rows": slice(None)}, {"rows": slice(300, 560)}])
def test_without_z_all_other_columns_are_the_same(gama9: Measured, change: dict) -> None:
    """Whether Z was not observed, has no pixel here, or lacks a tenth of them: other columns agree to the last bit."""
    whole, changed = gama9.catalogue(gama9.stored), gama9.catalogue(Changed(gama9.stored, "vz", **change))
    assert len(changed) == len(whole) > 4500
    names = [name for name in whole.colnames if not name.startswith("vz_")]
    assert len(names) > 500
    for name in names:
        np.testing.assert_array_equal(np.asarray(changed[name]), np.asarray(whole[name]), err_msg=name)
    lost = np.isnan(np.asarray(changed["vz_psfFlux"], float)).mean()
    assert lost == 1 if change != {"rows": slice(300, 560)} else 0.05 < lost < 0.15
