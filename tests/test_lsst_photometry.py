"""Photometry on coadds as DP2 delivers them: a patch of the LSST sample, from its files to fluxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.table import Table

from dmu0.published.coadds import on_patch, read_coadd
from dmu0.sample.lsst_coadds import MISSING, make_lsst_field
from dmu0.sample.lsst_files import write_lsst
from dmu0.sample.make import field_centre, half_width
from dmu0.sample.scene import OPTICAL_MJD, Scene
from dmu0.sample.sky import make_sky
from dmu0.sky.skymap import make_sky_map
from dmu0.sky.tract import Patch
from dmu0.surveys import load_survey
from dmu0.truth import is_star, isolated, match_to_truth
from dmu4.measurement.epochs import cell_epochs
from dmu4.patches.load import StoredPatch
from dmu4.patches.sky import SkySubtracted, meshes_of
from dmu4.tasks.detect_patch import DetectPatchConfig, DetectPatchTask
from dmu4.tasks.import_optical import ImportOpticalConfig, ImportOpticalTask
from dmu4.tasks.measure_patch import MeasurePatchConfig, MeasurePatchTask
from tests.scenes.cell_borders import border_distance
from tests.scenes.handles import Handle

BANDS = ("u", "g", "r", "i", "z", "y")


@dataclass
class Measured:
    """Objects of the patch, the true sky, and which visits fill each cell of each band."""

    objects: Table
    truth: Table
    patch: Patch
    cover: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """One patch of the survey ``sample_lsst`` in six bands."""
    survey, like = load_survey("sample_lsst"), load_survey("sample")
    scene, folder = Scene(), tmp_path_factory.mktemp("lsst")
    sky = make_sky(scene, field_centre(like), half=half_width(like, scene), seed=like.inputs.seed)
    sky_map = make_sky_map(survey.sky_map)
    patch = sky_map.tract(8524).patch(survey.tracts[8524][0])
    handles, epochs, cover = [], {}, {}
    for band in BANDS:
        field = make_lsst_field(
            band, patch.image_bbox, patch.tract.cell, patch.tract.wcs, sky, scene, seed=survey.inputs.seed
        )
        path = folder / f"{band}.fits"
        write_lsst(path, field, patch, skymap=survey.sky_map.name)
        published = on_patch(read_coadd(path), patch, name=path.name)
        task = ImportOpticalTask(config=ImportOpticalConfig())
        coadd = task.run(published, None, patch, skymap="sample_cells", band=band, name=path.name).coadd
        handles.append(Handle({"band": band}, coadd))
        epochs[band] = cell_epochs(coadd.provenance, patch)
        cover[band] = field.cover
    stored = StoredPatch(handles)
    found = DetectPatchTask(config=DetectPatchConfig()).run(stored)
    flat = SkySubtracted(StoredPatch(handles), sky=meshes_of(found.sky))
    task = MeasurePatchTask(config=MeasurePatchConfig())
    objects = task.run(flat, stored.projection, found.detections, patch, sky_map, epochs).objects
    inside = objects[np.asarray(objects["detect_isPrimary"])]
    return Measured(inside, sky, patch, cover)


def star_ratios(measured: Measured, band: str, *, snr: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured over true PSF flux of isolated unsaturated stars, and their positions in array pixels."""
    truth = measured.truth
    stars = truth[is_star(truth) & isolated(truth, band, fraction=0.01)]
    pairs = match_to_truth(stars, measured.objects["coord_ra"], measured.objects["coord_dec"], radius=0.4)
    rows, true = measured.objects[pairs.second], stars[pairs.first]
    good = np.asarray(rows[f"{band}_usable"]) & ~np.asarray(rows[f"{band}_psfFlux_flag"])
    good &= np.asarray(rows[f"{band}_psfFlux"]) > snr * np.asarray(rows[f"{band}_psfFluxErr"])
    ratio = np.asarray(rows[f"{band}_psfFlux"])[good] / np.asarray(true[f"flux_{band}"])[good]
    box = measured.patch.image_bbox
    return ratio, np.asarray(rows["x"])[good] - box.x.start, np.asarray(rows["y"])[good] - box.y.start


@pytest.mark.parametrize("band", BANDS)
def test_stars_have_their_fluxes(measured: Measured, band: str) -> None:
    """Isolated stars of 20 sigma are right to 1% in the median, without a correction of this test's own."""
    ratio, _, _ = star_ratios(measured, band, snr=20)
    print(f"{band}: {100 * np.median(ratio - 1):+.2f} % of {len(ratio)} stars")
    assert len(ratio) >= 15
    assert abs(np.median(ratio) - 1) <= 0.01


def test_no_step_at_borders_of_cells(measured: Measured) -> None:
    """Bright stars within 10 px of a border where visits begin or end have the fluxes of others, to 0.3%."""
    near, far = [], []
    for band in BANDS:
        ratio, x, y = star_ratios(measured, band, snr=100)
        cover = measured.cover[band]
        labels = np.tensordot(1 << np.arange(len(cover)), cover, axes=1)
        at_border = border_distance(labels, measured.patch.tract.cell, x=x, y=y) < 10
        near.append(ratio[at_border])
        far.append(ratio[~at_border])
    close, others = np.concatenate(near), np.concatenate(far)
    step = np.median(close) - np.median(others)
    error = 1.25 * np.hypot(close.std() / np.sqrt(len(close)), others.std() / np.sqrt(len(others)))
    print(f"step {100 * step:+.3f} +- {100 * error:.3f} % of {len(close)} stars near borders, {len(others)} others")
    assert len(close) >= 20
    assert abs(step) < 0.003


def test_counts_epochs_and_gaps(measured: Measured) -> None:
    """Visits are counted, epochs are theirs, and where a cell is missing there is no flux."""
    rows = measured.objects
    counts = np.asarray(rows["i_inputCount"])
    assert set(np.unique(counts[np.asarray(rows["i_coverage"]) == 1])) <= set(measured.cover["i"].sum(axis=0).ravel())
    assert np.abs(np.asarray(rows["i_epoch"]) - OPTICAL_MJD).max() < 12
    box, cell = measured.patch.image_bbox, measured.patch.tract.cell
    i, j = MISSING["r"]
    x, y = np.asarray(rows["x"]) - box.x.start, np.asarray(rows["y"]) - box.y.start
    gone = (np.abs(x - (j + 0.5) * cell) < cell / 2 - 14) & (np.abs(y - (i + 0.5) * cell) < cell / 2 - 14)
    assert gone.sum() > 3
    assert np.isnan(rows["r_psfFlux"][gone]).all()
    assert np.isfinite(rows["i_psfFlux"][gone]).any()


def test_saturated_stars_are_marked(measured: Measured) -> None:
    """The bright star is flagged in every band in which it saturates."""
    truth = measured.truth
    bright = truth[is_star(truth) & (np.asarray(truth["flux_i"]) > 2e7)]
    pairs = match_to_truth(bright, measured.objects["coord_ra"], measured.objects["coord_dec"], radius=1.5)
    rows = measured.objects[pairs.second]
    assert not np.asarray(rows["i_usable"]).any()
