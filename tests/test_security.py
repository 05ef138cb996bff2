"""What must not be in the code: unverified TLS, pickles, YAML that runs code, shells, and committed passwords."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from dmu0.files.paths import PROJECT

PACKAGES = ("obs_vista", "dmu0", "dmu1", "dmu2", "dmu3", "dmu4", "dmu5", "workflow", "docs")
SECRET = re.compile(
    r"://[^/\s:@{}]+:(?!\{)[^/\s:@{}]{4,}@|-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}"
)
"""Passwords in addresses, private keys, and keys of services."""

UNSAFE = frozenset({"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"})
"""Modules that run code of what they read."""


def modules() -> list[Path]:
    """All modules of the project."""
    return [path for package in PACKAGES for path in (PROJECT / package).rglob("*.py") if "data" not in path.parts]


def dangers(tree: ast.Module) -> list[str]:
    """Lines that trust what comes from outside."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"{node.lineno}: imports {name}" for name in names if name in UNSAFE]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        for word in node.keywords:
            value = getattr(word.value, "value", None)
            if (word.arg, value) in {("verify", False), ("allow_pickle", True), ("shell", True)}:
                found.append(f"{node.lineno}: {called}({word.arg}={value})")
        if called.rpartition(".")[2] in {"read_pickle", "from_pickle", "extractall", "unpack_archive"}:
            found.append(f"{node.lineno}: {called}")
        if called in {"eval", "exec", "os.system", "yaml.unsafe_load", "ssl._create_unverified_context"}:
            found.append(f"{node.lineno}: {called}")
        if called == "yaml.load" and "Safe" not in ast.unparse(node):
            found.append(f"{node.lineno}: yaml.load without a safe loader")
    return found


def test_nothing_from_outside_is_trusted() -> None:
    """No module turns off the verification of TLS, reads pickles, or runs text as code or in a shell."""
    found = {str(path.relative_to(PROJECT)): dangers(ast.parse(path.read_text())) for path in modules()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "requests.get(url, verify=False)",
        "import pickle",
        "from pickle import load",
        "import joblib",
        "pandas.read_pickle(path)",
        "archive.extractall(folder)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(line, shell=True)",
        "eval(text)",
    ],
)
def test_dangers_are_seen(code: str) -> None:
    """The search finds each of what it looks for."""
    assert len(dangers(ast.parse(code))) == 1


def test_no_secret_is_committed() -> None:
    """No committed file has a password in an address, a private key or the key of a service."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = PROJECT / name
        if path.suffix in {".jpg", ".png", ".fits"} or not path.is_file() or name.startswith("tests/"):
            continue
        found += [f"{name}: {match[0][:20]}" for match in SECRET.finditer(path.read_text(errors="replace"))]
    assert found == []
    assert SECRET.search("postgresql://me:Tr0ub4dor@host/x")
