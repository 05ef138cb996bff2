"""Markdown: tables, and conversion of links to files of the repository into links to pages of the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    Parameters
    ----------
    header
        Titles of the columns.
    rows
        Cells of each row, in Markdown; vertical bars are escaped.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def relink(text: str, *, source: str, page: str, pages: Mapping[str, str]) -> str:
    """Convert the relative links of a text to links to pages of the site, or to plain text if there is no page.

    Parameters
    ----------
    text
        Markdown of a file of the repository.
    source
        Path of that file in the repository.
    page
        Path of the resulting page in the site.
    pages
        Path in the repository -> path in the site, for every file in the site.
    """

    def new_link(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", match["target"]) or not target:
            return match[0]
        path = os.path.normpath(PurePosixPath(source).parent / target)
        if path not in pages:
            return match["text"]
        there = os.path.relpath(pages[path], PurePosixPath(page).parent)
        return f"{match['image']}[{match['text']}]({there}{'#' + anchor if anchor else ''})"

    return _LINK.sub(new_link, text)
