"""The pages that are made from the code hold all of it, and links lead to pages that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from pydantic import BaseModel, Field

from dmu0.schema.columns import schema_columns
from dmu0.surveys import Survey, load_survey
from docs.builder.api import api_pages, rooms
from docs.builder.columns import columns_page
from docs.builder.make_targets import make_targets, make_targets_page
from docs.builder.markdown import relink, table
from docs.builder.notebooks import executed_notebooks, notebooks_page, prepared
from docs.builder.survey_keys import section, sections, survey_keys_page

PROJECT = Path(__file__).resolve().parents[2]


def test_every_key_of_a_survey_is_described() -> None:
    """All keys of all sections have a row, which says type, default and meaning."""
    page = survey_keys_page()
    for path, model in sections(Survey):
        names = [name for name, field in model.model_fields.items() if not field.exclude]
        [part] = re.findall(
            rf"^## {re.escape(f'`{path}`') if path else 'The whole file'}\n(.*?)(?=^## |\Z)", page, re.S | re.M
        )
        rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| `")]
        assert [row[0].strip("| `") for row in rows] == names
        assert all(len(cell.strip(" |")) > 1 for row in rows for cell in row)
    assert "| `seeing_max` | largest FWHM of the stars, arcsec | number or null, > 0 | `1.7` |" in page
    assert " | text, matches `^[a-z][a-z0-9_]*$` | *required* |" in page


def test_sections_are_found_where_a_file_has_them() -> None:
    """The paths of sections are paths into a real survey."""
    survey = load_survey("sample")
    for path, model in sections(Survey):
        value: object = survey
        for name in filter(None, path.split(".")):
            value = getattr(value, name)
            value = value[0] if isinstance(value, tuple) else value
        assert isinstance(value, model)


def test_a_key_without_description_is_an_error() -> None:
    """A key that nobody explained does not get into the page unnoticed."""

    class Incomplete(BaseModel):
        depth: float = Field(description="known")
        width: float = 1.0

    with pytest.raises(ValueError, match="the key width of Incomplete has no description"):
        section("", Incomplete)


def test_every_column_is_in_the_page() -> None:
    """The columns of any survey are those of the page, with {band} for the label of a band."""
    page = columns_page()
    named = re.findall(r"^\| `([^`]+)`", page, re.M)
    wanted = [
        column.name.replace("vh_", "{band}_", 1) if column.band else column.name for column in schema_columns(["vh"])
    ]
    assert named == wanted
    assert not [line for line in page.splitlines() if line.startswith("|") and re.search(r"\bvk", line)]
    assert "| `{band}_detected` | Whether the object has a peak above the threshold in {band} | bool |" in page


def test_help_and_page_have_the_same_targets(tmp_path: Path) -> None:
    """`make help` and the page are made from the same comments; a rule without one is in neither."""
    said = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    helped = re.findall(r"^make (\S+)", said, re.M)
    targets = make_targets(PROJECT / "Makefile")
    assert helped == [target.name for target in targets]
    assert {"sample", "release", "test", "docs", "clean-dmuN"} <= set(helped)
    makefile = tmp_path / "Makefile"
    makefile.write_text("lint: x ##  style\n\ttrue\nhidden: y\nrun: z ## [A=1]  starts it;  and waits\n")
    page = make_targets_page(makefile)
    assert "| `make lint` | style |" in page
    assert "| `make run [A=1]` | starts it; and waits |" in page
    assert "hidden" not in page


def test_links_lead_to_pages_or_are_text() -> None:
    """Relative links are followed from the file that has them; what has no page stays as text."""
    pages = {
        "dmu4/readme.md": "stages/dmu4.md",
        "dmu4/3_Coadd.ipynb": "notebooks/dmu4/3_Coadd.ipynb",
        "a/b.jpg": "b.jpg",
    }
    text = "[three](3_Coadd.ipynb#Checks), [up](../dmu4/readme.md), ![b](../a/b.jpg), [code](tasks), [w](https://x.y/z)"
    assert relink(text, source="dmu4/readme.md", page="stages/dmu4.md", pages=pages) == (
        "[three](../notebooks/dmu4/3_Coadd.ipynb#Checks), [up](dmu4.md), ![b](../b.jpg), code, [w](https://x.y/z)"
    )


def test_bars_in_cells_are_escaped() -> None:
    """A vertical bar in a cell does not begin another one."""
    assert table(("a", "b"), [("|x|", "y")]) == "| a | b |\n| --- | --- |\n| \\|x\\| | y |\n"


def test_every_module_is_documented() -> None:
    """Each module of the packages is in one page, and each page is in the list."""
    pages = api_pages(PROJECT)
    listed = re.findall(r"automodule:: (\S+)\n   :members:", "\n".join(pages.values()))
    assert len(listed) == len(set(listed))
    assert {"obs_vista.camera", "dmu0.surveys.keys", "dmu4.coadds.psf", "dmu5.release", "workflow.digest"} <= set(
        listed
    )
    assert not [name for name in listed if ".data." in name]
    for room in rooms(PROJECT):
        assert f"   {room}\n" in pages["api/index.rst"]


def test_decisions_are_listed_and_have_their_parts() -> None:
    """Each decision says context, decision, reason and consequences, and is in the list."""
    folder = PROJECT / "docs" / "decisions"
    index = (folder / "index.md").read_text().splitlines()
    for path in folder.glob("*.md"):
        if path.stem != "index":
            assert path.stem in index
            parts = re.findall(r"^\*\*(\w+)\.\*\*", path.read_text(), re.M)
            assert parts == ["Context", "Decision", "Why", "Consequences"], path.name


def test_readmes_name_modules_that_exist() -> None:
    """A module or folder that the table of a stage's readme names is in the stage."""
    for readme in PROJECT.glob("dmu?/readme.md"):
        [modules] = re.findall(r"^\| module \|.*?(?=\n\n|\Z)", readme.read_text(), re.S | re.M) or [""]
        for name in re.findall(r"^\| (.*?) \|", modules, re.M)[2:]:
            for file in re.findall(r"`([\w/]+(?:\.py|/))`", name):
                assert (readme.parent / file).exists(), f"{readme.relative_to(PROJECT)} names {file}"


