"""The baseline of type errors may only shrink."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workflow import check_types
from workflow.check_types import BASELINE, compare, count_by_file, report, write_baseline

PROJECT = Path(__file__).resolve().parents[2]
LINES = [
    'dmu1/steps.py:12: error: Item "None" of "Vista | None" has no attribute "bands"  [union-attr]',
    "dmu1/steps.py:40:8: error: Incompatible types in assignment  [assignment]",
    "dmu0/sky/tract.py:3: error: Name is not defined  [name-defined]",
    "dmu0/sky/tract.py:3: note: Did you mean something else?",
    "Found 3 errors in 2 files (checked 163 source files)",
]


def test_errors_are_counted_by_file() -> None:
    """Errors with and without a column count, notes and the summary do not."""
    counts = count_by_file(LINES)
    assert counts == {"dmu0/sky/tract.py": 1, "dmu1/steps.py": 2}
    assert list(counts) == sorted(counts)


@pytest.mark.parametrize(
    ("baseline", "more", "fewer"),
    [
        ({"dmu0/sky/tract.py": 1, "dmu1/steps.py": 2}, [], []),
        ({"dmu0/sky/tract.py": 1, "dmu1/steps.py": 1}, ["dmu1/steps.py"], []),
        ({"dmu1/steps.py": 2}, ["dmu0/sky/tract.py"], []),
        ({"dmu0/sky/tract.py": 3, "dmu1/steps.py": 2}, [], ["dmu0/sky/tract.py"]),
        ({"dmu0/sky/tract.py": 1, "dmu1/gone.py": 4, "dmu1/steps.py": 2}, [], ["dmu1/gone.py"]),
    ],
)
def test_a_file_may_have_neither_more_nor_fewer(baseline: dict[str, int], more: list[str], fewer: list[str]) -> None:
    """Both a new error and a baseline that was not lowered are found, in files of which either knows nothing."""
    assert compare(count_by_file(LINES), baseline) == (more, fewer)
    said = report(LINES, baseline)
    assert bool(said) == bool(more or fewer)
    for name in more:
        shown = [line.strip() for line in said if line.startswith("  ")]
        assert shown == [line for line in LINES if line.startswith(name) and "error:" in line]
    if fewer:
        assert "UPDATE=1" in said[-1]


@pytest.mark.parametrize(("counts", "code"), [([1, 2], 0), ([1, 1], 1), ([3, 2], 0)])
def test_only_new_errors_fail(
    counts: list[int], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that was mended is told, and stops nobody; a new one fails."""
    path = tmp_path / "type_errors.json"
    path.write_text(json.dumps(dict(zip(["dmu0/sky/tract.py", "dmu1/steps.py"], counts, strict=True))))
    monkeypatch.setattr(check_types, "mypy_errors", lambda: [line for line in LINES if "error:" in line])
    monkeypatch.setattr(check_types, "BASELINE", path)
    monkeypatch.setattr("sys.argv", ["check_types"])
    assert check_types.main() == code
    said = capsys.readouterr().err
    assert bool(said) == (counts != [1, 2])


def test_a_baseline_does_not_grow(tmp_path: Path) -> None:
    """A renamed file keeps its errors, a new one brings none."""
    path = tmp_path / "type_errors.json"
    write_baseline({"a.py": 2, "b.py": 1}, path)
    write_baseline({"a.py": 2, "c.py": 1}, path)
    assert json.loads(path.read_text()) == {"a.py": 2, "c.py": 1}
    with pytest.raises(ValueError, match=r"counts 3 errors, and there are 4 now"):
        write_baseline({"a.py": 4}, path)
    assert json.loads(path.read_text()) == {"a.py": 2, "c.py": 1}


def test_the_baseline_names_files_that_exist() -> None:
    """A count of errors belongs to a file of the project, and is not zero."""
    counts = json.loads(BASELINE.read_text())
    assert all((PROJECT / name).is_file() and count > 0 for name, count in counts.items())
