"""The body of the page of an executed notebook: cells without scripts, links to pages, and paths within the project."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path, PurePosixPath

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from PIL import Image

_WIDGET = "application/vnd.jupyter.widget-view+json"
_LARGE_IMAGE = 300_000
"""Bytes of a PNG above which it is written as JPEG, if that is smaller."""

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.S)
_DISPLAY, _INLINE = re.compile(r"\$\$(.+?)\$\$", re.S), re.compile(r"(?<![\\$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\d$])")


def notebook_body(notebook: nbformat.NotebookNode, *, record: Path, project: Path) -> str:
    """The cells of an executed notebook as HTML that needs nothing but itself.

    Equations become MathML, progress bars are left out, large pictures are written as JPEG, and paths below the project
    or beside the survey file lose what is particular to this machine.

    Parameters
    ----------
    notebook
        The executed notebook; it is changed.
    record
        Its path, ``dmuN/data/<survey>/runs/NAME.ipynb``.
    project
        Folder of the project.
    """
    equations: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _mark_equations(_relink(cell.source, record=record, project=project), equations)
        elif cell.cell_type == "code":
            cell.outputs = [output for output in map(_shown, cell.outputs) if output is not None]
    survey = notebook.metadata.get("papermill", {}).get("parameters", {}).get("survey", "")
    notebook.metadata.pop("widgets", None)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    for number, equation in enumerate(equations):
        body = body.replace(_mark(number), equation)
    return without_local_paths(body, project=project, survey=survey)


def without_local_paths(text: str, *, project: Path, survey: str = "") -> str:
    """A text in which paths of the project are relative to it, and the file of a survey elsewhere is a name."""
    for folder in dict.fromkeys((f"{project}{os.sep}", f"{project.resolve()}{os.sep}")):
        text = text.replace(folder, "")
    if survey and Path(survey).is_absolute():
        text = text.replace(survey, Path(survey).name)
    return text


def page_link(target: str, *, record: Path, project: Path) -> str:
    """A link of a notebook as its page has it: pages instead of notebooks, and files where the page finds them.

    Parameters
    ----------
    target
        The link, relative to the folder of the notebook.
    record, project
        As in `notebook_body`.
    """
    path, hash_mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", target):
        return target
    stage, survey = record.parents[3], record.parent.parent.name
    whole = PurePosixPath(os.path.normpath(stage / path))
    if whole.suffix == ".ipynb" and whole.is_relative_to(project):
        whole = whole.parent / "data" / survey / "runs" / f"{whole.stem}.html"
    return os.path.relpath(whole, record.parent) + hash_mark + anchor


def _relink(source: str, *, record: Path, project: Path) -> str:
    return _LINK.sub(lambda match: match[1] + page_link(match[2], record=record, project=project) + match[3], source)


def _mark(number: int) -> str:
    return f"equationmark{number}endmark"


def _mark_equations(source: str, equations: list[str]) -> str:
    """Replace the equations of a text, outside of code, by marks, and append them to a list as MathML."""

    def mark(latex: str, display: str) -> str:
        equations.append(convert(latex.strip(), display=display))
        return _mark(len(equations) - 1)

    parts = _CODE.split(source)
    for number in range(0, len(parts), 2):
        text = _DISPLAY.sub(lambda match: mark(match[1], "block"), parts[number])
        parts[number] = _INLINE.sub(lambda match: mark(match[1], "inline"), text)
    return "".join(parts)


def _shown(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output as the page shows it; None for progress bars, which are of no use after the run."""
    data = output.get("data", {})
    if _WIDGET in data or (output.get("name") == "stderr" and "\r" in "".join(output["text"])):
        return None
    for kind in ("image/png", "image/jpeg"):
        if len(data.get(kind, "")) > _LARGE_IMAGE:
            picture = base64.b64decode(data[kind])
            jpeg = _as_jpeg(picture)
            if len(jpeg) < len(picture):
                data.pop(kind)
                data["image/jpeg"] = base64.b64encode(jpeg).decode()
            break
    return output


def _as_jpeg(encoded: bytes, *, largest: int = 2000) -> bytes:
    """A picture as JPEG on white, with a longest side of so many pixels at most."""
    picture = Image.open(io.BytesIO(encoded)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    flat.thumbnail((largest, largest))
    target = io.BytesIO()
    flat.save(target, "JPEG", quality=88)
    return target.getvalue()
