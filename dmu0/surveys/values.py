"""Values of a survey file that can be written in several ways: patches, positions, patterns."""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Mapping

from dmu0.surveys.messages import nearest

PATTERN_NAMES = ("band", "filter", "tract", "patch", "patch_x", "patch_y")
"""Names allowed in braces in file patterns."""

_PATCH = re.compile(r"\d{1,6}(,\d{1,6})?")
_SEXAGESIMAL = re.compile(r"([-+\u2212]?)(\d{1,3}):(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?")


def parse_patches(value: object) -> object:
    """The patches of a tract: ``all``, or a list of numbers and ``"x,y"``; a single patch needs no list.

    Raises
    ------
    ValueError
        If the value has any other form.
    """
    if isinstance(value, str) and value.strip().lower() == "all":
        return "all"
    members = list(value) if isinstance(value, list | tuple) else [value]
    if not members:
        raise ValueError("no patch is named; list some, or write all")
    return tuple(_patch(member) for member in members)


def _patch(value: object) -> int | str:
    """One patch: a number, ``"x,y"``, or a list of the two."""
    if isinstance(value, list | tuple) and len(value) == 2:
        value = ",".join(str(part) for part in value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = re.sub(r"\s", "", value) if isinstance(value, str) else ""
    if not _PATCH.fullmatch(text):
        raise ValueError(f"{value!r} is no patch; write a number, or its column and row in quotes, as in '3,4', or all")
    return text


def parse_position(value: object) -> object:
    """Right ascension and declination in degrees, from degrees or from text such as 02:18:00 and -05:00:00.

    Raises
    ------
    ValueError
        If it is not on the sky, or is text of another form.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        return value
    ra = _degrees(value[0], hours=True)
    dec = _degrees(value[1], hours=False)
    if isinstance(ra, int | float) and not 0 <= ra < 360:
        raise ValueError(f"the right ascension {value[0]} is not from 0 to 360 deg")
    if isinstance(dec, int | float) and not -90 <= dec <= 90:
        raise ValueError(f"the declination {value[1]} is not from -90 to 90 deg")
    return (ra, dec)


def _degrees(value: object, *, hours: bool) -> object:
    """An angle in degrees from sexagesimal text; other values are returned unchanged."""
    if not isinstance(value, str) or ":" not in value:
        return value
    match = _SEXAGESIMAL.fullmatch(value.strip())
    if match is None or int(match[3]) >= 60 or float(match[4] or 0) >= 60:
        form = "hours, as 02:18:00" if hours else "degrees, as -05:00:00"
        raise ValueError(f"{value!r} is no angle; write degrees, or {form}")
    size = int(match[2]) + int(match[3]) / 60 + float(match[4] or 0) / 3600
    return (-size if match[1] in ("-", "\u2212") else size) * (15 if hours else 1)


def check_bands(bands: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Bands of one instrument, each listed once.

    Raises
    ------
    ValueError
        If one is unknown or listed twice, or if there are none.
    """
    unknown = [band for band in bands if band not in known]
    if unknown:
        raise ValueError(f"unknown band {unknown[0]!r}; choose from {', '.join(known)}")
    if not bands:
        raise ValueError("at least one band is needed")
    if len(set(bands)) != len(bands):
        raise ValueError(f"a band is listed twice: {', '.join(bands)}")
    return bands


def check_keys(values: Mapping[str, object], known: Collection[str]) -> None:
    """Check the keys of a section that are bands.

    Raises
    ------
    ValueError
        If one is not a band; the message gives the most similar one.
    """
    for key in values:
        if key not in known:
            raise ValueError(f"{key!r} is none of {', '.join(known)}.{nearest(key, known)}")


def check_patterns(patterns: Mapping[str, str]) -> None:
    """Check that the names in braces in file patterns are known.

    Raises
    ------
    ValueError
        If a brace is not closed, or contains an unknown name; the message gives the most similar one.
    """
    for band, pattern in patterns.items():
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None]
        except ValueError as error:
            raise ValueError(f"the pattern of {band}, {pattern!r}, has a lone brace: {error}") from error
        for name in names:
            if name not in PATTERN_NAMES:
                raise ValueError(
                    f"the pattern of {band} has {{{name}}}, which is none of {', '.join(PATTERN_NAMES)}."
                    f"{nearest(name, PATTERN_NAMES)}"
                )
