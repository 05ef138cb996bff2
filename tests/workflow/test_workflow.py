"""The workflow on a toy project: four notebooks, their modules, and make itself."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import nbformat
import pytest

from tests.scenes.toy_project import WRITE, make, records, write_notebook


def test_release_runs_once_and_only_what_is_stale(toy: Path) -> None:
    """A second make does nothing; touching and prose change nothing; a constant reruns its readers only."""
    before = records(toy)
    assert set(before) == {"dmu0/1_A", "dmu2/1_B", "dmu3/1_C", "dmu4/1_D"}
    assert (toy / "dmu5/data/toy/runs/index.html").exists()

    for path in toy.rglob("*.py"):
        path.touch()
    (toy / "dmu2/factor.py").write_text('"""Another docstring."""\n\n# a comment\nFACTOR = 2\n')
    second = make(toy, "release", "SURVEY=toy")
    assert "nothing to do" in second.stdout
    assert records(toy) == before

    (toy / "dmu2/factor.py").write_text("FACTOR = 3\n")
    third = make(toy, "release", "SURVEY=toy", "-j2")
    assert third.returncode == 0, third.stdout + third.stderr
    after = records(toy)
    assert {name for name in after if after[name] != before[name]} == {"dmu2/1_B", "dmu4/1_D"}
    assert (toy / "dmu2/data/toy/number.txt").read_text() == "3"


def test_failed_notebook_is_readable_and_isolated(toy: Path) -> None:
    """An error leaves NAME.failed.ipynb, one line naming notebook, cell and error, and a non-zero exit."""
    good, before = (toy / "dmu2/1_B.ipynb").read_text(), records(toy)
    write_notebook(
        toy / "dmu3/1_C.ipynb",
        reads="[dmu0/1_A](../dmu0/1_A.ipynb)",
        imports="",
        body=WRITE.format(stage=3, value=4),
    )
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
    after = records(toy)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"dmu3/1_C"}, "the other branch goes on, what reads the failed one does not"
    assert not (toy / "dmu2/data/toy/runs/1_B.json").exists(), "a failed run does not count as done"
    state = make(toy, "status", "SURVEY=toy")
    assert state.returncode != 0
    assert "1 failed" in state.stdout

    (toy / "dmu2/1_B.ipynb").write_text(good)
    assert make(toy, "release", "SURVEY=toy").returncode == 0
    assert not failed.exists()


def test_unknown_survey_is_named(toy: Path) -> None:
    """An unknown survey stops make with a line that says which are known."""
    result = make(toy, "release", "SURVEY=nothing")
    assert result.returncode != 0
    assert "nothing" in result.stderr
    assert "toy" in result.stderr


def test_kernels_listen_on_files_of_their_own(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has no port that another could take, wherever temporary files are, and leaves nothing behind."""
    temporary = toy / ("long" * 20)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    body = "from ipykernel.connect import get_connection_file\n" + WRITE.format(
        stage=3, value="(open(get_connection_file()).read(), get_connection_file())"
    )
    write_notebook(toy / "dmu3/1_C.ipynb", reads="[dmu0/1_A](../dmu0/1_A.ipynb)", imports="", body=body)
    result = make(toy, "release", "SURVEY=toy")
    assert result.returncode == 0, result.stdout + result.stderr
    said, where = ast.literal_eval((toy / "dmu3/data/toy/number.txt").read_text())
    connection = json.loads(said)
    assert connection["transport"] == "ipc"
    assert Path(connection["ip"]).parent == Path(where).parent
    assert not Path(where).parent.exists()
