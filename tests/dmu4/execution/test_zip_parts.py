"""Reading members of a zip file in turn, on every Python."""

from __future__ import annotations

import io
import os
import zipfile

import pytest

from dmu4.execution import zip_parts


def read_as_before_the_fix(self: zipfile._SharedFile, offset: int, whence: int = os.SEEK_SET) -> int:
    """The relative seek of Python 3.12.8: it starts where the last read of any member ended."""
    with self._lock:
        self._file.seek(offset, whence)
        self._pos = self._file.tell()
        return self._pos


@pytest.fixture
def faulty_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zip files read as older Pythons do; what the test changes of that is taken back."""
    monkeypatch.setattr(zipfile._SharedFile, "seek", read_as_before_the_fix)


@pytest.mark.usefixtures("faulty_python")
def test_the_fault_is_seen_and_mended() -> None:
    """A Python with the fault is known by it, and reads rightly afterwards; a second time there is nothing to mend."""
    assert not zip_parts.reads_parts_of_zips()
    assert zip_parts.mend_zip_reading()
    assert zip_parts.reads_parts_of_zips()
    assert not zip_parts.mend_zip_reading()


@pytest.mark.usefixtures("faulty_python")
def test_members_of_a_mended_zip_are_read_in_any_order() -> None:
    """Forward, backward and relative seeks in three interleaved members give the bytes that were written."""
    zip_parts.mend_zip_reading()
    contents = {name: bytes((start + 7 * k) % 251 for k in range(30_000)) for start, name in enumerate("abc")}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.open(name) for name in contents}
        for place, whence in ((100, 0), (20_000, 0), (5_000, 1), (50, 0), (-40, 2), (9_999, 0)):
            for name, member in members.items():
                start = member.seek(place, whence)
                assert member.read(17) == contents[name][start : start + 17], (name, place, whence)
        for member in members.values():
            member.close()


def test_a_python_that_cannot_be_mended_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the correction does not help, that is said, and nothing is left changed."""
    seek = zipfile._SharedFile.seek
    monkeypatch.setattr(zip_parts, "reads_parts_of_zips", lambda: False)
    with pytest.raises(RuntimeError, match=r"3\.12\.9"):
        zip_parts.mend_zip_reading()
    assert zipfile._SharedFile.seek is seek
