"""The plan: which files a survey needs, which exist already, and how much has to be downloaded."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import requests
from astropy.table import Table

from dmu0.archives.catalogues import catalogue_tables
from dmu0.archives.optical import hsc_files, lsst_files
from dmu0.archives.session import ArchiveError, LoginError, shown_address
from dmu0.archives.vista import eso_stacks, vsa_stacks
from dmu0.archives.wanted import Archives, Request
from dmu0.files.checksums import sha256
from dmu0.files.integrity import check_file
from dmu0.files.manifest import quarantine
from dmu0.files.paths import DataFolders
from dmu0.published.lsst_butler import find_coadds
from dmu0.surveys import SurveyError

_LOG = logging.getLogger(__name__)
_SIZES_ASKED = 3


class Ledger:
    """List of downloaded files: path, size, digest and address of each file, one line of JSON per file.

    Parameters
    ----------
    folders
        Data folders of the survey; the list is ``downloads.jsonl`` in that of dmu0.
    """

    def __init__(self, folders: DataFolders) -> None:
        self.path = folders[0] / "downloads.jsonl"
        self._lock = threading.Lock()
        self._entries: dict[str, dict] = {}
        self._torn = False
        if self.path.exists():
            text = self.path.read_text()
            self._torn = not text.endswith("\n") and text != ""
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    # The last line of a process that was killed; its file is checked again.
                    _LOG.warning("%s: a line that was not finished is left out.", self.path)
                    continue
                self._entries[entry["path"]] = entry

    def size(self, path: str) -> int:
        """Size of a file when it was downloaded; -1 if it was not."""
        return int(self._entries.get(path, {}).get("bytes", -1))

    def add(self, path: str, size: int, digest: str, address: str) -> None:
        """Record a downloaded file."""
        entry = {"path": path, "bytes": size, "sha256": digest, "address": shown_address(address)}
        with self._lock:
            with self.path.open("a") as stream:
                stream.write(("\n" if self._torn else "") + json.dumps(entry) + "\n")
            self._torn = False
            self._entries[path] = entry


class Step(NamedTuple):
    """One file of a plan.

    Attributes
    ----------
    request
        The request for the file.
    state
        ``present``, ``to fetch`` or ``absent`` (not in the archive).
    bytes
        Size of the file; -1 if unknown.
    """

    request: Request
    state: str
    bytes: int


class Plan(NamedTuple):
    """The files that a survey needs.

    Attributes
    ----------
    steps
        One step per file.
    notes
        What could not be planned and why, in words.
    """

    steps: list[Step]
    notes: list[str]

    @property
    def to_fetch(self) -> list[Request]:
        """The files that have to be downloaded."""
        return [step.request for step in self.steps if step.state == "to fetch"]

    def summary(self) -> Table:
        """Files per archive and type: the number present, the number to download, and the bytes to download.

        If an archive does not give the sizes of all files, the others are estimated from the known ones.
        """
        rows = []
        steps = sorted(self.steps, key=lambda step: (step.request.archive, step.request.kind))
        for (archive, kind), group in groupby(steps, key=lambda step: (step.request.archive, step.request.kind)):
            members = list(group)
            fetch = [step for step in members if step.state == "to fetch"]
            known = [step.bytes for step in members if step.bytes >= 0]
            size = int(np.mean(known) * len(fetch)) if known else -1
            present, absent = (sum(step.state == state for step in members) for state in ("present", "absent"))
            rows.append((archive, kind, len(members), present, absent, len(fetch), size))
        names = ("archive", "kind", "files", "present", "absent", "to_fetch", "bytes_to_fetch")
        table = Table(rows=rows or None, names=names, dtype=["U8", "U16", *(5 * ["i8"])])
        table["bytes_to_fetch"].unit = "byte"
        return table


def make_plan(archives: Archives, progress: Callable[[Iterable[Request]], Iterable[Request]] = iter) -> Plan:
    """Query the archives for the files of a survey, and determine which exist already.

    An archive that cannot be queried is omitted and named in the notes; the others are planned.

    Parameters
    ----------
    archives
        The survey and its archives.
    progress
        Function that wraps the requests as they are found.
    """
    notes: list[str] = []
    found = {request.path: request for request in progress(_requests(archives, notes))}
    ledger = Ledger(archives.survey.folders)
    states = {path: _state(archives.survey.folders, request, ledger) for path, request in found.items()}
    sizes = _some_sizes(archives, [request for path, request in found.items() if states[path] == "to fetch"])
    steps = []
    for path, request in found.items():
        here = archives.survey.folders[0] / path
        size = here.stat().st_size if states[path] == "present" else sizes.get(path, request.bytes)
        steps.append(Step(request, states[path], size))
    if any(optical.butler is not None for optical in archives.survey.optical):
        steps += _butler_steps(archives, notes)
    return Plan(steps, notes)


def _requests(archives: Archives, notes: list[str]) -> Iterator[Request]:
    """Requests of all archives of a survey."""
    tracts = archives.tract_list()
    sources = []
    if archives.survey.vista is not None and archives.survey.vista.stack_bands:
        sources.append(_vista_requests(archives, notes))
    if archives.survey.optical and {"hsc", "hsc_psf"} & set(archives.queries):
        sources.append(hsc_files(archives, archives.patches))
    if archives.survey.optical and "lsst" in archives.queries:
        sources.append(lsst_files(archives, archives.patches))
    sources.append(catalogue_tables(archives, tracts))
    for source in sources:
        try:
            yield from source
        except ArchiveError as error:
            notes.append(str(error))


def _vista_requests(archives: Archives, notes: list[str]) -> Iterator[Request]:
    """Stacks from the first of VSA and ESO that can be queried."""
    clients = [
        (name, client) for name, client in (("vsa", vsa_stacks), ("eso", eso_stacks)) if name in archives.queries
    ]
    for name, client in clients:
        try:
            # All of one archive or none: half a list would look like a smaller survey.
            found = list(client(archives, archives.tract_list()))
        except ArchiveError as error:
            notes.append(f"{name}: {error}")
            continue
        yield from found
        return


def _state(folders: DataFolders, request: Request, ledger: Ledger) -> str:
    """Whether a file exists and is intact; a damaged file is moved to quarantine."""
    path = folders[0] / request.path
    if not path.exists():
        return "to fetch"
    if path.stat().st_size == ledger.size(request.path):
        return "present"
    if reason := check_file(path, request.kind):
        quarantine(folders, path, reason, kind=request.kind)
        return "to fetch"
    ledger.add(request.path, path.stat().st_size, sha256(path), request.address)
    return "present"


def _some_sizes(archives: Archives, wanted: list[Request]) -> dict[str, int]:
    """Sizes of the first few files of each archive that does not list sizes, from their HTTP headers."""
    sizes: dict[str, int] = {}
    files = sorted((request for request in wanted if not request.query and request.bytes < 0), key=lambda r: r.archive)
    for _, group in groupby(files, key=lambda request: (request.archive, request.kind)):
        for request in list(group)[:_SIZES_ASKED]:
            size = _ask_size(archives, request)
            if size >= 0:
                sizes[request.path] = size
    return sizes


def _ask_size(archives: Archives, request: Request) -> int:
    """Content-Length of a file; -1 if the archive does not give it, which only affects an estimate."""
    try:
        session = archives.session(request.archive, request.address)
        answer = session.head(request.address, allow_redirects=True)
    except (requests.RequestException, LoginError):
        return -1
    length = answer.headers.get("Content-Length", "")
    is_page = "html" in answer.headers.get("Content-Type", "").lower()
    return int(length) if answer.ok and length.isdigit() and not is_page else -1


def _butler_steps(archives: Archives, notes: list[str]) -> list[Step]:
    """The coadds in the survey's Butler repository, which are not copied."""
    try:
        coadds = find_coadds(archives.survey, archives.tracts)
    except SurveyError as error:
        notes.append(str(error))
        return []
    steps = []
    for (tract, patch, band), where in coadds.items():
        request = Request("butler", "optical_coadd", where or f"deep_coadd {tract} {patch} {band}", where)
        steps.append(Step(request, "present" if where else "absent", -1))
    return steps
