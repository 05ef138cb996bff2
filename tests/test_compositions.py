"""Surveys of any composition run: one band, one half, both in any form, a patch of which one half is missing.

All share one tiny set of images. Their steps are called one after the other; one survey goes through make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from dmu0.files.manifest import check_inputs
from dmu0.files.paths import PROJECT, DataFolders
from dmu0.sample import make, vista_files
from dmu0.surveys import Survey, SurveyError, load_survey
from dmu0.surveys.check import check_survey
from dmu1.steps import make_coverage, make_inventory, make_selection
from dmu4.butler.ingest import make_repository
from dmu4.butler.repository import open_butler
from dmu4.execution.steps import STEPS, run_step
from dmu5.steps import make_catalogue, read_catalogue

HEAD = "title: A tiny survey\ninputs: {source: local, folder: images}\nengine: {processes: 1, threads: 2}\n"
MAP = "sky_map: {name: tiny_rings, patch_inner: 300, patch_border: 20}\ntracts: {8524: ['54,54', '55,54']}\n"
TREE = "hsc/{filter}/{tract}/{patch_x},{patch_y}"
COADDS = f"{TREE}/calexp-{{filter}}-{{tract}}-{{patch_x}},{{patch_y}}.fits"
STAMPS = f"{TREE}/psf-{{filter}}-{{tract}}-{{patch_x}},{{patch_y}}.fits"
STACKS = "kind: stacks, stacks: ['vista/v*_st.fit']"
OPTICAL = f"optical: {{kind: hsc, bands: [g, i], coadds: {{default: '{COADDS}'}}, psf_stamps: {{default: '{STAMPS}'}}}}"

SURVEYS = {
    "one_optical": f"optical: {{kind: hsc, bands: [i], coadds: {{i: '{COADDS}'}}}}",
    "one_vista": f"vista: {{bands: [vj], {STACKS}}}",
    "optical_only": OPTICAL,
    "vista_only": f"vista: {{bands: [vj, vk], {STACKS}}}",
    "mixed": f"vista: {{bands: [vj, vk], {STACKS}, coadds: {{vk: 'ready/Ks_{{patch_x}},{{patch_y}}.fits'}}}}",
    "half_missing": f"optical: {{kind: hsc, bands: [g], coadds: {{g: '{COADDS}'}}}}\nvista: {{bands: [vj], {STACKS}}}",
}
"""Name -> its halves."""

SCENE = {"detector_pixels": 220.0, "detector_pitch": 240.0, "galaxy_density": 40.0, "star_density": 6.0, "dither": 6.0}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two patches in g and i and a pawprint of four detectors in J and Ks, of one synthetic sky."""
    folder = tmp_path_factory.mktemp("compositions")
    scene = ", ".join(f"{key}: {value}" for key, value in SCENE.items())
    text = f"name: tiny_sky\ntitle: t\ninputs: {{source: simulate, seed: 11, scene: {{{scene}}}}}\n"
    text += f"vista: {{bands: [vj, vk], {STACKS}}}\n{OPTICAL}\n"
    (folder / "sky.yaml").write_text(text + MAP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=folder))
        patch.setattr(vista_files, "DETECTORS", (6, 7, 10, 11))
        survey = load_survey(str(folder / "sky.yaml"))
        make.make_sample(survey, progress=False)
        shutil.move(survey.folders[0], folder / "images")
    for band in ("J", "Ks"):
        stacks = [path for path in (folder / "images" / "vista").glob("*_st.fit") if filter_of(path) == band]
        for path in stacks[1:]:
            path.unlink()
            path.with_name(f"{path.stem}_conf.fit").unlink()
    ready = folder / "images" / "ready"
    ready.mkdir()
    for path in (folder / "images" / "hsc" / "HSC-I").rglob("calexp*.fits"):  # what is in them does not matter here
        shutil.copy(path, ready / f"Ks_{path.parent.name}.fits")
    return folder / "images"


def filter_of(path: Path) -> str:
    """The filter of a stack."""
    return fits.getheader(path)["ESO INS FILT1 NAME"]


