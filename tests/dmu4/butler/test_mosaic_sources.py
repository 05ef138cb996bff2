"""How mosaics get into a repository: tiles with their maps, bands of two optical surveys, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.manifest import check_inputs
from dmu0.files.paths import DataFolders
from dmu0.surveys import Survey, load_survey
from dmu4.butler.ingest import make_repository
from dmu4.butler.repository import open_butler
from tests.scenes.mosaics import CENTRE, Mosaic, cards_of, write_mosaic

SURVEY = f"""
name: both
title: Two optical surveys and VISTA on grids of their own
inputs: {{source: local, folder: .}}
vista: {{kind: coadds, bands: [vk], coadds: {{vk: 'k.fits'}}, magnitudes: Vega}}
optical:
- {{kind: fits, bands: [r], coadds: {{r: 'r_*.fits'}}, weights: {{r: 'r_*.weight.fits'}}, zero_points: {{r: 27.5}}}}
- {{kind: fits, name: kids, bands: [r], coadds: {{default: 'kids_{{band}}.fits'}}, zero_points: {{r: 0.0}}}}
sky_map: {{kind: single, name: one, pixel_scale: 0.2, centre: {list(CENTRE)}, shape: [300, 350]}}
tracts: {{0: [0]}}
"""


@pytest.fixture
def survey(tmp_path, monkeypatch, rng) -> Survey:
    """A survey of three tiles of r (one far away), one mosaic of KiDS and one of VISTA."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path / "project")))
    shape = (200, 260)
    for name, offset in (("r_1", 100), ("r_2", -100), ("r_3", 3000), ("kids_r", 0), ("k", 0)):
        mosaic = Mosaic(cards_of(scale=0.3, angle=-30.0, shape=shape, offset=(offset, 0)), shape, 0.8)
        write_mosaic(tmp_path / f"{name}.fits", mosaic, rng.normal(size=shape))
    (tmp_path / "both.yaml").write_text(SURVEY)
    survey = load_survey(str(tmp_path / "both.yaml"))
    Table({"accepted": np.zeros(0, bool), "path": np.zeros(0, str)}).write(survey.folders[1] / "selected.parquet")
    return survey


def test_sources_name_tiles_maps_and_scales(survey, tmp_path):
    """The tiles that reach the patch are named with their maps, and each band with what makes its zero point."""
    check_inputs(survey, workers=1)
    report = make_repository(survey, run="one")
    assert report.counts == {"optical_coadd_source": 3}
    assert report.left_out == [("r_3.fits", "it reaches no patch that is asked for and has both halves of the survey")]
    with open_butler(survey) as butler:
        where = {"skymap": "one", "tract": 0, "patch": 0}
        ours, kids, vista = (butler.get("optical_coadd_source", where | {"band": b}) for b in ("r", "rkids", "vk"))
    names = {"path": f"{tmp_path}/r_1.fits", "weight_path": f"{tmp_path}/r_1.weight.fits", "zero_point": 27.5}
    assert names.items() <= ours.items()
    assert [tile["path"] for tile in ours["others"]] == [f"{tmp_path}/r_2.fits"]
    assert ours["others"][0]["weight_path"] == f"{tmp_path}/r_2.weight.fits"
    assert (kids["path"], kids["zero_point"], kids["kind"]) == (f"{tmp_path}/kids_r.fits", 0.0, "fits")
    assert "others" not in kids
    assert (vista["band"], vista["magnitudes"], vista["zero_point"]) == ("vk", "Vega", None)


def test_a_tile_without_its_map_is_left_out(survey, tmp_path):
    """Without its weight map nobody could tell where a tile has no data: it is left out, and the manifest says why."""
    (tmp_path / "r_2.weight.fits").unlink()
    manifest = check_inputs(survey, workers=1)
    states = {str(row["path"]).rpartition("/")[2]: (row["state"], row["reason"]) for row in manifest}
    assert states["r_2.fits"] == ("quarantined", "its map r_2.weight.fits cannot be used: it is not there")
    assert states["r_1.fits"] == states["kids_r.fits"] == ("ok", "")
    make_repository(survey, run="one")
    with open_butler(survey) as butler:
        found = butler.get("optical_coadd_source", skymap="one", tract=0, patch=0, band="r")
    assert found["path"] == f"{tmp_path}/r_1.fits"
    assert "others" not in found
