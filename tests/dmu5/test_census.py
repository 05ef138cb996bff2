"""The state of every part: a corrupt file, a failed detector and a missing band, in all places where people look."""

from __future__ import annotations

import csv
from pathlib import Path

import nbformat
import numpy as np
import pytest
from astropy.table import Table

from dmu0.files.manifest import COLUMNS, write_manifest
from dmu0.files.paths import PROJECT, DataFolders
from dmu0.files.tables import write_table
from dmu0.surveys import Survey, load_survey
from dmu1.inventory import empty_inventory
from dmu4.execution.outcomes import ACCEPTANCE, outcomes_file, write_outcomes
from dmu4.execution.report import report_table
from dmu5.census import Part, census_table, count_parts, explain, plural, take_census
from tests.scenes.release_page import make_page
from workflow.commands import status
from workflow.graph import load_steps

CORRUPT = "input vista/v2.fit: quarantined: is truncated: 1000 of 23040 bytes"
BROKEN = "detector vista/v1.fit detector 3 (vk): IndexError: no star left"
MISSING = "coadd tract 8524 patch 924 y: band y is missing: hsc/924_y.fits is not there"
FAILURES = [CORRUPT, "input hsc/924_y.fits: missing: is not there", BROKEN, MISSING]


def _manifest(survey: Survey) -> Table:
    """A stack, one that is truncated, and the coadds of two patches, one of which is not there."""
    rows = [("vista/v1.fit", "vista_stack", "", -1, -1, "ok", "")]
    rows += [("vista/v2.fit", "vista_stack", "", -1, -1, "quarantined", "is truncated: 1000 of 23040 bytes")]
    for patch in (924, 925):
        for band in ("g", "r", "i", "z", "y"):
            gone = (patch, band) == (924, "y")
            what = ("missing", "is not there") if gone else ("ok", "")
            rows.append((f"hsc/{patch}_{band}.fits", "optical_coadd", band, 8524, patch, *what))
    short = Table(rows=rows, names=("path", "kind", "band", "tract", "patch", "state", "reason"))
    table = Table()
    for name, kind, _, _ in COLUMNS:
        empty = np.zeros(len(short), dtype=kind if kind != "str" else "U1")
        table[name] = short[name] if name in short.colnames else empty
    return table


def _selected() -> Table:
    """Four detectors of the good stack, one of which a cut rejects, and the row of the one that cannot be read."""
    table = Table(empty_inventory(), masked=False)
    for number in (1, 2, 3, 4):
        table.add_row(
            {"path": "vista/v1.fit", "hdu": number, "detector": number, "exposure": 7, "band": "vk", "state": "ok"}
        )
    table.add_row({"path": "vista/v2.fit", "hdu": -1, "detector": -1, "state": "failed", "reason": "is quarantined"})
    table["accepted"] = [True, True, True, False, False]
    table["rejected_because"] = ["", "", "", "seeing 1.61 arcsec > 1.4", "not read: is quarantined"]
    return table


def _outcomes(survey: Survey) -> None:
    """One detector is calibrated, one left out of the coadds, one failed; one patch is measured, one fails."""
    detectors = [("calibrate_detector", f"visit=7 detector={n}", "done", "", 1.0) for n in (1, 2)]
    detectors += [("calibrate_detector", "visit=7 detector=3", "failed", "IndexError: no star left", np.nan)]
    detectors += [(ACCEPTANCE, "visit=7 detector=2", "skipped", "left out of coadds: noise ratio 1.9", np.nan)]
    write_outcomes(survey, "single_frame", report_table(detectors))
    coadds = [
        ("import_optical", f"tract=8524 patch={patch} band={band}", "done", "", 2.0)
        for patch in (924, 925)
        for band in ("g", "r", "i", "z", "y")
        if (patch, band) != (924, "y")
    ]
    coadds += [("coadd_patch", "tract=8524 patch=924 band=vk", "done", "", 3.0)]
    coadds += [("coadd_patch", "tract=8524 patch=925 band=vk", "skipped", "its inputs were not made", 0.0)]
    write_outcomes(survey, "coadds", report_table(coadds))
    patches = [("detect_patch", f"tract=8524 patch={patch}", "done", "", 1.0) for patch in (924, 925)]
    patches += [("measure_patch", "tract=8524 patch=924", "done", "", 9.0)]
    patches += [("measure_patch", "tract=8524 patch=925", "failed", "MemoryError: 9 GB", np.nan)]
    patches += [("consolidate_tract", "tract=8524", "done", "", 1.0)]
    write_outcomes(survey, "multiband", report_table(patches))


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The sample with tables of another release, of two patches and a third that has no VISTA images."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path)))
    survey = load_survey("sample")
    write_manifest(survey.folders, _manifest(survey))
    write_table(_selected(), survey.folders[1] / "selected.parquet")
    patches = [(8524, 924, "job", ""), (8524, 925, "job", ""), (8524, 965, "skipped", "no VISTA images")]
    jobs = [(8524, patch, band) for patch in (924, 925) for band in ("g", "r", "i", "z", "y", "vk")]
    jobs.remove((8524, 924, "y"))
    write_table(Table(rows=patches, names=("tract", "patch", "state", "reason")), survey.folders[1] / "patches.parquet")
    write_table(Table(rows=jobs, names=("tract", "patch", "band")), survey.folders[1] / "jobs.parquet")
    _outcomes(survey)
    return survey


