"""LSST coadds from a platform: found by TAP, addressed by DataLink, whole or cut out, with a token, failing often."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import yaml
from astropy.table import Table

from dmu0.archives import ArchiveError, Archives, Patience, fetch_inputs, make_plan
from dmu0.files import paths
from dmu0.files.manifest import check_inputs
from dmu0.published.coadds import read_coadd
from dmu0.surveys import Survey, load_survey
from tests.scenes.lsst_coadds import make_lsst_coadd

QUICK = Patience(attempts=3, first_delay=0.01, longest_delay=0.02, read_timeout=2, per_second=2000, workers=2)

LINKS = """<?xml version="1.0"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
<RESOURCE type="results"><TABLE>
<FIELD name="ID" datatype="char" arraysize="*" ucd="meta.id;meta.main"/>
<FIELD name="access_url" datatype="char" arraysize="*" ucd="meta.ref.url"/>
<FIELD name="service_def" datatype="char" arraysize="*" ucd="meta.ref"/>
<FIELD name="error_message" datatype="char" arraysize="*" ucd="meta.code.error"/>
<FIELD name="semantics" datatype="char" arraysize="*" ucd="meta.code"/>
<DATA><TABLEDATA>
<TR><TD>butler:{name}</TD><TD>{base}/files/{name}.jpg</TD><TD/><TD/><TD>#preview</TD></TR>
<TR><TD>butler:{name}</TD><TD>{base}/files/{name}.fits</TD><TD/><TD/><TD>#this</TD></TR>
{cutout}</TABLEDATA></DATA></TABLE></RESOURCE>
<RESOURCE type="meta" utype="adhoc:service" ID="cutout-sync">
<PARAM name="standardID" datatype="char" arraysize="*" value="ivo://ivoa.net/std/SODA#sync-1.0"/>
<PARAM name="accessURL" datatype="char" arraysize="*" value="{base}/cutout"/>
<GROUP name="inputParams">
<PARAM name="ID" datatype="char" arraysize="*" value="butler:{name}"/>
<PARAM name="POS" datatype="char" arraysize="*" value=""/>
</GROUP></RESOURCE></VOTABLE>"""
CUTOUT = "<TR><TD>butler:{name}</TD><TD/><TD>cutout-sync</TD><TD/><TD>#cutout</TD></TR>"


def links(base: str, name: str, *, cutout: bool = True) -> bytes:
    """What DataLink says of a coadd."""
    return LINKS.format(base=base, name=name, cutout=CUTOUT.format(name=name) if cutout else "").encode()


@pytest.fixture(scope="module")
def coadd_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A coadd as a file."""
    path = tmp_path_factory.mktemp("coadds") / "a.fits"
    make_lsst_coadd(np.random.default_rng(3)).write(str(path))
    return path.read_bytes()


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_archive, coadd_file: bytes) -> Survey:
    """Two patches of a survey in two bands, whose platform has i and r of one, and i of the other."""
    root = tmp_path / "project"
    monkeypatch.setattr(Survey, "folders", property(lambda self: paths.DataFolders(self.name, root)))
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    monkeypatch.setenv("RSP_TOKEN", "gt-secret")
    base = local_archive.address
    for name in ("43r", "43i", "44i"):
        local_archive.files[f"/links/{name}"] = links(base, name)
        local_archive.files[f"/files/{name}.fits"] = coadd_file

    def rows(query: str) -> Table:
        name = query.split("patch = ")[1].replace(" AND band = ", "").strip()
        found = [f"{base}/links/{name}"] if f"/links/{name}" in local_archive.files else []
        return Table({"access_url": np.array(found, "U99")})

    local_archive.tables = rows
    query = {"lsst": "SELECT access_url FROM o WHERE patch = {patch} AND band = {band}", "lsst_service": f"{base}/tap"}
    content = {
        "name": "platform",
        "title": "LSST",
        "inputs": {"source": "archive", "query": query},
        "optical": {"kind": "lsst", "bands": ["r", "i"], "coadds": {"default": "lsst/{tract}/{patch}/{band}.fits"}},
        "sky_map": {"kind": "cells", "name": "lsst_cells_v2"},
        "tracts": {9813: [43, 44]},
    }
    path = tmp_path / "platform.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_survey(str(path))


def with_query(survey: Survey, **queries: str) -> Survey:
    """The survey with other queries."""
    content = yaml.safe_load(survey.path.read_text())
    content["inputs"]["query"] |= queries
    survey.path.write_text(yaml.safe_dump(content))
    return load_survey(str(survey.path))


def states(report: Table) -> dict[str, str]:
    """Path -> state."""
    return dict(zip(report["path"].tolist(), report["state"].tolist(), strict=True))


ALL = {"lsst/9813/43/r.fits": "done", "lsst/9813/43/i.fits": "done", "lsst/9813/44/i.fits": "done"}


def test_coadds_come_with_the_token(survey: Survey, local_archive) -> None:
    """Each coadd that the platform has is fetched, checked and readable; the token goes with each request."""
    assert states(fetch_inputs(survey, progress=False, patience=QUICK)) == ALL
    assert local_archive.authorizations == {"Bearer gt-secret"}
    coadd = read_coadd(survey.folders[0] / "lsst/9813/43/r.fits")
    assert coadd.cells.stamps.shape[:2] == (22, 22)
    manifest = check_inputs(survey)
    assert [str(row["state"]) for row in manifest] == ["ok", "ok", "ok", "missing"]


