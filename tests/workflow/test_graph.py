"""The graph of the notebooks, their digests and records, without running one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest

from dmu0.files.paths import DataFolders
from dmu0.surveys import Survey, load_survey
from workflow import digest
from workflow.digest import code_cells, input_contents, run_id, step_digest, survey_content
from workflow.graph import GraphError, load_steps, read_card
from workflow.libraries import changed_libraries, library_versions
from workflow.records import Record, read_record, write_record


def notebook(path: Path, reads: str, code: str = "x = 1") -> None:
    """A notebook with a card."""
    path.parent.mkdir(parents=True, exist_ok=True)
    card = f"# 1.1 Title\n\nText.\n\n| | |\n|---|---|\n| Reads | {reads} |\n"
    cells = [nbformat.v4.new_markdown_cell(card), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the project."""
    monkeypatch.setattr("workflow.graph.PROJECT", tmp_path)
    notebook(tmp_path / "dmu0/1_First.ipynb", "nothing")
    return tmp_path


def test_steps_come_after_what_they_read(project: Path) -> None:
    """Titles, stages and what is read, each once, from the card; drafts and other files are no steps."""
    first = "[dmu0/1_First](../dmu0/1_First.ipynb)"
    notebook(project / "dmu2/1_Second.ipynb", f"{first}, {first}")
    notebook(project / "dmu2/draft.ipynb", "nothing")
    steps = load_steps(project)
    assert list(steps) == ["dmu0/1_First", "dmu2/1_Second"]
    assert steps["dmu2/1_Second"].reads == ("dmu0/1_First",)
    assert (steps["dmu2/1_Second"].stage, steps["dmu2/1_Second"].title) == (2, "1.1 Title")


@pytest.mark.parametrize("reads", ["[it](1_Third.ipynb)", "[later](../dmu4/1_Later.ipynb)", "[none](1_None.ipynb)"])
def test_reading_what_comes_later_is_refused(project: Path, reads: str) -> None:
    """A notebook that reads itself, a later one, or one that is not there is named with what it reads."""
    notebook(project / "dmu3/1_Third.ipynb", reads)
    notebook(project / "dmu4/1_Later.ipynb", "nothing")
    with pytest.raises(GraphError, match=r"1_Third\.ipynb: reads dmu\d/1_\w+, which is not a notebook"):
        load_steps(project)


def test_cards_are_needed(project: Path) -> None:
    """A notebook without a card, or that is none, is named."""
    path = project / "dmu1/1_Odd.ipynb"
    path.parent.mkdir()
    path.write_text("not json")
    with pytest.raises(GraphError, match="is not a notebook"):
        read_card(path)
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "no heading"}]}))
    with pytest.raises(GraphError, match="'Reads' row"):
        read_card(path)


def survey_file(path: Path, **changes: str) -> Path:
    """A survey of local files."""
    keys = {"title": "A survey", "cuts": "1.5", "inputs": "images"} | changes
    (path.parent / keys["inputs"]).mkdir(exist_ok=True)
    path.write_text(
        f"name: mine\ntitle: {keys['title']}\ninputs: {{source: local, folder: {path.parent / keys['inputs']}}}\n"
        "vista: {bands: [vh], stacks: ['*_st.fit'], cuts: {seeing_max: " + keys["cuts"] + "}}\n"
        "sky_map: {name: rings}\ntracts: {8524: all}\n"
    )
    return path


def test_what_of_a_survey_counts(tmp_path: Path) -> None:
    """A cut that changes is another survey to the digest; a title is not."""
    file = tmp_path / "mine.yaml"
    before = survey_content(load_survey(str(survey_file(file))))
    assert survey_content(load_survey(str(survey_file(file, title="Another title")))) == before
    assert survey_content(load_survey(str(survey_file(file, cuts="1.25")))) != before


def test_code_is_cells_without_magics(tmp_path: Path) -> None:
    """Line magics do not count as code; everything else does, in order."""
    notebook(tmp_path / "a.ipynb", "nothing", "%matplotlib inline\nx = 1\n!ls\ny = 2")
    assert code_cells(tmp_path / "a.ipynb") == ["x = 1\ny = 2"]


def test_a_result_is_named_by_code_and_by_what_it_read() -> None:
    """Another digest, or another result of a step that was read, is another result; the order of steps is not."""
    upstream = {"dmu0/1": "a", "dmu1/1": "b"}
    name = run_id("digest", upstream)
    assert run_id("digest", dict(reversed(upstream.items()))) == name
    assert len({name, run_id("other", upstream), run_id("digest", upstream | {"dmu1/1": "c"})}) == 3


