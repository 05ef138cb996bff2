"""A whole survey from a local archive: planned, fetched in parallel, broken off, fetched again."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, DatasetType

from dmu0.archives import ArchiveError, Archives, Patience, fetch_inputs, make_plan
from dmu0.archives.fetch import download
from dmu0.archives.plan import Plan, Step
from dmu0.archives.vista import stack_path
from dmu0.archives.wanted import Request, tract_circle
from dmu0.files import paths
from dmu0.files.checksums import sha256
from dmu0.files.manifest import QUARANTINE, check_inputs
from dmu0.published.lsst_butler import find_coadds
from dmu0.surveys import Survey, SurveyError, load_survey

STACKS = ("v20091103_00354_st", "v20091103_00361_st", "v20091104_00100_st")
QUICK = Patience(attempts=3, first_delay=0.01, longest_delay=0.02, read_timeout=2, per_second=2000, workers=3)
CONE = "WHERE CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', {ra}, {dec}, {radius})) = 1"


def as_bytes(hdus: fits.HDUList) -> bytes:
    """A FITS file in memory."""
    stream = io.BytesIO()
    hdus.writeto(stream, checksum=True)
    return stream.getvalue()


@pytest.fixture
def survey(tmp_path, monkeypatch, local_archive, casu_files, rng) -> Survey:
    """A survey of one tract and two patches, all of whose archives are the local one."""
    root = tmp_path / "project"
    monkeypatch.setattr(Survey, "folders", property(lambda self: paths.DataFolders(self.name, root)))
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    base = local_archive.address
    _fill_archive(local_archive, casu_files, rng)
    query = {
        "vsa": "SELECT multiframeID, fileName, confidenceName FROM m WHERE f IN ({filters}) AND d < {dec} + {radius}",
        "vsa_files": f"{base}/vsa",
        "eso": f"SELECT access_url FROM ivoa.ObsCore {CONE}",
        "hsc": f"{base}/hsc/{{filter}}/{{tract}}/{{patch_x}},{{patch_y}}.fits",
        "hsc_psf": f"{base}/psf/{{band}}-{{ra}}-{{dec}}",
        **{name: f"SELECT ra, dec FROM {name} {CONE}" for name in ("ps1", "twomass", "gaia", "vista")},
        **{f"{name}_service": f"{base}/tap" for name in ("vsa", "eso", "ps1", "twomass", "gaia", "vista")},
    }
    content = {
        "name": "trial",
        "title": "Trial",
        "inputs": {"source": "archive", "query": query},
        "vista": {"bands": ["vh", "vk"], "stacks": ["vista/v*_st.fit"]},
        "optical": {
            "kind": "hsc",
            "bands": ["i"],
            "coadds": {"default": "hsc/{filter}/{tract}/{patch_x},{patch_y}.fits"},
            "psf_stamps": {"default": "hsc/{filter}/{tract}/psf-{patch_x},{patch_y}.fits"},
        },
        "sky_map": {"name": "hscPdr2"},
        "tracts": {8524: ["5,4", "6,4"]},
        "references": {name: f"catalogues/{name}_*.fits" for name in ("ps1", "twomass", "gaia", "vista")},
    }
    path = tmp_path / "trial.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_survey(str(path))


@pytest.fixture(scope="module")
def casu_files(tmp_path_factory, write_casu) -> dict[str, bytes]:
    """Three stacks with their maps, by name."""
    rng = np.random.default_rng(500)
    folder = tmp_path_factory.mktemp("casu")
    files = {}
    for stack in STACKS:
        images = {detector: rng.integers(8000, 8800, (40, 50)).astype(np.int32) for detector in (1, 2)}
        maps = {detector: 100 + image % 5 for detector, image in images.items()}
        for name, content in ((stack, images), (f"{stack}_conf", maps)):
            files[name] = write_casu(folder / f"{name}.fit", content).read_bytes()
    return files


def _fill_archive(archive, casu_files: dict[str, bytes], rng) -> None:
    """Three stacks with maps, one coadd of two, PSFs for both, and tables."""
    rows = []
    for number, stack in enumerate(STACKS):
        for name in (stack, f"{stack}_conf"):
            archive.files[f"/vsa?file=%2Fdisk1%2F{name}.fit&MFID={number}&rID=0"] = casu_files[name]
            archive.files[f"/eso/{name}.fits.fz"] = casu_files[name]
        rows.append((number, f"server:/disk1/{stack}.fit", f"server:/disk1/{stack}_conf.fit"))
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 34.0, "CRVAL2": -5.0})
    header.update({"CRPIX1": 1.0, "CRPIX2": 1.0, "CD1_1": -4.67e-5, "CD2_2": 4.67e-5})
    coadd = fits.HDUList([fits.PrimaryHDU(rng.normal(size=(30, 30)), header)])
    archive.files["/hsc/HSC-I/8524/5,4.fits"] = as_bytes(coadd)
    away = np.add.outer(np.square(np.arange(9) - 4), np.square(np.arange(9) - 4))
    psf = as_bytes(fits.HDUList([fits.PrimaryHDU(np.exp(-away / 4))]))

    class Files(dict):
        def get(self, path, default=None):
            return psf if path.startswith("/psf/i-3") else super().get(path, default)

    archive.files = Files(archive.files)
    stacks = Table(
        rows=[*rows, (9, "/disk1/v20091103_00999.fit", "/disk1/none.fit")],
        names=["multiframeID", "fileName", "confidenceName"],
    )
    sources = Table({"ra": [34.1, 34.2], "dec": [-5.0, -5.1]})
    products = Table({"access_url": [f"{archive.address}/links/{stack}" for stack in STACKS]})
    archive.tables = lambda query: stacks if "multiframeID" in query else products if "ObsCore" in query else sources


def states(report: Table) -> dict[str, str]:
    """Path -> state."""
    return dict(zip(report["path"].tolist(), report["state"].tolist(), strict=True))


EXPECTED = {
    **{f"vista/{stack}{end}.fit": "done" for stack in STACKS for end in ("", "_conf")},
    **{f"catalogues/{name}_8524.fits": "done" for name in ("ps1", "twomass", "gaia", "vista")},
    **{f"hsc/HSC-I/8524/psf-{patch}.fits": "done" for patch in ("5,4", "6,4")},
    "hsc/HSC-I/8524/5,4.fits": "done",
    "hsc/HSC-I/8524/6,4.fits": "absent",
}


def test_plan_first(survey, local_archive):
    """The plan says how many files and bytes there are, and fetches nothing."""
    plan = make_plan(Archives(survey, patience=QUICK))
    assert {step.request.path for step in plan.steps} == set(EXPECTED)
    assert plan.notes == []
    assert local_archive.asked == []
    summary = {(row["archive"], row["kind"]): row for row in plan.summary()}
    stacks = summary["vsa", "vista_stack"]
    assert (stacks["files"], stacks["present"], stacks["to_fetch"]) == (3, 0, 3)
    sizes = [
        len(local_archive.files[f"/vsa?file=%2Fdisk1%2F{name}.fit&MFID={number}&rID=0"])
        for number, name in enumerate(STACKS)
    ]
    assert stacks["bytes_to_fetch"] == sum(sizes)
    assert summary["ps1", "ps1"]["bytes_to_fetch"] == -1  # nobody knows before it is asked
    assert any("IN ('H', 'Ks')" in query for query in local_archive.queries)


def test_everything_is_fetched_once(survey, local_archive):
    """All that the archives have arrives, is sound for the manifest, and is not fetched again."""
    report = fetch_inputs(survey, progress=False, patience=QUICK)
    assert states(report) == EXPECTED
    manifest = check_inputs(survey)
    assert manifest["path"][manifest["state"] != "ok"].tolist() == ["hsc/HSC-I/8524/6,4.fits"]
    entries = [json.loads(line) for line in (survey.folders[0] / "downloads.jsonl").read_text().splitlines()]
    assert all(sha256(survey.folders[0] / entry["path"]) == entry["sha256"] for entry in entries)
    local_archive.asked.clear()
    again = states(fetch_inputs(survey, progress=False, patience=QUICK))
    assert {path: state for path, state in again.items() if state != "present"} == {"hsc/HSC-I/8524/6,4.fits": "absent"}
    assert [path for path, _ in local_archive.asked] == ["/hsc/HSC-I/8524/6,4.fits"]


def test_what_is_there_is_not_fetched(survey, local_archive):
    """Sound files that came another way are kept; bad ones go to quarantine and are fetched."""
    folder = survey.folders[0] / "vista"
    folder.mkdir()
    sound = local_archive.files[f"/vsa?file=%2Fdisk1%2F{STACKS[0]}.fit&MFID=0&rID=0"]
    (folder / f"{STACKS[0]}.fit").write_bytes(sound)
    (folder / f"{STACKS[1]}.fit").write_text("<html><title>Down</title></html>")
    report = states(fetch_inputs(survey, progress=False, patience=QUICK))
    assert report[f"vista/{STACKS[0]}.fit"] == "present"
    assert report[f"vista/{STACKS[1]}.fit"] == "done"
    assert (survey.folders[0] / QUARANTINE / "vista" / f"{STACKS[1]}.fit.reason").exists()


def test_one_bad_file_does_not_stop_the_others(survey, local_archive):
    """A file that never comes right has failed with its reason; everything else arrives; the next run gets it."""
    address = f"/vsa?file=%2Fdisk1%2F{STACKS[0]}.fit&MFID=0&rID=0"
    local_archive.faults[address] = ["damaged"] * 3
    report = fetch_inputs(survey, progress=False, patience=QUICK)
    failed = report[report["state"] == "failed"]
    assert failed["path"].tolist() == [f"vista/{STACKS[0]}.fit"]
    assert "after 3 attempts" in failed["reason"][0]
    assert (survey.folders[0] / QUARANTINE / "vista" / f"{STACKS[0]}.fit").exists()
    manifest = check_inputs(survey)
    assert manifest["path"][manifest["state"] == "quarantined"].tolist() == [f"vista/{STACKS[0]}.fit"]
    assert sum(report["state"] == "done") == len(EXPECTED) - 2
    assert states(fetch_inputs(survey, progress=False, patience=QUICK))[f"vista/{STACKS[0]}.fit"] == "done"


def test_expired_login_fails_one_archive_only(survey, local_archive):
    """When HSC refuses the login its files have failed, with what to do; all others arrive."""
    local_archive.faults["/hsc/HSC-I/8524/5,4.fits"] = ["401"] * 9
    report = fetch_inputs(survey, progress=False, patience=QUICK)
    failed = report[report["state"] == "failed"]
    assert set(failed["archive"]) == {"hsc"}
    assert all("HSC_SSP_USER" in reason for reason in failed["reason"] if "login" in reason)
    assert sum(report["state"] == "done") >= len(EXPECTED) - 2


def test_a_killed_run_is_continued(survey, local_archive, monkeypatch):
    """An interruption leaves whole files only; the next run fetches the rest, past a torn line of the ledger."""

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    local_archive.faults[f"/vsa?file=%2Fdisk1%2F{STACKS[0]}.fit&MFID=0&rID=0"] = ["truncated"] * 3
    monkeypatch.setattr("dmu0.archives.fetch.fetch_catalogue", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_inputs(survey, progress=False, patience=QUICK)
    monkeypatch.undo()
    root = survey.path.parent / "project"
    monkeypatch.setattr(Survey, "folders", property(lambda self: paths.DataFolders(self.name, root)))
    with (survey.folders[0] / "downloads.jsonl").open("a") as stream:
        stream.write('{"path": "vis')
    local_archive.faults.clear()
    report = states(fetch_inputs(survey, progress=False, patience=QUICK))
    assert set(report.values()) <= {"done", "present", "absent"}
    assert not list(survey.folders[0].rglob("*.part*"))


def test_eso_stands_in_for_vsa(survey, local_archive):
    """When VSA cannot be asked, ESO is: products by DataLink, science files and weight maps, named as VSA would."""
    for stack in STACKS:
        links = Table(
            {
                "ID": [stack] * 3,
                "access_url": [f"{local_archive.address}/eso/{stack}{end}.fits.fz" for end in ("", "_conf", "_x")],
                "semantics": ["#this", "#auxiliary", "#preview"],
                "eso_category": ["SCIENCE.MEFIMAGE", "ANCILLARY.WEIGHTMAP", "ANCILLARY.PREVIEW"],
                "eso_origfile": [f"{stack}.fits.fz", f"{stack}_conf.fits.fz", ""],
                "content_length": [1000, 500, 10],
            }
        )
        stream = io.BytesIO()
        links.write(stream, format="votable", tabledata_format="binary2")
        local_archive.files[f"/links/{stack}"] = (
            stream.getvalue()
            .replace(b"<RESOURCE", b'<RESOURCE type="results"', 1)
            .replace(b'type="results" type="results"', b'type="results"')
        )
    tables = local_archive.tables
    local_archive.tables = lambda query: None if "multiframeID" in query else tables(query)
    plan = make_plan(Archives(survey, patience=QUICK))
    assert [note[:4] for note in plan.notes] == ["vsa:"]
    stacks = [step for step in plan.steps if step.request.kind.startswith("vista_")]
    assert {step.request.path for step in stacks if step.request.archive == "eso"} == {
        f"vista/{stack}{end}.fit" for stack in STACKS for end in ("", "_conf")
    }
    report = fetch_inputs(survey, progress=False, patience=QUICK)
    assert sum((report["archive"] == "eso") & (report["state"] == "done")) == 6


def test_nothing_at_all_is_an_error(survey, local_archive):
    """If no archive can be asked, that is said, and no empty success reported."""
    local_archive.tables = lambda query: None
    content = yaml.safe_load(survey.path.read_text())
    content |= {"optical": None, "references": {}}
    survey.path.write_text(yaml.safe_dump(content))
    with pytest.raises(ArchiveError, match="Nothing could be planned"):
        fetch_inputs(load_survey(str(survey.path)), progress=False, patience=QUICK)


def test_two_processes_do_not_meet(survey):
    """A second fetch of the same survey is refused while the first runs."""
    import fcntl

    with (survey.folders[0] / ".fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ArchiveError, match="Another process"):
            fetch_inputs(survey, progress=False, patience=QUICK)


def test_wrong_placeholder_names_the_key(survey):
    """An unknown placeholder is an error of the survey file, with its key."""
    content = yaml.safe_load(survey.path.read_text())
    content["inputs"]["query"]["hsc"] += "{night}"
    survey.path.write_text(yaml.safe_dump(content))
    with pytest.raises(SurveyError, match=r"inputs\.query\.hsc.*night"):
        make_plan(Archives(load_survey(str(survey.path)), patience=QUICK))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/disk1/v20091103_00354_st.fit", "vista/v20091103_00354_st.fit"),
        ("v20091103_00354_st.fits.fz", "vista/v20091103_00354_st.fit"),
        ("v20091103_00354_st_tl.fit", None),
        ("v20091103_00354.fit", None),
    ],
)
def test_only_stacks_are_stacks(survey, name, expected):
    """The survey's patterns decide what a stack is; single exposures and tiles are left."""
    assert stack_path(survey, name) == expected


