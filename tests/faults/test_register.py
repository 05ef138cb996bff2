"""The register of what went wrong before: complete, and each entry names tests that exist."""

from __future__ import annotations

import ast

import pytest
import yaml

from dmu0.files.paths import PROJECT

REGISTER: dict[int | str, list[str]] = yaml.safe_load((PROJECT / "tests" / "faults" / "register.yaml").read_text())
INPUTS = "B02 B04 B06 B07 B08 B09 B10 B11 B14 B15 B24 B26 B27 B28 B30 B31 B32 B33 B34"


def test_every_number_is_there() -> None:
    """Failures 1 to 32, and all kinds of inputs."""
    assert set(REGISTER) == {*range(1, 33), *INPUTS.split()}


@pytest.mark.parametrize("number", REGISTER)
def test_its_tests_exist(number: int | str) -> None:
    """Each entry has a test at least, and each of its tests is a function of that file."""
    assert REGISTER[number]
    for name in REGISTER[number]:
        path, _, function = name.partition("::")
        tree = ast.parse((PROJECT / path).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