def write_survey(folder: Path, images: Path, name: str) -> Path:
    """A survey file beside a link to the images."""
    (folder / "images").symlink_to(images)
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\n{HEAD}{SURVEYS[name]}\n{MAP}")
    return path


def release(survey: Survey) -> Table:
    """The catalogue of a survey, by the functions that the notebooks call."""
    assert set(check_inputs(survey)["state"]) <= {"ok", "missing"}
    make_inventory(survey, workers=1)
    make_selection(survey)
    make_coverage(survey)
    make_repository(survey, run="once")
    for step in STEPS:
        report = run_step(survey, step, progress=False)
        assert not len(report) or set(report["state"]) <= {"done", "skipped"}, report
    list(make_catalogue(survey))
    return read_catalogue(survey)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SURVEYS if name != "half_missing"])
def test_any_composition_makes_a_catalogue(name, images, tmp_path, monkeypatch):
    """Every band has fluxes above the noise in both patches, and no columns are there of bands that are not."""
    monkeypatch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=tmp_path))
    survey = load_survey(str(write_survey(tmp_path, images, name)))
    assert check_survey(survey) == []
    catalogue = release(survey)
    assert len(np.unique(catalogue["patch"])) == 2
    columns = {name.split("_")[0] for name in catalogue.colnames if name.endswith("_psfFlux")}
    assert columns == set(survey.bands)
    for band in survey.bands:
        good = catalogue[f"{band}_psfFlux"] > 5 * catalogue[f"{band}_psfFluxErr"]
        assert good.sum() > 20, band
    with open_butler(survey) as butler:
        sources = {ref.dataId["band"] for ref in butler.query_datasets("optical_coadd_source", explain=False)}
        visits = {ref.dataId["band"] for ref in butler.query_datasets("visit_image", explain=False)}
    ours = set() if survey.vista is None else set(survey.vista.stack_bands)
    assert (sources, visits) == (set(survey.bands) - ours, ours)


@pytest.mark.slow
def test_a_patch_without_one_half_is_left_out(images, tmp_path, monkeypatch):
    """Where the optical coadd of a patch is missing, VISTA is not coadded there either; without any patch it stops."""
    monkeypatch.setattr("dmu0.surveys.keys.DataFolders", lambda name: DataFolders(name, root=tmp_path))
    own = tmp_path / "own"
    shutil.copytree(images, own)
    [gone] = (own / "hsc" / "HSC-G").rglob("calexp*54,54.fits")
    gone.unlink()
    survey = load_survey(str(write_survey(tmp_path, own, "half_missing")))
    [warning] = check_survey(survey)
    assert "optical.coadds: g lacks 1 of 2 files" in warning
    catalogue = release(survey)
    left = 55 + 54 * 109
    assert set(catalogue["patch"]) == {left}
    with open_butler(survey) as butler:
        made = [ref.dataId for ref in butler.query_datasets("deep_coadd", explain=False)]
    assert {(data_id["patch"], data_id["band"]) for data_id in made} == {(left, "g"), (left, "vj")}
    for path in (own / "hsc").rglob("calexp*.fits"):
        path.unlink()
    check_inputs(survey)
    make_coverage(survey)
    with pytest.raises(SurveyError, match=r"none of the patches has both halves .*no optical coadds"):
        run_step(survey, "coadds", progress=False)


@pytest.fixture
def one_optical(images: Path, tmp_path: Path) -> Iterator[Path]:
    """The survey of one optical band, whose data folders go with the test."""
    path = write_survey(tmp_path, images, "one_optical")
    yield path
    for stage in range(6):
        shutil.rmtree(PROJECT / f"dmu{stage}" / "data" / "one_optical", ignore_errors=True)


@pytest.mark.slow
def test_one_optical_band_through_make(one_optical: Path) -> None:
    """`make release` of the smallest survey: all notebooks run, and the release page is there."""
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "MAKEFLAGS": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["make", "release", f"SURVEY={one_optical}", "JOBS=2", "active-environment=", "ENVIRONMENT="]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (PROJECT / "dmu5/data/one_optical/release/index.html").exists()
    catalogue = read_catalogue(load_survey(str(one_optical)))
    assert (catalogue["i_psfFlux"] > 5 * catalogue["i_psfFluxErr"]).sum() > 20
