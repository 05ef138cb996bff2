"""Fetch the real images of this folder's surveys from the public repositories that hold them: ``make realdata``."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from dmu0.archives.session import ArchiveError, Patience, RateLimiter, make_session
from dmu0.archives.transfer import download_file
from dmu0.files.checksums import sha256
from dmu0.progress import tqdm

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "data"
"""Where the images are; git ignores it."""

COMMAND = "make realdata"
"""What fetches them."""


def read_list(path: Path = HERE / "images.yaml") -> dict[str, dict]:
    """Folder -> what its images are, licence, address, and file -> SHA-256."""
    return yaml.safe_load(path.read_text())


def missing_images(folder: Path = IMAGES, listed: dict[str, dict] | None = None) -> list[Path]:
    """The images that are not there."""
    listed = read_list() if listed is None else listed
    paths = [folder / name / file for name, source in listed.items() for file in source["sha256"]]
    return [path for path in paths if not path.is_file()]


def fetch_images(folder: Path = IMAGES, listed: dict[str, dict] | None = None, patience: Patience | None = None) -> int:
    """Download the images that are not there; those that are not what they should be get no name.

    Parameters
    ----------
    folder
        Where they go.
    listed
        What there is (`read_list`).
    patience
        How often to ask.

    Returns
    -------
    int
        How many were fetched.

    Raises
    ------
    ArchiveError
        If an image cannot be had, or is another one; the message names address and checksum.
    """
    listed = read_list() if listed is None else listed
    patience = Patience() if patience is None else patience
    limiter = RateLimiter(patience.per_second)
    missing = missing_images(folder, listed)
    for path in tqdm(missing, desc="images", unit="file"):
        source = listed[path.parent.name]
        wanted, address = source["sha256"][path.name], f"{source['address']}/{path.name}"

        def check(part: Path, wanted: str = wanted, address: str = address) -> str:
            found = sha256(part)
            return "" if found == wanted else f"at {address} has SHA-256 {found}, not {wanted}"

        session = make_session("", urlsplit(address).hostname or "", patience, limiter)
        download_file(session, address, path, check=check, reject=lambda part, _: part.unlink(), patience=patience)
    return len(missing)


def main() -> int:
    """Fetch what is missing, and say what it is and under which licence; the exit code."""
    listed = read_list()
    for name, source in listed.items():
        print(f"{name}: {source['what']}, {source['licence']}")
    try:
        count = fetch_images(listed=listed)
    except ArchiveError as error:
        print(f"{error}\nGive the same command again later: {COMMAND}", file=sys.stderr)
        return 1
    print(f"{count} images fetched; all are in {IMAGES}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
