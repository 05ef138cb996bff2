"""Checks of objects, and tables of checks on disk; those of columns are with `test_file_columns`."""

from __future__ import annotations

from pathlib import Path

from astropy.table import Table

from dmu5.checks import object_checks, read_checks, write_checks


def test_objects_that_come_twice() -> None:
    """Three rows too many, of two objects, are three."""
    assert object_checks(Table({"objectId": [4, 7, 9]})) == [("objectIds that come twice", "0", "0", True)]
    repeated = Table({"objectId": [4, 7, 4, 4, 9, 7]})
    assert object_checks(repeated) == [("objectIds that come twice", "3", "0", False)]


def test_checks_come_back(tmp_path: Path) -> None:
    """Rows of checks, also none, are read as they were written."""
    write_checks([("stars", "97.1%", "95%", True), ("positions", "41 mas", "30 mas", False)], tmp_path / "a.ecsv")
    write_checks([], tmp_path / "b.ecsv")
    tables = read_checks(tmp_path)
    assert list(tables) == ["a", "b"]
    assert list(tables["a"]["passed"]) == [True, False]
    assert list(tables["a"]["value"]) == ["97.1%", "41 mas"]
    assert len(tables["b"]) == 0


def test_a_long_value_is_not_cut(tmp_path: Path) -> None:
    """What a check says of a wrong column stays whole."""
    text = "1 in 371: vk_pixelFlags_inexact_psfCenter: description 'x', must be 'An image of vk begins or ends here'"
    write_checks([("columns", text, "0 in 371", False)], tmp_path / "a.ecsv")
    assert read_checks(tmp_path)["a"]["value"][0] == text
