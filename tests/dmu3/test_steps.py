"""The baseline of a survey: the patches that it makes are those of the pipeline."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from dmu0.files.manifest import check_inputs
from dmu0.files.paths import DataFolders
from dmu0.files.tables import read_table, write_table
from dmu0.sky.skymap import make_sky_map
from dmu0.surveys import SkyMapConfig, Survey, load_survey
from dmu1.inventory import empty_inventory
from dmu1.steps import make_coverage, patches_to_make
from dmu3.catalogues import make_catalogues
from dmu3.steps import image_path, make_images
from tests.scenes.mosaics import CENTRE

SKY_MAP = {"kind": "rings", "name": "small", "pixel_scale": 0.2, "patch_inner": 200, "patch_border": 10}
SURVEY = """
name: mine
title: t
inputs: {{source: local, folder: .}}
vista: {{kind: coadds, bands: [vk], coadds: {{vk: 'k_{{patch}}.fits'}}, zero_points: {{vk: 30.0}}}}
optical: {{kind: fits, bands: [r], coadds: {{r: 'r_{{patch}}.fits'}}, zero_points: {{r: 30.0}}}}
sky_map: {sky_map}
tracts: {{{tract}: {patches}}}
"""


def test_patches_without_one_half_are_skipped(tmp_path, monkeypatch, rng):
    """Of two patches one has no VISTA image: baseline and pipeline make the other alone, and the reason is given."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path / "project")))
    tract = make_sky_map(SkyMapConfig(**SKY_MAP)).find_tract(*CENTRE)
    x, y = (int(value // 200) for value in tract.wcs.world_to_pixel_values(*CENTRE))
    whole, half = tract.patch((x, y)), tract.patch((x + 1, y))
    for name, patch in (("r", whole), ("r", half), ("k", whole)):
        pixels = rng.normal(size=patch.outer_bbox.shape).astype("f4")
        fits.writeto(tmp_path / f"{name}_{patch.id}.fits", pixels, patch.wcs.to_header())
    text = SURVEY.format(sky_map=SKY_MAP, tract=tract.id, patches=[whole.id, half.id])
    (tmp_path / "mine.yaml").write_text(text)
    survey = load_survey(str(tmp_path / "mine.yaml"))
    selected = empty_inventory()
    selected["accepted"] = np.zeros(0, bool)
    write_table(selected, survey.folders[1] / "selected.parquet")
    manifest = check_inputs(survey, workers=1)
    made = make_coverage(survey)
    left = image_path(survey.folders[3], tract=tract.id, patch=half.id, band="r")
    left.parent.mkdir(parents=True)
    left.write_text("of an earlier run, when there was a VISTA image")
    coverage = read_table(survey.folders[1] / "coverage.parquet")
    states = list(make_images(survey, manifest, made.images, coverage, engine="reproject"))
    assert [(one.patch, one.band, one.state) for one in states] == [
        (whole.id, "r", "done"),
        (half.id, "r", "skipped"),
        (whole.id, "vk", "done"),
        (half.id, "vk", "skipped"),
    ]
    assert {one.reason for one in states if one.state == "skipped"} == {"dmu1 skipped the patch: no VISTA images"}
    assert not left.exists()
    assert patches_to_make(survey) == {tract.id: [whole.id]}
    catalogues = {one.patch: one.state for one in make_catalogues(survey, engine="sep")}
    assert catalogues == {whole.id: "done", half.id: "skipped"}
