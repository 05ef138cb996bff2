"""The page of the keys of a survey file, from its pydantic model."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dmu0.surveys import Survey, shipped_surveys
from docs.builder.markdown import table

_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path", types.NoneType: "null"}
_LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "pattern": "matches"}


def type_name(annotation: Any) -> str:
    """The name of a type in terms of YAML.

    Raises
    ------
    TypeError
        If there is no name for the type yet.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if origin is Annotated:
        return type_name(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(part) for part in parts)
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return f"list of {type_name(parts[0])}"
        return f"[{', '.join(type_name(part) for part in parts)}]"
    if origin is dict:
        return f"{type_name(parts[0])} -> {type_name(parts[1])}"
    raise TypeError(f"docs/builder/survey_keys.py has no words for the type {annotation!r}.")


def default(field: FieldInfo) -> str:
    """The default of a key in YAML; "required" if it has none."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "*required*"
    if isinstance(value, BaseModel):
        return "{}"
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{value:.6g}`"
    return f"`{value}`" if value != "" else '`""`'


def limits(field: FieldInfo) -> str:
    """Constraints on a value in addition to its type; empty if there are none."""
    found = []
    for item in field.metadata:
        said = {sign: getattr(item, name, None) for name, sign in _LIMITS.items()}
        found += [
            f"{sign} `{value}`" if sign == "matches" else f"{sign} {value}"
            for sign, value in said.items()
            if value is not None
        ]
    return ", ".join(found)


def inner_model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a key that is a section; None for other keys."""
    for part in (field.annotation, *get_args(field.annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def sections(model: type[BaseModel], path: str = "") -> list[tuple[str, type[BaseModel]]]:
    """A model and the models of its keys, each with the path of its key in the file."""
    found = [(path, model)]
    for name, field in model.model_fields.items():
        if (inner := inner_model(field)) is not None:
            found += sections(inner, f"{path}.{name}".removeprefix("."))
    return found


def section(path: str, model: type[BaseModel]) -> str:
    """Heading, description and keys of a section.

    Raises
    ------
    ValueError
        If a key has no description.
    """
    rows = []
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        if not field.description:
            raise ValueError(f"dmu0/surveys/keys.py: the key {name} of {model.__name__} has no description.")
        full = f"{path}.{name}".removeprefix(".")
        kind = type_name(field.annotation)
        if inner_model(field):
            kind = kind.replace("section", f"[section](#{anchor(full)})")
        if found := limits(field):
            kind += f", {found}"
        rows.append((f"`{name}`", field.description, kind, default(field)))
    heading = f"`{path}`" if path else "The whole file"
    return f"({anchor(path)})=\n## {heading}\n\n{model.__doc__}\n\n" + table(
        ("key", "meaning", "type", "default"), rows
    )


def anchor(path: str) -> str:
    """Name of the anchor of a section in the page."""
    return f"keys-{path.replace('.', '-').replace('_', '-') or 'file'}"


def survey_keys_page() -> str:
    """The page with every section and key of a survey file."""
    return (
        "# Keys of a survey file\n\n"
        "A survey is defined by one YAML file. The surveys that come with the project are in `dmu0/surveys`: "
        f"{', '.join(f'`{name}`' for name in shipped_surveys())}. A key that is not listed here is an error, and so is "
        "an invalid value; the message names the key, the value and what to do.\n\n"
        + "\n".join(section(path, model) for path, model in sections(Survey))
    )
