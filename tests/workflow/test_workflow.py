"""The workflow on a toy project: three notebooks, their modules, and make itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

PROJECT = Path(__file__).resolve().parents[2]

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


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A project with the real workflow, surveys and bands, and three notebooks of its own."""
    for package in ("obs_vista", "workflow"):
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("surveys", "files"):
        shutil.copytree(
            PROJECT / "dmu0" / package, tmp_path / "dmu0" / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "dmu0" / "__init__.py").touch()
    shutil.copy(PROJECT / "Makefile", tmp_path)
    (tmp_path / "dmu0" / "surveys" / "toy.yaml").write_text(SURVEY)
    for stage in (2, 3, 4):
        (tmp_path / f"dmu{stage}").mkdir()
        (tmp_path / f"dmu{stage}" / "__init__.py").touch()
    (tmp_path / "dmu2" / "factor.py").write_text('"""A factor."""\n\nFACTOR = 2\n')
    write_notebook(tmp_path / "dmu0/1_A.ipynb", reads="nothing", imports="", body=WRITE.format(stage=0, value=1))
    write_notebook(
        tmp_path / "dmu2/1_B.ipynb",
        reads="[dmu0/1_A](../dmu0/1_A.ipynb)",
        imports="from dmu2.factor import FACTOR",
        body=WRITE.format(stage=2, value="FACTOR"),
    )
    write_notebook(
        tmp_path / "dmu3/1_C.ipynb",
        reads="[dmu0/1_A](../dmu0/1_A.ipynb)",
        imports="",
        body=WRITE.format(stage=3, value=3),
    )
    write_notebook(
        tmp_path / "dmu4/1_D.ipynb",
        reads="[dmu2/1_B](../dmu2/1_B.ipynb)",
        imports="",
        body=WRITE.format(stage=4, value=4),
    )
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run make in a folder, with this interpreter's environment as the active one."""
    environment = os.environ | {
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "MAKEFLAGS": "",
    }
    command = ["make", "active-environment=", "ENVIRONMENT=", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def records(folder: Path) -> dict[str, int]:
    """Modification times of the executed notebooks."""
    return {p.parts[-5] + "/" + p.stem: p.stat().st_mtime_ns for p in folder.glob("dmu*/data/toy/runs/[0-9]_?.ipynb")}


def test_release_runs_once_and_only_what_is_stale(toy: Path) -> None:
    """A second make does nothing; touching and prose change nothing; a constant reruns its readers only."""
    first = make(toy, "release", "SURVEY=toy")
    assert first.returncode == 0, first.stdout + first.stderr
    before = records(toy)
    assert set(before) == {"dmu0/1_A", "dmu2/1_B", "dmu3/1_C", "dmu4/1_D"}
    assert (toy / "dmu5/data/toy/runs/index.html").exists()

    for path in toy.rglob("*.py"):
        path.touch()
    (toy / "dmu2/factor.py").write_text('"""Another docstring."""\n\n# a comment\nFACTOR = 2\n')
    begin = time.monotonic()
    second = make(toy, "release", "SURVEY=toy")
    assert "nothing to do" in second.stdout
    assert time.monotonic() - begin < 5
    assert records(toy) == before

    (toy / "dmu2/factor.py").write_text("FACTOR = 3\n")
    third = make(toy, "release", "SURVEY=toy", "-j2")
    assert third.returncode == 0, third.stdout + third.stderr
    after = records(toy)
    assert {name for name in after if after[name] != before[name]} == {"dmu2/1_B", "dmu4/1_D"}
    assert (toy / "dmu2/data/toy/number.txt").read_text() == "3"


def test_failed_notebook_is_readable_and_isolated(toy: Path) -> None:
    """An error leaves NAME.failed.ipynb, one line naming notebook, cell and error, and a non-zero exit."""
    good = (toy / "dmu2/1_B.ipynb").read_text()
    imports = "from dmu2.factor import FACTOR"
    write_notebook(
        toy / "dmu2/1_B.ipynb",
        reads="[dmu0/1_A](../dmu0/1_A.ipynb)",
        imports=imports,
        body='raise ValueError("seeing 9.9")',
    )
    result = make(toy, "-k", "release", "SURVEY=toy")
    assert result.returncode != 0
    lines = [line for line in result.stderr.split("\n") if "FAILED" in line]
    assert len(lines) == 1
    assert "dmu2/1_B.ipynb" in lines[0]
    assert "The work" in lines[0]
    assert "ValueError: seeing 9.9" in lines[0]
    failed = toy / "dmu2/data/toy/runs/1_B.failed.ipynb"
    nbformat.validate(nbformat.read(failed, as_version=4))
    assert failed.with_suffix(".html").exists()
    assert set(records(toy)) == {"dmu0/1_A", "dmu3/1_C"}, "the other branch goes on, what reads the failed one does not"
    state = make(toy, "status", "SURVEY=toy")
    assert state.returncode != 0
    assert "1 failed" in state.stdout

    (toy / "dmu2/1_B.ipynb").write_text(good)
    assert make(toy, "release", "SURVEY=toy").returncode == 0
    assert not failed.exists()


@pytest.mark.parametrize("target", [("release", "SURVEY=toy"), ("sample",)])
def test_killed_run_leaves_no_writer_and_resumes(toy: Path, target: tuple[str, ...]) -> None:
    """After kill -9 of make, the kernel is gone before the notebook runs again, and the release completes."""
    survey = toy / "dmu0/surveys/toy.yaml"
    (toy / "dmu0/surveys/sample.yaml").write_text(survey.read_text().replace("name: toy", "name: sample"))
    slow = "import time\n_ = (open('started', 'w').write('x'), time.sleep(30 if survey_first else 0))"
    body = (
        "from pathlib import Path\nsurvey_first = not Path('started').exists()\n"
        + slow
        + WRITE.format(stage=3, value=3)
    )
    write_notebook(toy / "dmu3/1_C.ipynb", reads="[dmu0/1_A](../dmu0/1_A.ipynb)", imports="", body=body)
    environment = os.environ | {
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(toy),
        "MAKEFLAGS": "",
    }
    running = subprocess.Popen(["make", "ENVIRONMENT=", *target], cwd=toy, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (toy / "dmu3/started").exists():
        assert time.monotonic() < deadline, "the slow notebook did not start"
        time.sleep(0.1)
    running.kill()
    running.wait()
    begin = time.monotonic()
    result = make(toy, *target)
    assert result.returncode == 0, result.stdout + result.stderr
    assert time.monotonic() - begin < 29
    state = make(toy, "status", *target[1:])
    assert state.returncode == 0
    assert "4 done" in state.stdout


def test_unknown_survey_is_named(toy: Path) -> None:
    """An unknown survey stops make with a line that says which are known."""
    result = make(toy, "release", "SURVEY=nothing")
    assert result.returncode != 0
    assert "nothing" in result.stderr
    assert "toy" in result.stderr
