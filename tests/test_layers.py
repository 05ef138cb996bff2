"""Imports flow from obs_vista through dmu0 to dmu5, and modules keep to one idea."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("obs_vista", *(f"dmu{stage}" for stage in range(6)), "workflow")
MODULES = sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py") if "data" not in path.parts)


def test_import_contract() -> None:
    """import-linter finds no import against the flow."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_can_be_imported(package: str) -> None:
    """Each module finds what it imports, also those that only notebooks use."""
    for path in MODULES:
        parts = path.relative_to(PROJECT).with_suffix("").parts
        if parts[0] == package and parts[-1] not in {"__main__", "__init__"}:
            name = ".".join(parts)
            assert importlib.import_module(name).__name__ == name


def test_modules_are_small() -> None:
    """No module is longer than 400 lines, no function longer than 60, docstring and kernels of numba included."""
    for path in MODULES:
        text = path.read_text()
        assert text.count("\n") <= 400, f"{path.relative_to(PROJECT)} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{path.relative_to(PROJECT)}: {node.name} has {length} lines"


def test_no_catch_all_names() -> None:
    """There is no utils, common or helpers."""
    assert not [path for path in MODULES if path.stem in {"utils", "common", "helpers", "misc"}]


def test_public_things_are_documented() -> None:
    """Every public module, class and function has a docstring."""
    missing = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        missing += [
            f"{path.relative_to(PROJECT)}: {n.name}" for n in nodes if n.name[0] != "_" and not ast.get_docstring(n)
        ]
        if path.name != "__init__.py" and not ast.get_docstring(tree):
            missing.append(str(path.relative_to(PROJECT)))
    assert not missing


def test_errors_are_not_swallowed() -> None:
    """No bare except, no handler of everything that passes, no blanket warning filter."""
    for path in MODULES:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}"
                everything = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
                assert not (everything and all(isinstance(item, ast.Pass) for item in node.body)), (
                    f"{path}:{node.lineno}"
                )
        for blanket in ('simplefilter("ignore")', 'filterwarnings("ignore")'):
            assert blanket not in text, f"{path} silences all warnings"