def test_shipped_surveys_fill_their_queries():
    """The queries of every shipped archive survey can be filled, and their circles hold their tracts."""
    for name in ("video", "viking", "vhs", "dp2_ecdfs", "dp2_xmm", "dp1_ecdfs"):
        survey = load_survey(name)
        archives = Archives(survey, str(next(iter(survey.tracts))), QUICK)
        (tract,) = archives.tract_list()
        _, dec, radius = tract_circle(tract)
        assert 0.9 < radius < 2.0
        known = [
            archive for archive in ("vsa", "eso", "ps1", "twomass", "gaia", "vista") if archive in archives.queries
        ]
        assert {"ps1", "twomass"} < {*known}
        for archive in known:
            for query in archives.cone_queries(archive, tract):
                assert "{" not in query
                assert f"{dec:.6f}" in query


def test_right_ascension_begins_anew(survey):
    """Boxes across 0 h are asked for from both sides; circles need not be."""

    class Tract:
        id = 1

        def __init__(self, ra: float) -> None:
            from astropy.coordinates import SkyCoord

            self.center = SkyCoord(ra, 0.0, unit="deg")
            self.corners = lambda: SkyCoord([ra - 0.8, ra + 0.8], [0.0, 0.0], unit="deg")

    content = yaml.safe_load(survey.path.read_text())
    content["inputs"]["query"]["vsa"] = "ra BETWEEN {ra} - {radius} AND {ra} + {radius}"
    survey.path.write_text(yaml.safe_dump(content))
    archives = Archives(load_survey(str(survey.path)), patience=QUICK)
    assert [len(archives.cone_queries("vsa", Tract(ra))) for ra in (0.2, 180.0, 359.9)] == [2, 1, 2]
    assert "360.200000" in archives.cone_queries("vsa", Tract(0.2))[1]
    assert len(archives.cone_queries("ps1", Tract(0.2))) == 1


