"""The manifest: one row per input file of a survey, with its type and whether it can be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from dmu0.files.checksums import Checksums, FileState, file_state, is_regular, sha256
from dmu0.files.coadd_files import coadd_files
from dmu0.files.expected import Input, confidence_path, find_inputs
from dmu0.files.integrity import IMAGE_KINDS, KINDS, check_file, check_pair, observation_date
from dmu0.files.paths import DataFolders
from dmu0.files.tables import write_table
from dmu0.processes import process_pool
from dmu0.surveys import Optical, Survey, Vista

COLUMNS = (
    ("path", "str", "", "the file: absolute, or relative to the survey's data folder of dmu0"),
    ("kind", "str", "", f"one of {', '.join(KINDS)}"),
    ("band", "str", "", "band of a coadd or PSF; empty for stacks, which say it themselves, and catalogues"),
    ("tract", "int64", "", "tract of a coadd or PSF; -1 if it is of none"),
    ("patch", "int64", "", "patch of a coadd or PSF; -1 if it is of none"),
    ("bytes", "int64", "byte", "size of the file; -1 if it is missing"),
    ("modified", "int64", "ns", "time of its last change, since 1970"),
    ("sha256", "str", "", "digest of its content; empty if it is missing"),
    ("observed", "str", "", "when its exposure began, UTC, ISO 8601, as its header says; empty if it does not"),
    ("state", "str", "", "ok, quarantined (it is there but cannot be used) or missing"),
    ("reason", "str", "", "why it is not ok"),
)
"""Name, type, unit and meaning of the manifest's columns."""

STATES = ("ok", "quarantined", "missing")
QUARANTINE = "quarantine"
"""Folder for files that failed, in a survey's data folder of dmu0; each has a text file with the reason."""

_PARALLEL_FROM = 40  # files: starting processes costs a few seconds, about what checking so many does

Row = dict[str, Any]


def check_inputs(
    survey: Survey,
    progress: Callable[[Iterable[Row], int], Iterable[Row]] | None = None,
    *,
    workers: int | None = None,
) -> Table:
    """Check all input files of a survey and write its manifest.

    Files that passed before and have the same checksum are not checked again; a checksum is recomputed if size, times
    or inode changed (`dmu0.files.checksums`). Downloaded or simulated files that fail are moved to the folder
    `QUARANTINE` with a text file that contains the reason, so that they are fetched again; files of local surveys are
    never moved.

    Parameters
    ----------
    survey
        The survey.
    progress
        Function that wraps the results, given their number: ``lambda rows, total: tqdm(rows, total=total)``.
    workers
        Number of processes that read files; by default chosen from the number of new files.

    Returns
    -------
    astropy.table.Table
        The manifest, with `COLUMNS`.
    """
    folders = survey.folders
    inputs = find_inputs(survey)
    known = {row["path"]: row for row in _old_rows(folders) if row["state"] == "ok"}
    checksums = Checksums(folders)
    needs_wcs = survey.sky_map.kind != "single"
    jobs = [_Job(item, folders, needs_wcs, _known_of(item, folders, known, checksums)) for item in inputs]
    if workers is None:
        workers = 1 if sum(job.known is None for job in jobs) < _PARALLEL_FROM else os.cpu_count() or 1
    checked = _map(_check, jobs, workers)
    rows = list(checked if progress is None else progress(checked, len(jobs)))
    for item, row in zip(inputs, rows, strict=True):
        if row["sha256"]:
            checksums.remember(item.path, FileState(*row.pop("read_in")), str(row["sha256"]))
    checksums.write()
    _check_pairs(survey, rows, known)
    _check_maps(survey, rows)
    if survey.inputs.source != "local":
        for row in rows:
            if row["state"] == "quarantined" and not row.get("stays"):
                quarantine(folders, folders.input_path(str(row["path"])), str(row["reason"]), kind=str(row["kind"]))
        rows += _quarantined_before(folders, {str(row["path"]) for row in rows if row["state"] != "missing"})
        rows = _only_one_row_a_file(rows)
    manifest = _table(rows)
    write_manifest(folders, manifest)
    return manifest


def _map(function: Callable[[_Job], Row], jobs: list[_Job], workers: int) -> Iterator[Row]:
    if workers == 1:
        yield from map(function, jobs)
        return
    with process_pool(workers) as pool:
        yield from pool.map(function, jobs, chunksize=4)


def _recorded(path: Path, folders: DataFolders) -> str:
    """The name of a file in the manifest; bytes that are not UTF-8 are escaped."""
    name = str(path.relative_to(folders[0])) if path.is_relative_to(folders[0]) else str(path.absolute())
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Job(NamedTuple):
    """The input of a process that checks a file.

    Attributes
    ----------
    item
        The file.
    folders
        Data folders of the survey.
    needs_wcs
        Whether coadds must have a WCS.
    known
        Row of the last manifest if the file passed and has the same content; None if it has to be read.
    """

    item: Input
    folders: DataFolders
    needs_wcs: bool
    known: Row | None


