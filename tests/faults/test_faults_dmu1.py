"""What went wrong before in summaries, made to happen: the whole of dmu1 on a folder of real and bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from dmu0.files.manifest import check_inputs
from dmu0.files.paths import DataFolders
from dmu0.files.tables import read_table
from dmu0.sky.skymap import RingsSkyMap, survey_patches
from dmu0.surveys import Survey, load_survey
from dmu1.steps import make_coverage, make_inventory, make_maps, make_selection

CENTRE = RingsSkyMap(name="rings", patch_inner=800, patch_border=50).tract(8524).patch("22,22").center
PRIMARY = {"INSTRUME": "VIRCAM", "RADECSYS": "FK5", "EQUINOX": 2000.0, "MJD-OBS": 55139.25, "ESO DET NDIT": 6}
PRIMARY |= {"EXPTIME": 10.0, "ESO DET DIT": 10.0, "OBSTATUS": "Completed", "ESOGRADE": "A", "FILTER": "H"}
EXTENSION = {"RADECSYS": "ICRS", "CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "CD1_1": -9.48e-5, "CD2_2": 9.48e-5}
EXTENSION |= {"CD1_2": 0.0, "CD2_1": 0.0, "PV2_1": 1.0, "PV2_3": 44.0, "PV2_5": -10300.0, "NICOMB": 7, "SKYSUB": "x"}
EXTENSION |= {"SEEING": 2.2, "ELLIPTIC": 0.05, "MAGZPT": 23.85, "MAGZRR": 0.01, "SKYLEVEL": 8400.0, "SKYNOISE": 8.8}


def write_stack(path: Path, exposure: int, *, side: int = 200, confidence: bool = True, **cards: object) -> None:
    """A stack of two detectors that look at the middle of a patch, with its confidence map."""
    rng = np.random.default_rng(exposure)
    for what in (path, path.with_name(f"{path.stem}_conf.fit"))[: 1 + confidence]:
        hdus = fits.HDUList([fits.PrimaryHDU()])
        _set(hdus[0].header, PRIMARY)
        for chip in (5, 6):
            flat = np.full((side, side), 100, np.int16)
            pixels = flat if what is not path else rng.normal(8400, 8.8, (side, side)).astype(np.float32)
            hdu = fits.CompImageHDU(pixels, compression_type="RICE_1", name=f"DET1.CHIP{chip}")
            place = {"CRVAL1": CENTRE.ra.deg, "CRVAL2": CENTRE.dec.deg, "CRPIX1": (chip - 5) * side, "CRPIX2": side / 2}
            _set(hdu.header, EXTENSION | place | {"ESO DET CHIP NO": chip, "ESO DET EXP NO": exposure} | cards)
            hdus.append(hdu)
        hdus.writeto(what)


def _set(header: fits.Header, cards: dict[str, object]) -> None:
    for keyword, value in cards.items():
        header[f"HIERARCH {keyword}" if len(keyword) > 8 else keyword] = value


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Survey, Table, Table]]:
    """Runs the checks of dmu0 and all of dmu1 on the files in ``images``; gives survey, selection and cuts."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path)))
    (tmp_path / "images").mkdir()
    content = {
        "name": "faulty",
        "title": "Stacks with faults",
        "inputs": {"source": "local", "folder": "images"},
        "vista": {"bands": ["vh"], "stacks": ["v*_st.fit"]},
        "sky_map": {"name": "rings", "patch_inner": 800, "patch_border": 50},
        "tracts": {8524: ["22,22", "23,22"]},
    }

    def go() -> tuple[Survey, Table, Table]:
        (tmp_path / "faulty.yaml").write_text(yaml.safe_dump(content))
        survey = load_survey(str(tmp_path / "faulty.yaml"))
        check_inputs(survey)
        make_inventory(survey)
        selected, cuts = make_selection(survey)
        coverage = make_coverage(survey)
        make_maps(survey, coverage)
        return survey, selected, cuts

    return go


