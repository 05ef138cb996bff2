"""Execution of one notebook of a release, with a record that is written only if it succeeds."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from dmu0.files.atomic import JOURNAL, remove_parts, written_whole
from dmu0.files.code_version import code_version
from dmu0.files.paths import PROJECT
from dmu0.guard import stop_marked
from dmu0.processes import guarded_environment
from dmu0.progress import FILE
from dmu0.surveys import Survey
from workflow.digest import input_contents, run_id, step_digest
from workflow.full_disk import full_disk, is_full
from workflow.graph import Step, load_steps
from workflow.kernels import kernel_sockets
from workflow.libraries import library_versions
from workflow.pages import write_page
from workflow.records import (
    Record,
    failed_notebook,
    failure_note,
    lock_file,
    parts_file,
    progress_file,
    read_record,
    remove_failure,
    sidecar,
    worker_mark,
    write_record,
)

RUN_ID = "FUSION_RUN_ID"
"""Environment variable that gives the modules of a notebook the id of the current result."""


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error; the message is one line: notebook, cell, error."""


@contextlib.contextmanager
def _exclusive(record: Path, *, patience: float = 20.0) -> Iterator[None]:
    """Hold the lock of a record, so that two make processes do not execute the same notebook at once.

    A run that is being stopped releases the lock within ``patience`` seconds.
    """
    lock = lock_file(record)
    deadline = time.monotonic() + patience
    with lock.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    message = f"{record} is being made by another process: wait for it, or stop it."
                    raise NotebookFailed(message) from error
                time.sleep(0.2)
        yield


