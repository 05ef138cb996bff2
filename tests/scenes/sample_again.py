"""The pipeline of the sample once more, on other engines, registries and storage, from the products of dmu0 to dmu2."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dmu0.files.paths import PROJECT, DataFolders
from dmu0.surveys import Survey, load_survey
from dmu4.butler.ingest import make_repository
from dmu4.butler.repository import open_butler
from dmu4.execution.report import summary
from dmu4.execution.steps import STEPS, run_step
from tests.same_catalogue import differences


def objects_of(survey: Survey) -> pd.DataFrame:
    """All rows of a survey's object tables."""
    with open_butler(survey) as butler:
        tables = [butler.get(ref).to_pandas() for ref in sorted(butler.query_datasets("object"))]
    return pd.concat(tables, ignore_index=True)


def sample_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, **engine: object) -> tuple[Survey, pd.DataFrame]:
    """The sample with its repository to be made in another folder, and the objects of the one that is here.

    Parameters
    ----------
    folder
        Root of the data folders.
    monkeypatch
        Changes the folders of all surveys.
    engine
        Keys of the survey's section ``engine``.
    """
    sample = load_survey("sample")
    here = objects_of(sample)
    for stage in range(3):
        (folder / f"dmu{stage}" / "data").mkdir(parents=True)
        (folder / f"dmu{stage}" / "data" / "sample").symlink_to(PROJECT / f"dmu{stage}" / "data" / "sample")
    monkeypatch.setattr(Survey, "folders", property(lambda self: DataFolders(self.name, folder)))
    monkeypatch.setenv("FUSION_RUN_ID", "again")
    return sample.model_copy(update={"engine": sample.engine.model_copy(update=engine)}), here


def run_all(survey: Survey, here: pd.DataFrame) -> list[str]:
    """Run every step of the pipeline, all of whose quanta have to succeed; what differs from the objects given."""
    make_repository(survey, run="again")
    for step in STEPS:
        counts = summary(run_step(survey, step, progress=False))
        print(counts)
        assert counts["failed"].sum() == 0
    found = differences(here, objects_of(survey))
    print(f"{len(here)} objects with {len(here.columns)} columns; different: {found or 'none'}")
    return found
