"""Survey files: those that come with the project, and what is said about wrong ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dmu0.files.paths import PROJECT, DataFolders
from dmu0.sky.skymap import make_sky_map, survey_patches
from dmu0.surveys import SHIPPED, SurveyError, find_survey, load_survey, shipped_surveys
from obs_vista.bands import VISTA_BANDS

GOOD = {
    "name": "mine",
    "title": "A survey",
    "inputs": {"source": "local", "folder": "images"},
    "vista": {"bands": ["vh"], "stacks": ["*_st.fit"]},
    "sky_map": {"name": "rings"},
    "tracts": {8524: ["4,4"]},
}


def write(folder: Path, **changes: object) -> str:
    """A survey file with some keys changed; "a.b" names a key in a section, None removes it."""
    content = yaml.safe_load(yaml.safe_dump(GOOD))
    for name, value in changes.items():
        *sections, key = name.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            place.pop(key)
        else:
            place[key] = value
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize("name", [*shipped_surveys(), "tests/real/gama9.yaml", "tests/real/video_h.yaml"])
def test_every_survey_loads(name):
    """Each survey file is valid, has a sky map with its tracts, and a name that is its file's."""
    survey = load_survey(name)
    assert survey.name == survey.path.stem
    assert survey.bands
    sky_map = make_sky_map(survey.sky_map)
    for tract, patches in survey.tracts.items():
        found = sky_map.tract(tract)
        if patches != "all":
            assert [found.patch(patch) for patch in patches]


@pytest.mark.parametrize("name", ["video", "viking", "vhs"])
def test_archive_surveys_are_complete(name):
    """The three VISTA surveys say where each kind of file comes from, with bands, programme, cuts and references."""
    survey = load_survey(name)
    assert survey.inputs.source == "archive"
    assert {"vsa", "eso", "hsc", "hsc_psf", "ps1", "twomass", "gaia", "vista"} <= set(survey.inputs.query)
    assert re.fullmatch(r"179\.A-20\d\d", survey.vista.programme)
    assert {"vj", "vk"} <= set(survey.vista.bands) <= set(VISTA_BANDS)
    assert survey.optical[0].kind == "hsc"
    assert survey.sky_map.pixel_scale == 0.168
    assert None not in (survey.references.ps1, survey.references.twomass, survey.references.gaia)


@pytest.mark.parametrize("name", ["video", "viking", "vhs"])
def test_tracts_are_where_the_survey_is(name):
    """Tracts lie where HSC PDR3 has images, and the queries of each can be filled in."""
    survey = load_survey(name)
    sky_map = make_sky_map(survey.sky_map)
    fields = {
        "video": [(33, 39, -8, -3)],
        "viking": [(127, 143, -2, 4), (149, 226, -2, 5)],
        "vhs": [(27, 42, -8, -1), (0, 42, -2, 2), (327, 360, -2, 2), (126, 151, -2, 2)],
    }[name]
    for number in survey.tracts:
        tract = sky_map.tract(number)
        assert any(r0 <= tract.ra <= r1 and d0 <= tract.dec <= d1 for r0, r1, d0, d1 in fields), str(number)
    values = {"ra": 35.7, "dec": -5.2, "radius": 1.2, "filters": "'H'", "filter": "HSC-I", "band": "i"}
    values |= {"tract": 8524, "patch_x": 3, "patch_y": 5}
    for query in survey.inputs.query.values():
        assert "{" not in query.format(**values)


def test_a_survey_of_ones_own(tmp_path):
    """A file anywhere is a survey; its folder is found from the file, its data stay with the project."""
    survey = load_survey(write(tmp_path))
    assert survey.input_folder == tmp_path / "images"
    assert survey.bands == ("vh",)
    assert not survey.has_truth
    assert survey.folders == DataFolders("mine", PROJECT)