def test_a_record_needs_its_notebook(tmp_path: Path) -> None:
    """What is written comes back; without the executed notebook, or without the record, a step never finished."""
    path, record = tmp_path / "1_A.ipynb", Record("abc", "2026-01-01T00:00:00+00:00", 12.5, {"dmu0/1": "x"})
    write_record(path, record)
    assert read_record(path) is None
    path.write_text("{}")
    assert read_record(path) == record
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1_A.ipynb", "1_A.json"]
    path.with_suffix(".json").unlink()
    assert read_record(path) is None


def test_contents_of_inputs(monkeypatch, tmp_path: Path) -> None:
    """A new input file, and one replaced by another of its size and date, change what dmu0 reads, and nothing later."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path / "project")))
    survey = load_survey(str(survey_file(tmp_path / "mine.yaml")))
    first, *_, last = load_steps().values()
    image = survey.input_folder / "a_st.fit"
    assert input_contents(first, survey) == {}
    image.write_bytes(b"1234")
    (image.parent / "notes.txt").write_text("not an input")
    when = image.stat()
    before, name = input_contents(first, survey), step_digest(first, survey)
    assert set(before) == {"a_st.fit"}
    image.write_bytes(b"1235")
    os.utime(image, ns=(when.st_atime_ns, when.st_mtime_ns))
    assert input_contents(first, survey) != before
    assert step_digest(first, survey) != name
    image.write_bytes(b"1234")
    assert step_digest(first, survey) == name
    assert input_contents(last, survey) == {}


def test_made_inputs_belong_to_the_step_behind(monkeypatch, tmp_path: Path) -> None:
    """What the first step makes or fetches is read by the second, so that making it makes the first not stale."""
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, tmp_path)))
    survey = load_survey("sample")
    first, second = list(load_steps().values())[:2]
    path = survey.input_folder / "vista" / "v1_st.fit"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"1")
    assert input_contents(first, survey) == {}
    assert list(input_contents(second, survey)) == ["vista/v1_st.fit"]


def test_what_makes_a_step_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tracts, its survey, and the code of a module that its notebook reaches count."""
    step, survey = load_steps()["dmu1/3_Coverage"], load_survey("sample")
    given = {"contents": {}}
    before = step_digest(step, survey, **given)
    assert step_digest(step, survey, **given) == before
    assert step_digest(step, survey, tracts="8524", **given) != before
    assert step_digest(step, load_survey("video"), **given) != before
    read = digest._read_module

    def changed(path: Path) -> tuple[str, frozenset[Path]]:
        content, leads = read(path)
        return (content + "x" if path.name == "coverage.py" else content), leads

    monkeypatch.setattr(digest, "_read_module", changed)
    assert step_digest(step, survey, **given) != before


def test_changed_libraries_are_named(monkeypatch) -> None:
    """Another version of a library is named with the steps that ran with the old one; old records say nothing."""
    now = library_versions()
    assert {"python", "numpy", "astropy", "requirements.lock"} <= set(now)
    assert changed_libraries({"dmu0/1": now, "dmu0/2": {}}) == []
    old = now | {"numpy": "1.0", "gone": "2.0"}
    lines = changed_libraries({"dmu0/1": old, "dmu0/2": now, "dmu1/1": old})
    assert lines == [
        "gone 2.0 -> not installed since dmu0/1 and 1 more ran",
        f"numpy 1.0 -> {now['numpy']} since dmu0/1 and 1 more ran",
    ]


def test_a_step_that_runs_again_has_no_record_meanwhile(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a notebook runs again, and after it has failed, the record of its last success is gone."""
    from papermill.exceptions import PapermillExecutionError

    from workflow import execute

    survey = load_survey("sample")
    step = load_steps(project)["dmu0/1_First"]
    record = tmp_path / "runs" / "1_First.ipynb"
    record.parent.mkdir()
    monkeypatch.setattr(type(step), "record", lambda self, folders: record)
    monkeypatch.setattr(execute, "load_steps", dict)
    monkeypatch.setattr(execute, "step_digest", lambda *_, **__: "digest")
    monkeypatch.setattr(execute, "write_page", lambda path: None)
    record.write_text(step.path.read_text())
    write_record(record, Record("old", "2026-01-01T00:00:00+00:00", 1.0))

    def fail(source: Path, part: Path, *_: object, **__: object) -> None:
        assert read_record(record) is None
        Path(part).write_text(step.path.read_text())
        raise PapermillExecutionError(1, 1, "x = 1", "ValueError", "no", ["no"])

    monkeypatch.setattr(execute.papermill, "execute_notebook", fail)
    with pytest.raises(execute.NotebookFailed, match="ValueError: no"):
        execute.run_step(step, survey)
    assert read_record(record) is None
    assert (record.parent / "1_First.failed.ipynb").exists()
