"""Checksums: read once for each state of a file; one replaced under the same name, size and date is noticed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dmu0.files import checksums
from dmu0.files.checksums import CACHE, Checksums, file_state, sha256
from dmu0.files.paths import DataFolders


@pytest.fixture
def folders(tmp_path) -> DataFolders:
    """Data folders in a temporary place."""
    return DataFolders("mine", tmp_path / "project")


@pytest.fixture
def path(tmp_path) -> Path:
    """A file that has not changed for longer than a tick of the clock."""
    found = tmp_path / "data file é.fits"
    found.write_text("one")
    time.sleep(0.05)
    return found


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the files that are read, as they are."""
    names: list[str] = []
    monkeypatch.setattr(checksums, "sha256", lambda path: names.append(path.name) or sha256(path))
    return names


def test_read_once(folders, path, read):
    """Another process does not read what this one has read."""
    first = Checksums(folders)
    digest = first.digest(path)
    assert digest == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    first.write()
    assert Checksums(folders).digest(path) == digest
    assert read == [path.name]


def test_replaced_by_one_of_the_same_name_size_and_date(folders, path, read, tmp_path):
    """A file that is written over, moved over or dated back is read again."""
    found = Checksums(folders)
    before, when = found.digest(path), path.stat()
    path.write_text("two")
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
    time.sleep(0.05)
    second = found.digest(path)
    assert second != before
    other = tmp_path / "other"
    other.write_text("six")
    os.utime(other, ns=(when.st_atime_ns, when.st_mtime_ns))
    time.sleep(0.05)
    other.replace(path)
    assert found.digest(path) not in (before, second)
    assert len(read) == 3


def test_a_touch_is_read_and_found_the_same(folders, path, read):
    """Another date alone changes no checksum."""
    found = Checksums(folders)
    before = found.digest(path)
    path.touch()
    time.sleep(0.05)
    assert found.digest(path) == before
    assert found.digest(path) == before
    assert len(read) == 2


def test_what_changed_just_now_is_not_kept(folders, tmp_path, read):
    """A file may change again within the tick of its clock: its checksum is not trusted yet."""
    path = tmp_path / "new"
    path.write_text("one")
    now = time.time_ns() + 10**9
    os.utime(path, ns=(now, now))
    found = Checksums(folders)
    found.digest(path)
    assert found.known(path, file_state(path)) == ""


def test_a_broken_cache_is_made_anew(folders, path):
    """A cache that was cut short costs the time to read the files, and no error."""
    for text in ("{", "[1, 2]", '{"a": 1}', ""):
        (folders[0] / CACHE).write_text(text)
        found = Checksums(folders)
        digest = found.digest(path)
        found.write()
        assert Checksums(folders).known(path, file_state(path)) == digest


def test_thousands_of_files_in_a_second(folders, tmp_path):
    """States of 3000 files are compared without reading one."""
    paths = [tmp_path / f"{number}.fits" for number in range(3000)]
    for path in paths:
        path.write_bytes(b"x")
    time.sleep(0.05)
    found = Checksums(folders)
    for path in paths:
        found.digest(path)
    found.write()
    begin = time.process_time()
    again = Checksums(folders)
    assert all(again.known(path, file_state(path)) for path in paths)
    assert time.process_time() - begin < 1
