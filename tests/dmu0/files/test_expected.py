"""The inputs that a survey names: LSST's table of objects as files, as a folder, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmu0.files.expected import find_object_tables, unmatched_patterns
from dmu0.surveys import Survey, load_survey

SURVEY = """
name: trial
title: trial
inputs: {source: local, folder: inputs}
optical: {kind: lsst, bands: [i], coadds: {default: "{tract}_{patch}.fits"}, OBJECTS}
sky_map: {kind: cells, name: lsst_cells_v2}
tracts: {9813: [43]}
"""


def named(folder: Path, objects: str) -> Survey:
    """A survey with some line about objects."""
    path = folder / "trial.yaml"
    path.write_text(SURVEY.replace("OBJECTS", objects))
    return load_survey(str(path))


def test_files_and_folders_of_objects(tmp_path: Path) -> None:
    """A pattern, a folder, and an absolute path are found; nothing is an error only where something is named."""
    inputs = tmp_path / "inputs"
    (inputs / "hats").mkdir(parents=True)
    for name in ("object_1.parquet", "object_2.parquet", "other.parquet"):
        (inputs / name).touch()
    files = [inputs / "object_1.parquet", inputs / "object_2.parquet"]
    assert find_object_tables(named(tmp_path, "objects: 'object_*.parquet'")) == files
    assert find_object_tables(named(tmp_path, "objects: hats")) == [inputs / "hats"]
    assert find_object_tables(named(tmp_path, f"objects: '{inputs}/hats'")) == [inputs / "hats"]
    for line in ("objects: 'object_*.parquet'", "objects: hats", "ab_offsets: {}"):
        assert unmatched_patterns(named(tmp_path, line)) == []
    assert find_object_tables(named(tmp_path, "ab_offsets: {}")) == []


@pytest.mark.parametrize("name", ["hats_dp2", "objects/*.parquet"])
def test_objects_that_are_not_there(tmp_path: Path, name: str) -> None:
    """What `make check` says of a table of objects that is not there."""
    (tmp_path / "inputs").mkdir()
    assert unmatched_patterns(named(tmp_path, f"objects: '{name}'")) == [("optical.objects", name)]
