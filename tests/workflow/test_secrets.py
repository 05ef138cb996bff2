"""Secrets in the environment are in no notebook, page, record or line of a release, also of one that fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dmu0.files.paths import PROJECT
from tests.scenes.secrets import leaks, plant
from tests.scenes.toy_project import make, write_notebook, write_project

READ = """
import os
from dmu0.archives.session import find_login
from dmu0.surveys import load_survey
assert find_login("lsst", "data.lsst.cloud")[1] == os.environ["RSP_TOKEN"]
assert find_login("hsc", "hsc.mtk.nao.ac.jp") == (os.environ["HSC_SSP_USER"], os.environ["HSC_SSP_PASSWORD"])
{end}
"""


def test_no_secret_is_left_by_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks that log in, one of which fails right after, leave none, nor do make, its status and the pages."""
    plant(monkeypatch)
    folder = tmp_path / "toy"
    write_project(folder)
    (folder / "dmu0" / "archives").mkdir()
    (folder / "dmu0" / "archives" / "__init__.py").touch()
    shutil.copy(PROJECT / "dmu0" / "archives" / "session.py", folder / "dmu0" / "archives")
    reads = "[dmu0/1_A](../dmu0/1_A.ipynb)"
    write_notebook(folder / "dmu3/1_C.ipynb", reads=reads, imports="", body=READ.format(end="folder = survey"))
    failing = 'raise ConnectionError(f"{find_login.__name__} was refused")'
    write_notebook(folder / "dmu4/1_D.ipynb", reads=reads, imports="", body=READ.format(end=failing))
    done = make(folder, "-k", "release", "SURVEY=toy")
    said = [done.stdout, done.stderr]
    assert done.returncode != 0
    assert "ConnectionError: find_login was refused" in done.stderr
    assert (folder / "dmu4/data/toy/runs/1_D.failed.html").exists()
    assert (folder / "dmu3/data/toy/runs/1_C.html").exists()
    again = make(folder, "-s", "release", "SURVEY=toy")
    assert leaks(tmp_path, texts=[*said, again.stdout, again.stderr]) == []
