"""The state of every input, detector, coadd, patch and tract of a release: each counted once, with the reason."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from dmu0.files.atomic import written_whole
from dmu0.files.manifest import read_manifest
from dmu0.files.tables import read_table
from dmu0.surveys import Survey
from dmu4.execution.outcomes import ACCEPTANCE, read_outcomes

STATES = ("done", "skipped", "failed", "to do")
"""States of a part; skipped parts are left out on purpose, failed ones because something is wrong."""

LISTED = 10
"""Number of failures of a kind that are listed one by one."""

Found = dict[tuple[int | str, ...], tuple[str, str]]
"""Numbers of a data id -> state and reason."""


class Part(NamedTuple):
    """One part of a release.

    Attributes
    ----------
    kind
        ``input``, ``detector``, ``coadd``, ``patch``, ``tract`` or ``step``.
    name
        Its name, unique among those of its kind.
    state
        One of `STATES`.
    reason
        Reason for the state; empty if it is done.
    """

    kind: str
    name: str
    state: str
    reason: str = ""


def take_census(survey: Survey) -> list[Part]:
    """All parts of a release with their states, from the tables of the stages; nothing is computed.

    A table that does not exist yet leaves the parts that it would list out of the count.
    """
    folder = survey.folders[1]
    outcomes = read_outcomes(survey)
    try:
        manifest = read_manifest(survey.folders)
    except FileNotFoundError:
        return []
    parts = list(census_inputs(manifest))
    if (folder / "selected.parquet").exists():
        bad = {str(row["path"]) for row in manifest[np.asarray(manifest["state"]) != "ok"]}
        parts += census_detectors(read_table(folder / "selected.parquet"), outcomes.get("single_frame"), bad)
    if (folder / "patches.parquet").exists():
        patches, jobs = read_table(folder / "patches.parquet"), read_table(folder / "jobs.parquet")
        parts += census_coadds(patches, jobs, manifest, outcomes.get("coadds"), survey.bands)
        parts += census_patches(patches, outcomes.get("multiband"))
    return parts


def census_inputs(manifest: Table) -> Iterator[Part]:
    """One part per row of the manifest: done, or failed because it is missing or cannot be used."""
    for row in _rows(manifest, "path", "state", "reason"):
        path, state, reason = row
        yield Part("input", path, "done") if state == "ok" else Part("input", path, "failed", f"{state}: {reason}")


def census_detectors(selected: Table, outcomes: Table | None, bad: Iterable[str] = ()) -> Iterator[Part]:
    """One part per detector image: rejected, failed or calibrated.

    Parameters
    ----------
    selected
        Inventory with the decisions of dmu1.
    outcomes
        Outcomes of the calibration; None if it has not ended.
    bad
        Files that cannot be used: those are counted as inputs, and nobody knows their detectors.
    """
    calibrated = _found(outcomes, ("calibrate_detector",), ("visit", "detector"))
    rejected = _found(outcomes, (ACCEPTANCE,), ("visit", "detector"))
    skip = set(bad)
    names = ("path", "hdu", "detector", "exposure", "band", "state", "reason", "accepted", "rejected_because")
    for path, hdu, detector, exposure, band, state, reason, accepted, because in _rows(selected, *names):
        if hdu < 0 and path in skip:
            continue
        name = f"{path} detector {detector} ({band})" if hdu >= 0 else f"{path}, all detectors"
        key = (exposure, detector)
        if state != "ok":
            yield Part("detector", name, "failed", reason)
        elif not accepted:
            yield Part("detector", name, "skipped", because)
        elif outcomes is None:
            yield Part("detector", name, "to do", "not calibrated yet")
        elif key in rejected:
            yield Part("detector", name, *rejected[key])
        else:
            yield Part("detector", name, *calibrated.get(key, ("skipped", "reaches no patch of the release")))


def census_coadds(
    patches: Table, jobs: Table, manifest: Table, outcomes: Table | None, bands: Iterable[str]
) -> Iterator[Part]:
    """One part per patch to be made and band of the survey, also where the band is missing.

    Parameters
    ----------
    patches, jobs
        Patches and jobs of dmu1.
    manifest
        Input files: one of the band that cannot be used is the reason why it is missing.
    outcomes
        Outcomes of the coadds; None if they have not ended.
    bands
        Bands of the survey.
    """
    made = _found(outcomes, ("import_optical", "coadd_patch"), ("tract", "patch", "band"))
    wanted = set(_rows(jobs, "tract", "patch", "band"))
    bad = _bad_coadds(manifest)
    for tract, patch, state in _rows(patches, "tract", "patch", "state"):
        for band in bands if state == "job" else ():
            name, key = f"tract {tract} patch {patch} {band}", (tract, patch, band)
            if key in made and made[key][0] == "done":
                yield Part("coadd", name, "done")
            elif reason := bad.get(key) or bad.get((-1, -1, band)):
                yield Part("coadd", name, "failed", f"band {band} is missing: {reason}")
            elif key not in wanted:
                yield Part("coadd", name, "skipped", f"band {band} is missing: no usable image of it reaches the patch")
            elif outcomes is None:
                yield Part("coadd", name, "to do", "not made yet")
            else:
                lacking = ("skipped", f"band {band} is missing: no calibrated detector of it reaches the patch")
                yield Part("coadd", name, *made.get(key, lacking))


def _bad_coadds(manifest: Table) -> dict[tuple[int, int, str], str]:
    """Tract, patch and band of a published coadd that cannot be used -> its file and why."""
    names = ("path", "kind", "band", "tract", "patch", "state", "reason")
    return {
        (tract, patch, band): f"{path} {reason}"
        for path, kind, band, tract, patch, state, reason in _rows(manifest, *names)
        if kind.endswith("_coadd") and state != "ok"
    }


def census_patches(patches: Table, outcomes: Table | None) -> Iterator[Part]:
    """One part per patch, and one per tract that has a patch to be made.

    Parameters
    ----------
    patches
        Patches of dmu1.
    outcomes
        Outcomes of the photometry; None if it has not ended.
    """
    measured = _found(outcomes, ("detect_patch", "measure_patch"), ("tract", "patch"))
    consolidated = _found(outcomes, ("consolidate_tract",), ("tract",))
    tracts: dict[int, None] = {}
    for tract, patch, state, reason in _rows(patches, "tract", "patch", "state", "reason"):
        name = f"tract {tract} patch {patch}"
        if state != "job":
            yield Part("patch", name, "skipped", reason)
            continue
        tracts[tract] = None
        yield Part("patch", name, *_ended(measured, (tract, patch), outcomes, "it has no coadd"))
    for tract in tracts:
        yield Part("tract", f"tract {tract}", *_ended(consolidated, (tract,), outcomes, "none of its patches is done"))


def _ended(found: Found, key: tuple[int, ...], outcomes: Table | None, otherwise: str) -> tuple[str, str]:
    return ("to do", "not measured yet") if outcomes is None else found.get(key, ("skipped", otherwise))


def _found(outcomes: Table | None, tasks: tuple[str, ...], names: tuple[str, ...]) -> Found:
    """State and reason by the numbers of the data ids; where several tasks have the same, that of the last."""
    found: Found = {}
    if outcomes is None:
        return found
    order = {task: number for number, task in enumerate(tasks)}
    rows = [row for row in _rows(outcomes, "task", "data_id", "state", "reason") if row[0] in order]
    for _, data_id, state, reason in sorted(rows, key=lambda row: order[row[0]]):
        values = dict(item.split("=", 1) for item in data_id.split())
        key = tuple(values[name] if name == "band" else int(values[name]) for name in names)
        found[key] = (state, reason)
    return found


def _rows(table: Table, *names: str) -> Iterator[tuple]:
    """Rows of some columns as Python values."""
    return zip(*(np.asarray(table[name]).tolist() for name in names), strict=True)


def count_parts(parts: Iterable[Part]) -> dict[str, dict[str, int]]:
    """Kind -> number of parts in each of `STATES`."""
    counts: dict[str, dict[str, int]] = {}
    for part in parts:
        counts.setdefault(part.kind, dict.fromkeys(STATES, 0))[part.state] += 1
    return counts


def census_table(parts: Iterable[Part]) -> Table:
    """Number of parts of each kind in each state, and in all: one row per kind."""
    rows = [(kind, sum(states.values()), *states.values()) for kind, states in count_parts(parts).items()]
    names = ("kind", "all", *STATES)
    return Table(rows=rows or None, names=names, dtype=(str, *([int] * (1 + len(STATES)))))


def write_parts(parts: Iterable[Part], path: Path) -> Path:
    """Write all parts with their states and reasons as CSV, atomically."""
    with written_whole(path) as part, part.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(Part._fields)
        writer.writerows(parts)
    return path


def plural(kind: str) -> str:
    """The word for several parts of a kind."""
    return f"{kind}es" if kind.endswith("ch") else f"{kind}s"


def explain(parts: Iterable[Part], states: Iterable[str] = ("failed", "skipped")) -> list[tuple[str, str]]:
    """Why parts are not done: the state and a line of text, failures first.

    The first `LISTED` failures of a kind have a line each; parts that were skipped for reasons that differ in numbers
    only share one.
    """
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.state, part.kind, _kind_of_reason(part)), []).append(part)
    lines: list[tuple[str, str]] = []
    left: dict[str, int] = {}
    for state in states:
        for (_, kind, _), group in _of_state(groups, state):
            if len(group) == 1 or state == "failed":
                room = LISTED - left.get(kind, 0) if state == "failed" else 1
                lines += [(state, f"{kind} {part.name}: {part.reason}") for part in group[: max(room, 0)]]
                left[kind] = left.get(kind, 0) + len(group) * (state == "failed")
            else:
                lines.append((state, f"{len(group)} {plural(kind)}, such as {group[0].name}: {group[0].reason}"))
    lines += [("failed", f"{number - LISTED} more {plural(kind)}") for kind, number in left.items() if number > LISTED]
    return sorted(lines, key=lambda line: line[0] != "failed")


def _of_state(groups: Mapping[tuple[str, ...], list[Part]], state: str) -> Iterator[tuple[tuple[str, ...], list[Part]]]:
    return (item for item in groups.items() if item[0][0] == state)


def _kind_of_reason(part: Part) -> str:
    """The reason without its numbers; the name of a band is not one."""
    return re.sub(r"-?\d+(\.\d+)?", "#", part.reason)
