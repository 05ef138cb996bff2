"""Disks that are full or may not be written, and clocks that jump: a release says so, and goes on afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenes.toy_project import WRITE, make, write_notebook, write_project
from workflow.full_disk import full_disk, is_full, mount_point

BIG = """
from pathlib import Path
_ = Path("data/toy/big").write_bytes(bytes(3_000_000))
"""
"""A cell that writes 3 MB."""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The toy project, whose third notebook writes 3 MB."""
    write_project(tmp_path)
    write_notebook(
        tmp_path / "dmu3/1_C.ipynb",
        reads="[dmu0/1_A](../dmu0/1_A.ipynb)",
        imports="",
        body=BIG + WRITE.format(stage=3, value=3),
    )
    return tmp_path


@pytest.fixture
def small_disk(toy: Path) -> Iterator[Callable[[str], None]]:
    """A disk of 2 MB under the data of dmu3, and a function that mounts it again with other options."""
    folder = toy / "dmu3" / "data"
    folder.mkdir()

    def mount(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)

    done = mount("-t", "tmpfs", "-o", "size=2m", "tmpfs")
    if done.returncode != 0:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")

    def again(options: str) -> None:
        assert mount("-o", f"remount,{options}").returncode == 0

    yield again
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named(toy: Path, small_disk: Callable[[str], None]) -> None:
    """The terminal names the disk, what is free and what is needed, without a traceback; then the rest is done."""
    result = make(toy, "release", "SURVEY=toy", "-k")
    assert result.returncode != 0
    said = result.stdout + result.stderr
    assert f"dmu3/1_C.ipynb: the disk of {toy / 'dmu3' / 'data'} is full:" in said
    assert "of 2 MB are free" in said
    assert "The whole release needs about" in said
    assert "Traceback" not in said
    assert not (toy / "dmu3/data/toy/runs/1_C.json").exists()
    assert [path for path in (toy / "dmu3/data").rglob("*") if path.name.endswith(".part")] == []
    small_disk("size=50m")
    result = make(toy, "release", "SURVEY=toy")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 4 steps are done, 1 to run" in result.stdout


def test_a_folder_that_may_not_be_written_is_named(toy: Path, small_disk: Callable[[str], None]) -> None:
    """On a disk that is read-only the step fails by the name of what it could not write; then it is done."""
    (toy / "dmu3/data/toy/runs").mkdir(parents=True)
    small_disk("size=50m,ro")
    result = make(toy, "release", "SURVEY=toy", "-k")
    said = result.stdout + result.stderr
    assert result.returncode != 0
    assert f"Read-only file system: {toy / 'dmu3' / 'data'}" in said
    assert "Traceback" not in said
    small_disk("rw")
    result = make(toy, "release", "SURVEY=toy")
    assert result.returncode == 0, result.stdout + result.stderr


def test_clocks_that_jump_make_nothing_stale(toy: Path) -> None:
    """Files from the future or from 1990, as after a clock was set, neither repeat nor hide work."""
    assert make(toy, "release", "SURVEY=toy").returncode == 0
    files = [path for path in toy.rglob("*") if path.is_file()]
    for number, path in enumerate(sorted(files)):
        when = time.time() + (10**9 if number % 2 else -(10**9))
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (when, when))
    result = make(toy, "release", "SURVEY=toy")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all 4 steps are done" in result.stdout
    (toy / "dmu2/factor.py").write_text('"""A factor."""\n\nFACTOR = 5\n')
    os.utime(toy / "dmu2/factor.py", (0, 0))
    assert "2 of 4 steps are done, 2 to run" in make(toy, "release", "SURVEY=toy").stdout


@pytest.mark.parametrize(
    ("error", "full"),
    [
        ("[Errno 28] No space left on device: '/x/y'", True),
        (
            "(sqlite3.OperationalError) database or disk is full\n(Background: https://sqlalche.me/e)",
            True,
        ),
        ("[Errno 122] Disk quota exceeded", True),
        ("the disk of an aperture is fuller than its ring", False),
    ],
)
def test_what_full_disks_say(error: str, full: bool) -> None:
    """The words of the system, of SQLite and of file servers are known."""
    assert is_full(error) is full


def test_the_disk_of_a_path(tmp_path: Path) -> None:
    """A path that is not there yet is on the disk of its nearest folder."""
    mount = mount_point(tmp_path / "not" / "there")
    assert mount.is_mount()
    assert tmp_path.is_relative_to(mount)
    assert full_disk(tmp_path).startswith(f"the disk of {mount} is full: ")
