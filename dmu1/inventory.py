"""The inventory: one row per detector image of all VISTA stacks, from their headers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Row, Table, vstack
from astropy.time import Time

from dmu0.processes import process_pool
from dmu1 import describe, header_scan
from dmu1.describe import COLUMNS, describe_detector, image_shape, is_wanted
from dmu1.header_scan import read_headers
from obs_vista import (
    bands,
    camera,
    cards,
    headers,
    image_planes,
    noise,
    translator,
    wcs_cards,
    world_coordinates,
    zero_points,
)
from obs_vista.cards import card_values
from obs_vista.headers import detector_extensions, merged_header

_MISSING = {"str": "", "int32": -1, "int64": -1, "float64": np.nan}
_DETECTOR_CARDS = re.compile(r"Z?NAXIS\d*|EXTNAME|ZIMAGE|ESO DET CHIP NO")


class StackFile(NamedTuple):
    """A stack to read, and its confidence map.

    Attributes
    ----------
    recorded, path
        Name of the stack in the manifest, and its path.
    sha256
        Checksum of the stack from the manifest.
    confidence_recorded, confidence_path, confidence_sha256
        Name, path and checksum of its confidence map; empty if there is none.
    confidence_problem
        Reason for a missing confidence map, if there should be one; empty otherwise.
    problem
        Reason why the stack cannot be used, from the manifest; empty if it can.
    """

    recorded: str
    path: Path
    sha256: str = ""
    confidence_recorded: str = ""
    confidence_path: Path = Path()
    confidence_sha256: str = ""
    confidence_problem: str = ""
    problem: str = ""

    @property
    def fingerprint(self) -> str:
        """A hash of the files on which the rows depend."""
        parts = (self.recorded, self.sha256, self.confidence_recorded, self.confidence_sha256)
        return hashlib.sha256("\n".join((*parts, self.confidence_problem, self.problem)).encode()).hexdigest()[:16]


def empty_inventory() -> Table:
    """An inventory without images, with all columns."""
    return _table([])


def _table(rows: Iterable[dict[str, Any]]) -> Table:
    rows = list(rows)
    table = Table(meta={"reader": code_digest()})
    for name, dtype, unit, doc in COLUMNS:
        values = [row.get(name, _MISSING[dtype]) for row in rows]
        table[name] = np.array(values, dtype=dtype)
        table[name].unit = unit or None
        table[name].description = doc
    return table


def _to_tai(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their times converted from UTC, as in headers, to TAI."""
    dated = [row for row in rows if "mjd" in row]
    if dated:
        for row, mjd in zip(dated, Time([row["mjd"] for row in dated], format="mjd", scale="utc").tai.mjd, strict=True):
            row["mjd"] = float(mjd)
    return rows


@cache
def code_digest() -> str:
    """A hash of the code that makes the rows: rows made by different code are read again."""
    files = [Path(__file__), Path(camera.__file__).with_name("vircam.yaml")]
    readers = (describe, header_scan, bands, camera, cards, headers, image_planes, noise, translator, zero_points)
    modules = (*readers, wcs_cards, world_coordinates)
    files += [Path(module.__file__) for module in modules]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def stack_files(manifest: Table, *, confidence: str | None, resolve: Callable[[str], Path] = Path) -> list[StackFile]:
    """The stacks in a manifest, each with its confidence map.

    Parameters
    ----------
    manifest
        Table with path, kind, state, reason, sha256, from dmu0; other types of files are ignored.
    confidence
        Suffix of the name of a confidence map, added to the stem of its stack; None if there are no maps.
    resolve
        Function that converts a path in the manifest to a path on disk, such as `DataFolders.input_path`.
    """
    maps = {}
    for row in manifest[manifest["kind"] == "vista_confidence"]:
        name = Path(row["path"])
        maps[name.parent, name.stem] = row
    files = []
    for row in manifest[manifest["kind"] == "vista_stack"]:
        recorded = str(row["path"])
        name = Path(recorded)
        found = None if confidence is None else maps.get((name.parent, name.stem + confidence))
        problem = "" if row["state"] == "ok" else f"{row['state']}: {row['reason']}"
        file = StackFile(recorded, Path(resolve(recorded)), str(row["sha256"]), problem=problem)
        files.append(file if confidence is None else file._replace(**_map_of(found, resolve)))
    return files


class _Hdu(NamedTuple):
    """The interface of an HDU for `obs_vista.headers.detector_extensions`."""

    header: fits.Header
    is_image: bool


def _image_hdus(found: list[fits.Header]) -> list[_Hdu]:
    """The HDUs of some headers, with tile-compressed images as the images that they contain."""
    hdus = []
    for header in found:
        compressed = bool(header.get("ZIMAGE", False)) or "ZNAXIS1" in header
        hdus.append(_Hdu(header, compressed or str(header.get("XTENSION", "IMAGE")).strip() == "IMAGE"))
    return hdus


def _map_of(row: Row | None, resolve: Callable[[str], Path]) -> dict[str, Any]:
    """The fields of a `StackFile` for its confidence map, or the reason why there is none."""
    if row is None:
        return {"confidence_problem": "no confidence map"}
    if row["state"] != "ok":
        return {"confidence_problem": f"confidence map {row['state']}: {row['reason']}"}
    recorded = str(row["path"])
    return {
        "confidence_recorded": recorded,
        "confidence_path": Path(resolve(recorded)),
        "confidence_sha256": str(row["sha256"]),
    }


