"""What became of each quantum of a step, kept in a file beside the repository: it is read without a Butler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from dmu0.files.tables import read_table, write_table
from dmu0.surveys import Survey

if TYPE_CHECKING:
    from lsst.daf.butler import Butler

ACCEPTANCE = "accept_detector"
"""Task of the rows of detectors that were calibrated and are left out of the coadds, beside those of quanta."""


def outcomes_file(survey: Survey, step: str) -> Path:
    """The file with the outcomes of a step of the pipeline."""
    return survey.folders[4] / "outcomes" / f"{step}.parquet"


def write_outcomes(survey: Survey, step: str, report: Table) -> Path:
    """Keep the outcomes of a step: the table that `dmu4.execution.steps.run_step` returns, with its rejections."""
    path = outcomes_file(survey, step)
    path.parent.mkdir(exist_ok=True)
    return write_table(report, path)


def read_outcomes(survey: Survey) -> dict[str, Table]:
    """Step of the pipeline -> its outcomes, for those steps that have ended."""
    folder = survey.folders[4] / "outcomes"
    return {path.stem: read_table(path) for path in sorted(folder.glob("*.parquet"))}


def rejected_detectors(butler: Butler, run: str) -> list[tuple]:
    """Rows, like those of a report, of the calibrated detectors of a run that its visit summaries reject."""
    if not butler.registry.queryDatasetTypes("visit_summary"):
        return []
    rows = []
    for ref in butler.query_datasets("visit_summary", collections=run, explain=False, limit=None):
        table = butler.get(ref)
        for row in table[~np.asarray(table["accepted"], bool)]:
            data_id = f"visit={row['visit']} detector={row['detector']}"
            rows.append((ACCEPTANCE, data_id, "skipped", f"left out of coadds: {row['rejected_because']}", np.nan))
    return sorted(rows)
