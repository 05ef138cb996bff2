"""What went wrong with inputs in earlier runs (the numbers of the list of failures), made to happen, and its end."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from astro_metadata_translator import ObservationInfo
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from dmu0.files import paths
from dmu0.files.checksums import sha256
from dmu0.files.manifest import QUARANTINE, changed_inputs, check_inputs
from dmu0.surveys import Survey, load_survey
from dmu1.steps import make_inventory, make_selection
from obs_vista.headers import merged_header
from obs_vista.noise import NO_DATA_VARIANCE, pawprint_variance, predicted_sky_noise
from obs_vista.world_coordinates import icrs_wcs

SHAPES = {"v20091103_00354_st": (40, 50), "v20091103_00361_st": (47, 44), "v20091103_00368_st": (43, 52)}


@pytest.fixture
def make_survey(tmp_path, monkeypatch, write_casu, rng):
    """A function that makes a survey of three sound stacks with their maps, fetched (the default) or local."""
    root = tmp_path / "project"
    monkeypatch.setattr(Survey, "folders", property(lambda self: paths.DataFolders(self.name, root)))

    def make(source: str = "archive") -> Survey:
        content = {
            "name": "trial",
            "title": "Trial",
            "inputs": {"source": source} | ({"folder": "inputs"} if source == "local" else {}),
            "vista": {"bands": ["vh"], "stacks": ["vista/v*_st.fit"], "cuts": {"noise_ratio_range": None}},
            "sky_map": {"name": "hscPdr2"},
            "tracts": {8524: [41]},
        }
        (tmp_path / "trial.yaml").write_text(yaml.safe_dump(content))
        survey = load_survey(str(tmp_path / "trial.yaml"))
        folder = survey.input_folder / "vista"
        folder.mkdir(parents=True)
        for number, (name, shape) in enumerate(SHAPES.items()):
            images = {detector: rng.integers(8300, 8500, shape).astype(np.int32) for detector in (1, 2)}
            exposure = {"ESO__DET__EXP__NO": 12016 + 7 * number}
            write_casu(folder / f"{name}.fit", images, **exposure)
            maps = {detector: rng.integers(90, 110, shape).astype(np.int32) for detector in (1, 2)}
            write_casu(folder / f"{name}_conf.fit", maps, **exposure)
        return survey

    return make


def accepted(survey: Survey) -> tuple[dict[str, int], dict[str, str]]:
    """After checks, inventory and cuts: how many detectors of each stack are used, and a reason if not all."""
    check_inputs(survey)
    make_inventory(survey, workers=1)
    selected, _ = make_selection(survey)
    counts, reasons = {}, {}
    for row in selected:
        name = Path(row["path"]).name.removesuffix(".fit")
        counts[name] = counts.get(name, 0) + int(row["accepted"])
        if row["rejected_because"]:
            reasons[name] = str(row["rejected_because"])
    return counts, reasons


def test_three_sound_stacks(make_survey):
    """Without a fault all six detectors are used: the tests below differ from this by their fault alone."""
    counts, reasons = accepted(make_survey())
    assert counts == dict.fromkeys(SHAPES, 2)
    assert reasons == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><head><title>Service down</title></head></html>", "is a web page"),
        (b"", "is empty"),
        (None, "is truncated"),
        (b"\x89PNG" + bytes(4000), "is not FITS"),
    ],
)
def test_1_error_pages_saved_as_fits(make_survey, content, reason):
    """1: a page, nothing, half a file or another format under a stack's name: quarantined, never used, the rest is."""
    survey = make_survey()
    victim = survey.input_folder / "vista" / "v20091103_00361_st.fit"
    victim.write_bytes(victim.read_bytes()[:-4000] if content is None else content)
    manifest = check_inputs(survey)
    bad = manifest[manifest["state"] == "quarantined"]
    assert bad["path"].tolist() == ["vista/v20091103_00361_st.fit"]
    assert reason in bad["reason"][0]
    assert not victim.exists()
    counts, reasons = accepted(survey)
    assert counts == {"v20091103_00354_st": 2, "v20091103_00361_st": 0, "v20091103_00368_st": 2}
    assert reason in reasons["v20091103_00361_st"]


