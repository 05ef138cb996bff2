"""What is known of a survey in the first second: tracts, patterns, files, zero points, whose name it has."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from dmu0.files import paths
from dmu0.sky.tract import tangent_wcs
from dmu0.surveys import Survey, SurveyError, load_survey
from dmu0.surveys.check import check_survey, survey_warnings
from dmu0.surveys.ownership import OWNER, claim_data_folders

HEAD = "name: mine\ntitle: t\ninputs: {source: local, folder: data}\n"
MAP = "sky_map: {name: hscPdr2}\ntracts: {8524: ['3,4']}\n"
OPTICAL = "optical: {kind: fits, bands: [g, r], coadds: {default: 'coadds/{band}_{tract}.fits'}}\n"


@pytest.fixture
def make(tmp_path):
    """A function that makes a survey file, with an input folder of some files beside it."""

    def run(text: str, *names: str, **cards: float) -> Survey:
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".fits" and "coadds" in name:
                fits.PrimaryHDU(np.zeros((9, 9), np.float32), fits.Header(cards)).writeto(path)
            else:
                Table({"ra": [1.0], "dec": [2.0]}).write(path)
        (tmp_path / "mine.yaml").write_text(text)
        return load_survey(str(tmp_path / "mine.yaml"))

    return run


def refusal(survey: Survey) -> str:
    """What is said of a survey that cannot be released."""
    with pytest.raises(SurveyError, match=r"cannot be released") as error:
        check_survey(survey)
    assert str(survey.path) in str(error.value)
    return str(error.value)


def test_a_sound_survey_passes(make):
    """Files and zero points are there: nothing is said."""
    text = HEAD + OPTICAL + MAP + "references: {ps1: 'cat/ps1_*.fits'}\n"
    survey = make(text, "coadds/g_8524.fits", "coadds/r_8524.fits", "cat/ps1_1.fits", MAGZERO=27.0)
    assert check_survey(survey) == []


@pytest.mark.parametrize(
    ("tracts", "key", "value"),
    [
        ("{99999999: all}", "tracts.99999999", "tracts are 0 to"),
        ("{8524: ['9,9']}", "tracts.8524", "no patch '9,9'"),
        ("{8524: [81]}", "tracts.8524", "no patch 81"),
    ],
)
def test_tracts_and_patches_of_the_sky_map(make, tracts, key, value):
    """Tracts and patches that the sky map does not have are named."""
    found = refusal(make(HEAD + OPTICAL + f"sky_map: {{name: hscPdr2}}\ntracts: {tracts}\n"))
    assert key in found
    assert value in found


def test_patterns(make):
    """A band without a pattern, and two bands with one file, are named before anything is looked for."""
    text = HEAD + "optical: {kind: fits, bands: [g, r], coadds: %s}\n" + MAP
    assert "no file pattern for r" in refusal(make(text % "{g: g.fits}"))
    assert "g and r have the same file 'x.fits'" in refusal(make(text % "{default: x.fits}"))
    found = refusal(make(HEAD + "vista: {bands: [vh]}\n" + MAP))
    assert "vista.stacks: no file pattern" in found


def test_missing_files_and_the_nearest_names(make):
    """A folder, a stack and a coadd that are not there are named with what is; references are only missed."""
    survey = make(HEAD + OPTICAL + MAP)
    assert "inputs.folder" in refusal(survey)
    survey = make(HEAD + "vista: {bands: [vh], stacks: ['vsita/v*_st.fit']}\n" + MAP, "vista/v1_st.fits")
    assert "matches vsita/v*_st.fit. Did you mean 'vista'?" in refusal(survey)
    text = HEAD + OPTICAL.replace("coadds/{band}", "coadds/{filter}") + MAP + "references: {gaia: 'gaia*.fits'}\n"
    survey = make(text, "coadds/g_8524.fits", "coadds/HSC-R_8524.fits", "gala.fits", FLUXMAG0=1e10)
    found = check_survey(survey)
    assert len(found) == 2
    assert "references.gaia: no file" in found[0]
    assert "Did you mean 'gala.fits'?" in found[0]
    assert "optical.coadds: g has no file" in found[1]


def test_half_of_a_band_and_promised_companions(make):
    """Some of a band's coadds, its PSF stamps: counted, with one that is not there; a half without any file stops."""
    text = HEAD + OPTICAL.replace("kind: fits,", "kind: fits, psf_stamps: {g: 'psf/{patch}.fits'},")
    text = text.replace("{band}_{tract}", "{band}_{patch}") + MAP.replace("['3,4']", "['3,4', '4,4']")
    survey = make(text, "coadds/g_39.fits", "coadds/r_39.fits", "coadds/r_40.fits", "psf/40.fits", MAGZERO=27.0)
    found = [line.removeprefix(f"{survey.path}: ") for line in check_survey(survey)]
    folder = survey.input_folder
    assert found[0].startswith(f"optical.coadds: g lacks 1 of 2 files: {folder}/coadds/g_40.fits is not there.")
    assert found[1].startswith(f"optical.psf_stamps: 1 of 2 files are not there, as {folder}/psf/39.fits: the PSF is")
    assert len(found) == 2
    assert not any(str(folder) in line for line in survey_warnings(survey)), "the page names no folder of the machine"
    assert survey_warnings(survey)[0].startswith("mine.yaml: optical.coadds: g lacks 1 of 2 files: coadds/g_40.fits")
    for path in (folder / "coadds").iterdir():
        path.unlink()
    both = refusal(survey)
    assert "optical.coadds: g has no file" in both
    assert "optical.coadds: r has no file" in both


