"""HTML pages: each executed notebook with a table of contents, and an index of a release."""

from __future__ import annotations

import functools
import html
import os
import re
from pathlib import Path

import nbformat
from pygments.formatters import HtmlFormatter

from dmu0.files.atomic import written_whole
from dmu0.files.html_page import html_document
from dmu0.files.paths import PROJECT
from workflow.notebook_body import notebook_body
from workflow.records import StepState, failed_notebook

_NOTEBOOK_STYLE = """
nav.contents {padding: 1rem 1.25rem; background: var(--shade); border-bottom: 1px solid var(--line);
  font-size: .88rem; line-height: 1.4;}
nav.contents a {display: block; text-decoration: none; padding: .15rem 0;}
nav.contents a.sub {padding-left: 1rem;}
nav.contents a:hover {text-decoration: underline;}
@media (min-width: 70rem) {
  nav.contents {position: fixed; top: 0; left: 0; width: 15rem; height: 100%; overflow-y: auto;
    border-right: 1px solid var(--line);}
  body.notebook {padding-left: 15rem;}
}
@media (max-width: 70rem) {nav.contents a.sub {display: inline-block; padding: .15rem .8rem .15rem 0;}}
@media print {nav.contents {display: none;} body.notebook {padding-left: 0;}}
.prompt, .anchor-link {display: none;}
.output_stderr pre {border-left: 3px solid var(--warn);}
.dataframe, .output table {font-size: .82rem;}
"""

_INDEX_STYLE = """
td.number {text-align: right;}
.done {color: var(--pass);} .running {color: var(--link);} .failed {color: var(--fail); font-weight: 600;}
"""


@functools.cache
def _code_style() -> str:
    """Colours of code, for light and for dark pages."""
    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("friendly", "github-dark"))
    plain = ".highlight {background: var(--shade);} .highlight pre {background: none; margin: 0;}"
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{plain}\n"


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


def write_page(notebook_path: Path, *, project: Path = PROJECT) -> Path:
    """Write the HTML page of an executed notebook to the same folder; returns its path.

    The page needs no network: it has no scripts, and its pictures and equations are part of it.
    """
    notebook = nbformat.read(notebook_path, as_version=4)
    headings = _headings(notebook)
    links = "\n".join(
        f'<a class="{"sub" if level > 1 else "top"}" href="#{html.escape(anchor)}">{html.escape(text)}</a>'
        for level, text, anchor in headings
    )
    body = notebook_body(notebook, record=notebook_path, project=project)
    contents = f'<nav class="contents"><a href="{_index_link(notebook_path)}">All notebooks</a>{links}</nav>'
    title = headings[0][1] if headings else notebook_path.stem
    page = notebook_path.with_suffix(".html")
    with written_whole(page) as part:
        style = _NOTEBOOK_STYLE + _code_style()
        part.write_text(html_document(title, f"{contents}<main>{body}</main>", style=style, kind="notebook"))
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
        cost = item.record.cost if item.record else ""
        when = item.record.started.replace("T", " ").removesuffix("+00:00") + " UTC" if item.record else ""
        rows.append(
            f"<tr><td>dmu{item.step.stage}</td><td>{label}</td>"
            f'<td class="{item.state.replace(" ", "")}">{item.state}</td>'
            f'<td class="number">{seconds}</td><td class="number">{cost}</td><td>{when}</td></tr>'
        )
    release = folder.parent / "release" / "index.html"
    link = f'<p><a href="{os.path.relpath(release, folder)}">The release page</a></p>' if release.exists() else ""
    body = (
        f"<main><h1>{html.escape(title)}</h1>{link}"
        "<p>The executed notebooks of this release, in the order in which they were run.</p>"
        '<div class="scroll"><table><thead><tr><th>stage</th><th>notebook</th><th>state</th><th>duration</th>'
        "<th>CPU time, memory of the largest process</th><th>started</th></tr></thead>\n"
        + "\n".join(rows)
        + "</table></div></main>"
    )
    text = html_document(f"{survey_name}: notebooks", body, style=_INDEX_STYLE, kind="index")
    path = folder / "index.html"
    with written_whole(path) as part:
        part.write_text(text)
    return path