def states(selected: Table) -> dict[str, tuple[bool, str]]:
    """File -> whether its first row was accepted, and why not."""
    return {
        Path(row["path"]).name: (bool(row["accepted"]), str(row["rejected_because"]))
        for row in reversed(list(selected))
    }


def test_duplicate_exposure_numbers(run, tmp_path):
    """Failure 6: two stacks with one EXP NO. One is used, the other says which, and its pixels reach no job."""
    write_stack(tmp_path / "images" / "v20140909_00671_st.fit", 27525)
    write_stack(tmp_path / "images" / "v20140909_00999_st.fit", 27525)
    write_stack(tmp_path / "images" / "v20151209_00132_st.fit", 226515)
    survey, selected, cuts = run()
    found = states(selected)
    assert found["v20140909_00671_st.fit"][0]
    assert "duplicate of exposure 27525" in found["v20140909_00999_st.fit"][1]
    assert cuts[cuts["cut"] == "duplicates"]["n_first"][0] == 2
    coverage = read_table(survey.folders[1] / "coverage.parquet")
    assert {Path(path).name for path in coverage["path"]} == {"v20140909_00671_st.fit", "v20151209_00132_st.fit"}


def test_counts_are_those_of_the_manifest(run, tmp_path):
    """Failure 16: stray copies and half-written files beside the inputs are counted nowhere."""
    write_stack(tmp_path / "images" / "v1_st.fit", 1)
    write_stack(tmp_path / "images" / "v2_st.fit", 2)
    survey, selected, _ = run()
    for stray in ("v1_st.fit.part", "copy_of_v1_st.fit", "v1_st (1).fit"):
        (tmp_path / "images" / stray).write_bytes((tmp_path / "images" / "v1_st.fit").read_bytes())
    (survey.folders[1] / "old").mkdir()
    (survey.folders[1] / "old" / "jobs.parquet").write_bytes((survey.folders[1] / "jobs.parquet").read_bytes())
    _, again, _ = run()
    assert len(again) == len(selected) == 4
    jobs = read_table(survey.folders[1] / "jobs.parquet")
    coverage = read_table(survey.folders[1] / "coverage.parquet")
    assert jobs["n_images"].sum() == len(coverage)
    assert len({(row["path"], row["hdu"], row["tract"], row["patch"]) for row in coverage}) == len(coverage)


def test_patches_of_two_digits(run, tmp_path):
    """Failure 17: "22,22" in the survey file is patch 924 in every table, and 924 is "22,22" again."""
    write_stack(tmp_path / "images" / "v1_st.fit", 1)
    survey, _, _ = run()
    judged = read_table(survey.folders[1] / "patches.parquet")
    names = [patch.name for patch in survey_patches(survey)]
    tract = survey_patches(survey)[0].tract
    assert [tract.patch(int(number)).name for number in judged["patch"]] == names == ["22,22", "23,22"]
    assert 924 in read_table(survey.folders[1] / "jobs.parquet")["patch"]
    assert {int(number) for number in read_table(survey.folders[1] / "coverage.parquet")["patch"]} <= {924, 925}


