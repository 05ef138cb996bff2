"""The outcome of each quantum: done, skipped with a reason, or failed with a reason, each counted once."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from astropy.table import Table
from lsst.daf.butler import Butler, DataCoordinate, DatasetRef
from lsst.daf.butler.logging import ButlerLogRecord, ButlerLogRecords
from lsst.pipe.base import QuantumSuccessCaveats, TaskMetadata

COLUMNS = ("task", "data_id", "state", "reason", "seconds")
"""Columns of a report, which has one row per quantum; ``state`` is done, skipped or failed."""


class StepFailed(RuntimeError):
    """No quantum of a task succeeded."""


def data_id_text(ref: DatasetRef) -> str:
    """The data id of a dataset as text: the dimensions that distinguish quanta."""
    names = ("visit", "exposure", "detector", "tract", "patch", "band")
    values = dict(ref.dataId.mapping)
    return " ".join(f"{name}={values[name]}" for name in names if name in values)


def _seconds(metadata: TaskMetadata) -> float:
    quantum = metadata["quantum"]
    begin, end = (datetime.fromisoformat(quantum[key]) for key in ("prepUtc", "endUtc"))
    return (end - begin).total_seconds()


def _no_work_reason(butler: Butler, task: str, ref: DatasetRef, run: str) -> str:
    """The reason why a task had nothing to do, from its log."""
    for record in butler.get(f"{task}_log", ref.dataId, collections=run):
        found = re.search(r"no work found: (.*)\.?$", record.message)
        if found:
            return found[1].rstrip(".")
    return "its inputs were not made"


def _failure_reason(butler: Butler, task: str, ref: DatasetRef, run: str) -> str:
    """The error that stopped a quantum, from its log."""
    errors = [
        record.message for record in butler.get(f"{task}_log", ref.dataId, collections=run) if record.levelno >= 40
    ]
    found = re.search(r"failed\. Exception (.*)", errors[-1], re.S) if errors else None
    return " ".join((found[1] if found else errors[-1] if errors else "it was broken off").split())


def report_rows(butler: Butler, task: str, run: str) -> list[tuple]:
    """Rows for all quanta of a task in a run, including those of an earlier, interrupted attempt.

    A quantum that completed has metadata; one that failed has only a log.
    """
    rows, ended = [], set()
    for ref in butler.query_datasets(f"{task}_metadata", collections=run, explain=False, limit=None):
        metadata = butler.get(ref)
        caveats = QuantumSuccessCaveats(int(metadata["quantum"].get("caveats", 0)))  # BPS leaves a float
        skipped = bool(caveats & QuantumSuccessCaveats.NO_WORK)
        reason = _no_work_reason(butler, task, ref, run) if skipped else ""
        rows.append((task, data_id_text(ref), "skipped" if skipped else "done", reason, _seconds(metadata)))
        ended.add(ref.dataId)
    for ref in butler.query_datasets(f"{task}_log", collections=run, explain=False, limit=None):
        if ref.dataId not in ended:
            rows.append((task, data_id_text(ref), "failed", _failure_reason(butler, task, ref, run), np.nan))
    return sorted(rows)


def ended_quanta(butler: Butler, task: str) -> set[DataCoordinate]:
    """Data ids of the quanta that left a log or metadata in the output run."""
    return _data_ids(butler, f"{task}_log") | _data_ids(butler, f"{task}_metadata")


def failed_quanta(butler: Butler, task: str) -> set[DataCoordinate]:
    """Data ids of the quanta that failed in the output run, which have a log but no metadata."""
    return _data_ids(butler, f"{task}_log") - _data_ids(butler, f"{task}_metadata")


def _data_ids(butler: Butler, dataset_type: str) -> set[DataCoordinate]:
    """Data ids of the datasets of a type in the output run."""
    if not butler.registry.queryDatasetTypes(dataset_type):
        return set()
    return {
        ref.dataId for ref in butler.query_datasets(dataset_type, collections=butler.run, explain=False, limit=None)
    }


def record_lost(butler: Butler, task: str, reasons: Mapping[DataCoordinate, str]) -> None:
    """Store a log with the reason for each quantum that left none, so that it counts as failed.

    Parameters
    ----------
    butler
        Writeable, with the output run.
    task
        Label of the task.
    reasons
        Data id of a quantum -> why it ended without a log.
    """
    for data_id, reason in reasons.items():
        record = logging.LogRecord(f"dmu4.{task}", logging.ERROR, __file__, 0, reason, None, None)
        records = ButlerLogRecords.from_records([ButlerLogRecord.from_record(record)])
        butler.put(records, f"{task}_log", data_id)


def report_table(rows: Sequence[tuple]) -> Table:
    """A report as a table, with the columns `COLUMNS`."""
    return Table(rows=rows or None, names=COLUMNS, dtype=(str, str, str, str, float))


def check_any_done(report: Table, step: str, tasks: Sequence[str]) -> None:
    """Check that no task of a step failed completely.

    Raises
    ------
    StepFailed
        If a task had quanta but none of them was done or skipped.
    """
    for task in tasks:
        mine = report[report["task"] == task]
        if len(mine) and not (mine["state"] != "failed").any():
            raise StepFailed(f"{step}: all {len(mine)} quanta of {task} failed; the first: {mine['reason'][0]}")


def summary(report: Table) -> Table:
    """Number of quanta of each task that were done, skipped and failed, and their total duration."""
    rows = []
    for task in dict.fromkeys(report["task"]):
        mine = report[report["task"] == task]
        counts = [int((mine["state"] == state).sum()) for state in ("done", "skipped", "failed")]
        rows.append((task, len(mine), *counts, round(float(np.nansum(mine["seconds"])), 1)))
    names = ("task", "quanta", "done", "skipped", "failed", "seconds")
    return Table(rows=rows or None, names=names, dtype=(str, int, int, int, int, float))
