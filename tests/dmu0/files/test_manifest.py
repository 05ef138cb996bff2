"""The manifest: every input once, in one state, with a reason; bad files out of the way, good ones untouched."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from dmu0.files import paths
from dmu0.files.checksums import sha256
from dmu0.files.coadd_files import fill_pattern
from dmu0.files.expected import confidence_path, find_inputs
from dmu0.files.integrity import check_file
from dmu0.files.manifest import (
    COLUMNS,
    QUARANTINE,
    changed_inputs,
    check_inputs,
    count_states,
    quarantine,
    read_manifest,
)
from dmu0.surveys import Survey, load_survey

STACKS = ("v20091103_00354_st", "v20091103_00361_st")


@pytest.fixture
def make_survey(tmp_path, monkeypatch):
    """A function that makes a survey whose data folders are in a temporary place."""
    root = tmp_path / "project"
    monkeypatch.setattr(Survey, "folders", property(lambda self: paths.DataFolders(self.name, root)))

    def make(source: str = "archive", **changes: object) -> Survey:
        content = {
            "name": "trial",
            "title": "Trial",
            "inputs": {"source": source} | ({"folder": "inputs"} if source == "local" else {}),
            "vista": {"bands": ["vh"], "stacks": ["vista/v*_st.fit", "vista/*"]},
            "optical": {
                "kind": "hsc",
                "bands": ["i"],
                "coadds": {"default": "hsc/{filter}/{tract}/{patch_x},{patch_y}.fits"},
            },
            "sky_map": {"name": "hscPdr2"},
            "tracts": {8524: ["5,4", 42]},
            "references": {"ps1": "catalogues/ps1_*.fits"},
        }
        path = tmp_path / "trial.yaml"
        path.write_text(yaml.safe_dump(content | changes))
        return load_survey(str(path))

    return make


@pytest.fixture
def fill(write_casu, rng):
    """A function that puts sound inputs of a survey into place."""

    def run(survey: Survey) -> Path:
        folder = survey.input_folder
        for name in ("vista", "catalogues", "hsc/HSC-I2/8524"):
            (folder / name).mkdir(parents=True)
        for stack in STACKS:
            images = {number: rng.integers(8000, 8800, (40, 50)).astype(np.int32) for number in (1, 2)}
            write_casu(folder / f"vista/{stack}.fit", images)
            write_casu(
                folder / f"vista/{stack}_conf.fit",
                {number: 100 + image % 7 for number, image in images.items()},
            )
        Table({"ra": [34.0], "dec": [-5.0]}).write(folder / "catalogues/ps1_1.fits")
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 34.0, "CRVAL2": -5.0})
        header.update({"CRPIX1": 1.0, "CRPIX2": 1.0, "CD1_1": -4.67e-5, "CD2_2": 4.67e-5})
        fits.ImageHDU(rng.normal(size=(30, 30)), header).writeto(folder / "hsc/HSC-I2/8524/5,4.fits")
        return folder

    return run


def states(manifest: Table) -> dict[str, str]:
    """File name -> state."""
    return {Path(row["path"]).name: str(row["state"]) for row in manifest}


def test_every_input_once(make_survey, fill):
    """Overlapping patterns and links count a file once; maps are no stacks; both forms of patch, both filter names."""
    survey = make_survey()
    folder = fill(survey)
    (folder / "vista" / "v20091103_00999_st.fit").symlink_to(folder / "vista" / f"{STACKS[0]}.fit")
    inputs = find_inputs(survey)
    assert len({item.path.resolve() for item in inputs}) == len(inputs)
    kinds = [item.kind for item in inputs]
    assert (kinds.count("vista_stack"), kinds.count("ps1"), kinds.count("optical_coadd")) == (2, 1, 2)
    coadds = {item.patch: item for item in inputs if item.kind == "optical_coadd"}
    assert {(item.tract, item.band) for item in coadds.values()} == {(8524, "i")}
    assert coadds[41].path == folder / "hsc/HSC-I2/8524/5,4.fits"
    assert coadds[42].path == folder / "hsc/HSC-I/8524/6,4.fits"


def test_states_add_up(make_survey, fill):
    """Sound files are ok, what is not there is missing, all are counted, and the manifest is read back as written."""
    survey = make_survey()
    fill(survey)
    manifest = check_inputs(survey)
    assert manifest.colnames == [column[0] for column in COLUMNS]
    assert states(manifest) == {
        **{f"{stack}{end}.fit": "ok" for stack in STACKS for end in ("", "_conf")},
        "ps1_1.fits": "ok",
        "5,4.fits": "ok",
        "6,4.fits": "missing",
    }
    counts = count_states(manifest)
    assert sum(counts[state].sum() for state in ("ok", "quarantined", "missing")) == len(manifest)
    again = read_manifest(survey.folders)
    assert all((again[name] == manifest[name]).all() for name in manifest.colnames)
    assert again["bytes"].unit == "byte"
    row = again[again["kind"] == "ps1"][0]
    assert row["path"] == "catalogues/ps1_1.fits"
    assert sha256(survey.folders.input_path(row["path"])) == row["sha256"]


def test_bad_files_are_quarantined_until_replaced(make_survey, fill):
    """A web page is moved away with its reason, stays on record, and is forgotten when a sound file is there again."""
    survey = make_survey()
    folder = fill(survey)
    victim = folder / f"vista/{STACKS[0]}.fit"
    sound = victim.read_bytes()
    victim.write_text("<html><title>Down</title></html>")
    for _ in range(2):
        manifest = check_inputs(survey)
        assert states(manifest)[victim.name] == "quarantined"
        assert manifest["reason"][manifest["path"] == f"vista/{victim.name}"][0] == 'is a web page, not data ("down")'
    assert not victim.exists()
    moved = folder / QUARANTINE / "vista" / victim.name
    assert moved.with_name(moved.name + ".reason").read_text().startswith("is a web page")
    assert states(manifest)[f"{STACKS[1]}.fit"] == "ok"
    victim.write_bytes(sound)
    assert states(check_inputs(survey))[victim.name] == "ok"


def test_missing_quarantined_coadd_has_one_row(make_survey, fill):
    """A coadd in quarantine is quarantined, and not missing as well."""
    survey = make_survey()
    folder = fill(survey)
    (folder / "hsc/HSC-I2/8524/5,4.fits").write_bytes(b"")
    check_inputs(survey)
    manifest = check_inputs(survey)
    rows = manifest[(manifest["kind"] == "optical_coadd") & (manifest["patch"] == 41)]
    assert "quarantined" in rows["state"]
    assert len(set(manifest["path"])) == len(manifest)


def test_local_inputs_stay_where_they_are(make_survey, fill):
    """Files of others are judged, not moved or changed."""
    survey = make_survey("local")
    folder = fill(survey)
    victim = folder / f"vista/{STACKS[0]}.fit"
    victim.write_bytes(victim.read_bytes()[:6000])
    before = {path: sha256(path) for path in folder.rglob("*") if path.is_file()}
    manifest = check_inputs(survey)
    assert states(manifest)[victim.name] == "quarantined"
    assert {path: sha256(path) for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(ValueError, match="not ours"):
        quarantine(survey.folders, victim, "no reason", kind="vista_stack")


def test_map_of_another_size_is_quarantined(make_survey, fill, write_casu):
    """A map that does not fit is set aside with the sizes; its stack is not."""
    survey = make_survey("local")
    folder = fill(survey)
    path = folder / f"vista/{STACKS[0]}_conf.fit"
    path.unlink()
    write_casu(path, {1: np.full((40, 50), 100, np.int32), 2: np.full((41, 50), 100, np.int32)})
    manifest = check_inputs(survey)
    assert states(manifest)[path.name] == "quarantined"
    assert states(manifest)[f"{STACKS[0]}.fit"] == "ok"
    assert "50 x 41 px" in manifest["reason"][manifest["state"] == "quarantined"][0]


def test_missing_map_is_named(make_survey, fill):
    """A stack without its map shows as a missing map."""
    survey = make_survey()
    folder = fill(survey)
    (folder / f"vista/{STACKS[0]}_conf.fit").unlink()
    assert states(check_inputs(survey))[f"{STACKS[0]}_conf.fit"] == "missing"


def test_unchanged_files_are_not_read_again(make_survey, fill, monkeypatch):
    """The second run reads nothing; a changed file alone is read."""
    survey = make_survey()
    folder = fill(survey)
    time.sleep(0.05)
    check_inputs(survey)
    read = []
    monkeypatch.setattr("dmu0.files.manifest.sha256", lambda path: read.append(path.name) or "x")
    check_inputs(survey)
    assert read == []
    path = folder / "catalogues/ps1_1.fits"
    Table({"ra": [34.0, 35.0], "dec": [-5.0, -5.0]}).write(path, overwrite=True)
    check_inputs(survey)
    assert read == ["ps1_1.fits"]


def test_processes_and_progress_give_the_same(make_survey, fill):
    """Two processes and a progress wrapper give the rows of one process."""
    survey = make_survey("local")
    fill(survey)
    seen = []

    def progress(rows, total):
        for row in rows:
            seen.append(total)
            yield row

    first = check_inputs(survey, progress)
    (survey.folders[0] / "manifest.parquet").unlink()
    second = check_inputs(survey, workers=2)
    assert seen == [len(first)] * len(first)
    assert all((first[name] == second[name]).all() for name in first.colnames)


def test_changed_inputs_are_noticed(make_survey, fill):
    """An input whose content changed after the check is named."""
    survey = make_survey("local")
    folder = fill(survey)
    check_inputs(survey)
    assert changed_inputs(survey.folders) == []
    path = folder / "catalogues/ps1_1.fits"
    path.write_bytes(path.read_bytes().replace(b"TTYPE1", b"TTYPE9"))
    assert [Path(name).name for name in changed_inputs(survey.folders)] == ["ps1_1.fits"]


def test_no_manifest_says_what_to_run(make_survey):
    """Reading a manifest that is not there names the notebook that makes it."""
    with pytest.raises(FileNotFoundError, match="2_Check_inputs"):
        read_manifest(make_survey().folders)


def test_patterns_and_names(make_survey):
    """Placeholders are filled in, unknown ones named; maps are beside their stacks, compressed or not."""
    survey = make_survey()
    assert fill_pattern("{band}/{filter}", band="vk", filter_name="Ks") == "vk/Ks"
    with pytest.raises(KeyError, match="night"):
        fill_pattern("{night}", band="vk", filter_name="Ks")
    assert confidence_path(survey, Path("a/v.1_st.fit")) == Path("a/v.1_st_conf.fit")
    assert confidence_path(survey, Path("a/v_st.fits.fz")) == Path("a/v_st_conf.fits.fz")


def test_empty_survey(make_survey):
    """No files at all give a manifest of what is missing, and no error."""
    survey = make_survey(optical=None)
    assert len(check_inputs(survey)) == 0
    assert len(read_manifest(survey.folders)) == 0


def test_a_replaced_input_is_checked_again(make_survey, fill):
    """A file replaced by another of the same name, size and date has its own checksum, and its own state."""
    survey = make_survey("local")
    folder = fill(survey)
    path = folder / "catalogues/ps1_1.fits"
    time.sleep(0.05)
    before = check_inputs(survey)
    when, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"'ra      '", b"'rb      '"))
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
    after = check_inputs(survey)
    row = before["kind"] == "ps1"
    assert before["bytes"][row] == after["bytes"][row]
    assert before["sha256"][row] != after["sha256"][row]
    assert after["state"][row].tolist() == ["quarantined"]
    assert "has no positions" in after["reason"][row][0]


@pytest.mark.parametrize("source", ["local", "archive"])
def test_whatever_is_under_a_name(make_survey, fill, source):
    """Folders, pipes, links that lead nowhere or to themselves, and odd names: one row each, and the others go on."""
    survey = make_survey(source)
    folder = fill(survey)
    catalogues = folder / "catalogues"
    (catalogues / "ps1_folder.fits").mkdir()
    os.mkfifo(catalogues / "ps1_pipe.fits")
    (catalogues / "ps1_lost.fits").symlink_to(folder / "nowhere.fits")
    (catalogues / "ps1_loop.fits").symlink_to(catalogues / "ps1_loop.fits")
    (catalogues / "ps1_two  blanks é星.fits").write_bytes((catalogues / "ps1_1.fits").read_bytes())
    odd = os.fsdecode(b"ps1_\xff.fits")
    (catalogues / odd).write_bytes((catalogues / "ps1_1.fits").read_bytes())
    (catalogues / "ps1_line\nbreak.fits").write_bytes((catalogues / "ps1_1.fits").read_bytes())
    manifest = check_inputs(survey)
    rows = {Path(row["path"]).name: (row["state"], row["reason"]) for row in manifest if row["kind"] == "ps1"}
    assert len(rows) == 8
    assert rows["ps1_1.fits"] == ("ok", "")
    assert rows["ps1_two  blanks é星.fits"] == ("ok", "")
    assert rows["ps1_folder.fits"] == ("quarantined", "is a folder, not a file")
    assert rows["ps1_pipe.fits"] == ("quarantined", "is a pipe, a socket or a device, not a file")
    assert rows["ps1_lost.fits"][0] == "missing"
    assert "nowhere.fits, which is not there" in rows["ps1_lost.fits"][1]
    assert rows["ps1_loop.fits"] == ("quarantined", "cannot be reached: Too many levels of symbolic links")
    assert all("rename it" in rows[name][1] for name in (r"ps1_\xff.fits", "ps1_line\nbreak.fits"))
    assert (catalogues / "ps1_folder.fits").is_dir(), "what cannot be read is not moved"
    assert (catalogues / odd).is_file()
    assert changed_inputs(survey.folders) == []


def test_no_permission_is_a_row(make_survey, fill, monkeypatch):
    """A file that may not be read, or whose folder may not be entered, is a row with the reason; it is not moved."""
    survey = make_survey()
    folder = fill(survey)
    opened, reached = Path.open, Path.stat

    def refuse(self: Path, *args: object, **options: object):
        if self.name == "ps1_1.fits":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, *args, **options)

    def hide(self: Path, *args: object, **options: object):
        if self.name == "5,4.fits":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return reached(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        patch.setattr(Path, "stat", hide)
        manifest = check_inputs(survey)
    reasons = {Path(row["path"]).name: (row["state"], row["reason"]) for row in manifest}
    assert reasons["ps1_1.fits"] == ("quarantined", "cannot be read: Permission denied")
    assert reasons["5,4.fits"] == ("quarantined", "cannot be reached: Permission denied")
    assert reasons[f"{STACKS[0]}.fit"] == ("ok", "")
    assert (folder / "catalogues/ps1_1.fits").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_no_permission_for_nobody():
    """The same with the rights of the system: a process without rights gets the reason, not an error."""
    # Not pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "secret.fits"
    fits.PrimaryHDU(np.arange(400.0).reshape(20, 20)).writeto(path)
    path.chmod(0)
    code = (
        "import os, sys; from pathlib import Path; from dmu0.files.expected import Input; "
        "from dmu0.files.manifest import _check, _Job; from dmu0.files.paths import DataFolders; "
        "folders = DataFolders('b28', Path(sys.argv[1])); folders[0]; os.setuid(65534); "
        "row = _check(_Job(Input(Path(sys.argv[2]), 'optical_coadd'), folders, True, None)); "
        "print(row['state'], row['reason'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder / "project"), str(path)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(paths.PROJECT)},
    )  # fmt: skip
    shutil.rmtree(folder)
    assert run.stdout.strip() == "quarantined cannot be read: Permission denied"


def test_a_file_that_changes_while_it_is_read(make_survey, fill, monkeypatch):
    """What is still being written has no state yet: a row that says so, and nothing is moved."""
    survey = make_survey()
    folder = fill(survey)

    def grow(path: Path, kind: str, **options: object) -> str:
        if path.name == "ps1_1.fits":
            with path.open("ab") as stream:
                stream.write(bytes(2880))
        return check_file(path, kind, **options)

    with monkeypatch.context() as patch:
        patch.setattr("dmu0.files.manifest.check_file", grow)
        manifest = check_inputs(survey)
    reasons = {Path(row["path"]).name: (row["state"], row["reason"]) for row in manifest}
    assert reasons["ps1_1.fits"][0] == "quarantined"
    assert "changed while it was read" in reasons["ps1_1.fits"][1]
    assert (folder / "catalogues/ps1_1.fits").is_file()
    with (folder / "catalogues/ps1_1.fits").open("ab") as stream:
        stream.truncate(stream.tell() - 2880)
    assert states(check_inputs(survey))["ps1_1.fits"] == "ok"