def test_the_token_goes_to_the_platform_only(survey: Survey, local_archive) -> None:
    """A product on another host is fetched without the token; the signature in its address is not written down."""
    signed = local_archive.files["/files/43r.fits"]
    for name in ("43r", "43i", "44i"):
        text = local_archive.files[f"/links/{name}"].decode()
        away = local_archive.address.replace("127.0.0.1", "localhost")
        address = f"{away}/files/{name}.fits?part=1&amp;X-Goog-Signature=c0ffee"
        text = text.replace(f"{local_archive.address}/files/{name}.fits", address)
        local_archive.files[f"/links/{name}"] = text.encode()
        local_archive.files[f"/files/{name}.fits?part=1&X-Goog-Signature=c0ffee"] = signed
    assert states(fetch_inputs(survey, progress=False, patience=QUICK)) == ALL
    assert local_archive.logins == {("127.0.0.1", "Bearer gt-secret"), ("localhost", "")}
    noted = (survey.folders[0] / "downloads.jsonl").read_text()
    assert noted.count("fits?part=1&X-Goog-Signature=***") == 3
    assert "c0ffee" not in noted


def test_a_platform_that_fails(survey: Survey, local_archive) -> None:
    """Busy, dropped, cut short and damaged answers, of the list and of the file, are asked for again."""
    local_archive.faults = {
        "/tap/sync": ["503"],
        "/links/43r": ["500", "drop"],
        "/links/44i": ["page"],
        "/files/43r.fits": ["truncated", "503"],
        "/files/43i.fits": ["cut silently"],
        "/files/44i.fits": ["drop", "page as file"],
    }
    report = fetch_inputs(survey, progress=False, patience=QUICK)
    assert states(report) == ALL
    assert sorted(report["attempts"]) == [2, 3, 3]


@pytest.mark.parametrize("where", ["/links/43r", "/files/43r.fits"])
def test_an_expired_token_is_said(survey: Survey, local_archive, where: str, caplog) -> None:
    """A refused login names the host and the variable, and never the token."""
    local_archive.faults = {where: ["401"] * 9}
    try:
        said = " ".join(fetch_inputs(survey, progress=False, patience=QUICK)["reason"])
    except ArchiveError as error:
        said = str(error)
    said += caplog.text
    assert "set RSP_TOKEN" in said
    assert "gt-secret" not in said


def test_a_file_that_always_fails_stops_no_other(survey: Survey, local_archive) -> None:
    """One that is always cut short fails with a reason, after as many attempts as are allowed."""
    local_archive.faults = {"/files/43i.fits": ["cut silently"] * 9}
    report = fetch_inputs(survey, progress=False, patience=QUICK)
    assert states(report) == ALL | {"lsst/9813/43/i.fits": "failed"}
    (bad,) = [row for row in report if row["state"] == "failed"]
    assert "(after 3 attempts)" in bad["reason"]


def test_cutouts(survey: Survey, local_archive, coadd_file: bytes) -> None:
    """With a region in the survey file, the cutout service that DataLink names is asked for it, with ID and POS."""
    survey = with_query(survey, lsst_cutout="CIRCLE {ra} {dec} 0.05")
    steps = make_plan(Archives(survey, patience=QUICK)).to_fetch
    assert len(steps) == 3
    address = next(step.address for step in steps if step.path == "lsst/9813/44/i.fits")
    assert address.startswith(f"{local_archive.address}/cutout?ID={quote('butler:44i', safe='')}&POS=CIRCLE+")
    ra, dec, radius = map(float, address.rpartition("CIRCLE+")[2].split("+"))
    assert (round(ra), round(dec), radius) == (150, 2, 0.05)
    for step in steps:
        local_archive.files[step.address.removeprefix(local_archive.address)] = coadd_file
    assert states(fetch_inputs(survey, progress=False, patience=QUICK)) == ALL


def test_a_product_without_cutouts(survey: Survey, local_archive) -> None:
    """If DataLink names no cutout service, the message says which key asks for it."""
    for name in ("43r", "43i", "44i"):
        local_archive.files[f"/links/{name}"] = links(local_archive.address, name, cutout=False)
    plan = make_plan(Archives(with_query(survey, lsst_cutout="CIRCLE {ra} {dec} 0.05"), patience=QUICK))
    assert not plan.steps
    assert ["lsst_cutout" in note for note in plan.notes] == [True]


def test_two_coadds_of_one_patch(survey: Survey, local_archive) -> None:
    """A query that gives two is refused: which of them is meant cannot be told."""
    local_archive.tables = lambda query: Table({"access_url": ["a", "b"]})
    plan = make_plan(Archives(survey, patience=QUICK))
    assert ["gives 2 coadds for tract 9813 patch 43" in note for note in plan.notes] == [True]


def test_files_in_a_folder_are_not_fetched(survey: Survey, local_archive, coadd_file: bytes) -> None:
    """Who has the files puts them there: nothing is asked of the platform for them but what it has."""
    for path in ALL:
        target = survey.folders[0] / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(coadd_file)
    assert set(states(fetch_inputs(survey, progress=False, patience=QUICK)).values()) == {"present"}
    assert not [path for path, _ in local_archive.asked if path.startswith("/files")]


def test_without_a_token(survey: Survey, local_archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token none is sent; the platform's refusal is passed on."""
    monkeypatch.delenv("RSP_TOKEN")
    assert "RSP_TOKEN" not in os.environ
    local_archive.faults = {f"/files/{name}.fits": ["401"] * 9 for name in ("43r", "43i", "44i")}
    report = fetch_inputs(survey, progress=False, patience=QUICK)
    assert set(states(report).values()) == {"failed"}
    assert local_archive.authorizations == {""}
