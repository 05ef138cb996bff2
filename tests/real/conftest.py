"""Releases of surveys of real images, by the same make target as any other survey."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dmu0.surveys import Survey, load_survey
from tests.real.fetch import COMMAND

PROJECT = Path(__file__).resolve().parents[2]


def _release(name: str) -> Survey:
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "MAKEFLAGS": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["make", "release", f"SURVEY=tests/real/{name}.yaml", "JOBS=1"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nAre all images there? {COMMAND}"
    return load_survey(f"tests/real/{name}.yaml")


@pytest.fixture(scope="session")
def release(real_images: Path) -> Callable[[str], Survey]:
    """A function that makes the release of a survey of this folder, unless it is made already."""
    return _release