def test_a_path_in_the_project_is_found_from_anywhere(tmp_path, monkeypatch):
    """Paths are relative to where one is, or else to the project: notebooks run in their own folder."""
    monkeypatch.chdir(tmp_path)
    assert find_survey("tests/real/gama9.yaml") == PROJECT / "tests" / "real" / "gama9.yaml"
    assert find_survey("sample") == SHIPPED / "sample.yaml"


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"vista.bands": ["vh", "K"]}, "vista.bands", "unknown band 'K'"),
        ({"vista.bands": ["vh", "vh"]}, "vista.bands", "listed twice"),
        ({"vista.bands": []}, "vista.bands", "at least one band"),
        ({"vista.cuts": {"seeing_max": -1}}, "vista.cuts.seeing_max", "-1"),
        ({"vista.cuts": {"seing_max": 1}}, "vista.cuts.seing_max", "1"),
        ({"inputs.folder": None}, "inputs", "needs the key 'folder'"),
        ({"inputs.source": "web"}, "inputs.source", "'web'"),
        ({"sky_map.pixel_scale": "wide"}, "sky_map.pixel_scale", "'wide'"),
        ({"sky_map.kind": "single"}, "sky_map", "needs the keys 'centre' and 'shape'"),
        ({"optical": {"kind": "lsst", "bands": ["i"]}}, "optical", "needs the keys 'butler' and 'collection'"),
        ({"optical": {"kind": "hsc", "bands": ["vh"]}}, "optical.bands", "unknown band 'vh'"),
        ({"tracts": {"north": "all"}}, "tracts.north", "'north'"),
        ({"tracts": {8524: "some"}}, "tracts.8524", "'some'"),
        ({"name": "My Survey"}, "name", "'My Survey'"),
        ({"title": None}, "title", "Field required"),
        ({"colour": "red"}, "colour", "'red'"),
        ({"vista": None}, "(whole file)", "at least one of 'vista' and 'optical'"),
        ({"vista.cuts": {"seeing_max": float("nan")}}, "vista.cuts.seeing_max", "finite"),
        ({"vista.zero_points": {"Ks": 30.0}}, "vista", "'Ks' is none of"),
        ({"vista.zero_points": {"vk": 99.0}}, "vista.zero_points.vk", "99"),
        ({"vista.coadds": {"vh": "{nite}.fits"}}, "vista", "{nite}"),
        ({"vista.coadds": {"vh": "{band.fits"}}, "vista", "lone brace"),
        ({"tracts": {}}, "tracts", "at least 1"),
        ({"tracts": {8524: []}}, "tracts.8524", "no patch is named"),
        ({"tracts": {8524: [-1]}}, "tracts.8524", "-1 is no patch"),
        ({"tracts": {8524: [True]}}, "tracts.8524", "True is no patch"),
        ({"tracts": {8524: ["3;4"]}}, "tracts.8524", "'3;4' is no patch"),
        ({"tracts": {8524: [3, 4]}}, "(whole file)", "write ['3,4'] for the one, or ['3', '4'] for the two"),
        ({"tracts": {-1: "all"}}, "tracts.-1", "greater than or equal to 0"),
        ({"sky_map.num_rings": 10**9}, "sky_map.num_rings", "less than or equal to 10000"),
        ({"sky_map.patch_inner": 1}, "(whole file)", "is patch_inner or pixel_scale too small"),
        ({"n[3,4]ame": "x"}, "n[3,4]ame", "'x'"),
        ({"sky_map.pixel_scale": True}, "(whole file)", "sky_map.pixel_scale is true, and no key takes true or false"),
        ({"vista.zero_points": {"vk": False}}, "vista", "zero_points.vk is false, and no key takes"),
        ({"vista.bands": "vh"}, "vista.bands", "a list is needed, with its members in brackets as in [g, r] (got 'vh'"),
        ({"vista.zero_points": 27}, "vista.zero_points", "keys with values are needed, as in {g: 27.0"),
        ({"vista.cuts": {"noise_ratio_range": [2, 1]}}, "vista.cuts.noise_ratio_range", "[2, 1]"),
        ({"sky_map.centre": [400, 0.5]}, "sky_map.centre", "from 0 to 360"),
        ({"sky_map.centre": [10, 95]}, "sky_map.centre", "from -90 to 90"),
        ({"sky_map.centre": ["2:78:00", 0]}, "sky_map.centre", "'2:78:00' is no angle"),
        ({"name": "sample"}, "", "the name 'sample' is that of"),
    ],
)
def test_errors_name_file_key_and_value(tmp_path, changes, key, value):
    """Whatever is wrong, the message has the file, the key and what was found there."""
    path = write(tmp_path, **changes)
    with pytest.raises(SurveyError) as error:
        load_survey(path)
    message = str(error.value)
    assert path in message
    assert not key or f"  {key}" in message
    assert value in message


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"vista.cuts": {"seing_max": 1}}, "'seeing_max'"),
        ({"sky_map.pixelscale": 0.2}, "'pixel_scale'"),
        ({"pixel_scale": 0.2}, "'sky_map.pixel_scale'"),
        ({"refrences": {}}, "'references'"),
        ({"inputs.source": "locl"}, "'local'"),
        ({"vista.coadds": {"deflt": "x.fits"}}, "'default'"),
    ],
)
def test_what_was_meant(tmp_path, changes, hint):
    """A key or a word that is nearly right is asked for, with its line."""
    with pytest.raises(SurveyError, match=rf"line \d+.*Did you mean {hint}|Did you mean {hint}.*line \d+"):
        load_survey(write(tmp_path, **changes))


