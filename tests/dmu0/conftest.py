"""A local archive that fails in every way it can: files by HTTP, tables by TAP, products by DataLink."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from astropy.io.votable import from_table
from astropy.io.votable.tree import Info
from astropy.table import Table

PAGE = b"<!DOCTYPE html><html><head><title>Service Down</title></head><body>Back soon</body></html>"
LOGIN_PAGE = b"<html><body><form>Your session has expired <input type='password'></form></body></html>"


class LocalArchive:
    """What the server holds, how it shall fail, and what it was asked.

    ``faults[path]`` lists what happens to the next requests for a path, one after the other; then it is served well.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tables: Callable[[str], Table | None] = lambda query: None
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.queries: list[str] = []
        self.authorizations: set[str] = set()
        self.logins: set[tuple[str, str]] = set()  # host by which we were called, and what it was sent
        self.tag = '"one"'
        self.limit_at_once = 10**9
        self.limit_as_job = 10**9
        self.address = ""
        self.lock = threading.Lock()

    def next_fault(self, path: str) -> str:
        """The next thing to go wrong with a path."""
        with self.lock:
            faults = self.faults.get(path, [])
            return faults.pop(0) if faults else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    archive: LocalArchive

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        data = self.archive.files.get(self.path)
        self._answer(200 if data is not None else 404, data or b"", head=True)

    def do_GET(self) -> None:
        path = self.path
        if path.startswith("/tap/"):
            self._tap(parse_qs(urlsplit(path).query))
            return
        self.archive.asked.append((path, self.headers.get("Range", "")))
        authorization = self.headers.get("Authorization", "")
        self.archive.authorizations.add(authorization)
        self.archive.logins.add((self.headers.get("Host", "").partition(":")[0], authorization))
        fault = self.archive.next_fault(path)
        data = self.archive.files.get(path)
        if not self._fail(fault, data):
            if data is None:
                self._answer(404, b"not here")
            else:
                self._serve(data, fault)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._tap(parse_qs(body))

    def _fail(self, fault: str, data: bytes | None) -> bool:
        """Answer wrongly; False if this fault is of the data, or there is none."""
        match fault:
            case "500" | "503" | "401" | "403" | "429":
                headers = {"Retry-After": "7"} if fault in ("503", "429") else {}
                self._answer(int(fault), b"no", headers)
            case "page":
                self._answer(200, PAGE, {"Content-Type": "text/html"})
            case "page as file":
                self._answer(200, PAGE, {"Content-Type": "application/fits"})
            case "login page":
                self._answer(200, LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})
            case "login page as file":
                self._answer(200, LOGIN_PAGE)
            case "drop":
                self.close_connection = True
            case "slow":
                time.sleep(1.0)
                self.close_connection = True
            case "empty":
                self._answer(200, b"")
            case _:
                return False
        return True

    def _serve(self, data: bytes, fault: str) -> None:
        """Serve a file, or its rest, with faults in it."""
        start = 0
        wanted = self.headers.get("Range", "")
        unchanged = self.headers.get("If-Range", self.archive.tag) == self.archive.tag
        if wanted and unchanged and fault != "no ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(data) > 0:
            self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        rest = data[start:]
        headers = {"ETag": self.archive.tag, "Accept-Ranges": "bytes"}
        if start:
            first = start + 5 if fault == "wrong range" else start
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if fault == "no tag":
            del headers["ETag"]
        announced = len(rest) + (100 if fault == "announces more" else 0)
        if fault == "cut silently":
            rest = rest[: len(rest) // 2]
            announced = len(rest)
        if fault == "damaged":
            rest = rest[:-3000] + bytes(100) + rest[-2900:]
        sent = rest[: 2 * len(rest) // 3] if fault in ("truncated", "no tag") else rest
        self._answer(206 if start else 200, sent, headers, announced=announced)

    def _tap(self, form: dict[str, list[str]]) -> None:
        """Synchronous queries, and queued ones that are done at once."""
        path = urlsplit(self.path).path
        if path.startswith("/tap/async"):
            self._job(path, form)
            return
        fault = self.archive.next_fault("/tap/sync")
        if not self._fail(fault, None):
            self._table(form["QUERY"][0], self.archive.limit_at_once, fault)

    def _job(self, path: str, form: dict[str, list[str]]) -> None:
        if path == "/tap/async":
            self.archive.queries.append(form["QUERY"][0])
            self._answer(303, b"", {"Location": f"{self.archive.address}/tap/async/1"})
        elif path.endswith("/phase"):
            self._answer(303, b"", {"Location": f"{self.archive.address}/tap/async/1"})
        elif path.endswith("/result"):
            self._table(self.archive.queries.pop(), self.archive.limit_as_job, "")
        else:
            job = (
                '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
                'version="1.1"><uws:jobId>1</uws:jobId><uws:phase>COMPLETED</uws:phase><uws:results>'
                f'<uws:result id="result" xlink:href="{self.archive.address}/tap/async/1/results/result"/>'
                "</uws:results></uws:job>"
            )
            self._answer(200, job.encode(), {"Content-Type": "text/xml"})

    do_DELETE = do_GET

    def _table(self, query: str, limit: int, fault: str) -> None:
        self.archive.queries.append(query)
        table = self.archive.tables(query)
        if table is None:
            error = (
                '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
                '<INFO name="QUERY_STATUS" value="ERROR">no such column</INFO></RESOURCE></VOTABLE>'
            )
            self._answer(200, error.encode(), {"Content-Type": "application/x-votable+xml"})
            return
        votable = from_table(table[:limit])
        status = "OVERFLOW" if len(table) > limit else "OK"
        votable.resources[0].type = "results"
        votable.resources[0].infos.append(Info(name="QUERY_STATUS", value=status))
        votable.set_all_tables_format("binary2")  # astropy's writer of text cells corrupts the heap (its issue 20419)
        stream = io.BytesIO()
        votable.to_xml(stream)
        body = stream.getvalue()
        body = body[: len(body) // 2] if fault == "cut silently" else body
        self._answer(200, body, {"Content-Type": "application/x-votable+xml"})

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        announced: int | None = None,
        head: bool = False,
    ) -> None:
        announced = len(body) if announced is None else announced
        with contextlib.suppress(ConnectionError):  # clients that time out hang up
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            if not head:
                self.wfile.write(body)
        if announced != len(body):
            self.close_connection = True


@pytest.fixture
def local_archive() -> Iterator[LocalArchive]:
    """A local archive, at ``.address``."""
    archive = LocalArchive()
    handler = type("Handler", (_Handler,), {"archive": archive})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        archive.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield archive
        server.shutdown()
        thread.join()
