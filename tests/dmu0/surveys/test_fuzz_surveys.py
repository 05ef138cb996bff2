"""Survey files at random: each is a survey whose values are possible, or an error that names the file and the key."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dmu0.surveys import SHIPPED, Survey, SurveyError, load_survey, normal_tracts, shipped_surveys
from dmu0.surveys.check import check_survey
from dmu0.surveys.yaml_file import YamlError, read_yaml

pytestmark = pytest.mark.fuzz


def short(text: str) -> str:
    """A survey file with its first tracts: hundreds of others would only make each case slow."""
    lines = text.split("\n")
    tracts = [number for number, line in enumerate(lines) if re.match(r"  \d+:", line)]
    dropped = set(tracts[6:])
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped)


TEXTS = {name: short((SHIPPED / f"{name}.yaml").read_text()) for name in shipped_surveys()}
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
CONTENTS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
FRAGMENTS = (
    *("9:00:00", "[3,4]", "all", "~", "no", "0755", "1e400", ".nan", "-.inf", "2009-11-04", "&a [*a]", "*b", "<<: 1"),
    *("{", "}", "[", "]", ": ", "- ", "'", '"', "\t", "\n", "#", "!!binary x", "? a", "|\n", "%", "{band", "{nite}"),
    *("\u0000", "\ufeff", "\u2028", "\U0001f52d", "99999999999999999999", "-1", "true", "name: sample", "tracts:"),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["all", "3,4", "9:00:00", "i", "vh", "local", "{band}.fits", "x.fits", 10**9, 1e-9, -1, 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def assert_survey_or_named_error(path: Path) -> Survey | None:
    """Load and check a file: a survey, or an error that names the file."""
    said = ""
    try:
        survey = load_survey(str(path))
        assert 0 < len(survey.name) <= 32
        assert set(survey.tracts) == {int(tract) for tract in survey.tracts}
        assert normal_tracts(survey, list(survey.tracts)) == ""
        check_survey(survey)
        return survey
    except SurveyError as error:
        said = str(error)
    assert str(path) in said
    assert len(said) < 20_000
    return None


def places(content: object, above: tuple = ()) -> list[tuple]:
    """The place of each value of a survey file."""
    found = [above] if above else []
    if isinstance(content, dict):
        for key, value in content.items():
            found += places(value, (*above, key))
    return found


@given(data=st.data(), name=st.sampled_from(sorted(TEXTS)))
def test_values_at_random(data, name):
    """One to three keys have any value, are renamed or are lost: the other keys do not make that an unnamed error."""
    content = copy.deepcopy(CONTENTS[name]) | {"name": "fuzz"}
    for place in data.draw(st.lists(st.sampled_from(places(content)), min_size=1, max_size=3)):
        section = content
        for key in place[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict) or place[-1] not in section:
            continue
        match data.draw(st.sampled_from(["value", "value", "rename", "lose"])):
            case "value":
                section[place[-1]] = data.draw(VALUES)
            case "rename":
                section[data.draw(st.text(max_size=8) | st.integers())] = section.pop(place[-1])
            case _:
                section.pop(place[-1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.yaml"
        path.write_text(yaml.dump(content, Dumper=DUMPER, allow_unicode=True))
        assert_survey_or_named_error(path)


@given(data=st.data(), name=st.sampled_from(sorted(TEXTS)))
def test_text_at_random(data, name):
    """Lines that are lost, doubled or moved, and fragments of YAML put anywhere, give a survey or a named error."""
    lines = TEXTS[name].replace(f"name: {name}", "name: fuzz").split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["lose", "double", "indent", "put"])):
            case "lose" if len(lines) > 1:
                lines.pop(number)
            case "double":
                lines.insert(number, lines[number])
            case "indent":
                lines[number] = "  " + lines[number]
            case _:
                where = data.draw(st.integers(0, len(lines[number])))
                lines[number] = lines[number][:where] + data.draw(st.sampled_from(FRAGMENTS)) + lines[number][where:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.yaml"
        path.write_text("\n".join(lines))
        assert_survey_or_named_error(path)


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore")))
def test_bytes_at_random(content):
    """Any bytes are keys and values, or refused with a reason."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.yaml"
        path.write_bytes(content)
        with contextlib.suppress(YamlError):
            found, lines = read_yaml(path)
            assert isinstance(found, dict)
            assert all(number >= 1 for number in lines.values())


@functools.cache
def video() -> Survey:
    """A survey of many tracts, read once."""
    return load_survey("video")


@given(tracts=st.text(max_size=12) | st.integers() | st.lists(st.integers(), max_size=3) | st.text("0123456789 ,-"))
def test_tracts_at_random(tracts):
    """Any choice of tracts is some of the survey's, in one way of writing, or an error that has it."""
    survey = video()
    said = None
    try:
        found = normal_tracts(survey, tracts)
    except SurveyError as error:
        said = str(error)
    if said is not None:
        assert repr(tracts) in said
    else:
        assert {int(tract) for tract in found.split()} < set(survey.tracts)
        assert normal_tracts(survey, found) == found
