"""A headless Chromium that opens pages from disk, and tells what it logged, requested and showed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The program; None where it is not installed (Debian package ``chromium``)."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
    "--virtual-time-budget=5000",
)  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """What became of a page.

    Attributes
    ----------
    document
        Its HTML after all scripts have run.
    console
        Lines of the console: errors, warnings and messages.
    requests
        Addresses asked for, except files and data in the page.
    """

    document: str
    console: list[str]
    requests: list[str]


def visit(page: Path, folder: Path, *, query: str = "", width: int = 1280, height: int = 900) -> Visit:
    """Open a page in a window of a size in pixels; the profile and the log of the network are written to a folder."""
    log = folder / "network.json"
    result = _run(page, folder, f"--log-net-log={log}", "--dump-dom", query=query, width=width, height=height)
    console = re.findall(r"CONSOLE[^\]]*\] (.*)", result.stderr)
    return Visit(result.stdout, console, _requests(log))


def screenshot(page: Path, folder: Path, target: Path, *, query: str = "", width: int, height: int) -> Path:
    """A picture of a page in a window of a size in pixels."""
    _run(page, folder, f"--screenshot={target}", query=query, width=width, height=height)
    return target


def _run(
    page: Path, folder: Path, *flags: str, query: str, width: int, height: int
) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    address = page.resolve().as_uri() + query
    own = (f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}")
    command = [CHROMIUM, *_FLAGS, *own, *flags, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)


def _requests(log: Path) -> list[str]:
    """Addresses of the requests of pages in a log of the network; those of the browser itself have no origin."""
    whole = json.loads(log.read_text())
    start = whole["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    jobs = [event.get("params", {}) for event in whole["events"] if event["type"] == start]
    found = [job.get("url", "") for job in jobs if job.get("initiator") != "not an origin"]
    return [address for address in found if address.startswith(("http:", "https:", "ws:", "wss:"))]
