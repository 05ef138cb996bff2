"""The traps of YAML: keys given twice, numbers of base 60, words that are booleans, aliases without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmu0.surveys.yaml_file import YamlError, read_yaml


def read(folder: Path, text: str | bytes) -> tuple[dict, dict]:
    """What a file of some text holds."""
    path = folder / "some.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", "gives the key 'a' in line 1 and line 3"),
        ("a:\n  b: 2\n  c: 3\n  b: 2\n", "gives the key 'b' in line 2 and line 4"),
        ("a: {8524: x, 08524: y}\n", "gives the key '08524' in line 1"),
        ("a: {8524: x, '8524': y}\n", "gives the key '8524' in line 1"),
        ("a: [1, 2", "is not YAML"),
        ("a: \tb: c\n", "is not YAML"),
        ("- a\n- b\n", "must hold keys and values, not list"),
        ("", "must hold keys and values, not NoneType"),
        ("just text", "must hold keys and values, not str"),
        ("a: !!python/object/apply:os.system ['true']\n", "is not YAML"),
        ("a: &x [*x]\n", "holds itself"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("{a: 1}: 2\n", "is not YAML"),
        (b"a: \xff\n", "is not UTF-8 text: byte 3 is 0xff"),
        ("a: " + "9" * 5000, "is not YAML that can be read"),
    ],
)
def test_refused(tmp_path, text, reason):
    """Each trap is refused with the line or the byte."""
    with pytest.raises(YamlError, match=reason):
        read(tmp_path, text)


def test_aliases_without_end(tmp_path):
    """Nine lines that stand for a thousand million values are refused, at once; a few aliases are no harm."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(YamlError, match="with its aliases written out"):
        read(tmp_path, bomb)
    assert read(tmp_path, "a: &x [vj, vh]\nb: *x\n")[0] == {"a": ["vj", "vh"], "b": ["vj", "vh"]}
    assert read(tmp_path, "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n")[0]["b"] == {"p": 1, "q": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9:00:00", "9:00:00"),
        ("-05:00:00.5", "-05:00:00.5"),
        ("no", "no"),
        ("On", "On"),
        ("true", True),
        ("0755", 755),
        ("0x10", 16),
        ("8_524", "8_524"),
        ("2009-11-04", "2009-11-04"),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("179.A-2006", "179.A-2006"),
        ("~", None),
        ("", None),
        ("'null'", "null"),
        ("+12", 12),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path, text, value):
    """Text that YAML 1.1 made numbers, dates and booleans of stays text; leading zeros are no octals."""
    found = read(tmp_path, f"a: {text}\n")[0]["a"]
    assert found == value
    assert type(found) is type(value)


def test_lines_of_keys(tmp_path):
    """The line of each key and member of a list is known, nested ones too."""
    _, lines = read(tmp_path, "# a comment\na:\n  b:\n  - 1\n  - 2\n8524: all\n")
    assert lines[("a",)] == 2
    assert lines["a", "b"] == 3
    assert lines["a", "b", "1"] == 5
    assert lines[("8524",)] == 6


def test_what_is_no_file(tmp_path):
    """A folder and a file that is not there are named as such."""
    with pytest.raises(YamlError, match="Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(YamlError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