def test_2_bad_files_are_not_kept_for_good(make_survey):
    """2: a bad file gives way to a good one at the next fetch; checking twice changes nothing."""
    survey = make_survey()
    victim = survey.input_folder / "vista" / "v20091103_00361_st.fit"
    sound = victim.read_bytes()
    victim.write_bytes(sound[:5000])
    check_inputs(survey)
    assert (survey.folders[0] / QUARANTINE / "vista" / f"{victim.name}.reason").read_text().startswith("is truncated")
    victim.write_bytes(sound)
    first, second = check_inputs(survey), check_inputs(survey)
    assert set(first["state"]) == {"ok"}
    assert first["sha256"].tolist() == second["sha256"].tolist()


@pytest.mark.parametrize("fault", ["missing", "mis-sized", "one detector too few"])
def test_3_confidence_maps_missing_or_of_another_size(make_survey, write_casu, fault):
    """3: no map, or one that does not fit: those images are rejected with the reason, the others are used."""
    survey = make_survey()
    path = survey.input_folder / "vista" / "v20091103_00361_st_conf.fit"
    path.unlink()
    shapes = {"mis-sized": {1: (47, 44), 2: (48, 44)}, "one detector too few": {1: (47, 44)}}.get(fault)
    if shapes:
        write_casu(path, {detector: np.full(shape, 100, np.int32) for detector, shape in shapes.items()})
    counts, reasons = accepted(survey)
    print(reasons)
    assert counts["v20091103_00354_st"] == counts["v20091103_00368_st"] == 2
    assert counts["v20091103_00361_st"] == 0
    assert "confidence map" in reasons["v20091103_00361_st"]
    assert set(reasons) == {"v20091103_00361_st"}


def test_4_zero_confidence(make_survey):
    """4: pixels of zero confidence have no data, no weight and no NaN, and lie where they lie in the file."""
    survey = make_survey()
    path = survey.input_folder / "vista" / "v20091103_00361_st"
    with fits.open(f"{path}.fit") as images, fits.open(f"{path}_conf.fit") as maps:
        confidence = maps[1].data.copy()
        confidence[:6, 30:] = 0
        header = merged_header(images[0].header, images[1].header)
        variance, no_data = pawprint_variance(images[1].data, confidence, header, 1)
    assert np.isfinite(variance).all()
    assert (variance > 0).all()
    np.testing.assert_array_equal(no_data, confidence == 0)
    weight = 1 / variance
    assert weight[no_data].max() < 1e-9 * weight[~no_data].min()
    assert (variance[no_data] == np.float32(NO_DATA_VARIANCE)).all()


def test_5_number_of_integrations(make_survey):
    """5: NDIT counts: measured over predicted noise is 0.8 to 1.3 in H, and 2.4 times less without it."""
    survey = make_survey()
    with fits.open(survey.input_folder / "vista" / "v20091103_00354_st.fit") as hdus:
        header = merged_header(hdus[0].header, hdus[1].header)
    ratio = header["SKYNOISE"] / predicted_sky_noise(header, 1)
    print(f"measured / predicted {ratio:.2f} (limits 0.8 and 1.3)")
    assert 0.8 < ratio < 1.3
    header["ESO DET NDIT"] = 1
    assert header["SKYNOISE"] / predicted_sky_noise(header, 1) < 0.5


def test_6_duplicate_exposure_numbers(make_survey, write_casu, rng):
    """6: two stacks of one exposure: one is used, the other rejected by name of the first."""
    survey = make_survey()
    path = survey.input_folder / "vista" / "v20091103_00999_st"
    for name, low, high in ((f"{path}.fit", 8300, 8500), (f"{path}_conf.fit", 90, 110)):
        images = {detector: rng.integers(low, high, (40, 50)).astype(np.int32) for detector in (1, 2)}
        write_casu(Path(name), images, ESO__DET__EXP__NO=12016)
    counts, reasons = accepted(survey)
    assert sum(counts.values()) == 6
    assert len(reasons) == 1
    assert "12016" in next(iter(reasons.values()))


