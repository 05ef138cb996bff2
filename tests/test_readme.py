"""The examples of the README do what it says, from the project's folder, on the released sample."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from dmu0.files.paths import PROJECT

pytestmark = pytest.mark.release
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
SHELL = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]


@pytest.mark.parametrize("code", PYTHON, ids=[str(number) for number in range(len(PYTHON))])
def test_python_examples_run(code: str) -> None:
    """Each ends without an error or a warning, and prints something."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_colours_of_the_first_example_are_those_of_stars() -> None:
    """No colour is nonsense: i-K of stars is between -1.5 (hot) and 4 (coolest dwarfs), AB."""
    namespace: dict[str, object] = {}
    code = PYTHON[0].replace('"dmu5/', f'"{PROJECT}/dmu5/')
    exec(compile(code, "README.md", "exec"), namespace)
    colours = namespace["i_minus_k"]
    assert len(colours) > 100
    assert -1.5 < colours.min() < colours.max() < 4


def test_sql_example_runs() -> None:
    """The query of the DuckDB line, in Python: its command line is no package of ours."""
    (line,) = [line for line in SHELL if line.startswith("duckdb")]
    query = re.search(r'"(.*)"', line)[1].replace("'dmu5", f"'{PROJECT}/dmu5")
    ((tract, count, depth),) = duckdb.sql(query).fetchall()
    assert tract == 8524
    assert count > 1000
    assert 20 < depth < 27


@pytest.mark.skipif(shutil.which("stilts") is None, reason="the Debian package stilts is not installed")
def test_stilts_example_runs(tmp_path: Path) -> None:
    """STILTS reads the file that its line names and gives statistics of every column."""
    (line,) = [line for line in SHELL if line.startswith("stilts")]
    done = subprocess.run(line, shell=True, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "vk_psfFlux" in done.stdout