def _known_of(item: Input, folders: DataFolders, known: dict[str, Row], checksums: Checksums) -> Row | None:
    """The row of a file in the last manifest, if it passed and its checksum is known to be unchanged."""
    row = known.get(_recorded(item.path, folders))
    try:
        unchanged = row is not None and checksums.known(item.path, file_state(item.path)) == row["sha256"]
    except OSError:
        unchanged = False
    return row if unchanged else None


def _check(job: _Job) -> Row:
    """The manifest row of one file, with one state and a reason in words, whatever the file contains.

    In addition to the columns, ``read_in`` is the state in which the file was read, and ``stays`` says that its content
    is not known to be bad, so that it is not moved.
    """
    path = job.item.path
    row: Row = {"path": _recorded(path, job.folders), "kind": job.item.kind, "band": job.item.band}
    row |= {"tract": job.item.tract, "patch": job.item.patch, "bytes": -1, "modified": 0, "sha256": ""}
    row |= {"observed": ""}
    bad: Row = {"state": "quarantined", "stays": 1}
    try:
        before = file_state(path)
        regular = is_regular(path)
    except FileNotFoundError:
        link = f"is a link to {path.readlink()}, which is not there" if path.is_symlink() else "is not there"
        return row | {"state": "missing", "reason": link}
    except OSError as error:
        return row | bad | {"reason": f"cannot be reached: {error.strerror}"}
    row |= {"bytes": before.bytes, "modified": before.modified}
    if not regular:
        what = "a folder" if path.is_dir() else "a pipe, a socket or a device"
        return row | bad | {"reason": f"is {what}, not a file"}
    if not str(path).isprintable():
        return row | bad | {"reason": "has a name with characters that cannot be printed, or no UTF-8: rename it"}
    if job.known is not None:
        same = {name: job.known[name] for name in ("sha256", "observed")}
        return row | same | {"state": "ok", "reason": "", "read_in": before}
    return row | _read(job, before)


def _read(job: _Job, before: FileState) -> Row:
    """Read a file: its checksum, whether it passes, and whether it changed in the meantime."""
    path = job.item.path
    bad: Row = {"state": "quarantined", "stays": 1}
    try:
        digest = sha256(path)
        reason = check_file(path, job.item.kind, needs_wcs=job.needs_wcs)
        observed = observation_date(path) if not reason and job.item.kind in IMAGE_KINDS else ""
        after = file_state(path)
    except OSError as error:
        return bad | {"reason": f"cannot be read: {error.strerror or error}"}
    if after != before:
        return bad | {"reason": "changed while it was read: is it still being written? Check it again"}
    state = {"state": "quarantined" if reason else "ok", "reason": reason}
    return {"sha256": digest, "observed": observed, "read_in": before} | state


def _check_maps(survey: Survey, rows: list[Row]) -> None:
    """Quarantine coadds whose weight or variance map cannot be used; changes the rows in place.

    Without its map nothing tells where a coadd has no data.
    """
    by_path = {str(row["path"]): row for row in rows}
    halves: list[Optical | Vista] = [half for half in survey.optical if half.butler is None]
    if survey.vista is not None:
        halves.append(survey.vista)
    for half in halves:
        if not half.weights and not half.variances:
            continue
        for coadd in coadd_files(survey, half):
            row = by_path.get(_recorded(coadd.path, survey.folders))
            for path in filter(None, (coadd.weight, coadd.variance)):
                partner = by_path.get(_recorded(path, survey.folders))
                if row is not None and partner is not None and row["state"] == "ok" and partner["state"] != "ok":
                    reason = f"its map {path.name} cannot be used: it {partner['reason']}"
                    row |= {"state": "quarantined", "reason": reason, "stays": 1}


def _check_pairs(survey: Survey, rows: list[Row], known: dict[str, Row]) -> None:
    """Quarantine confidence maps that do not match their stacks; changes the rows in place."""
    by_path = {str(row["path"]): row for row in rows}
    for row in rows:
        stack = survey.folders.input_path(str(row["path"]))
        confidence = confidence_path(survey, stack) if row["kind"] == "vista_stack" else None
        if confidence is None or row["state"] != "ok":
            continue
        partner = by_path.get(_recorded(confidence, survey.folders))
        if partner is None or partner["state"] != "ok":
            continue
        if all(item["path"] in known and known[item["path"]]["sha256"] == item["sha256"] for item in (row, partner)):
            continue
        if reason := check_pair(stack, confidence):
            partner |= {"state": "quarantined", "reason": reason}


