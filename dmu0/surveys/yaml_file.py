"""Reading of survey files: YAML without its pitfalls, and with the line of every key.

A key that occurs twice is refused, because YAML would silently drop the first. Scalars follow YAML 1.2, so that 9:00:00
is text and not a number of base 60, ``no`` is a word, 2009-11-04 is not a date and 0755 is not octal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_LARGEST = 100_000
"""Largest number of values of a file with its aliases expanded: more is a mistake, or malicious."""


class YamlError(ValueError):
    """A file is not YAML that can be read safely; the message gives the line."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, which refuses keys that occur twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping in which every key occurs once."""
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                # Compared as text: 8524, 08524 and "8524" are one tract.
                name = str(self.construct_object(key, deep=True))
                if name in lines:
                    raise YamlError(
                        f"gives the key {key.value!r} in line {lines[name]} and line {_line(key)}: keep one."
                    )
                lines[name] = _line(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    """An integer; leading zeros, as in 08524, have no meaning."""
    text = str(loader.construct_scalar(node))
    return int(text, 16) if text.startswith("0x") else int(text, 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """Read a file of keys and values.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    content, lines
        Content of the file, and line of each key, as path of the key such as ``("vista", "bands")`` -> number from one.

    Raises
    ------
    YamlError
        If the file cannot be read, is not YAML, has a key twice, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlError(f"cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise YamlError(f"is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}.") from error
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                _expanded(node, {}, set())
            content = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except YamlError:
        raise
    except yaml.YAMLError as error:
        raise YamlError(f"is not YAML: {error}") from error
    except RecursionError as error:
        raise YamlError("is not YAML that can be read: it is nested too deeply.") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise YamlError(f"is not YAML that can be read: {error}") from error
    if not isinstance(content, dict):
        raise YamlError(f"must hold keys and values, not {type(content).__name__}.")
    return content, dict(_lines(node, ()))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _expanded(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """The number of values of a node with its aliases expanded; refuses loops, null characters, and more than
    `_LARGEST` values."""
    if id(node) in above:
        raise YamlError(f"line {_line(node)} holds itself, through an alias.")
    if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
        raise YamlError(
            f"line {_line(node)} has the character \\0 in {node.value!r}, which no name of a file can have."
        )
    if id(node) not in known:
        above.add(id(node))
        known[id(node)] = 1 + sum(_expanded(child, known, above) for child in _children(node))
        above.remove(id(node))
        if known[id(node)] > _LARGEST:
            raise YamlError(f"line {_line(node)} has more than {_LARGEST} values, with its aliases written out.")
    return known[id(node)]


def _lines(node: yaml.Node, above: tuple[str, ...]) -> list[tuple[tuple[str, ...], int]]:
    """The line of each key, and of each member of a list."""
    found: list[tuple[tuple[str, ...], int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*above, str(key.value))
            found += [(place, _line(key)), *_lines(value, place)]
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            place = (*above, str(number))
            found += [(place, _line(value)), *_lines(value, place)]
    return found