def test_lsst_coadds_in_a_butler(survey, tmp_path):
    """The coadds of a Butler repository are listed, absent ones too, and none is copied."""
    repo = str(tmp_path / "repo")
    Butler.makeRepo(repo)
    content = yaml.safe_load(survey.path.read_text())
    content["optical"] = {"kind": "lsst", "bands": ["r", "i"], "butler": repo, "collection": "coadds"}
    survey.path.write_text(yaml.safe_dump(content))
    archives = Archives(load_survey(str(survey.path)), patience=QUICK)
    with pytest.raises(SurveyError, match=r"optical\.collection coadds"):
        find_coadds(archives.survey)
    with Butler.from_config(repo, writeable=True) as butler:
        butler.collections.register("coadds", CollectionType.RUN)
        registry = butler.registry
        registry.insertDimensionData(
            "skymap", {"name": "m", "hash": b"1", "tract_max": 9000, "patch_nx_max": 9, "patch_ny_max": 9}
        )
        registry.insertDimensionData("tract", {"skymap": "m", "id": 8524})
        registry.insertDimensionData("patch", {"skymap": "m", "tract": 8524, "id": 41, "cell_x": 5, "cell_y": 4})
        kind = DatasetType(
            "deep_coadd", ("skymap", "tract", "patch", "band"), "StructuredDataDict", universe=butler.dimensions
        )
        registry.registerDatasetType(kind)
        registry.insertDimensionData("instrument", {"name": "X", "detector_max": 1, "visit_max": 1, "exposure_max": 1})
        registry.insertDimensionData("physical_filter", {"instrument": "X", "name": "i", "band": "i"})
        butler.put({"a": 1}, kind, skymap="m", tract=8524, patch=41, band="i", run="coadds")
    found = find_coadds(archives.survey)
    assert {key for key, where in found.items() if where} == {(8524, 41, "i")}
    assert len(found) == 4
    steps = [step for step in make_plan(archives).steps if step.request.archive == "butler"]
    assert sorted(step.state for step in steps) == ["absent", "absent", "absent", "present"]


