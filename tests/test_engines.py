"""The same catalogue from every engine: BPS on the sample, against what the local engine made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.same_catalogue import differences
from tests.scenes.sample_again import run_all, sample_elsewhere


@pytest.fixture
def table() -> pd.DataFrame:
    """Five objects."""
    return pd.DataFrame(
        {
            "objectId": [50, 10, 40, 20, 30],
            "tract": [1, 1, 2, 2, 2],
            "g_psfFlux": np.array([1.0, -3e4, np.nan, 2e-3, 7.0], np.float32),
            "g_psfFlux_flag": [False, True, False, False, True],
        }
    )


def test_the_order_of_rows_is_no_difference(table: pd.DataFrame) -> None:
    """The same rows in another order are the same, NaN is NaN, and less than the tolerance is nothing."""
    other = table.iloc[::-1].reset_index(drop=True)
    assert differences(table, other) == []
    other["g_psfFlux"] *= np.float32(1 + 3e-7)
    assert differences(table, other) == []


@pytest.mark.parametrize(
    ("column", "value", "line"),
    [
        ("g_psfFlux", 7.0001, "g_psfFlux differs in 1 of 5 rows, by up to 1.4e-05"),
        ("g_psfFlux", np.nan, "g_psfFlux differs in 1 of 5 rows, by up to 0"),
        ("g_psfFlux_flag", False, "g_psfFlux_flag differs in 1 of 5 rows"),
        ("objectId", 31, "2 objects are in one of them only"),
        ("objectId", 10, "objectId is not unique"),
    ],
)
def test_differences_are_named(table: pd.DataFrame, column: str, value: object, line: str) -> None:
    """A flux, a missing value, a flag and an object that differ are each told."""
    other = table.copy()
    other.loc[4, column] = value
    assert differences(table, other) == [line]
    assert differences(table, table.drop(columns="tract")) == ["tract is in one of them only"]


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_bps_makes_the_same_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole sample through BPS has every quantum done and every object's numbers to 1e-6, as the local engine."""
    survey, here = sample_elsewhere(tmp_path, monkeypatch)
    monkeypatch.setenv("FUSION_ENGINE", "bps")
    assert run_all(survey, here) == []
    assert (tmp_path / "dmu4/data/sample/bps").is_dir(), "nothing was submitted"
