"""The list of mistakes fits the code: each text stands once, and is replaced by another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mutants.run import LIST, find_module, folders_of_tests

ENTRIES = json.loads(LIST.read_text())


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["title"] for entry in ENTRIES])
def test_each_mistake_can_be_planted(entry: dict[str, str]) -> None:
    """A refactoring that takes a text away wants another mistake of the same kind in its place."""
    assert entry["old"] != entry["new"]
    module = find_module(entry["old"])
    assert module is not None, f"{entry['old']!r} does not stand exactly once in the code"
    assert all(Path(folder).parts[0] == "tests" for folder in folders_of_tests(module))
