"""Records of runs: which steps of a release are done, failed, stale or to do."""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dmu0.files.atomic import written_whole
from dmu0.surveys import Survey
from workflow.digest import run_id, step_digest
from workflow.graph import Step, load_steps

MARK = "FUSION_RECORD"
"""Environment variable that holds the record which a process works for."""


@dataclass(frozen=True)
class Record:
    """The record of a successful run, stored with the executed notebook.

    Attributes
    ----------
    run_id
        Id of the result: a digest of code, parameters and the results that were read.
    started
        Start of the run, ISO 8601 in UTC.
    seconds
        Duration of the run.
    upstream
        Step name -> run_id of the results that were read.
    libraries
        Name -> version of the libraries used; empty in older records.
    made_by
        Version and commit of the code (`dmu0.files.code_version.CodeVersion` as text); empty in older records.
    cpu_seconds
        CPU time of the notebook and of the processes that it started; None in older records.
    memory
        Largest resident memory of one of these processes in MB; None in older records.
    """

    run_id: str
    started: str
    seconds: float
    upstream: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    made_by: str = ""
    cpu_seconds: float | None = None
    memory: float | None = None

    @property
    def cost(self) -> str:
        """CPU time and memory in words; empty if they were not recorded."""
        if self.cpu_seconds is None or self.memory is None:
            return ""
        return f"{self.cpu_seconds:.0f} CPU s, {self.memory:.0f} MB"


@dataclass(frozen=True)
class StepState:
    """The state of one step of a release.

    Attributes
    ----------
    step
        The step.
    state
        ``done``, ``stale``, ``failed``, ``running`` or ``to do``.
    record
        Record of the last successful run; None if there is none.
    why
        Reason for the state; empty if there is none.
    """

    step: Step
    state: str
    record: Record | None
    why: str = ""


def sidecar(notebook: Path) -> Path:
    """The path of the record of an executed notebook."""
    return notebook.with_suffix(".json")


def failed_notebook(notebook: Path) -> Path:
    """The path of the notebook of a failed run."""
    return notebook.with_name(f"{notebook.stem}.failed.ipynb")


def failure_note(notebook: Path) -> Path:
    """The path of the file with the reason why the last run failed."""
    return failed_notebook(notebook).with_suffix(".txt")


def remove_failure(notebook: Path) -> None:
    """Remove the files of an earlier failed run: its notebook, page and reason."""
    failed = failed_notebook(notebook)
    for path in (failed, failed.with_suffix(".html"), failure_note(notebook)):
        path.unlink(missing_ok=True)


def lock_file(notebook: Path) -> Path:
    """The path of the file that is locked while a process makes an executed notebook."""
    return notebook.with_name(f".{notebook.stem}.lock")


def progress_file(notebook: Path) -> Path:
    """The path of the file with the progress of a running step (`dmu0.progress`)."""
    return notebook.with_name(f".{notebook.stem}.progress")


def parts_file(notebook: Path) -> Path:
    """The path of the file in which a running step lists its unfinished files (`dmu0.files.atomic`)."""
    return notebook.with_name(f".{notebook.stem}.parts")


def worker_mark(notebook: Path) -> str:
    """The environment variable, ``NAME=value``, of all processes that work for an executed notebook."""
    return f"{MARK}={notebook}"


def is_running(notebook: Path) -> bool:
    """Whether a process is currently making an executed notebook; a killed process holds no lock."""
    try:
        with lock_file(notebook).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def read_record(notebook: Path) -> Record | None:
    """The record of an executed notebook; None if it never finished."""
    path = sidecar(notebook)
    if not (notebook.exists() and path.exists()):
        return None
    return Record(**json.loads(path.read_text()))


def write_record(notebook: Path, record: Record) -> None:
    """Write a record; the file appears complete or not at all."""
    with written_whole(sidecar(notebook)) as part:
        part.write_text(json.dumps(asdict(record), indent=1) + "\n")


def _why_stale(record: Record, wanted: str, upstream: dict[str, str]) -> str:
    changed = [name for name, result in upstream.items() if record.upstream.get(name) != result]
    return (
        "" if record.run_id == wanted else f"{', '.join(changed)} changed" if changed else "code or parameters changed"
    )


def _not_done(step: Step, notebook: Path) -> StepState:
    """The state of a step without a record: failed, with the recorded reason, or to do."""
    if not failed_notebook(notebook).exists():
        return StepState(step, "to do", None)
    note = failure_note(notebook)
    return StepState(step, "failed", None, note.read_text().strip() if note.exists() else "")


def release_states(survey: Survey, *, tracts: str = "") -> list[StepState]:
    """The state of every step of a release, in order.

    A step is stale when its digest differs from that of its record, or when a step that it reads is not done.
    """
    states: dict[str, StepState] = {}
    for name, step in load_steps().items():
        notebook = step.record(survey.folders)
        record = read_record(notebook)
        pending = [upstream for upstream in step.reads if states[upstream].state != "done"]
        if is_running(notebook):
            states[name] = StepState(step, "running", record)  # unlike a step that was killed, it holds its lock
            continue
        if record is None:
            states[name] = _not_done(step, notebook)
            continue
        upstream = {other: states[other].record.run_id for other in step.reads if states[other].record is not None}
        wanted = run_id(step_digest(step, survey, tracts=tracts), upstream)
        why = f"waits for {', '.join(pending)}" if pending else _why_stale(record, wanted, upstream)
        states[name] = StepState(step, "stale" if why else "done", record, why)
    return list(states.values())
