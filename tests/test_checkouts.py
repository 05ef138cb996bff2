"""Two checkouts and one environment: what runs is the code of the checkout that it stands in, or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dmu0.checkout import check_checkout, find_checkout

PROJECT = Path(__file__).resolve().parent.parent
WHERE = "import dmu0.files.paths as p; print(p.PROJECT)"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkout, with the packages that these tests import."""
    folder = tmp_path_factory.mktemp("other")
    nothing = shutil.ignore_patterns("__pycache__", "data")
    for package in ("obs_vista", "dmu0", "workflow", "dmu4/execution"):
        shutil.copytree(PROJECT / package, folder / package, ignore=nothing)
    for module in ("pyproject.toml", "dmu4/__init__.py", "tests/conftest.py"):
        (folder / module).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / module, folder / module)
    (folder / "dmu5").mkdir()
    return folder


def python(*arguments: str, cwd: Path, path: Path = PROJECT) -> subprocess.CompletedProcess:
    """Run Python somewhere, in an environment that was made for the checkout ``path``."""
    environment = os.environ | {"PYTHONPATH": str(path)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_a_notebook_refuses_the_code_of_another_checkout(other: Path) -> None:
    """In the folder of a notebook, the other's code is refused by a line that names both and says what to do."""
    result = python("-c", WHERE, cwd=other / "dmu5")
    assert result.returncode == 1
    [line] = [line for line in result.stderr.split("\n") if line.startswith("ImportError")]
    assert str(other) in line
    assert str(PROJECT) in line
    assert f"PYTHONPATH={other}" in line


def test_what_the_refusal_says_helps(other: Path) -> None:
    """With the path that the line names, the notebook runs the code beside it; elsewhere any code runs."""
    assert python("-c", WHERE, cwd=other / "dmu5", path=other).stdout.strip() == str(other)
    assert python("-c", WHERE, cwd=other.parent).stdout.strip() == str(PROJECT)


def test_jobs_run_the_code_of_their_checkout(other: Path) -> None:
    """The program that starts the middleware imports from its own checkout, and so do those that it starts."""
    program = other / "dmu4" / "execution" / "middleware.py"
    code = f"import os, runpy; runpy.run_path({str(program)!r})['_prepare'](); {WHERE}; print(os.environ['PYTHONPATH'])"
    result = python("-c", code, cwd=other.parent)
    assert result.stdout.split() == [str(other), os.pathsep.join([str(other), str(PROJECT)])], result.stderr


def test_notebooks_that_make_runs_have_their_checkout_first(other: Path) -> None:
    """The workflow gives kernels the path of its checkout, before whatever the shell has."""
    code = "from workflow.execute import _settings; print(_settings('x', 5)['PYTHONPATH'])"
    result = python("-c", code, cwd=other)
    assert result.stdout.strip() == os.pathsep.join([str(other), str(PROJECT)]), result.stderr


def test_tests_run_the_code_of_their_checkout(other: Path) -> None:
    """Tests, and the processes that they start, import from the checkout that they are in."""
    (other / "tests" / "test_it.py").write_text(
        "import subprocess, sys\nfrom dmu0.files.paths import PROJECT\n\n\ndef test_it():\n"
        f"    found = subprocess.check_output([sys.executable, '-c', {WHERE!r}], cwd='/', text=True).strip()\n"
        f"    assert (str(PROJECT), found) == ({str(other)!r}, {str(other)!r})\n"
    )
    result = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_it.py", cwd=other)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_nearest_checkout_counts(other: Path) -> None:
    """A checkout inside another one is its own; data folders belong to the checkout that they are in."""
    assert find_checkout(other / "dmu5") == other
    assert find_checkout(other.parent) is None
    inner = other / "worktrees" / "inner"
    for mark in ("pyproject.toml", "dmu0/__init__.py", "workflow/__init__.py"):
        (inner / mark).parent.mkdir(parents=True, exist_ok=True)
        (inner / mark).touch()
    assert find_checkout(inner / "dmu0") == inner
    check_checkout(inner / "dmu0", inner)
    with pytest.raises(ImportError, match="worktrees"):
        check_checkout(inner / "dmu0", other)
