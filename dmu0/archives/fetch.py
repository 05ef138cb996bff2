"""Download of the planned files, in parallel; every file has one state and is counted."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path

from astropy.table import Table

from dmu0.archives.catalogues import fetch_catalogue
from dmu0.archives.plan import Ledger, Plan, make_plan
from dmu0.archives.session import AbsentError, ArchiveError, LoginError, Patience
from dmu0.archives.tap import save_table
from dmu0.archives.transfer import download_file
from dmu0.archives.wanted import Archives, Request
from dmu0.files.checksums import sha256
from dmu0.files.integrity import check_file
from dmu0.files.manifest import quarantine
from dmu0.files.paths import DataFolders
from dmu0.progress import tqdm
from dmu0.surveys import Survey

_LOG = logging.getLogger(__name__)

STATES = ("done", "present", "absent", "failed")
"""Final states of a file: fetched now, present before, not in the archive, or failed with a reason."""


def fetch_inputs(survey: Survey, *, tracts: str = "", progress: bool = True, patience: Patience | None = None) -> Table:
    """Download the missing input files of a survey from its archives.

    Parameters
    ----------
    survey
        The survey; ``inputs.query`` contains the query for each archive.
    tracts
        Numbers of tracts, separated by spaces; empty: all of the survey.
    progress
        Whether to show progress bars.
    patience
        Number of attempts, request rate, and number of simultaneous downloads.

    Returns
    -------
    Table
        One row per file: archive, kind, path, bytes, attempts, state (`STATES`) and reason.

    Raises
    ------
    ArchiveError
        If another process is downloading the same survey, or no archive could be queried.
    """
    with closing(Archives(survey, tracts, patience or Patience())) as archives, _alone(survey.folders):
        plan = make_plan(archives, _bar("Planning", progress))
        if not plan.steps:
            raise ArchiveError("Nothing could be planned: " + ("; ".join(plan.notes) or "the survey has no queries."))
        for note in plan.notes:
            _LOG.warning("%s", note)
        report = download(archives, plan, progress=progress)
    failed = report[report["state"] == "failed"]
    if len(failed):
        _LOG.warning(
            "%d of %d files failed, the first: %s %s", len(failed), len(report), failed["path"][0], failed["reason"][0]
        )
    return report


def download(archives: Archives, plan: Plan, *, progress: bool = True) -> Table:
    """Download the missing files of a plan.

    Parameters
    ----------
    archives
        The survey and its archives.
    plan
        The plan, from `make_plan`.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Table
        Table as from `fetch_inputs`.
    """
    rows = [
        (step.request.archive, step.request.kind, step.request.path, step.bytes, 0, step.state, "")
        for step in plan.steps
        if step.state != "to fetch"
    ]
    ledger = Ledger(archives.survey.folders)
    refused: dict[str, str] = {}

    def fetch(request: Request) -> tuple:
        start = (request.archive, request.kind, request.path)
        if request.archive in refused:
            return *start, -1, 0, "failed", refused[request.archive]
        try:
            size, attempts = _fetch_one(archives, request, ledger)
        except LoginError as error:
            refused[request.archive] = str(error)
            return *start, -1, 0, "failed", str(error)
        except AbsentError as error:
            return *start, -1, 0, "absent", str(error)
        except (ArchiveError, OSError) as error:
            return *start, -1, archives.patience.attempts, "failed", str(error)
        return *start, size, attempts, "done", ""

    with tqdm(total=len(plan.to_fetch), desc="Fetching", unit="file", disable=not progress) as bar:
        for row in _in_parallel(fetch, plan.to_fetch, archives.patience.workers):
            rows.append(row)
            bar.update()
    names = ("archive", "kind", "path", "bytes", "attempts", "state", "reason")
    return Table(rows=rows or None, names=names, dtype=["U8", "U16", "U256", "i8", "i8", "U8", "U512"])


def _fetch_one(archives: Archives, request: Request, ledger: Ledger) -> tuple[int, int]:
    """Download one file; returns its size and the number of attempts."""
    folders = archives.survey.folders
    target = folders[0] / request.path
    if not target.resolve().is_relative_to(folders[0].resolve()):
        raise ArchiveError(f"{request.path} would be written outside of {folders[0]}: the name is refused.")
    if request.query:
        save_table(fetch_catalogue(archives, request), target, check=lambda path: check_file(path, request.kind))
        ledger.add(request.path, target.stat().st_size, sha256(target), request.address)
        return target.stat().st_size, 1

    def reject(path: Path, reason: str) -> None:
        quarantine(folders, path, reason, kind=request.kind, name=target.name)

    received = download_file(
        archives.session(request.archive, request.address),
        request.address,
        target,
        check=lambda path: check_file(path, request.kind),
        reject=reject,
        patience=archives.patience,
        archive=request.archive.split("_")[0],
        wait=archives.wait,
    )
    ledger.add(request.path, received.bytes, received.sha256, request.address)
    return received.bytes, received.attempts


def _in_parallel(function: Callable[[Request], tuple], requests: list[Request], workers: int) -> Iterator[tuple]:
    """Yield results as they are completed; an interruption cancels those that have not started."""
    with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as pool:
        pending: set[Future] = {pool.submit(function, request) for request in requests}
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _bar(title: str, shown: bool) -> Callable[[Iterable[Request]], Iterable[Request]]:
    return lambda items: tqdm(items, desc=title, unit="file", disable=not shown)


@contextmanager
def _alone(folders: DataFolders) -> Iterator[None]:
    """Hold the lock of the survey, because two processes must not write the same files."""
    with (folders[0] / ".fetch.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveError(f"Another process is fetching the survey {folders.survey!r}: wait for it.") from error
        yield