def test_values_that_people_write_in_several_ways(tmp_path):
    """One patch needs no list, pairs are patches, blanks do not matter, and positions may be sexagesimal."""
    tracts = {8524: "3, 4", 8525: 39, 8526: [[3, 4], "5", 6], 8527: "ALL", 8528: ["3", "4"]}
    survey = load_survey(write(tmp_path, tracts=tracts))
    assert survey.tracts == {8524: ("3,4",), 8525: (39,), 8526: ("3,4", "5", 6), 8527: "all", 8528: ("3", "4")}
    assert [patch.id for patch in survey_patches(survey, "8528")] == [3, 4]
    single = {"kind": "single", "name": "s", "shape": [100, 120], "centre": ["02:18:00", "-00:30:36"]}
    survey = load_survey(write(tmp_path, sky_map=single, tracts={0: 0}))
    assert survey.sky_map.centre == pytest.approx((34.5, -0.51))
    single["centre"] = [34.5, -0.51]
    assert load_survey(write(tmp_path, sky_map=single, tracts={0: [0]})).sky_map.centre == (34.5, -0.51)


def test_all_wrong_keys_are_named_at_once(tmp_path):
    """A file with two mistakes is told of both."""
    with pytest.raises(SurveyError) as error:
        load_survey(write(tmp_path, **{"vista.bands": ["K"], "sky_map.num_rings": 0}))
    assert "vista.bands" in str(error.value)
    assert "sky_map.num_rings" in str(error.value)


def test_files_that_are_not_surveys(tmp_path):
    """Unknown names list the known ones; missing files, broken YAML and lists are told apart."""
    with pytest.raises(SurveyError, match=r"no survey 'vidio'.*choose from .*video"):
        load_survey("vidio")
    with pytest.raises(SurveyError, match=r"no survey file 'none/such\.yaml'"):
        load_survey("none/such.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("name: [unclosed")
    with pytest.raises(SurveyError, match="is not YAML"):
        load_survey(str(path))
    path.write_text("- a list")
    with pytest.raises(SurveyError, match="must hold keys and values, not list"):
        load_survey(str(path))


def test_tracts_can_be_chosen(tmp_path):
    """Tracts named on the command line are kept, in order; one that the survey lacks is an error that lists them."""
    survey = load_survey(write(tmp_path, tracts={8525: ["4,4", 3], 8524: ["1,1"]}))
    assert [(patch.tract.id, patch.id) for patch in survey_patches(survey)] == [(8524, 10), (8525, 3), (8525, 40)]
    assert [(patch.tract.id, patch.id) for patch in survey_patches(survey, "8525")] == [(8525, 3), (8525, 40)]
    with pytest.raises(ValueError, match="has no tract 9; choose from 8524, 8525"):
        survey_patches(survey, "8525 9")


def test_folders(tmp_path):
    """Data folders are made when asked for, below a stage each; there is no stage 6."""
    folders = DataFolders("mine", tmp_path)
    assert folders[3] == tmp_path / "dmu3" / "data" / "mine"
    assert folders.runs(1).is_dir()
    assert folders.input_path("vista/a.fit") == tmp_path / "dmu0" / "data" / "mine" / "vista" / "a.fit"
    assert folders.input_path("/elsewhere/a.fit") == Path("/elsewhere/a.fit")
    for recorded in ("vista/a.fit", "/elsewhere/a.fit"):
        assert folders.recorded_path(folders.input_path(recorded)) == recorded
    with pytest.raises(ValueError, match="no stage dmu6"):
        folders[6]


def test_detection_bands(tmp_path):
    """By default all bands find objects; those of a list must be bands of the survey, or the key is named."""
    assert load_survey(write(tmp_path)).detection_bands == ()
    assert load_survey(write(tmp_path, detection_bands=["vh"])).detection_bands == ("vh",)
    with pytest.raises(SurveyError, match=r"detection_bands.*vz.*vh"):
        load_survey(write(tmp_path, detection_bands=["vh", "vz"]))
