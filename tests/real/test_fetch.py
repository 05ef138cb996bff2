"""The images of this folder are fetched by their checksums; tried on a server of this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dmu0.archives.session import ArchiveError, Patience
from dmu0.surveys import load_survey
from tests.real.fetch import COMMAND, HERE, IMAGES, fetch_images, missing_images, read_list

HASTY = Patience(attempts=2, first_delay=0.01, longest_delay=0.01, per_second=100.0)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address where its files are served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def listed(address: str, **files: bytes) -> dict[str, dict]:
    """A list of one folder with some files."""
    digests = {f"{name}.fits": hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return {"one": {"what": "two images", "licence": "none", "address": address, "sha256": digests}}


def test_images_are_fetched_once(server: tuple[Path, str], tmp_path: Path) -> None:
    """What is missing is fetched, what is there is left alone."""
    folder, address = server
    files = {"a": b"first" * 1000, "b": b"second" * 50_000}
    for name, content in files.items():
        (folder / f"{name}.fits").write_bytes(content)
    images = tmp_path / "images"
    assert fetch_images(images, listed(address, **files), HASTY) == 2
    assert {path.stem: path.read_bytes() for path in (images / "one").iterdir()} == files
    (images / "one" / "a.fits").unlink()
    (folder / "b.fits").unlink()
    assert missing_images(images, listed(address, **files)) == [images / "one" / "a.fits"]
    assert fetch_images(images, listed(address, **files), HASTY) == 1
    assert missing_images(images, listed(address, **files)) == []


@pytest.mark.parametrize(("served", "said"), [(b"other", "has SHA-256"), (None, "does not have")])
def test_another_image_gets_no_name(server: tuple[Path, str], tmp_path: Path, served: bytes | None, said: str) -> None:
    """An image with another checksum, or none, is an error that names the address; nothing is left."""
    folder, address = server
    if served is not None:
        (folder / "a.fits").write_bytes(served)
    with pytest.raises(ArchiveError, match=rf"{said}.*") as error:
        fetch_images(tmp_path / "images", listed(address, a=b"wanted"), HASTY)
    assert f"{address}/a.fits" in str(error.value)
    assert [path for path in (tmp_path / "images").rglob("*") if path.is_file()] == []


def test_the_list_names_what_the_surveys_read() -> None:
    """Each survey's folder is on the list with a pinned commit and a licence, and git ignores where images go."""
    sources = read_list()
    for name in ("gama9", "video_h"):
        folder = (HERE / load_survey(str(HERE / f"{name}.yaml")).inputs.folder).relative_to(IMAGES)
        source = sources[str(folder)]
        assert source["licence"]
        assert len(source["address"].split("/")[5]) == 40, "the address names a commit"
        assert all(len(digest) == 64 for digest in source["sha256"].values())
    assert "tests/real/data" in (HERE.parents[1] / ".gitignore").read_text()
    assert COMMAND.removeprefix("make ") in (HERE.parents[1] / "Makefile").read_text()


def test_images_here_are_those_of_the_list(real_images: Path) -> None:
    """Where the images are, they have the checksums of the list."""
    for name, source in read_list().items():
        for file, digest in source["sha256"].items():
            assert hashlib.sha256((real_images / name / file).read_bytes()).hexdigest() == digest, file
