"""Run the step of the toy task in a process of its own, as a notebook's kernel does: ``toy_run.py FOLDER PIPELINE``."""

from __future__ import annotations

import sys
from pathlib import Path

from dmu0.files.paths import DataFolders
from dmu0.surveys import Survey, load_survey
from dmu4.execution import steps, workers


def main(folder: str, pipeline: str) -> None:
    """Run the step on the repository below a folder."""
    Survey.folders = property(lambda self: DataFolders(self.name, Path(folder)))
    workers.SHARED_BY["toy"] = "detector"
    steps.PIPELINE = Path(pipeline)
    steps.STEPS = {"toy_step": ("toy",)}
    steps._where = lambda survey, tracts: "instrument = 'VIRCAM'"
    steps.run_step(load_survey(str(Path(folder) / "tiny.yaml")), "toy_step", progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
