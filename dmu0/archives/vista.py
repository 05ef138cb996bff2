"""VISTA pawprint stacks and their confidence maps: from the VISTA Science Archive, or from ESO."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import PurePosixPath
from urllib.parse import urlencode

from dmu0.archives.session import ArchiveError
from dmu0.archives.tap import datalink
from dmu0.archives.wanted import VSA_FILES, Archives, Request
from dmu0.sky.tract import Tract
from dmu0.surveys import Survey


def stack_path(survey: Survey, name: str) -> str | None:
    """The path of a stack that matches the survey's patterns; None if no pattern matches.

    Parameters
    ----------
    survey
        The survey.
    name
        Name of the file in the archive; its folder is ignored, and .fits.fz and .fits are treated as .fit.
    """
    if survey.vista is None:
        return None
    stem = re.sub(r"\.fits?(\.fz)?$", "", PurePosixPath(name).name)
    for pattern in survey.vista.stacks:
        suffix = re.search(r"(\.fits?(\.fz)?)?$", pattern)[0] or ".fit"
        if fnmatch(stem + suffix, PurePosixPath(pattern).name):
            return str(PurePosixPath(pattern).parent / (stem + suffix))
    return None


def _map_path(survey: Survey, path: str) -> str:
    """The path of the confidence map of a stack."""
    stem, suffix = re.fullmatch(r"(.*?)((?:\.fits?)?(?:\.fz)?)", path).groups()
    return f"{stem}{survey.vista.confidence}{suffix}"


def vsa_stacks(archives: Archives, tracts: Iterable[Tract]) -> Iterator[Request]:
    """Stacks and confidence maps of some tracts in the VISTA Science Archive; each is listed once.

    Raises
    ------
    ArchiveError
        If the result lacks the columns fileName, confidenceName and multiframeID.
    """
    survey, seen = archives.survey, set()
    for tract in tracts:
        for query in archives.cone_queries("vsa", tract):
            for row in archives.ask("vsa", query):
                columns = {name.lower(): name for name in row.colnames}
                if missing := {"filename", "confidencename", "multiframeid"} - set(columns):
                    raise ArchiveError(f"The query inputs.query.vsa gives no column {', '.join(sorted(missing))}.")
                path = stack_path(survey, str(row[columns["filename"]]))
                if path is None or path in seen:
                    continue
                seen.add(path)
                number = row[columns["multiframeid"]]
                yield Request("vsa", "vista_stack", path, _vsa_address(archives, row[columns["filename"]], number))
                if survey.vista.confidence is not None:
                    address = _vsa_address(archives, row[columns["confidencename"]], number)
                    yield Request("vsa", "vista_confidence", _map_path(survey, path), address)


def _vsa_address(archives: Archives, name: object, number: object) -> str:
    """The address of a file in the VISTA Science Archive; names may have the name of a server before a colon."""
    file = str(name).strip().rpartition(":")[2]
    files = archives.queries.get("vsa_files", VSA_FILES)
    return f"{files}?{urlencode({'file': file, 'MFID': int(number), 'rID': 0})}"


def eso_stacks(archives: Archives, tracts: Iterable[Tract]) -> Iterator[Request]:
    """Stacks and weight maps of some tracts in the ESO archive; the files of a product are in its DataLink."""
    survey, seen = archives.survey, set()
    for tract in tracts:
        for query in archives.cone_queries("eso", tract):
            for row in archives.ask("eso", query):
                address = str(row["access_url"])
                if address in seen:
                    continue
                seen.add(address)
                yield from _eso_product(archives, survey, address)


def _eso_product(archives: Archives, survey: Survey, address: str) -> Iterator[Request]:
    """The science file of a product and its weight map; empty if it is not a stack of the survey."""
    session = archives.session("eso", address)
    links = datalink(address, session=session, patience=archives.patience, wait=archives.wait)
    science = [link for link in links if str(link["semantics"]) == "#this"]
    path = stack_path(survey, str(science[0]["eso_origfile"])) if science else None
    if path is None:
        return
    yield _eso_request("vista_stack", path, science[0])
    if survey.vista.confidence is None:
        return
    for link in links:
        if str(link["eso_category"]) == "ANCILLARY.WEIGHTMAP":
            yield _eso_request("vista_confidence", _map_path(survey, path), link)


def _eso_request(kind: str, path: str, link: object) -> Request:
    size = int(link["content_length"]) if "content_length" in link.colnames else -1
    return Request("eso", kind, path, str(link["access_url"]), bytes=size if size > 0 else -1)
