"""Secrets planted in the environment, and the search for them: ``python -m tests.scenes.secrets FOLDER ...``."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

PLANTED = dict(
    line.split("=", 1)
    for line in Path(__file__).with_name("planted.env").read_text().splitlines()
    if line and not line.startswith("#")
)
"""Environment variable that the project, its libraries or its servers read -> its value, found nowhere else."""


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put all of them into the environment."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


def _spellings() -> dict[bytes, str]:
    """Each secret as it is, reversed and in base64, as of HTTP's basic login -> its name."""
    found = {}
    for name, value in PLANTED.items():
        if name.endswith("_USER"):
            continue
        user = PLANTED.get(name.replace("PASSWORD", "USER"), "")
        found[value.encode()] = name
        found[base64.b64encode(value.encode()).rstrip(b"=")[:-1]] = name
        found[base64.b64encode(f"{user}:{value}".encode())] = name
    return found


def leaks(*places: Path, texts: Iterable[str | bytes] = ()) -> list[str]:
    """Files below some folders, and texts, that contain a secret; names of files count.

    Raises
    ------
    AssertionError
        If there is no file to search.
    """
    spellings = _spellings()
    found, searched = [], 0
    for place in places:
        for path in place.rglob("*"):
            found += [f"name of {path}" for text in spellings if text in str(path).encode()]
            if path.is_file() and not path.is_symlink():
                searched += 1
                content = path.read_bytes()
                found += [f"{name} in {path}" for text, name in spellings.items() if text in content]
    for text in texts:
        searched += 1
        content = text.encode() if isinstance(text, str) else text
        found += [f"{name} in {content[:80]!r}" for said, name in spellings.items() if said in content]
    assert searched, f"nothing to search in {places}"
    return found


if __name__ == "__main__":
    there = [Path(name) for name in sys.argv[1:]]
    lines = leaks(*there)
    print("\n".join(lines) or f"no planted secret in {' '.join(map(str, there))}")
    sys.exit(bool(lines))
