"""The import of coadds of cells: nothing that they bring is lost or replaced on the way to the cube of a patch."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lsst.images import Box
from lsst.images.cells import CellCoadd

from dmu0.published.coadds import PsfStamp, from_lsst, on_patch
from dmu4.patches.load import planes_of_coadd
from dmu4.tasks.import_optical import ImportOpticalConfig, ImportOpticalTask
from obs_vista.masks import BIT, from_mask
from tests.scenes.lsst_coadds import CELL, MISSING, SATURATED, cell_patch, cell_stamp, inputs_of, make_lsst_coadd
from tests.scenes.measured import load_cube


class Handle:
    """What a task gets for a dataset that is read later."""

    def __init__(self, value: CellCoadd) -> None:
        self.value, self.dataId = value, {"band": "i"}

    def get(self) -> CellCoadd:
        """The dataset."""
        return self.value


def imported(coadd: CellCoadd, stamp: PsfStamp | None = None) -> CellCoadd:
    """A published coadd as the task stores it."""
    patch = cell_patch()
    published = on_patch(from_lsst(coadd, "it"), patch, name="it")
    task = ImportOpticalTask(config=ImportOpticalConfig())
    return task.run(published, stamp, patch, skymap="small_cells", band="i", name="it.fits").coadd


@pytest.fixture(scope="module")
def true() -> CellCoadd:
    """The published coadd."""
    return make_lsst_coadd(np.random.default_rng(5))


@pytest.fixture(scope="module")
def made(true: CellCoadd) -> CellCoadd:
    """What the task makes of it."""
    return imported(true)


def test_pixels_noise_and_planes(true: CellCoadd, made: CellCoadd) -> None:
    """Image, variance and the published noise realization come through bit by bit; saturated pixels stay so."""
    assert made.bbox == true.bbox
    good = np.isfinite(true.variance.array)
    np.testing.assert_array_equal(made.image.array[good], true.image.array[good])
    np.testing.assert_array_equal(made.variance.array, true.variance.array)
    np.testing.assert_array_equal(made.noise_realizations[0].array[good], true.noise_realizations[0].array[good])
    assert made.metadata["noise_source"] == "published"
    mask = from_mask(made.mask)
    assert (mask[SATURATED] & BIT["SAT"]).all()
    assert ((mask & BIT["SAT"]) != 0).sum() == true.mask.get("SATURATED").sum()
    np.testing.assert_array_equal(made.mask_fractions["rejected"].array, true.mask_fractions["rejected"].array)


def test_cells_are_theirs(true: CellCoadd, made: CellCoadd) -> None:
    """Same grid, same missing cell, same PSFs; corrections of PSF fluxes and inputs per cell."""
    assert made.grid == true.grid
    assert made.bounds.missing == true.bounds.missing == {MISSING}
    for cell in true.bounds.cell_indices():
        np.testing.assert_allclose(made.psf[cell].array, true.psf[cell].array, atol=1e-6)
        ours, theirs = (c.aperture_corrections["base_PsfFlux_instFlux"].value_in_cell(cell) for c in (made, true))
        assert ours == pytest.approx(theirs, rel=1e-12)
    assert made.metadata["psf_source"] == "cells"
    assert len(made.provenance.contributions) == len(true.provenance.contributions)
    assert sorted(made.provenance.inputs["day_obs"]) == [20250520, 20250521, 20250522, 20250523]
    assert "aperture corrections of 1 kinds" in str(made.metadata["not_used"])


def test_it_can_be_stored(made: CellCoadd, tmp_path) -> None:
    """The stored coadd is read as it was, whole and in part."""
    made.write(str(tmp_path / "made.fits"))
    read = CellCoadd.read(str(tmp_path / "made.fits"))
    np.testing.assert_array_equal(read.image.array, made.image.array)
    assert json.loads(json.dumps(dict(read.metadata)))["noise_source"] == "published"
    x, y = made.bbox.x.start, made.bbox.y.start
    part = CellCoadd.read(str(tmp_path / "made.fits"), bbox=Box.factory[y + 40 : y + 95, x + 5 : x + 70])
    np.testing.assert_array_equal(part.image.array, made.image.array[40:95, 5:70])


def test_arrays_of_a_patch(made: CellCoadd) -> None:
    """Each cell's stamp holds the light that LSST says; inputs are counted; sets of inputs are told apart."""
    planes = planes_of_coadd(made)
    assert planes.psf_light.shape == (22, 22)
    assert planes.psf_light[7, 4] == pytest.approx(1 / (1.01 + 0.001 * (22 * 7 + 4)))
    assert planes.input_count[CELL * 7, CELL * 4] == len(inputs_of(7, 4)) == 4
    assert planes.input_count[CELL * 6, CELL * 12] == 2
    labels = planes.zones.cell_inputs
    assert labels[3, 17] == 0
    labels = np.delete(labels.ravel(), 22 * 3 + 17)
    assert len(np.unique(labels)) == 4
    assert planes.zones.cell_inputs[0, 0] == planes.zones.cell_inputs[6, 11] != planes.zones.cell_inputs[7, 11]
    cube, _ = load_cube([Handle(made)])
    np.testing.assert_allclose(cube.psfs[0].stamps[22 * 2 + 5].sum(), 1 / (1.01 + 0.001 * (22 * 2 + 5)), rtol=1e-5)
    psf = cube.psfs[0]
    number = int(psf.at(x=np.array([CELL * 5 + 3.0]), y=np.array([CELL * 2 + 29.2]))[0])
    stamp = psf.stamps[number] / psf.stamps[number].sum()
    np.testing.assert_allclose(stamp, cell_stamp(2, 5), atol=1e-6)
    assert psf.inexact_at(x=np.array([335.0, 300.0]), y=np.array([203.0, 203.0])).tolist() == [True, False]


def test_without_the_correction(true: CellCoadd) -> None:
    """A coadd without correction of PSF fluxes has all light on its stamps, and the metadata say why."""
    coadd = imported(make_lsst_coadd(np.random.default_rng(5), correction=False))
    np.testing.assert_array_equal(planes_of_coadd(coadd).psf_light, 1)
    assert coadd.metadata["aperture_correction"] == "none, for the coadd has no base_PsfFlux_instFlux"


def test_a_cutout_is_padded(true: CellCoadd) -> None:
    """A cutout keeps its cells; the others have no data, no PSF and no inputs."""
    box = true.bbox
    part = true[Box.factory[box.y.start + 95 : box.y.start + 260, box.x.start + 310 : box.x.start + 555]]
    coadd = imported(part)
    assert coadd.bbox == box
    assert len(list(coadd.bounds.cell_indices())) == 6 * 9 - 1
    cell = next(iter(coadd.bounds.cell_indices()))
    assert (cell.i, cell.j) == (3, 10)
    np.testing.assert_allclose(coadd.psf[cell].array, cell_stamp(3, 10), atol=1e-6)
    assert int(planes_of_coadd(coadd).input_count.max()) == 4


def test_a_stamp_of_the_survey_is_preferred(true: CellCoadd) -> None:
    """Who names stamps in the survey file wants them: then one PSF is for all cells."""
    coadd = imported(true, PsfStamp(cell_stamp(0, 0), ""))
    assert str(coadd.metadata["psf_source"]).startswith("stamps")
    assert not coadd.aperture_corrections
