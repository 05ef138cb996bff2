"""The notebooks of the project and their dependencies: the graph used by make."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from dmu0.files.paths import PROJECT, DataFolders

_NUMBERED = re.compile(r"^[1-9]_\w+\.ipynb$")
_LINK = re.compile(r"\]\(([^)\s]+\.ipynb)\)")


class GraphError(ValueError):
    """A notebook has no card, or reads a notebook that does not exist or comes later."""


@dataclass(frozen=True)
class Step:
    """One notebook, as a step of a release.

    Attributes
    ----------
    path
        Path of the notebook.
    stage
        Number of its dmu folder.
    title
        First heading of the notebook, without the hash.
    reads
        Names of the steps whose products it reads, from the links in the ``Reads`` row of its card.
    """

    path: Path
    stage: int
    title: str
    reads: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Folder and file name without extension, e.g. ``dmu4/3_Coadd``."""
        return f"dmu{self.stage}/{self.path.stem}"

    def record(self, folders: DataFolders) -> Path:
        """The path of the executed notebook of a survey."""
        return folders.runs(self.stage) / self.path.name


def read_cells(path: Path) -> list[tuple[str, str]]:
    """Type (``code`` or ``markdown``) and source of each cell of a notebook.

    The file is read as JSON, because the validation by nbformat takes seconds.

    Raises
    ------
    GraphError
        If the file is not a notebook.
    """
    try:
        cells = json.loads(path.read_text())["cells"]
        return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise GraphError(f"{path} is not a notebook: {error!r}.") from error


def read_card(path: Path) -> tuple[str, tuple[str, ...]]:
    """Title of a notebook and the notebooks that it reads, from its first cell.

    Raises
    ------
    GraphError
        If the first cell has no heading or no ``Reads`` row.
    """
    cells = read_cells(path)
    text = cells[0][1] if cells and cells[0][0] == "markdown" else ""
    heading = re.search(r"^# (.+)$", text, re.M)
    row = re.search(r"^\|\s*Reads\s*\|(.*)$", text, re.M)
    if heading is None or row is None:
        raise GraphError(f"{path}: the first cell must be a heading, a paragraph and a table with a 'Reads' row.")
    names = [(path.parent / link).resolve().relative_to(PROJECT).with_suffix("") for link in _LINK.findall(row[1])]
    return heading[1].strip(), tuple(dict.fromkeys(name.as_posix() for name in names))


def load_steps(root: Path = PROJECT) -> dict[str, Step]:
    """All steps by name, ordered so that each comes after those that it reads.

    Raises
    ------
    GraphError
        If a card is missing, or a notebook reads one that does not exist or comes later.
    """
    steps: dict[str, Step] = {}
    for stage in range(6):
        for path in sorted((root / f"dmu{stage}").glob("*.ipynb")):
            if not _NUMBERED.match(path.name):
                continue
            title, reads = read_card(path)
            step = Step(path, stage, title, reads)
            for upstream in reads:
                if upstream not in steps:
                    raise GraphError(f"{path}: reads {upstream}, which is not a notebook that comes before it.")
            steps[step.name] = step
    return steps
