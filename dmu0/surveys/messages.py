"""Error messages for survey files: the key, its line, its value, and what was probably meant."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_MESSAGES = {
    "tuple_type": "a list is needed, with its members in brackets as in [g, r]",
    "dict_type": "keys with values are needed, as in {g: 27.0, r: 27.2}",
}
"""Type of an error of Pydantic -> message for a person who writes YAML."""


def nearest(word: object, known: Iterable[str]) -> str:
    """A question with the most similar of some known words, or an empty text if none is similar."""
    close = difflib.get_close_matches(str(word).lower(), {name.lower(): name for name in known}, n=1, cutoff=0.6)
    found = {name.lower(): name for name in known}
    return f" Did you mean {found[close[0]]!r}?" if close else ""


def describe(error: ValidationError, model: type[BaseModel], lines: Mapping[tuple[str, ...], int]) -> list[str]:
    """One line per wrong key: its path, the error, its value and line, and what was probably meant.

    Parameters
    ----------
    error
        Error from the validation of a survey.
    model
        Model of the whole file.
    lines
        Line of each key, from `dmu0.surveys.yaml_file.read_yaml`.
    """
    said: dict[str, None] = {}
    for item in error.errors():
        # A key that nobody knows may look like anything.
        unknown = item["type"] == "extra_forbidden"
        place = tuple(str(part) for part in item["loc"] if unknown or not _of_union(str(part)))
        place = _as_written(place, lines)
        key = ".".join(part for part in place if part != "[key]") or "(whole file)"
        hint = ""
        if unknown:
            hint = _other_key(place, model)
        elif item["type"] == "literal_error":
            hint = nearest(item["input"], re.findall(r"'([^']*)'", str(item.get("ctx", {}).get("expected", ""))))
        line = _line_of(place, lines)
        found = [f"got {reprlib.repr(item['input'])}"] if place else []
        found += [f"line {line}"] if line else []
        behind = f" ({', '.join(found)})" if found else ""
        message = _MESSAGES.get(item["type"], item["msg"].removeprefix("Value error, "))
        said[f"  {key}: {message}{behind}.{hint}"] = None
    return list(said)


def _of_union(part: str) -> bool:
    """Whether a part of a path is Pydantic's name for a member of a union, and not a key."""
    return bool(re.match(r"(tuple|list|dict|literal|union|function-\w+)\[", part))


def _as_written(place: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    """A place without the number 0 of a list of which the file has the one member alone, as of ``optical``."""
    for k, part in enumerate(place):
        if part == "0" and place[:k] in lines and place[: k + 1] not in lines:
            return _as_written((*place[:k], *place[k + 1 :]), lines)
    return place


def _line_of(place: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> int:
    """The line of a key, or of the nearest one above it; 0 if none is known."""
    place = tuple(part for part in place if part != "[key]")
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return 0


def _section(place: tuple[str, ...], model: type[BaseModel]) -> type[BaseModel] | None:
    """The model of the section that contains a key."""
    for part in place:
        if part.isdigit():  # of a list of sections
            continue
        field = model.model_fields.get(part)
        sections = [] if field is None else list(_models(field.annotation))
        if not sections:
            return None
        model = sections[0]
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for choice in (annotation, *get_args(annotation)):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            yield choice


def _other_key(place: tuple[str, ...], model: type[BaseModel]) -> str:
    """The most similar key of the same section, or the same key in another section."""
    section = _section(place[:-1], model)
    if section is None:
        return ""
    hint = nearest(place[-1], [name for name in section.model_fields if name != "path"])
    if hint:
        return hint
    elsewhere = [name for name in _all_keys(model, ()) if name.split(".")[-1] == place[-1]]
    return f" Did you mean {elsewhere[0]!r}?" if elsewhere else ""


def _all_keys(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield ".".join((*above, name))
        for section in _models(field.annotation):
            yield from _all_keys(section, (*above, name))