def test_one_thing_that_is_wrong_is_one_line(make):
    """File, key, value and what to do stand in one line."""
    survey = make(HEAD + "vista: {bands: [vh], stacks: ['v*_st.fit']}\n" + MAP, "other.fits")
    assert refusal(survey) == (
        f"{survey.path} cannot be released: vista.stacks: no file in {survey.input_folder} matches v*_st.fit; "
        f"{survey.input_folder} holds other.fits"
    )


@pytest.mark.parametrize(("card", "said"), [({}, "no FLUXMAG0 and no MAGZERO"), ({"MAGZERO": 0.0}, "MAGZERO is 0")])
def test_zero_points_that_will_be_missing(make, card, said):
    """A coadd without a usable zero point stops at once, unless the survey file has it."""
    names = ("coadds/g_8524.fits", "coadds/r_8524.fits")
    found = refusal(make(HEAD + OPTICAL + MAP, *names, **card))
    assert "optical.zero_points: g" in found
    assert "optical.zero_points: r" in found
    assert said in found
    given = OPTICAL.replace("coadds:", "zero_points: {g: 30.0, r: 0.0}, coadds:")
    assert check_survey(make(HEAD + given + MAP)) == []


GRID = "sky_map: {kind: single, name: m, pixel_scale: 0.2, centre: [%s], shape: [150, 90]}\ntracts: {0: all}\n"
PLAIN = "optical: {kind: fits, bands: [g, r], coadds: {g: 'g*.fits', r: '%s'}}\n"


def write_image(folder, name: str, ra: float, dec: float) -> None:
    """An image of 90 x 150 px of 0.2 arcsec."""
    folder.mkdir(exist_ok=True)
    wcs = tangent_wcs(ra=ra, dec=dec, pixel_scale=0.2, x=45, y=75)
    header = wcs.to_header()
    header["MAGZERO"] = 27.0
    fits.PrimaryHDU(np.zeros((150, 90), np.float32), header).writeto(folder / name)


def test_a_file_of_two_bands(make, tmp_path):
    """Patterns that find one file for two bands stop the release, also through a link, with file and bands."""
    for name in ("g1.fits", "g2.fits"):
        write_image(tmp_path / "data", name, 0.001, 89.0)
    (tmp_path / "data" / "r.fits").symlink_to(tmp_path / "data" / "g2.fits")
    for pattern in ("*2.fits", "r.fits"):
        found = refusal(make(HEAD + PLAIN % pattern + GRID % "0, 89"))
        assert "optical.coadds:" in found
        assert "is found by the patterns of g and of r" in found


@pytest.mark.parametrize("maps", ["weights: {g: 'g1.fits'}", "variances: {g: 'r.fits'}"])
def test_an_image_is_no_map(make, tmp_path, maps):
    """An image that is given as the map of its own band or of another stops the release; neither loses its image."""
    for name in ("g1.fits", "r.fits"):
        write_image(tmp_path / "data", name, 10.0, 1.5)
    text = (PLAIN % "r.fits").replace("g*.fits", "g1.fits").replace("coadds:", f"{maps}, coadds:")
    found = refusal(make(HEAD + text + GRID % "10.0, 1.5"))
    assert f"optical.{maps.split(':')[0]}: {tmp_path}/data/{maps.split(chr(39))[1]} is the map of g here, and" in found