def read_stack(file: StackFile) -> list[dict[str, Any]]:
    """The rows of one stack: one per detector image, or one with the reason why the file could not be read."""
    base = {"path": file.recorded, "fingerprint": file.fingerprint, "state": "ok"}
    if file.problem:
        return [base | {"state": "failed", "reason": file.problem}]
    try:
        found = read_headers(file.path, is_wanted)
        extensions = detector_extensions(_image_hdus(found))
    except (OSError, ValueError, fits.VerifyError) as error:
        return [base | {"state": "failed", "reason": _say(error)}]
    maps, problem = _read_confidence(file)
    rows = []
    for detector, hdu in sorted(extensions.items(), key=lambda item: item[1]):
        row = base | {"hdu": hdu, "detector": detector}
        try:
            merged = merged_header(found[0] if hdu else None, found[hdu])
            # Access to a dictionary is ten times faster than to a header, and each card is used several times.
            row |= describe_detector(card_values(merged), detector=detector)
        except (ValueError, KeyError) as error:
            rows.append(row | {"state": "failed", "reason": _say(error)})
            continue
        rows.append(row | _confidence_of(row, file, maps, problem))
    return rows


def _say(error: Exception) -> str:
    """An error as one line; that of a KeyError without the quotes added by str()."""
    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    return " ".join(text.split()) or type(error).__name__


def _read_confidence(file: StackFile) -> tuple[dict[int, tuple[int, int, int]], str]:
    """HDU, columns and rows of the confidence map of each detector, and the reason if there are none."""
    if not file.confidence_recorded:
        return {}, file.confidence_problem
    try:
        found = read_headers(file.confidence_path, lambda keyword: _DETECTOR_CARDS.fullmatch(keyword) is not None)
        extensions = detector_extensions(_image_hdus(found))
        return {detector: (hdu, *image_shape(found[hdu])) for detector, hdu in extensions.items()}, ""
    except (OSError, ValueError, fits.VerifyError) as error:
        return {}, f"confidence map: {_say(error)}"


def _confidence_of(
    row: dict[str, Any], file: StackFile, maps: dict[int, tuple[int, int, int]], problem: str
) -> dict[str, Any]:
    """The confidence columns of one detector image."""
    if not file.confidence_recorded:
        return {"confidence_problem": problem}
    if not problem and row["detector"] not in maps:
        problem = "no confidence map for this detector"
    if not problem:
        hdu, nx, ny = maps[row["detector"]]
        if (nx, ny) == (row["nx"], row["ny"]):
            return {"confidence_path": file.confidence_recorded, "confidence_hdu": hdu}
        problem = f"confidence map is {nx} x {ny}, the image {row['nx']} x {row['ny']}"
    return {"confidence_problem": problem}


def read_stacks(files: list[StackFile], *, workers: int = 2, progress: Any = None) -> Table:
    """The inventory of some stacks.

    Parameters
    ----------
    files
        The stacks.
    workers
        Number of processes; few files are read in this process, because a process takes a second to start.
    progress
        Function that wraps the iterator over the rows of the files, like tqdm; None for no progress bar.
    """
    watch = (lambda rows: rows) if progress is None else progress
    rows: list[dict[str, Any]] = []
    for of_file in watch(_read_all(files, workers)):
        rows.extend(of_file)
    return _table(_to_tai(rows))


def _read_all(files: list[StackFile], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers < 2 or len(files) < 50:
        yield from map(read_stack, files)
        return
    with process_pool(workers) as pool:
        yield from pool.map(read_stack, files, chunksize=8)


def update_inventory(
    previous: Table | None, files: list[StackFile], *, workers: int = 2, progress: Any = None
) -> Table:
    """The inventory of some stacks, reading only those that are not in an earlier inventory.

    Rows are kept if the checksums of stack and confidence map have not changed, and the rows were made by the same
    code. Rows of files that are no longer in the list are dropped.

    Parameters
    ----------
    previous
        An earlier inventory; None if there is none.
    files
        All stacks of the inventory.
    workers, progress
        Number of processes, and progress bar, as for `read_stacks`.

    Returns
    -------
    inventory
        Inventory, ordered by file and HDU; ``meta["read"]`` and ``meta["kept"]`` count files.
    """
    known: set[str] = set()
    if previous is not None and previous.meta.get("reader") == code_digest():
        # Failed files are read again: the reason may have been the disk, not the file.
        known = set(previous["fingerprint"]) - set(previous["fingerprint"][previous["state"] == "failed"])
    keep = {file.fingerprint for file in files} & known
    fresh = read_stacks([file for file in files if file.fingerprint not in keep], workers=workers, progress=progress)
    parts = [fresh]
    if keep:
        parts.append(previous[np.isin(previous["fingerprint"], sorted(keep))])
    inventory = vstack(parts, metadata_conflicts="silent")
    inventory.sort(["path", "hdu"])
    inventory.meta = {"reader": code_digest(), "read": len(files) - len(keep), "kept": len(keep)}
    return inventory
