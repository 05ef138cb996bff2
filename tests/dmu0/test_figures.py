"""Figures of inputs that nobody has checked yet: what can be shown is, and a bad file ends no notebook."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from dmu0.figures import catalogue_positions, colour_picture, first_focal_plane, focal_plane
from dmu0.surveys import Survey, load_survey

SURVEY = """
name: mine
title: My images
inputs: {source: local, folder: .}
optical: {kind: fits, bands: [g, r, i], coadds: {default: "{band}_{patch}.fits"}}
sky_map: {name: s, patch_inner: 400, patch_border: 10}
tracts: {8524: ["40,41", "41,41"]}
references: {ps1: "ps1_*.csv", twomass: "tm_*"}
"""


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    """A survey of three bands and two patches in an empty folder."""
    (tmp_path / "mine.yaml").write_text(SURVEY)
    return load_survey(str(tmp_path / "mine.yaml"))


def _write(survey: Survey, shapes: dict[str, tuple[int, int]]) -> None:
    by_patch = sorted({str(path.path) for path in _coadds(survey)})
    for path in by_patch:
        band = Path(path).name[0]
        fits.writeto(path, np.random.default_rng(1).normal(0, 1, shapes[band]).astype(np.float32), overwrite=True)


def _coadds(survey: Survey) -> list:
    from dmu0.files.coadd_files import coadd_files

    return list(coadd_files(survey, survey.optical[0]))


def test_bands_on_grids_of_their_own_have_no_colours(survey):
    """Three images of different sizes cannot be one picture, which is no error; of one size they are."""
    _write(survey, {"g": (30, 40), "r": (30, 40), "i": (60, 80)})
    assert colour_picture(survey) is None
    _write(survey, {"g": (30, 40), "r": (30, 40), "i": (30, 40)})
    picture, title = colour_picture(survey)
    assert picture.shape == (30, 40, 3)
    assert title.startswith("i r g, tract 8524 patch ")


def test_the_next_patch_is_shown_where_a_file_is_bad(survey):
    """A truncated coadd costs its patch the picture, not the notebook."""
    _write(survey, {"g": (30, 40), "r": (30, 40), "i": (30, 40)})
    first = colour_picture(survey)[1]
    bad = next(item.path for item in _coadds(survey) if first.endswith(f"patch {item.patch}") and item.band == "r")
    bad.write_bytes(bad.read_bytes()[:3000])
    assert colour_picture(survey)[1] not in (first, None)
    for item in _coadds(survey):
        item.path.write_text("<html>down</html>")
    assert colour_picture(survey) is None


def test_catalogues_in_any_form(survey, tmp_path):
    """Positions are those of the pipeline's own reader, with sexagesimal text too; bad files are left out."""
    (tmp_path / "ps1_1.csv").write_text("raMean;decMean;gmag\n02:18:00;-05:00:00;20\n02:18:04;-05:30:00;21\n")
    (tmp_path / "ps1_2.csv").write_text("<html>down</html>")
    (tmp_path / "tm_1.fits").write_bytes(b"SIMPLE  = nothing")
    os.mkfifo(tmp_path / "ps1_3.csv")  # reading it would never end
    found = catalogue_positions(survey)
    assert list(found) == ["ps1"]
    np.testing.assert_allclose(found["ps1"], [[34.5, 34.5 + 1 / 60], [-5.0, -5.5]])


def test_the_first_stack_that_can_be_read(tmp_path):
    """Cards of a stack that are missing or no numbers have their default; files that cannot be read are passed over."""
    pixels = np.random.default_rng(1).normal(100, 2, (40, 60)).astype(np.float32)
    hdu = fits.ImageHDU(pixels)
    hdu.header["HIERARCH ESO DET CHIP NO"] = 5
    hdu.header["SKYNOISE"] = "unknown"
    for name in ("b", "a"):
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / f"{name}.fit")
    broken, empty = tmp_path / "x.fit", tmp_path / "y.fit"
    broken.write_bytes((tmp_path / "a.fit").read_bytes()[:4000])
    empty.touch()
    os.mkfifo(tmp_path / "pipe.fit")
    shown, path = first_focal_plane(
        [broken, empty, tmp_path / "pipe.fit", tmp_path / "gone.fit", tmp_path / "b.fit", tmp_path / "a.fit"]
    )
    assert path.name == "b.fit"
    assert np.nanstd(shown) == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(shown, focal_plane(tmp_path / "b.fit"))
    assert first_focal_plane([broken, empty]) is None
