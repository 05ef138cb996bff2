"""Files and folders are there whole or not at all."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from dmu0.files.atomic import unfinished, written_whole

SIZE = 200_000


def entries(folder: Path) -> list[str]:
    """All names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path, error: BaseException, *, inside: str = "") -> None:
    """Write a file, or a file in a folder, and fail."""
    with written_whole(path) as part:
        if inside:
            part.mkdir()
        (part / inside).write_text("half")
        raise error


def write_one_letter(path: Path, letter: str, times: int, ready) -> None:
    """Write a file of one letter again and again, in pieces."""
    ready.wait()
    for _ in range(times):
        with written_whole(path) as part, part.open("w") as stream:
            for _ in range(10):
                stream.write(letter * (SIZE // 10))
                stream.flush()


def test_appears_when_finished(tmp_path):
    """While it is written the target is not there; afterwards it is, and nothing else; parents are made."""
    path = tmp_path / "new" / "a table.moc.fits"
    with written_whole(path) as part:
        part.write_text("half")
        assert part.name == path.name  # writers choose the format by the name
        assert not path.exists()
        part.write_text("whole")
    assert path.read_text() == "whole"
    assert entries(path.parent) == ["a table.moc.fits"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file(tmp_path, error):
    """A failure, also an interrupt, goes on to the caller; the old file stays and the half-written one goes."""
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(error):
        fail_half_way(path, error())
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["table"]


def test_failure_leaves_nothing(tmp_path):
    """Where there was no file there is none after a failure."""
    with pytest.raises(ValueError, match="bad pixel"):
        fail_half_way(tmp_path / "table", ValueError("bad pixel"))
    assert entries(tmp_path) == []


def test_nothing_written(tmp_path):
    """A writer that writes nothing is told so, and does not remove what was there."""
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(path):
        pass
    assert path.read_text() == "old"


def test_folder_replaces_a_folder(tmp_path):
    """A folder takes the place of an old one with all of its content; a failure leaves the old one."""
    path = tmp_path / "repo"
    for name in ("first", "second"):
        with written_whole(path) as part:
            part.mkdir()
            (part / name).write_text(name)
    assert entries(path) == ["second"]
    with pytest.raises(ValueError, match="third"):
        fail_half_way(path, ValueError("third"), inside="third")
    assert entries(path) == ["second"]
    assert entries(tmp_path) == ["repo"]


def test_two_processes_at_once(tmp_path):
    """Of processes that write one target at once each reader sees one whole file, and none disturbs another."""
    path = tmp_path / "table"
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writers = [context.Process(target=write_one_letter, args=(path, letter, 40, ready)) for letter in "ab"]
    for writer in writers:
        writer.start()
    ready.set()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            text = path.read_text()
            assert len(text) == SIZE
            assert len(set(text)) == 1
            seen.add(text[0])
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen == {"a", "b"}
    assert entries(tmp_path) == ["table"]


def test_name_of_what_is_continued():
    """What is continued later is hidden beside its target."""
    assert unfinished(Path("a/file.fits")) == Path("a/.file.fits.part")