def test_notebooks_are_shown_without_what_is_of_one_machine(tmp_path: Path) -> None:
    """Links lead to pages; progress bars and the folder of whoever ran the notebook are left out, results are kept."""
    notebook = nbformat.v4.new_notebook()
    parameters = nbformat.v4.new_code_cell('survey = "/anywhere/lsst/dmu0/surveys/sample.yaml"\ntracts = "8524"')
    parameters.metadata["tags"] = ["injected-parameters"]
    bar, shown = (nbformat.v4.new_output("stream", name=name, text=name) for name in ("stderr", "stdout"))
    widget = nbformat.v4.new_output(
        "display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%"}
    )
    cell = nbformat.v4.new_code_cell("1 + 1", outputs=[bar, widget, shown])
    notebook.metadata["widgets"] = {"state": {}}
    notebook.cells = [nbformat.v4.new_markdown_cell("# 4.3\n\n[before](2_Single_frame.ipynb)"), parameters, cell]
    path = tmp_path / "3_Coadd.ipynb"
    nbformat.write(notebook, path)
    pages = {"dmu4/2_Single_frame.ipynb": "notebooks/dmu4/2_Single_frame.ipynb"}
    new = prepared(path, source="dmu4/3_Coadd.ipynb", page="notebooks/dmu4/3_Coadd.ipynb", pages=pages)
    assert new.cells[0].source.endswith("[before](2_Single_frame.ipynb)")
    assert new.cells[1].source == 'survey = "dmu0/surveys/sample.yaml"\ntracts = "8524"'
    assert [item.name for item in new.cells[2].outputs] == ["stdout"]
    assert "widgets" not in new.metadata
    assert "when this site was built" in notebooks_page([], "sample")


def test_executed_notebooks_are_those_that_succeeded(tmp_path: Path) -> None:
    """Records of a survey are found in the order of the stages; failed runs and other surveys are not."""
    for name in ("dmu1/data/sample/runs/2_Quality", "dmu0/data/sample/runs/1_Get", "dmu1/data/other/runs/2_Quality"):
        path = tmp_path / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "dmu1/data/sample/runs/3_Coverage.failed.ipynb").touch()
    assert list(executed_notebooks(tmp_path, "sample")) == ["dmu0/1_Get.ipynb", "dmu1/2_Quality.ipynb"]