def test_every_part_is_counted_once(survey: Survey) -> None:
    """Each is in one state; what a bad file, a cut, a limit or a missing band costs is counted where it is."""
    parts = take_census(survey)
    assert len({(part.kind, part.name) for part in parts}) == len(parts)
    assert all(part.reason for part in parts if part.state != "done")
    assert not any(part.reason for part in parts if part.state == "done")
    vista = len(survey.bands) - 6  # bands of VISTA without an image, in each of the two patches
    assert count_parts(parts) == {
        "input": {"done": 10, "skipped": 0, "failed": 2, "to do": 0},
        "detector": {"done": 1, "skipped": 2, "failed": 1, "to do": 0},
        "coadd": {"done": 10, "skipped": 2 * vista + 1, "failed": 1, "to do": 0},
        "patch": {"done": 1, "skipped": 1, "failed": 1, "to do": 0},
        "tract": {"done": 1, "skipped": 0, "failed": 0, "to do": 0},
    }
    table = census_table(parts)
    assert [sum(row[name] for name in ("done", "skipped", "failed", "to do")) for row in table] == list(table["all"])


def test_reasons(survey: Survey) -> None:
    """Failures come first, one by one; what was skipped for one reason is one line, with an example."""
    lines = explain(take_census(survey))
    assert [text for state, text in lines if state == "failed"] == [
        *FAILURES,
        "patch tract 8524 patch 925: MemoryError: 9 GB",
    ]
    skipped = [text for state, text in lines if state == "skipped"]
    assert "detector vista/v1.fit detector 4 (vk): seeing 1.61 arcsec > 1.4" in skipped
    assert "detector vista/v1.fit detector 2 (vk): left out of coadds: noise ratio 1.9" in skipped
    assert any(
        text.startswith("2 coadds, such as tract 8524 patch 924 vj: band vj is missing: no usable") for text in skipped
    )


def test_many_failures_are_not_all_listed() -> None:
    """Ten failures of a kind are named and the rest counted, so that 80,000 detectors do not fill the terminal."""
    parts = [Part("detector", f"d{number}", "failed", f"reason {number}") for number in range(25)]
    parts += [Part("patch", "p", "failed", "torn"), Part("patch", "q", "skipped", "far")]
    lines = explain(parts)
    assert len(lines) == 10 + 1 + 1 + 1
    assert ("failed", "15 more detectors") in lines
    assert lines[-1] == ("skipped", "patch q: far")


def test_what_has_not_ended_is_to_do(survey: Survey) -> None:
    """While a step runs its parts are to do; without a manifest nothing is counted."""
    for step in ("single_frame", "coadds", "multiband"):
        outcomes_file(survey, step).unlink()
    counts = count_parts(take_census(survey))
    assert counts["detector"] == {"done": 0, "skipped": 1, "failed": 0, "to do": 3}
    assert counts["coadd"]["to do"] == 11
    assert counts["patch"] == {"done": 0, "skipped": 1, "failed": 0, "to do": 2}
    (survey.folders[0] / "manifest.parquet").unlink()
    assert take_census(survey) == []


def test_make_status_names_them(survey: Survey, capsys: pytest.CaptureFixture[str]) -> None:
    """`make status` counts every part and names the corrupt file, the failed detector and the missing band."""
    assert status(survey, "") == 0  # no step failed
    said = capsys.readouterr().out
    for text in FAILURES:
        assert f"failed: {text}\n" in said
    steps = str(len(load_steps()))
    rows = {
        line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip().startswith(("input ", "step "))
    }
    assert rows == {"input": ["12", "10", "0", "2", "0"], "step": [steps, "0", "0", "0", steps]}


def test_the_notebook_names_them(survey: Survey, capsys: pytest.CaptureFixture[str]) -> None:
    """The section of the release notebook says the same."""
    cells = {cell.id: cell.source for cell in nbformat.read(PROJECT / "dmu5" / "4_Release.ipynb", 4).cells}
    names: dict[str, object] = {"config": survey}
    code = "from dmu5 import census\n" + cells["cell-outcomes"]
    exec(compile(code, "4_Release", "exec"), names)
    said = capsys.readouterr().out
    for text in FAILURES:
        assert f"failed: {text}\n" in said
    assert "parts" in names


def test_the_page_names_them(survey: Survey, tmp_path: Path) -> None:
    """The release page has them at its top and in a section with the count; the list beside it has every part."""
    parts = take_census(survey)
    page, _ = make_page(tmp_path, np.random.default_rng(3), parts=[*parts, Part("input", "<b>.fits", "failed", "<i>")])
    text = page.read_text()
    head, _, rest = text.partition('<h2 id="outcomes">')
    section = rest.partition("<h2")[0]
    for said in FAILURES:
        assert f'<b class="fail">failed</b>{said}</li>' in head
        assert said in section
    assert "<td>inputs</td><td>13</td><td>10</td><td>0</td><td>3</td><td>0</td>" in section
    assert "input &lt;b&gt;.fits: &lt;i&gt;" in section
    with (page.parent / "outcomes.csv").open() as handle:
        assert [Part(*row) for row in csv.reader(handle)][1:-1] == parts


def test_words_for_several() -> None:
    """The page says patches, and not patchs."""
    assert [plural(kind) for kind in ("patch", "tract", "input")] == ["patches", "tracts", "inputs"]