def quarantine(folders: DataFolders, path: Path, reason: str, *, kind: str, name: str | None = None) -> Path:
    """Move a bad downloaded or simulated file to the quarantine folder, and write the reason next to it.

    Parameters
    ----------
    folders
        Data folders of the survey.
    path
        The file.
    reason
        What is wrong with it.
    kind
        Expected type of the file (`dmu0.files.integrity.KINDS`).
    name
        Final name of the file, if it has a temporary one.

    Returns
    -------
    Path
        The new path: the same relative path below `QUARANTINE`; the file with the reason ends with ``.reason``.

    Raises
    ------
    ValueError
        If the file is not in the survey's data folder: the user's own files are never moved.
    """
    if not path.is_relative_to(folders[0]):
        raise ValueError(f"{path} is not in {folders[0]}: files that are not ours are not moved.")
    target = folders[0] / QUARANTINE / path.relative_to(folders[0]).with_name(name or path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name(target.name + ".reason").write_text(f"{reason}\n{kind}\n")
    path.replace(target)
    return target


def _quarantined_before(folders: DataFolders, present: set[str]) -> list[Row]:
    """Rows of files that failed in an earlier run and have not been replaced since."""
    root = folders[0] / QUARANTINE
    old = {str(row["path"]): row for row in _old_rows(folders)}
    rows = []
    for note in sorted(root.rglob("*.reason")):
        recorded = str(note.with_suffix("").relative_to(root))
        if recorded in present:
            continue
        reason, kind = note.read_text().splitlines()[:2]
        row: Row = {"path": recorded, "kind": kind, "band": "", "tract": -1, "patch": -1, "bytes": -1, "modified": 0}
        rows.append(
            row | {"sha256": "", "observed": ""} | old.get(recorded, {}) | {"state": "quarantined", "reason": reason}
        )
    return rows


def _only_one_row_a_file(rows: list[Row]) -> list[Row]:
    """Keep one row per path: a file in quarantine is not also missing."""
    chosen: dict[str, Row] = {}
    for row in rows:
        if row["path"] not in chosen or row["state"] == "quarantined":
            chosen[str(row["path"])] = row
    return list(chosen.values())


def _table(rows: list[Row]) -> Table:
    manifest = Table()
    for name, kind, unit, description in COLUMNS:
        values = [row[name] for row in rows]
        manifest[name] = np.array(values, dtype=kind if kind != "str" else np.str_)
        manifest[name].description = description
        manifest[name].unit = unit or None
    return manifest


def _manifest_path(folders: DataFolders) -> Path:
    return folders[0] / "manifest.parquet"


def write_manifest(folders: DataFolders, manifest: Table) -> Path:
    """Write a manifest to the survey's data folder of dmu0, atomically."""
    return write_table(manifest, _manifest_path(folders))


def read_manifest(folders: DataFolders) -> Table:
    """The manifest of a survey.

    Raises
    ------
    FileNotFoundError
        If it does not exist yet.
    """
    path = _manifest_path(folders)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there: run dmu0/2_Check_inputs for the survey {folders.survey!r} first."
        )
    return Table.read(path, format="parquet")


def _old_rows(folders: DataFolders) -> list[Row]:
    """The rows of the last manifest; empty if it does not exist or has other columns."""
    if not _manifest_path(folders).exists():
        return []
    manifest = read_manifest(folders)
    names = [column[0] for column in COLUMNS]
    if manifest.colnames != names:
        return []
    lists = (manifest[name].tolist() for name in names)
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def read_usable(folders: DataFolders) -> list[Row]:
    """Rows of the input files that can be used; empty if the manifest does not exist or has other columns."""
    return [row for row in _old_rows(folders) if row["state"] == "ok"]


def count_states(manifest: Table) -> Table:
    """Number of files of each type in each state; the counts add up to the rows of the manifest."""
    kinds = [kind for kind in KINDS if kind in manifest["kind"]]
    counts = Table({"kind": np.array(kinds, dtype=np.str_)})
    for state in STATES:
        counts[state] = [int(np.sum((manifest["kind"] == kind) & (manifest["state"] == state))) for kind in kinds]
    counts["bytes"] = [
        int(manifest["bytes"][(manifest["kind"] == kind) & (manifest["bytes"] > 0)].sum()) for kind in kinds
    ]
    return counts


def changed_inputs(folders: DataFolders) -> list[str]:
    """Input files whose content differs from that in the manifest: inputs must never change."""
    changed = []
    for row in _old_rows(folders):
        path = folders.input_path(str(row["path"]))
        try:
            same = row["state"] != "ok" or sha256(path) == row["sha256"]
        except OSError:
            same = False
        if not same:
            changed.append(str(row["path"]))
    return changed
