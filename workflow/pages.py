"""HTML pages: each executed notebook with a table of contents, and an index of a release."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from dmu0.files.atomic import written_whole
from workflow.records import StepState, failed_notebook

_STYLE = """
<style>
nav.contents {position: fixed; top: 0; left: 0; width: 15rem; height: 100%; overflow-y: auto;
  padding: 1rem; box-sizing: border-box;
  font: 14px/1.5 system-ui, sans-serif; background: #f6f7f9; border-right: 1px solid #d8dbe0;}
nav.contents a {display: block; color: #1f4e79; text-decoration: none; padding: .15rem 0;}
nav.contents a.sub {padding-left: 1rem; font-size: 13px;}
nav.contents a:hover {text-decoration: underline;}
@media (min-width: 70rem) {body.jp-Notebook {margin-left: 15rem;}}
@media (max-width: 70rem) {nav.contents {position: static; width: auto; height: auto;}}
@media print {nav.contents {display: none;}}
</style>
"""

_INDEX_STYLE = """
body {font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733;}
table {border-collapse: collapse; width: 100%;}
th, td {text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #d8dbe0;}
td.number {text-align: right; font-variant-numeric: tabular-nums;}
.done {color: #00674f;} .running {color: #1f4e79;} .failed {color: #b3261e; font-weight: 600;}
a {color: #1f4e79;}
"""


def _headings(notebook: nbformat.NotebookNode) -> list[tuple[int, str, str]]:
    """Level, text and anchor of the headings in the markdown cells of a notebook."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        for hashes, text in re.findall(r"^(#{1,3}) (.+)$", cell.source, re.M):
            plain = re.sub(r"[`*_]", "", text).strip()
            # nbconvert makes the anchor of a heading by replacing its spaces.
            found.append((len(hashes), plain, text.strip().replace("`", "").replace(" ", "-")))
    return found


def write_page(notebook_path: Path) -> Path:
    """Write the HTML page of an executed notebook to the same folder; returns its path."""
    notebook = nbformat.read(notebook_path, as_version=4)
    body, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    links = "\n".join(
        f'<a class="{"sub" if level > 1 else "top"}" href="#{html.escape(anchor)}">{html.escape(text)}</a>'
        for level, text, anchor in _headings(notebook)
    )
    contents = f'{_STYLE}<nav class="contents"><a href="{_index_link(notebook_path)}">All notebooks</a>{links}</nav>'
    body = re.sub(r"(<body[^>]*>)", lambda match: match[1] + contents, body, count=1)
    page = notebook_path.with_suffix(".html")
    with written_whole(page) as part:
        part.write_text(body)
    return page


def _index_link(notebook_path: Path) -> str:
    survey = notebook_path.parent.parent.name
    return f"../../../../dmu5/data/{survey}/runs/index.html"


def write_index(states: list[StepState], *, survey_name: str, title: str, folder: Path) -> Path:
    """Write the index page of a release: every step with its state, duration and a link to its page."""
    rows = []
    for item in states:
        record = item.step.path.parent / "data" / survey_name / "runs" / item.step.path.name
        page = (failed_notebook(record) if item.state == "failed" else record).with_suffix(".html")
        label = html.escape(item.step.title)
        if page.exists():
            label = f'<a href="{os.path.relpath(page, folder)}">{label}</a>'
        seconds = f"{item.record.seconds:.0f} s" if item.record else ""
        when = item.record.started.replace("T", " ").removesuffix("+00:00") + " UTC" if item.record else ""
        rows.append(
            f"<tr><td>dmu{item.step.stage}</td><td>{label}</td>"
            f'<td class="{item.state.replace(" ", "")}">{item.state}</td>'
            f'<td class="number">{seconds}</td><td>{when}</td></tr>'
        )
    release = folder.parent / "release" / "index.html"
    link = f'<p><a href="{os.path.relpath(release, folder)}">The release page</a></p>' if release.exists() else ""
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(survey_name)}: notebooks</title>'
        f"<style>{_INDEX_STYLE}</style><body><h1>{html.escape(title)}</h1>{link}"
        "<p>The executed notebooks of this release, in the order in which they were run.</p>"
        "<table><tr><th>stage</th><th>notebook</th><th>state</th><th>duration</th><th>started</th></tr>"
        + "\n".join(rows)
        + "</table></body></html>\n"
    )
    path = folder / "index.html"
    with written_whole(path) as part:
        part.write_text(text)
    return path
