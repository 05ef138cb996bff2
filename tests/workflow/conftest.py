"""The toy project with its release, made once, and copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from dmu0.guard import stop_marked
from tests.scenes.toy_project import make, write_project


@pytest.fixture
def mark() -> Iterator[str]:
    """A variable of the environment, by which the processes of a test are found, and stopped at its end."""
    mark = f"TEST_MARK={uuid4().hex}"
    yield mark
    stop_marked(mark)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy project in which everything is done."""
    folder = tmp_path_factory.mktemp("toy")
    write_project(folder)
    result = make(folder, "release", "SURVEY=toy")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture
def toy(released: Path, tmp_path: Path) -> Path:
    """A toy project of the test's own, in which everything is done."""
    return shutil.copytree(released, tmp_path / "toy")
