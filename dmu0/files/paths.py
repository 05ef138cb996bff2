"""Paths of the project's folders and of the data folder of each stage and survey."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
"""The folder that contains dmu0 ... dmu5."""


@dataclass(frozen=True)
class DataFolders:
    """The data folders of one survey, one per stage: ``dmuN/data/<survey>``.

    Attributes
    ----------
    survey
        Name of the survey, used as folder name.
    root
        Folder that contains the dmuN folders; by default the project.
    """

    survey: str
    root: Path = PROJECT

    def __getitem__(self, stage: int) -> Path:
        """The data folder of stage ``dmu<stage>``, created if it does not exist."""
        if stage not in range(6):
            raise ValueError(f"There is no stage dmu{stage}; stages are dmu0 to dmu5.")
        folder = self.root / f"dmu{stage}" / "data" / self.survey
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def runs(self, stage: int) -> Path:
        """The folder of the executed notebooks of a stage."""
        folder = self[stage] / "runs"
        folder.mkdir(exist_ok=True)
        return folder

    def input_path(self, recorded: str) -> Path:
        """The file named in a manifest row, which is absolute or relative to the data folder of dmu0."""
        path = Path(recorded)
        return path if path.is_absolute() else self[0] / path

    def recorded_path(self, path: Path) -> str:
        """A file as manifests name it: relative to the data folder of dmu0 if it is below it, otherwise absolute."""
        return str(path.relative_to(self[0])) if path.is_relative_to(self[0]) else str(path)