@pytest.mark.parametrize(
    "name", ["../../v1_st.fit", "/etc/v1_st.fit", "server:/d/../../v1_st.fits.fz", "vista/../../../v1_st.fit"]
)
def test_names_of_an_archive_stay_in_their_folder(survey: Survey, name: str) -> None:
    """Whatever folders an archive gives with the name of a file, it goes where the survey file says."""
    assert stack_path(survey, name) == "vista/v1_st.fit"
    for odd in ("..", "../..", "v1_st.fit/..", ".."):
        assert stack_path(survey, odd) is None


def test_a_path_outside_is_refused(survey: Survey, local_archive) -> None:
    """A file that would be written elsewhere, also by way of a link, fails and is not asked for."""
    local_archive.files["/evil.fits"] = b"SIMPLE  ="
    (survey.folders[0] / "link").symlink_to(survey.path.parent)
    steps = [
        Step(Request("hsc", "optical_coadd", path, f"{local_archive.address}/evil.fits"), "to fetch", 9)
        for path in ("../evil.fits", "hsc/../../../evil.fits", f"{survey.path.parent}/evil.fits", "link/evil.fits")
    ]
    archives = Archives(survey, patience=QUICK)
    report = download(archives, Plan(steps, []), progress=False)
    archives.close()
    assert list(report["state"]) == ["failed"] * 4
    assert all("would be written outside" in reason for reason in report["reason"])
    assert not local_archive.asked
    assert not list(survey.path.parent.rglob("evil.fits"))