def test_bands_that_are_not_used(make, tmp_path):
    """Files and numbers of bands that are not listed are named; those of default are of any band."""
    for name in ("g1.fits", "r.fits"):
        write_image(tmp_path / "data", name, 10.0, 1.5)
    text = (PLAIN % "r.fits").replace("coadds:", "zero_points: {i: 27.0, g: 27.0}, coadds:")
    [found] = check_survey(make(HEAD + text + GRID % "10.0, 1.5"))
    assert found.endswith("optical.zero_points: i is not used, because bands has only g, r")


def test_links(make, tmp_path):
    """A link that leads to itself is a folder that is not there; one that leads nowhere says where."""
    write_image(tmp_path / "data", "g1.fits", 10.0, 1.5)
    (tmp_path / "data" / "r.fits").symlink_to("/nowhere/r.fits")
    [found] = check_survey(make(HEAD + PLAIN % "r.fits" + GRID % "10.0, 1.5"))
    assert found.endswith("data/r.fits is a link to /nowhere/r.fits, which is not there")
    (tmp_path / "loop").symlink_to("loop")
    survey = make(HEAD.replace("data", "loop") + PLAIN % "r.fits" + GRID % "10.0, 1.5")
    assert "inputs.folder: " in refusal(survey)


def test_images_elsewhere(make, tmp_path):
    """A band whose images are all beside the patches is warned of; if all bands are, the release stops."""
    folder = tmp_path / "data"
    for name, ra, dec in (("g1.fits", 359.999, 1.5), ("g2.fits", 180.0, 1.5), ("r.fits", 0.0, 1.51)):
        write_image(folder, name, ra, dec)
    survey = make(HEAD + PLAIN % "r.fits" + GRID % "0.002, 1.5")
    found = check_survey(survey)
    assert len(found) == 1
    assert "optical.coadds: r: none of its 1 images is at the patches" in found[0]
    assert "r.fits is at RA 0.0000, Dec +1.5100" in found[0].replace("RA 360.0000", "RA 0.0000")
    both = refusal(make(HEAD + PLAIN % "r.fits" + GRID % "00:08:00, 1.5"))
    assert "g: none of its 2 images" in both
    assert "r: none of its 1 images" in both
    (folder / "r.fits").unlink()
    fits.PrimaryHDU(np.zeros((150, 90), np.float32), fits.Header({"MAGZERO": 27.0})).writeto(folder / "r.fits")
    assert check_survey(make(HEAD + PLAIN % "r.fits" + GRID % "0.002, 1.5")) == []


def test_folders_are_no_files(make, tmp_path):
    """An empty pattern finds the folder itself, which is no coadd."""
    write_image(tmp_path / "data", "g1.fits", 10.0, 1.5)
    [found] = check_survey(make(HEAD + PLAIN % "" + GRID % "10.0, 1.5"))
    assert f"r has no file: {tmp_path}/data is a folder" in found


@pytest.mark.parametrize("key", ["folder: data", "g*.fits"])
def test_names_that_no_file_can_have(make, key):
    """A null character is refused with its line, as part of a folder or of a pattern."""
    text = HEAD + PLAIN % "r.fits" + GRID % "10.0, 1.5"
    wrong = text.replace(key, f'{key.split(":")[0]}: "a\\0b"' if ":" in key else "a").replace("'a'", '"a\\0b"')
    with pytest.raises(SurveyError, match=r"mine\.yaml line \d has the character .0 in 'a.x00b'"):
        make(wrong)


def test_a_name_is_of_one_file(make, tmp_path, monkeypatch):
    """Products of another survey file of this name are not overwritten; a file that was moved or renamed is let go."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: paths.DataFolders(self.name, tmp_path / "project")))
    survey = make(HEAD + OPTICAL + MAP)
    claim_data_folders(survey)
    claim_data_folders(survey)
    assert (survey.folders[0] / OWNER).read_text().strip() == str(survey.path)
    other = tmp_path / "other.yaml"
    other.write_text(survey.path.read_text())
    with pytest.raises(SurveyError, match=r"'mine' belongs to .*mine\.yaml"):
        claim_data_folders(load_survey(str(other)))
    survey.path.write_text(survey.path.read_text().replace("name: mine", "name: yours"))
    claim_data_folders(load_survey(str(other)))
    assert (survey.folders[0] / OWNER).read_text().strip() == str(other)
    other.rename(tmp_path / "third.yaml")
    claim_data_folders(load_survey(str(tmp_path / "third.yaml")))