def test_frames_are_told_apart(run, tmp_path):
    """Failure 20: FK5 in the primary and ICRS in the extensions moves nothing; FK5 in the extensions is converted."""
    write_stack(tmp_path / "images" / "v1_st.fit", 1)
    write_stack(tmp_path / "images" / "v2_st.fit", 2, RADECSYS="FK5", EQUINOX=2000.0)
    write_stack(tmp_path / "images" / "v3_st.fit", 3, RADECSYS="GAPPT", EQUINOX=2009.8)
    cards = {"PROJP1": 1.0, "PROJP3": 44.0, "ESO DET CHIP PXSPACE": 2e-05}
    write_stack(tmp_path / "images" / "v4_st.fit", 4, **cards)
    _, selected, _ = run()
    by_name = {Path(row["path"]).name: row for row in selected if row["detector"] in (5, -1)}
    assert by_name["v4_st.fit"]["state"] == "ok"
    place = {name: SkyCoord(row["ra"], row["dec"], unit="deg") for name, row in by_name.items() if row["state"] == "ok"}
    assert place["v1_st.fit"].separation(place["v4_st.fit"]).mas < 1e-3
    x0, y0 = CENTRE.ra.deg, CENTRE.dec.deg
    as_icrs = SkyCoord(x0, y0, unit="deg", frame="fk5").icrs
    expected = as_icrs.separation(SkyCoord(x0, y0, unit="deg")).mas
    assert place["v2_st.fit"].separation(place["v1_st.fit"]).mas == pytest.approx(expected, abs=0.1)
    assert expected > 10
    assert by_name["v3_st.fit"]["state"] == "failed"
    assert "GAPPT" in by_name["v3_st.fit"]["reason"]


def test_any_size(run, tmp_path):
    """Failure 21: stacks of different sizes are all used, each with its own outline and area."""
    for number, side in enumerate((180, 200, 231), start=1):
        write_stack(tmp_path / "images" / f"v{number}_st.fit", number, side=side)
    survey, selected, _ = run()
    assert selected["accepted"].all()
    assert sorted(set(selected["nx"])) == [180, 200, 231]
    coverage = read_table(survey.folders[1] / "coverage.parquet")
    patch = survey_patches(survey)[0]
    area = {}
    for row in coverage[coverage["detector"] == 6]:
        area[int(row["exposure"])] = area.get(int(row["exposure"]), 0) + row["overlap"] * patch.outer_bbox.area
    assert area[2] / area[1] == pytest.approx((200 / 180) ** 2, rel=0.02)


def test_missing_confidence_map(run, tmp_path):
    """Failure 3: a stack without its confidence map is left out with that reason, and the others go on."""
    write_stack(tmp_path / "images" / "v1_st.fit", 1, confidence=False)
    write_stack(tmp_path / "images" / "v2_st.fit", 2)
    _, selected, cuts = run()
    found = states(selected)
    assert found["v2_st.fit"] == (True, "")
    assert "confidence map" in found["v1_st.fit"][1]
    assert cuts[cuts["cut"] == "confidence map"]["n_first"][0] == 2


def test_error_page_among_the_stacks(run, tmp_path):
    """Failures 1 and 15: an HTML page and a truncated stack are rows with reasons; what is good is used."""
    write_stack(tmp_path / "images" / "v1_st.fit", 1)
    (tmp_path / "images" / "v2_st.fit").write_text("<!DOCTYPE html><html>Service down</html>")
    write_stack(tmp_path / "images" / "v3_st.fit", 3)
    whole = (tmp_path / "images" / "v3_st.fit").read_bytes()
    (tmp_path / "images" / "v3_st.fit").write_bytes(whole[: len(whole) // 2])
    survey, selected, cuts = run()
    found = states(selected)
    assert found["v1_st.fit"] == (True, "")
    assert not found["v2_st.fit"][0]
    assert "web page" in found["v2_st.fit"][1]
    assert not found["v3_st.fit"][0]
    assert found["v3_st.fit"][1].startswith("not read: ")
    assert cuts["n_first"].sum() + selected["accepted"].sum() == len(selected)
    assert max(read_table(survey.folders[1] / "jobs.parquet")["n_images"]) == 2  # the detectors of the good stack


def test_nothing_usable(run, tmp_path):
    """With every stack aborted, all products are there, empty, and every patch says why it is skipped."""
    write_stack(tmp_path / "images" / "v1_st.fit", 1, OBSTATUS="Aborted")
    survey, selected, _ = run()
    assert not selected["accepted"].any()
    for name in ("coverage", "jobs"):
        assert len(read_table(survey.folders[1] / f"{name}.parquet")) == 0
    judged = read_table(survey.folders[1] / "patches.parquet")
    assert set(judged["reason"]) == {"no VISTA images"}
