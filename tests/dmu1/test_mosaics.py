"""Mosaics and the patches that they reach: tiles, several optical surveys, and files that lie elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from dmu0.files.manifest import check_inputs
from dmu0.files.paths import DataFolders
from dmu0.files.tables import write_table
from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys import SkyMapConfig, Survey, load_survey
from dmu1.inventory import empty_inventory
from dmu1.mosaics import coadds_of_patches
from dmu1.steps import make_coverage
from tests.scenes.mosaics import CENTRE, Mosaic, cards_of, write_mosaic

RINGS = {"kind": "rings", "name": "small", "pixel_scale": 0.2, "patch_inner": 300, "patch_border": 20}
SECTIONS = """
vista: {kind: coadds, bands: [vk], coadds: {vk: 'k.fits'}, zero_points: {vk: 30.0}}
optical:
- {kind: fits, bands: [r], coadds: {r: 'r_*.fits'}, weights: {r: 'w_*.fits'}, zero_points: {r: 30.0}}
- {kind: fits, name: kids, bands: [r], coadds: {r: 'kids.fits'}, zero_points: {r: 30.0}}
"""


@pytest.fixture
def make(tmp_path, monkeypatch, rng):
    """A function that writes mosaics of noise and returns the survey of them, with its manifest."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path / "project")))

    def run(sky_map: str, tracts: str, **images: tuple[tuple[int, int], tuple[float, float]]) -> tuple[Survey, Table]:
        for name, (shape, offset) in images.items():
            mosaic = Mosaic(cards_of(scale=0.25, angle=20.0, shape=shape, offset=offset), shape, 0.8)
            write_mosaic(tmp_path / f"{name}.fits", mosaic, rng.normal(size=shape))
            (tmp_path / f"{name}.weight.fits").rename(tmp_path / f"w{name[1:]}.fits")
        head = "name: mine\ntitle: t\ninputs: {source: local, folder: .}\n"
        (tmp_path / "mine.yaml").write_text(f"{head}sky_map: {sky_map}\ntracts: {tracts}\n{SECTIONS}")
        survey = load_survey(str(tmp_path / "mine.yaml"))
        write_table(empty_inventory(), survey.folders[1] / "inventory.parquet")
        selected = empty_inventory()
        selected["accepted"] = np.zeros(0, bool)
        write_table(selected, survey.folders[1] / "selected.parquet")
        return survey, check_inputs(survey, workers=1)

    return run


def test_tiles_are_jobs_of_the_patches_they_reach(make):
    """Of four patches in a row, each has the tiles that reach it; coverage is that of all its tiles together."""
    tract = make_sky_map(SkyMapConfig(**RINGS)).find_tract(*CENTRE)
    x, y = tract.wcs.world_to_pixel_values(*CENTRE)
    column, row = int(x // 300), int(y // 300)
    names = [f"{column + step},{row}" for step in (-1, 0, 1, 2)]
    ring = "{kind: rings, name: small, pixel_scale: 0.2, patch_inner: 300, patch_border: 20}"
    survey, manifest = make(
        ring,
        f"{{{tract.id}: {names}}}",
        r_1=((420, 300), (150.0, 0.0)),
        r_2=((420, 300), (-110.0, 0.0)),
        kids=((150, 150), (0.0, 0.0)),
        k=((900, 1500), (0.0, 0.0)),
    )
    assert list(manifest["state"]) == ["ok"] * len(manifest)
    assert set(manifest[manifest["kind"] == "optical_coadd"]["patch"]) == {-1}
    patches = survey_patches(survey)
    tiles = {
        (patch.index[0] - column, band): sorted(str(row["path"]).rpartition("/")[2] for row in rows)
        for patch, band, rows in coadds_of_patches(manifest, survey, patches)
    }
    assert tiles[0, "r"] == ["r_1.fits", "r_2.fits"]
    assert {step for step, band in tiles if band == "vk"} == {-1, 0, 1, 2}
    assert {step for step, band in tiles if band == "rkids"} < {-1, 0, 1}
    jobs = make_coverage(survey).jobs
    shares = {(int(job["patch"]), str(job["band"])): float(job["coverage"]) for job in jobs}
    middle = tract.patch(names[1]).id
    assert shares[middle, "vk"] == 1.0
    assert 0.2 < shares[middle, "rkids"] < shares[middle, "r"] <= 1.0


def test_a_mosaic_elsewhere_is_no_job(make):
    """A file of the one patch of a sky map that lies beside it leaves the patch without optical images, and says so."""
    single = f"{{kind: single, name: one, pixel_scale: 0.2, centre: {list(CENTRE)}, shape: [300, 350]}}"
    away = ((200, 200), (2000.0, 0.0))
    survey, manifest = make(single, "{0: [0]}", r_1=away, kids=away, k=((500, 600), (0.0, 0.0)))
    assert set(manifest[manifest["kind"] == "optical_coadd"]["patch"]) == {0}
    coverage = make_coverage(survey)
    assert list(coverage.judged["state"]) == ["skipped"]
    assert list(coverage.judged["reason"]) == ["no optical coadds"]


def test_a_mosaic_without_projection_is_of_every_patch(make, tmp_path):
    """Images without world coordinates are taken to be on the pixels of the one patch, as before."""
    single = f"{{kind: single, name: one, pixel_scale: 0.25, centre: {list(CENTRE)}, shape: [300, 350]}}"
    place = ((300, 350), (0.0, 0.0))
    survey, _ = make(single, "{0: [0]}", r_1=place, kids=place, k=place)
    bare = fits.Header([("BITPIX", -32)])
    fits.writeto(tmp_path / "k.fits", fits.getdata(tmp_path / "k.fits"), bare, overwrite=True)
    manifest = check_inputs(survey, workers=1)
    assert list(manifest["state"]) == ["ok"] * len(manifest)
    found = {band for _, band, _ in coadds_of_patches(manifest, survey, survey_patches(survey))}
    assert found == {"r", "rkids", "vk"}
    assert set(make_coverage(survey).jobs["band"]) == {"r", "rkids", "vk"}
