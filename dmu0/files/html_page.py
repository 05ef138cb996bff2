"""HTML pages that need no network, all in one style: the release page, its notebooks and their index."""

from __future__ import annotations

from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("html_page.css")
"""The style of all pages: laptop and phone, light and dark."""


def html_document(title: str, body: str, *, style: str = "", script: str = "", kind: str = "page") -> str:
    """A whole page, in which style and scripts are contained, so that nothing is fetched from elsewhere.

    Parameters
    ----------
    title
        Title of the window, as plain text.
    body
        HTML of the page.
    style
        CSS, in addition to `STYLE`.
    script
        JavaScript that runs at the end of the page.
    kind
        Class of the body element.
    """
    ending = f"<script>\n{script}\n</script>\n" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text()}{style}</style></head>\n"
        f'<body class="{escape(kind)}">\n{body}\n{ending}</body></html>\n'
    )
