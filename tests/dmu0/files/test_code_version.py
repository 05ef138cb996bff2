"""The version of the code: the commit of the checkout and no other, and whether its files were changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dmu0.files.code_version import UNKNOWN, CodeVersion, code_version, read_code_version
from dmu0.files.paths import PROJECT


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, as somebody."""
    names = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout of one commit, version 7.1."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "pyproject.toml").write_text('[project]\nname = "lsst-ir-fusion"\nversion = "7.1"\n')
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "Begin")
    return folder


def test_commit_and_changes(checkout: Path) -> None:
    """The commit is git's; changed files are noticed, files that git does not track do not count."""
    commit = git(checkout, "rev-parse", "HEAD")
    assert read_code_version(checkout) == CodeVersion("7.1", commit, "no")
    (checkout / "survey.yaml").write_text("name: mine\n")
    assert read_code_version(checkout).modified == "no"
    with (checkout / "pyproject.toml").open("a") as stream:
        stream.write("# changed\n")
    found = read_code_version(checkout)
    assert found == CodeVersion("7.1", commit, "yes")
    assert str(found) == f"lsst-ir-fusion 7.1, commit {commit[:12]}, modified"


def test_outside_a_checkout(checkout: Path) -> None:
    """An archive unpacked inside another checkout has its own version and no commit."""
    unpacked = checkout / "unpacked"
    unpacked.mkdir()
    (unpacked / "pyproject.toml").write_text('[project]\nversion = "8.0"\n')
    assert read_code_version(unpacked) == CodeVersion("8.0", UNKNOWN, UNKNOWN)
    assert "no commit known" in str(read_code_version(unpacked))


def test_before_the_first_commit(tmp_path: Path) -> None:
    """A repository without a commit has none to tell."""
    git(tmp_path, "init", "--quiet")
    assert read_code_version(tmp_path).commit == UNKNOWN


def test_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no git the version is still told."""
    monkeypatch.setenv("PATH", str(checkout))
    assert read_code_version(checkout) == CodeVersion("7.1", UNKNOWN, UNKNOWN)


def test_variables_of_hooks_do_not_mislead(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a hook of another repository, GIT_DIR names that one; the commit is still that of the checkout."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    git(other, "commit", "--quiet", "--allow-empty", "-m", "Begin elsewhere")
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert read_code_version(checkout).commit == commit


def test_of_this_project() -> None:
    """The version is that of the project's own file, whatever package is installed."""
    assert code_version().version == read_code_version(PROJECT).version
    assert f'version = "{code_version().version}"' in (PROJECT / "pyproject.toml").read_text()
