"""The repository of a survey: opening it, and its collections."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.daf.butler import CollectionType

from dmu0.surveys import Survey
from dmu4.butler.repository import has_collection, newest, open_butler, remove_runs


def test_missing_repository_says_what_to_run(survey: Survey) -> None:
    """Opening a repository that was not made names the notebook that makes it."""
    with pytest.raises(FileNotFoundError, match="1_Butler_repository"):
        open_butler(survey)


def test_the_newest_run_of_a_family_stands_for_it(made_survey: Survey) -> None:
    """A newer run takes the place of its predecessor in the release, and of no other family's."""
    with open_butler(made_survey, collections=(), writeable=True) as butler:
        for run in ("coadds/a", "coadds/b", "multiband/a"):
            butler.collections.register(run, CollectionType.RUN)
            newest(butler, run.split("/")[0], run)
        assert list(butler.collections.get_info("release").children) == ["multiband/a", "coadds/b", "inputs/one"]
        assert list(butler.collections.get_info("inputs").children) == ["inputs/one"]
        assert not has_collection(butler, "coadds/a")


def test_removed_runs_leave_every_chain(made_survey: Survey) -> None:
    """A run that is removed is in no chain any more; files that were ingested from elsewhere stay."""
    with open_butler(made_survey, collections=(), writeable=True) as butler:
        [path] = {butler.getURI(ref).ospath for ref in butler.query_datasets("vircam_pawprint", "inputs/one")}
        remove_runs(butler, ["inputs/one"])
        assert not has_collection(butler, "inputs/one")
        assert list(butler.collections.get_info("release").children) == []
    assert Path(path).is_file()
