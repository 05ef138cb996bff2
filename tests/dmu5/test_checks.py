"""Checks of objects, and tables of checks on disk; those of columns are with `test_file_columns`."""

from __future__ import annotations

from pathlib import Path

from astropy.table import Table

from dmu5.checks import Check, held, object_checks, read_checks, stopping, write_checks


def test_objects_that_come_twice() -> None:
    """Three rows too many, of two objects, are three."""
    assert object_checks(Table({"objectId": [4, 7, 9]})) == [Check("objectIds that come twice", "0", "0", "pass")]
    repeated = Table({"objectId": [4, 7, 4, 4, 9, 7]})
    assert object_checks(repeated) == [Check("objectIds that come twice", "3", "0", "fail")]


def test_checks_come_back(tmp_path: Path) -> None:
    """Rows of checks, also none, are read as they were written."""
    rows = [held("stars", "97.1%", "95%", True), Check("Ks: sky", "0.2", "0.1", "warn", "vk", False)]
    write_checks(rows, tmp_path / "a.ecsv")
    write_checks([], tmp_path / "b.ecsv")
    tables = read_checks(tmp_path)
    assert list(tables) == ["a", "b"]
    assert tables["a"] == rows
    assert len(tables["b"]) == 0


def test_a_long_value_is_not_cut(tmp_path: Path) -> None:
    """What a check says of a wrong column stays whole."""
    text = "1 in 371: vk_pixelFlags_inexact_psfCenter: description 'x', must be 'An image of vk begins or ends here'"
    write_checks([held("columns", text, "0 in 371", False)], tmp_path / "a.ecsv")
    assert read_checks(tmp_path)["a"][0].value == text


def test_what_stops_a_release() -> None:
    """A failure does, unless it says how good a band is rather than whether the catalogue is right; a warning never."""
    rows = [held("a", "1", "0", False), held("b", "1", "0", False, stops=False), Check("c", "1", "0", "warn")]
    assert stopping([*rows, held("d", "0", "0", True)]) == ["fail  a: 1 (limit 0)"]