def test_18_originals_are_not_altered(make_survey):
    """18: inputs of others, reached by links, are not moved or changed by any step, good or bad."""
    survey = make_survey("local")
    folder = survey.input_folder / "vista"
    originals = survey.input_folder / "originals"
    originals.mkdir()
    for path in list(folder.iterdir()):
        path.rename(originals / path.name).chmod(0o444)
        path.symlink_to(originals / path.name)
    (originals / "v20091103_00361_st_conf.fit").chmod(0o644)
    (originals / "v20091103_00361_st_conf.fit").write_text("<html></html>")
    before = {path: (sha256(path), path.stat().st_mtime_ns) for path in originals.iterdir()}
    counts, reasons = accepted(survey)
    assert counts["v20091103_00354_st"] == 2
    assert set(reasons) == {"v20091103_00361_st"}
    assert {path: (sha256(path), path.stat().st_mtime_ns) for path in originals.iterdir()} == before
    assert changed_inputs(survey.folders) == []


@pytest.mark.parametrize(
    ("primary", "extension", "fk5"),
    [("FK5", "ICRS", False), ("FK5", None, True), ("ICRS", "FK5", True), (None, None, True)],
)
def test_20_frames_are_told_apart(make_survey, primary, extension, fk5):
    """20: RADECSYS in primary and extension, either, or neither but an equinox; PROJPn and PXSPACE cards: no 21 mas."""
    survey = make_survey()
    with fits.open(survey.input_folder / "vista" / "v20091103_00354_st.fit") as hdus:
        headers = [hdus[0].header, hdus[1].header]
    assert headers[1]["PROJP3"] == 44
    assert headers[1]["ESO DET CHIP PXSPACE"] == 2e-05
    for header, frame in zip(headers, (primary, extension), strict=True):
        header.remove("RADECSYS", ignore_missing=True)
        if frame is not None:
            header["RADECSYS"] = frame
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        position = icrs_wcs(merged_header(*headers)).pixel_to_world(0, 0)
        headers[1]["RADECSYS"] = "ICRS"
        unconverted = icrs_wcs(merged_header(*headers)).pixel_to_world(0, 0)
    expected = SkyCoord(unconverted.ra, unconverted.dec, frame="fk5").icrs if fk5 else unconverted
    assert position.separation(expected).mas < 0.01
    assert (position.separation(unconverted).mas > 10) == fk5


def test_21_any_size(make_survey):
    """21: stacks of different sizes are inventoried with their own."""
    survey = make_survey()
    check_inputs(survey)
    inventory = make_inventory(survey, workers=1)
    sizes = {Path(row["path"]).name.removesuffix(".fit"): (int(row["ny"]), int(row["nx"])) for row in inventory}
    assert sizes == SHAPES


def test_22_no_constants_for_what_headers_say(make_survey):
    """22: pressure, object and type are those of the header, not 985 hPa, the origin and science."""
    survey = make_survey()
    with fits.open(survey.input_folder / "vista" / "v20091103_00354_st.fit") as hdus:
        header = merged_header(hdus[0].header, hdus[1].header)
    header["ORIGIN"] = "ESO"
    header["OBJECT"] = "XMM-1"
    header["ESO DPR TYPE"] = "DARK"
    info = ObservationInfo(header, pedantic=True, translator_class=_translator())
    assert info.pressure.to_value("hPa") == 741.3
    assert info.object == "XMM-1"
    assert info.observation_type == "dark"


def _translator() -> type:
    from obs_vista import VircamTranslator

    return VircamTranslator


def test_states_add_up(make_survey, write_casu):
    """With several faults at once every file still has exactly one state, and the counts add up."""
    survey = make_survey()
    folder = survey.input_folder / "vista"
    (folder / "v20091103_00354_st.fit").write_bytes(b"")
    (folder / "v20091103_00361_st_conf.fit").unlink()
    write_casu(folder / "v1_st.fit", {1: np.full((40, 50), np.nan, np.float32)})
    manifest: Table = check_inputs(survey)
    states = dict(zip(manifest["path"].tolist(), manifest["state"].tolist(), strict=True))
    assert len(states) == len(manifest)
    assert sorted(states.values()).count("ok") == 4
    assert all(bool(row["reason"]) == (row["state"] != "ok") for row in manifest)
