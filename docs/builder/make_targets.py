"""The page of the make targets, from the comments of the Makefile that ``make help`` prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from docs.builder.markdown import table

_RULE = re.compile(r"^(?P<name>[a-z]+|\$\(STAGES:%=clean-dmu%\)):[^#\n]*##(?P<help>.*)$", re.M)


class Target(NamedTuple):
    """A documented target.

    Attributes
    ----------
    name
        Name of the target.
    arguments
        Arguments of the target.
    sentences
        Sentences on what it does.
    """

    name: str
    arguments: str
    sentences: tuple[str, ...]


def make_targets(makefile: Path) -> list[Target]:
    """The targets with a comment ``## arguments  sentence  sentence``, in the order of the file."""
    found = []
    for match in _RULE.finditer(makefile.read_text()):
        name = match["name"] if match["name"].isalpha() else "clean-dmuN"
        arguments, *sentences = re.split(r"  +", match["help"])
        found.append(Target(name, arguments.strip(), tuple(sentences)))
    return found


def make_targets_page(makefile: Path) -> str:
    """The page: every target with its arguments and what it does."""
    rows = [
        (f"`make {target.name}{' ' + target.arguments if target.arguments else ''}`", " ".join(target.sentences))
        for target in make_targets(makefile)
    ]
    return (
        "# Make targets\n\n"
        "`make help` prints the same list. Arguments in brackets are optional. The first target that is run makes "
        "`.venv` from `requirements.lock`, unless an environment is active.\n\n"
        + table(("command", "what it does"), rows)
    )