def _parameters(step: Step, survey: Survey, tracts: str) -> dict[str, str]:
    """The parameters passed to a notebook: those that it declares."""
    notebook = nbformat.read(step.path, as_version=4)
    declared = "\n".join(c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    given = {"survey": str(survey.path), "tracts": tracts}
    return {key: value for key, value in given.items() if f"{key}:" in declared or f"{key} =" in declared}


def _describe(step: Step, error: PapermillExecutionError, notebook: Path) -> str:
    """One line with the notebook, the cell, the error, and the line of code in which it occurred."""
    value = " ".join(str(error.evalue).split())
    heading = ""
    if notebook.exists():
        seen = 0
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type == "markdown":
                titles = [line for line in cell.source.split("\n") if line.startswith("#")]
                heading = titles[-1].lstrip("# ") if titles else heading
            elif cell.cell_type == "code":
                seen += 1
                if cell.get("execution_count") == error.exec_count or seen == error.exec_count:
                    break
    where = f" ({heading})" if heading else ""
    return f"{step.name}.ipynb, code cell [{error.exec_count}]{where}: {error.ename}: {value[:400]}"


def _upstream_results(step: Step, survey: Survey) -> dict[str, str]:
    steps = load_steps()
    results = {}
    for name in step.reads:
        record = read_record(steps[name].record(survey.folders))
        if record is None:
            raise NotebookFailed(f"{step.name}.ipynb reads {name}, which is not done: run `make release` for it first.")
        results[name] = record.run_id
    return results


def run_step(step: Step, survey: Survey, *, tracts: str = "") -> Record:
    """Execute a notebook in its own folder and keep the result.

    On success the executed notebook, its page and its record are renamed to their final names; on failure the notebook
    is kept as ``NAME.failed.ipynb`` without a record.

    Raises
    ------
    NotebookFailed
        If the notebook failed, or if results that it reads are missing.
    """
    record = step.record(survey.folders)
    upstream = _upstream_results(step, survey)
    contents = input_contents(step, survey)
    identity = run_id(step_digest(step, survey, tracts=tracts, contents=contents), upstream)
    with _exclusive(record), _listed_parts(record):
        sidecar(record).unlink(missing_ok=True)
        remove_failure(record)
        started, clock, cpu = datetime.now(UTC), time.monotonic(), _children()[0]
        _make_record(step, record, _parameters(step, survey, tracts), identity)
        write_page(record)
        # Files that a check moved into quarantine are read by nothing that follows.
        left = input_contents(step, survey)
        contents = {path: digest for path, digest in contents.items() if path in left}
        identity = run_id(step_digest(step, survey, tracts=tracts, contents=contents), upstream)
        seconds = round(time.monotonic() - clock, 1)
        begun, made_by = started.isoformat(timespec="seconds"), str(code_version())
        used, memory = _children()
        done = Record(identity, begun, seconds, upstream, library_versions(), made_by, round(used - cpu, 1), memory)
        write_record(record, done)
        return done


def _children() -> tuple[float, float]:
    """CPU seconds of all processes that this one has started and that have ended, and the largest memory (MB) of one.

    A process of the workflow runs one step, so that both are those of the step.
    """
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # macOS counts bytes, others units of 1024
    return usage.ru_utime + usage.ru_stime, round(usage.ru_maxrss / unit, 1)


@contextlib.contextmanager
def _listed_parts(record: Path) -> Iterator[None]:
    """Before and after a step runs, end what works for its record and remove what that has left unfinished.

    A run that was killed with its guard may have left both; a kernel that died leaves files.
    """
    journal, progress = parts_file(record), progress_file(record)

    def clear() -> None:
        stop_marked(worker_mark(record))
        remove_parts(journal)
        progress.unlink(missing_ok=True)

    clear()
    told = {JOURNAL: str(journal), FILE: str(progress)}
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            os.environ.pop(name, None)
        clear()


def _make_record(step: Step, record: Path, parameters: dict[str, str], identity: str) -> None:
    """Execute a notebook into its record, or into its failed notebook with a page and a note of the reason."""
    failed = failed_notebook(record)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with written_whole(record) as part, guarded_environment(worker_mark(record)) as environment:
        os.environ.update(environment | _settings(identity, step.stage))
        os.environ.pop("MPLBACKEND", None)  # figures belong into the notebook, whatever the shell says
        try:
            _execute(step, part, parameters)
            return
        except PapermillExecutionError as error:
            os.replace(part, failed)
            where = failed.relative_to(Path.cwd(), walk_up=True)
            full = is_full(str(error.evalue))
            what = f"{step.name}.ipynb: {full_disk(record)}" if full else _describe(step, error, failed)
            message = f"{what}  [read {where}]"
            cause = error
        except DeadKernelError as error:
            os.replace(part, failed)
            message = f"{step.name}.ipynb: its kernel was killed, or died for want of memory; run make again."
            cause = error
        write_page(failed)
        with written_whole(failure_note(record)) as note:
            note.write_text(message + "\n")
        raise NotebookFailed(message) from cause


def _settings(identity: str, stage: int) -> dict[str, str]:
    """Environment variables with which a notebook of a stage is run."""
    # Threads are the tasks' own business: those of the linear algebra would only spin on busy cores.
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    # By default glibc raises the size from which arrays have pages of their own to that of the largest array freed, up
    # to 32 MB; what is smaller then stays in fragments with the process, patch after patch where sources are injected
    # (dmu5). A heap that is cut and grown again and again takes system time: up to 64 MB are kept at its end. Quanta of
    # dmu4 do not grow with their number (0.90 GB after one and after four patches of 1500 px), and new pages for each
    # array cost their photometry a quarter of its time (24 instead of 19 CPU s).
    returned = {"MALLOC_MMAP_THRESHOLD_": str(2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)} if stage == 5 else {}
    # The environment may have been made for another checkout: what is imported is of this one.
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in {"", str(PROJECT)}]
    paths = os.pathsep.join([str(PROJECT), *others])
    return {RUN_ID: identity, "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": paths, **one_thread, **returned}


def _execute(step: Step, part: Path, parameters: dict[str, str]) -> None:
    """Run the cells of a notebook in its own folder; the state after each cell is saved in ``part``."""
    with kernel_sockets() as sockets:
        papermill.execute_notebook(
            step.path,
            part,
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=str(step.path.parent),
            progress_bar=False,
            log_output=False,
            config=sockets,
            # Errors of cells are in the notebook; the kernel also calls it one that it is interrupted at its end.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
