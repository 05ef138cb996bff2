"""Releases that were made in this checkout, for the tests that judge them."""

from __future__ import annotations

import pytest
from astropy.table import Table

from dmu0.surveys import Survey, load_survey
from dmu5.steps import read_catalogue


def released(name: str) -> tuple[Survey, Table]:
    """A survey and its catalogue; skips if it was not released."""
    survey = load_survey(name)
    if not (survey.folders[5] / "release" / "index.html").exists():
        pytest.skip(f"not released here: make release SURVEY={name}")
    return survey, read_catalogue(survey)
