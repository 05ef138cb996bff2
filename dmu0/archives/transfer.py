"""Download of one file: resumed after interruptions, checked before it gets its name, repeated if the file is bad."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import requests
import urllib3

from dmu0.archives.session import AbsentError, LoginError, Patience, ask_repeatedly, login_hint, shown_address
from dmu0.files.atomic import unfinished
from dmu0.files.checksums import sha256

_CHUNK = 64 * 1024  # what is lost at most when a connection breaks
_LOGIN_PAGE = re.compile(
    rb"type=[\"']?password|(please|must|need to) (log|sign) ?in|session (has )?expired", re.IGNORECASE
)
_PAGE = (b"<!doctype html", b"<html", b"<head")


class Received(NamedTuple):
    """A downloaded file.

    Attributes
    ----------
    bytes
        Size of the file.
    sha256
        Digest of the file.
    attempts
        Number of requests made.
    """

    bytes: int
    sha256: str
    attempts: int


class _Passing(Exception):
    """A failure that may be temporary, so that another attempt is worthwhile."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def download_file(
    session: requests.Session,
    address: str,
    target: Path,
    *,
    check: Callable[[Path], str],
    reject: Callable[[Path, str], None],
    patience: Patience,
    archive: str = "",
    wait: Callable[[float], None] = time.sleep,
) -> Received:
    """Download a file.

    Data are written to a hidden file next to the target; if the connection breaks or the process dies, the download is
    continued later. Only a complete file that passes its check gets its name.

    Parameters
    ----------
    session, address, target
        Session of the archive, address of the file there, and path to write to.
    check
        Function that returns the reason why a file cannot be used; empty if it can.
    reject
        Function that moves a complete but unusable file away, and records the reason.
    patience
        Number of attempts and delays between them.
    archive
        Name of the archive, for messages.
    wait
        Function that waits for some seconds.

    Raises
    ------
    LoginError
        If the archive requires another login.
    AbsentError
        If the archive does not have the file.
    ArchiveError
        If the archive failed too often.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = unfinished(target)
    tag = target.with_name(f".{target.name}.tag")
    attempts = 0

    def attempt() -> None:
        nonlocal attempts
        attempts += 1
        _receive(session, address, part, tag, archive)
        if reason := check(part):
            reject(part, reason)
            tag.unlink(missing_ok=True)
            raise _Passing(f"the file {reason}")

    ask_repeatedly(attempt, patience, passing=(_Passing,), wait=wait)
    received = Received(part.stat().st_size, sha256(part), attempts)
    part.replace(target)
    tag.unlink(missing_ok=True)
    return received


def _receive(session: requests.Session, address: str, part: Path, tag: Path, archive: str) -> None:
    """Make one request, for the remaining part of a file or all of it."""
    have = part.stat().st_size if part.exists() else 0
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            # If the file is another one by now, the server sends all of it.
            headers["If-Range"] = tag.read_text()
    try:
        with session.get(address, headers=headers, stream=True) as response:
            _judge(response, archive)
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                _finish_without_bytes(response, part, have)
                return
            _write(response, part, tag, have)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Passing(f"the connection was lost: {type(error).__name__}") from error
    except (urllib3.exceptions.HTTPError, requests.exceptions.ContentDecodingError) as error:
        raise _Passing(f"the connection was lost: {type(error).__name__}") from error


def _judge(response: requests.Response, archive: str) -> None:
    """Raise the error indicated by the status of a response, or by a web page instead of the file."""
    status = response.status_code
    host = requests.utils.urlparse(response.url).hostname or ""
    if status in (401, 403):
        raise LoginError(f"{host} refused the login (HTTP {status}): {login_hint(archive, host)}.")
    if status == 429 or status >= 500:
        after = response.headers.get("Retry-After", "")
        raise _Passing(f"{host} answered HTTP {status}", float(after) if after.isdigit() else 0.0)
    if status == requests.codes.requested_range_not_satisfiable:
        return
    if status >= 400:
        raise AbsentError(f"{host} does not have {shown_address(response.url)} (HTTP {status}).")
    if "html" in response.headers.get("Content-Type", "").lower():
        page = response.raw.read(65536, decode_content=True)
        if _LOGIN_PAGE.search(page):
            raise LoginError(f"{host} wants a login, it may have expired: {login_hint(archive, host)}.")
        raise _Passing(f"{host} sent a web page, not the file")


def _finish_without_bytes(response: requests.Response, part: Path, have: int) -> None:
    """Handle an empty remainder: the file is complete, or the partial file belongs to another version."""
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if whole != str(have):
        part.unlink()
        raise _Passing(f"the archive's file has {whole or 'another number of'} bytes, not {have} or more")


def _write(response: requests.Response, part: Path, tag: Path, have: int) -> None:
    """Write the content of a response after the existing part, or from the start, and check that it is complete."""
    start = have if response.status_code == requests.codes.partial_content else 0
    if start:
        sent = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if sent is None or int(sent[1]) != start:
            part.unlink()
            raise _Passing(f"asked for bytes from {start}, got {response.headers.get('Content-Range', 'others')!r}")
    validator = response.headers.get("ETag", "")
    if not validator or validator.startswith("W/"):
        validator = response.headers.get("Last-Modified", "")
    if validator:
        tag.write_text(validator)
    else:
        tag.unlink(missing_ok=True)
    announced = response.headers.get("Content-Length", "")
    received = 0
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        stream.truncate()
        for chunk in response.iter_content(_CHUNK):
            if received == 0 and start == 0 and chunk.lstrip()[:15].lower().startswith(_PAGE):
                raise _page_error(chunk, response.url)
            stream.write(chunk)
            received += len(chunk)
    if announced.isdigit() and received != int(announced):
        raise _Passing(f"{received} bytes came of {announced} announced")


def _page_error(page: bytes, address: str) -> Exception:
    """The error for a web page that claims to be a file."""
    host = requests.utils.urlparse(address).hostname or ""
    if _LOGIN_PAGE.search(page):
        return LoginError(f"{host} wants a login, it may have expired: {login_hint('', host)}.")
    return _Passing(f"{host} sent a web page, not the file")
