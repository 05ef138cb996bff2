"""pyproject.toml, requirements.lock and environment.yml say the same."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent


def wanted() -> list[Requirement]:
    """What pyproject.toml asks for, with the extras of the tests and of the documentation."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in project["dependencies"] + extras["test"] + extras["docs"]]


def locked() -> dict[str, list[Requirement]]:
    """Pinned requirements by name; a name may be pinned once for each Python."""
    pins: dict[str, list[Requirement]] = {}
    for line in (PROJECT / "requirements.lock").read_text().split("\n"):
        if line and not line.startswith((" ", "#", "-")):
            requirement = Requirement(line)
            pins.setdefault(requirement.name.lower().replace("_", "-"), []).append(requirement)
    return pins


def test_lock_satisfies_pyproject() -> None:
    """Everything asked for is pinned to one version that satisfies it."""
    pins = locked()
    for requirement in wanted():
        found = pins.get(requirement.name.lower().replace("_", "-"))
        assert found, f"{requirement.name} is not in requirements.lock: run `make lock`"
        for pin in found:
            [specifier] = list(pin.specifier)
            assert specifier.operator == "=="
            assert requirement.specifier.contains(specifier.version), f"{pin} against {requirement}: run `make lock`"


def test_lock_names_no_index() -> None:
    """The lock has no addresses in it."""
    assert not re.search(r"https?://|--index|--find-links", (PROJECT / "requirements.lock").read_text())


def test_conda_environment_is_the_lock() -> None:
    """environment.yml gives conda users a Python that is new enough and the lock, nothing else."""
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    [nested] = [item for item in environment["dependencies"] if isinstance(item, dict)]
    assert plain == ["python=3.12", "pip"]
    assert nested == {"pip": ["-r requirements.lock"]}
    assert environment["name"] == "lsst-ir-fusion"


def test_installed_is_the_lock() -> None:
    """The environment in which the tests run has the pinned versions of what is asked for."""
    pins = locked()
    for requirement in wanted():
        versions = {next(iter(pin.specifier)).version for pin in pins[requirement.name.lower().replace("_", "-")]}
        assert version(requirement.name) in versions, f"{requirement.name} differs: make the environment again"


@pytest.mark.parametrize(
    ("said", "code", "required", "expected", "words"),
    [
        ("No known vulnerabilities found", 0, "", 0, "No known"),
        ("Found 1 known vulnerability in 1 package", 1, "", 1, "Found 1"),
        ("requests: Dependency not found on PyPI and could not be audited", 1, "", 0, "NOT AUDITED"),
        ("error: Failed to fetch: `pip-audit`; dns error", 2, "", 0, "NOT AUDITED"),
        ("error: Failed to fetch: `pip-audit`; dns error", 2, "1", 1, "NOT AUDITED"),
        ("ValueError: no such option", 2, "", 1, "no such option"),
    ],
)
def test_audit_says_what_it_did(tmp_path: Path, said: str, code: int, required: str, expected: int, words: str) -> None:
    """Vulnerabilities fail; without a network nothing is claimed, and CI, which requires an answer, fails."""
    (tmp_path / "uv").write_text(f"#!/bin/sh\necho '{said}'\necho \"$@\" > {tmp_path}/asked\nexit {code}\n")
    (tmp_path / "uv").chmod(0o755)
    changed = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REQUIRED": required}
    command = ["bash", str(PROJECT / "workflow" / "make_environment.sh"), "audit"]
    done = subprocess.run(command, env=os.environ | changed, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == expected
    assert words in done.stdout + done.stderr
    assert "pip-audit --strict --requirement requirements.lock" in (tmp_path / "asked").read_text()


def test_version_is_said_once() -> None:
    """The version of pyproject.toml is that of the installed package, and the one to cite."""
    said = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert version("lsst-ir-fusion") == said
    assert citation["version"] == said
    assert (citation["cff-version"], citation["license"]) == ("1.2.0", "Apache-2.0")
    assert {"message", "title", "authors"} <= citation.keys()


def test_no_link_is_committed() -> None:
    """A link that is committed by mistake names a folder of one machine, and hides what should be in its place."""
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) > 100
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []
