"""Secrets planted in the environment, and the search for them in everything that a run leaves."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import pytest

PLANTED = {
    "RSP_TOKEN": "planted-gt-Kq7vR2xW",
    "ESO_USER": "planted-eso-user",
    "ESO_PASSWORD": "planted-eso-Zp4mT8sL",
    "HSC_SSP_USER": "planted-hsc-user",
    "HSC_SSP_PASSWORD": "planted-hsc-Yd6nB1cJ",
    "AWS_SECRET_ACCESS_KEY": "planted-s3-Hw9fG3kQ",
    "PGPASSWORD": "planted-pg-Vx5bM0tN",
}
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
