"""The repository of a tiny survey, made once, and copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dmu0.files.paths import DataFolders
from dmu0.surveys import Survey
from dmu4.butler.ingest import make_repository
from tests.scenes.repositories import load_tiny_survey, write_tiny_products, write_tiny_survey


@pytest.fixture(scope="session")
def tiny_products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what dmu0 to dmu2 would have left of the tiny survey."""
    folder = tmp_path_factory.mktemp("tiny_products")
    write_tiny_survey(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, folder)))
        write_tiny_products(load_tiny_survey(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_repository(tiny_products: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the repository that is made from it."""
    folder = tmp_path_factory.mktemp("tiny_repository") / "made"
    shutil.copytree(tiny_products, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, folder)))
        make_repository(load_tiny_survey(folder), run="one")
    return folder


@pytest.fixture
def survey(tiny_products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The tiny survey in a folder of its own, without a repository."""
    return _copied(tiny_products, tmp_path / "tiny", monkeypatch)


@pytest.fixture
def made_survey(tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """The tiny survey in a folder of its own, with a repository whose inputs are the run ``one``."""
    return _copied(tiny_repository, tmp_path / "tiny", monkeypatch)


def _copied(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    shutil.copytree(source, folder)
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, folder)))
    monkeypatch.setenv("FUSION_RUN_ID", "first")
    return load_tiny_survey(folder)
