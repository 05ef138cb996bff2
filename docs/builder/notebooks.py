"""The executed notebooks of a survey, prepared for the site."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import nbformat

from docs.builder.markdown import relink

_WIDGET = "application/vnd.jupyter.widget-view+json"
_SURVEY_FILE = re.compile(r'"/[^"]*/(dmu0/surveys/[^"]+)"')


def executed_notebooks(project: Path, survey: str) -> dict[str, Path]:
    """Path in the repository of each executed notebook -> its executed copy.

    Parameters
    ----------
    project
        Folder of the repository.
    survey
        Name of the survey of the runs.
    """
    found = sorted(project.glob(f"dmu[0-9]/data/{survey}/runs/[0-9]*.ipynb"))
    return {
        f"{path.relative_to(project).parts[0]}/{path.name}": path for path in found if not path.stem.endswith(".failed")
    }


def prepared(path: Path, *, source: str, page: str, pages: Mapping[str, str]) -> nbformat.NotebookNode:
    """An executed notebook with links to pages of the site and without progress bars.

    The path of a survey that comes with the project becomes relative to the project.

    Parameters
    ----------
    path
        Path of the executed notebook.
    source, page, pages
        Paths as in `docs.builder.markdown.relink`.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, source=source, page=page, pages=pages)
        elif cell.cell_type == "code":
            if "injected-parameters" in cell.metadata.get("tags", ()):
                cell.source = _SURVEY_FILE.sub(r'"\1"', cell.source)
            # Progress bars are of no use after the run.
            cell.outputs = [
                item for item in cell.outputs if item.get("name") != "stderr" and _WIDGET not in item.get("data", ())
            ]
    notebook.metadata.pop("widgets", None)
    return notebook


def notebooks_page(pages: list[str], survey: str) -> str:
    """The list of the executed notebooks.

    Parameters
    ----------
    pages
        Paths of the notebooks in the site, relative to the list.
    survey
        Name of the survey.
    """
    if not pages:
        return "# Executed notebooks\n\nNone existed when this site was built: run `make sample`, then `make docs`.\n"
    listed = "\n".join(pages)
    return (
        f"# Executed notebooks\n\nThe notebooks of the release `{survey}`, in the order in which they were run.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )
