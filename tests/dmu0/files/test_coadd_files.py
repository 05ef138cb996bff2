"""Names of published coadds: patches, filters, wildcards, and the maps that belong to each."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmu0.files.coadd_files import coadd_files
from dmu0.files.expected import find_inputs
from dmu0.surveys import Survey, load_survey

HEAD = "name: mine\ntitle: t\ninputs: {source: local, folder: .}\nsky_map: {name: hscPdr2}\ntracts: {9319: %s}\n"


@pytest.fixture
def make(tmp_path):
    """A function that makes a survey of one optical section, and empty files."""

    def run(section: str, *names: str, patches: str = "['3,4', '4,4']") -> Survey:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "mine.yaml").write_text(HEAD % patches + f"optical: {section}\n")
        return load_survey(str(tmp_path / "mine.yaml"))

    return run


def names(survey: Survey) -> list[tuple[str, str, int, str | None, str | None]]:
    """File, band, patch, weight map and variance map of each coadd of the first section."""
    return [
        (file.path.name, file.band, file.patch, *(path and path.name for path in (file.weight, file.variance)))
        for file in coadd_files(survey, survey.optical[0])
    ]


def test_tiles_and_their_weight_maps(make):
    """Wildcards find the tiles of a band; each has the map for which they stand for the same text."""
    section = "{kind: fits, bands: [r], coadds: {r: 'K?DS_*_{band}_sci.fits'}, weights: {r: 'K?DS_*_{band}_wei.fits'}}"
    files = ("KiDS_1.0_2.5_r_sci.fits", "KiDS_1.0_2.5_r_wei.fits", "KIDS_7_r_sci.fits", "KiDS_7_g_sci.fits")
    survey = make(section, *files)
    assert names(survey) == [
        ("KIDS_7_r_sci.fits", "r", -1, "KIDS_7_r_wei.fits", None),
        ("KiDS_1.0_2.5_r_sci.fits", "r", -1, "KiDS_1.0_2.5_r_wei.fits", None),
    ]
    kinds = {item.path.name: item.kind for item in find_inputs(survey)}
    assert kinds["KIDS_7_r_wei.fits"] == "coadd_weight"
    assert kinds["KIDS_7_r_sci.fits"] == "optical_coadd"
    assert len(kinds) == 4


def test_maps_are_no_tiles(make):
    """A pattern of tiles that matches their maps as well finds the tiles alone."""
    section = "{kind: fits, bands: [r], coadds: {r: 't*.fits'}, weights: {r: 't*.w.fits'}, variances: {r: 't*.v.fits'}}"
    survey = make(section, "t1.fits", "t1.w.fits", "t1.v.fits", "t2.fits")
    assert names(survey) == [
        ("t1.fits", "r", -1, "t1.w.fits", "t1.v.fits"),
        ("t2.fits", "r", -1, "t2.w.fits", "t2.v.fits"),
    ]


def test_patches_and_filters(make):
    """Maps are filled with the patch of the coadd and the name of the filter under which it was found."""
    patterns = "coadds: {r: '{filter}/{tract}-{patch}.fits'}, weights: {r: '{filter}-{patch_x}.fits'}"
    survey = make(f"{{kind: fits, bands: [r], {patterns}}}", "HSC-R2/9319-39.fits")
    assert names(survey) == [
        ("9319-39.fits", "r", 39, "HSC-R2-3.fits", None),
        ("9319-40.fits", "r", 40, "HSC-R-4.fits", None),
    ]


def test_what_is_not_there_is_named(make):
    """A pattern that matches nothing is an input that is missing, under the pattern's name; one patch is told."""
    survey = make("{kind: fits, bands: [r], coadds: {r: 'no*.fits'}}", patches="['3,4']")
    assert names(survey) == [("no*.fits", "r", 39, None, None)]
    assert [item.path.name for item in find_inputs(survey)] == ["no*.fits"]


def test_brackets_are_letters(make):
    """Square brackets in names are no wildcards, and patterns may lead into folders or be absolute."""
    folder = make(
        "{kind: fits, bands: [r], coadds: {r: 'a[1]/*_[b].fits'}}", "a[1]/x_[b].fits", "a1/y_b.fits"
    ).path.parent
    assert names(load_survey(str(folder / "mine.yaml"))) == [("x_[b].fits", "r", -1, None, None)]
    section = f"{{kind: fits, bands: [r], coadds: {{r: '{folder}/a*/*.fits'}}}}"
    survey = make(section)
    assert [Path(name) for name, *_ in names(survey)] == [Path("y_b.fits"), Path("x_[b].fits")]
