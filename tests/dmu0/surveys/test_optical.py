"""Optical images of several surveys: each band has one label, by a rule that can be told from the survey file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from dmu0.files.expected import find_inputs
from dmu0.schema.columns import schema_columns
from dmu0.surveys import Survey, SurveyError, load_survey
from dmu0.surveys.check import check_survey
from dmu0.surveys.optical import Optical

HEAD = """name: both
title: CFHT, HSC and KiDS with VIKING
inputs: {source: local, folder: images}
vista: {kind: coadds, bands: [vk], coadds: {vk: ks.fits}, zero_points: {vk: 30.0}}
sky_map: {name: hscPdr2}
tracts: {9319: ['3,4']}
"""
CFHT = "- {kind: fits, bands: [u], coadds: {u: cfht_u.fits}, zero_points: {u: 30.0}}"
HSC = "- {kind: hsc, bands: [g, r, i, z, y], coadds: {default: '{filter}-{tract}-{patch_x},{patch_y}.fits'}}"
KIDS = "- {kind: fits, %s, bands: [u, r, i], coadds: {default: 'kids_{band}.fits'}, zero_points: {u: 0, r: 0, i: 0.5}}"


def load(folder: Path, *sections: str) -> Survey:
    """A survey of these optical sections."""
    (folder / "both.yaml").write_text(HEAD + "optical:\n" + "".join(f"  {section}\n" for section in sections))
    return load_survey(str(folder / "both.yaml"))


def test_surveys_without_common_bands(tmp_path: Path) -> None:
    """CFHT u and HSC grizy keep the plain labels; each band knows its section."""
    survey = load(tmp_path, HSC, CFHT)
    assert survey.bands == ("u", "g", "r", "i", "z", "y", "vk")
    assert survey.optical_bands["u"].kind == "fits"
    assert survey.optical_bands["z"].kind == "hsc"


def test_common_bands_get_labels_of_their_own(tmp_path: Path) -> None:
    """The first section keeps the plain labels; those of the second are found by label everywhere, files by band."""
    survey = load(tmp_path, CFHT, HSC, KIDS % "name: kids")
    assert survey.bands == ("u", "ukids", "g", "r", "rkids", "i", "ikids", "z", "y", "vk")
    kids = survey.optical_bands["ikids"]
    assert kids is survey.optical[2]
    assert kids.zero_points["ikids"] == 0.5
    files = {item.band: item.path.name for item in find_inputs(survey)}
    assert (files["r"], files["rkids"]) == ("HSC-R-9319-3,4.fits", "kids_r.fits")
    names = [column.name for column in schema_columns(survey.bands)]
    assert names.index("r_psfFlux") < names.index("rkids_psfFlux") < names.index("i_psfFlux")
    assert len({name.lower() for name in names}) == len(names)


def test_only_common_bands_are_renamed(tmp_path: Path) -> None:
    """A band that no earlier section has keeps its plain label, whatever the name of its survey."""
    survey = load(tmp_path, "- {kind: fits, bands: [g, r], coadds: {default: 'd_{band}.fits'}}", KIDS % "name: kids")
    assert survey.bands == ("u", "g", "r", "rkids", "i", "vk")


@pytest.mark.parametrize(
    ("sections", "key", "said"),
    [
        (
            (HSC, KIDS % "psf_stamps: {}"),
            "optical",
            "both have the bands r, i: give section 1 a name, as in 'name: kids'",
        ),
        ((HSC, KIDS % "psf_stamps: {}"), "optical", "are called rkids, ikids"),
        ((HSC, KIDS % "name: kids", KIDS % "name: kids"), "optical", "has the name 'kids' of an earlier one"),
        ((HSC, KIDS % "name: K"), "optical.1.name", "'K', line"),
        ((HSC, KIDS % "name: kilodegree"), "optical.1.name", "line"),
        ((HSC, KIDS % "nmae: kids"), "optical.1.nmae", "Did you mean 'name'?"),
        ((HSC, "- {kind: fits, bands: [vk]}"), "optical.1.bands", "unknown band 'vk'"),
    ],
)
def test_what_is_unclear_is_refused(tmp_path: Path, sections: tuple[str, ...], key: str, said: str) -> None:
    """Errors name the file, the section and what to write."""
    with pytest.raises(SurveyError) as error:
        load(tmp_path, *sections)
    message = str(error.value)
    assert str(tmp_path / "both.yaml") in message
    assert f"  {key}: " in message
    assert said in message


def test_one_section_needs_no_list(tmp_path: Path) -> None:
    """A section alone is a list of one; what is wrong with it is said without a number."""
    for text in ("{kind: hsc, bands: [i]}", "[{kind: hsc, bands: [i]}]"):
        (tmp_path / "both.yaml").write_text(HEAD + f"optical: {text}\n")
        (optical,) = load_survey(str(tmp_path / "both.yaml")).optical
        assert optical.bands == ("i",)
    (tmp_path / "both.yaml").write_text(HEAD + "optical: {kind: hsc, bands: [K]}\n")
    with pytest.raises(SurveyError, match=r"  optical\.bands: unknown band 'K'.*line 7"):
        load_survey(str(tmp_path / "both.yaml"))


def test_a_sky_that_is_made_has_one_optical_survey(tmp_path: Path) -> None:
    """A simulated survey with two optical sections is refused."""
    head = HEAD.replace("source: local, folder: images", "source: simulate")
    (tmp_path / "both.yaml").write_text(head + f"optical:\n  {HSC}\n  {CFHT}\n")
    with pytest.raises(SurveyError, match="'simulate' makes one optical survey"):
        load_survey(str(tmp_path / "both.yaml"))


def test_each_section_is_checked(tmp_path: Path) -> None:
    """Patterns and files of every section are looked at before a release."""
    survey = load(tmp_path, HSC, "- {kind: fits, bands: [u], zero_points: {u: 30.0}}")
    with pytest.raises(SurveyError, match=r"optical\.coadds: no file pattern for u"):
        check_survey(survey)


@pytest.mark.parametrize("offset", [30.0, -2.5])
def test_offsets_of_a_release_are_small(offset):
    """An offset of magnitudes that is larger than any correction is a zero point, or a mistake."""
    with pytest.raises(ValidationError, match="ab_offsets"):
        Optical(kind="fits", bands=("g",), coadds={"g": "g.fits"}, ab_offsets={"g": offset})
    assert Optical(kind="fits", bands=("g",), coadds={"g": "g.fits"}, ab_offsets={"g": -0.03}).ab_offsets == {
        "g": -0.03
    }
