"""A toy project: the real workflow with four notebooks of its own, and make itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from dmu0.files.paths import PROJECT

CARD = "# {title}\n\nA toy.\n\n| | |\n|---|---|\n| Reads | {reads} |\n| Writes | a number |\n"
SURVEY = """
name: toy
title: A toy survey
inputs: {source: simulate}
optical: {kind: hsc, bands: [g]}
sky_map: {name: toy}
tracts: {1: all}
"""
WRITE = """
from dmu0.surveys import load_survey
folder = load_survey(survey).folders[{stage}]
_ = (folder / "number.txt").write_text(str({value}))
"""


def write_notebook(path: Path, *, reads: str, imports: str, body: str) -> None:
    """Write a notebook with a card, imports, parameters and one more cell."""
    cells = [
        nbformat.v4.new_markdown_cell(CARD.format(title=path.stem, reads=reads), id="cell-00"),
        nbformat.v4.new_code_cell(imports, id="cell-01"),
        nbformat.v4.new_code_cell('survey: str = "toy"', metadata={"tags": ["parameters"]}, id="cell-02"),
        nbformat.v4.new_markdown_cell("## The work", id="cell-03"),
        nbformat.v4.new_code_cell(body, id="cell-04"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def write_project(folder: Path) -> None:
    """Write a project with the real workflow, surveys and bands, and four notebooks of its own."""
    for package in ("obs_vista", "workflow"):
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("surveys", "files", "sky", "schema", "published"):
        shutil.copytree(
            PROJECT / "dmu0" / package, folder / "dmu0" / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for module in ("__init__", "checkout", "guard", "processes", "progress"):
        shutil.copy(PROJECT / "dmu0" / f"{module}.py", folder / "dmu0")
    for module in ("dmu4/execution/outcomes.py", "dmu5/census.py"):  # what `make status` counts with
        (folder / module).parent.mkdir(parents=True)
        shutil.copy(PROJECT / module, folder / module)
        (folder / module).with_name("__init__.py").touch()
    shutil.copy(PROJECT / "Makefile", folder)
    (folder / "dmu0" / "surveys" / "toy.yaml").write_text(SURVEY)
    for stage in (2, 3, 4):
        (folder / f"dmu{stage}").mkdir(exist_ok=True)
        (folder / f"dmu{stage}" / "__init__.py").touch()
    (folder / "dmu2" / "factor.py").write_text('"""A factor."""\n\nFACTOR = 2\n')
    write_notebook(folder / "dmu0/1_A.ipynb", reads="nothing", imports="", body=WRITE.format(stage=0, value=1))
    write_notebook(
        folder / "dmu2/1_B.ipynb",
        reads="[dmu0/1_A](../dmu0/1_A.ipynb)",
        imports="from dmu2.factor import FACTOR",
        body=WRITE.format(stage=2, value="FACTOR"),
    )
    write_notebook(
        folder / "dmu3/1_C.ipynb",
        reads="[dmu0/1_A](../dmu0/1_A.ipynb)",
        imports="",
        body=WRITE.format(stage=3, value=3),
    )
    write_notebook(
        folder / "dmu4/1_D.ipynb",
        reads="[dmu2/1_B](../dmu2/1_B.ipynb)",
        imports="",
        body=WRITE.format(stage=4, value=4),
    )


def environment(folder: Path) -> dict[str, str]:
    """This interpreter's environment as the active one, for make in a folder."""
    return os.environ | {
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),  # another checkout, as an environment may be made for one
        "MAKEFLAGS": "",
    }


def command(*arguments: str) -> list[str]:
    """A call of make that does not look after the environment."""
    return ["make", "active-environment=", "ENVIRONMENT=", *arguments]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run make in a folder."""
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )


def records(folder: Path) -> dict[str, int]:
    """Modification times of the executed notebooks."""
    return {p.parts[-5] + "/" + p.stem: p.stat().st_mtime_ns for p in folder.glob("dmu*/data/toy/runs/[0-9]_?.ipynb")}
