"""How archives are spoken to: time limits, patience, a steady rate, and logins that are never in a file of ours."""

from __future__ import annotations

import netrc
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

Answer = TypeVar("Answer")

LOGINS = MappingProxyType(
    {
        "vsa": ("VSA_USER", "VSA_PASSWORD"),
        "eso": ("ESO_USER", "ESO_PASSWORD"),
        "hsc": ("HSC_SSP_USER", "HSC_SSP_PASSWORD"),
        "lsst": ("", "RSP_TOKEN"),
    }
)
"""Environment variables with the user and the password (or the token) of each archive that may want them."""


class ArchiveError(RuntimeError):
    """An archive did not give what was asked for, and asking again would not help."""


class AbsentError(ArchiveError):
    """An archive does not have a file."""


class LoginError(ArchiveError):
    """An archive wants a login: there is none, or it was refused or has expired."""


@dataclass(frozen=True)
class Patience:
    """How an archive is asked, and how often.

    Attributes
    ----------
    attempts
        Times that a request is made before it counts as failed.
    first_delay, longest_delay
        Seconds before the second attempt, and at most before any; the delay doubles from one to the next.
    connect_timeout, read_timeout
        Seconds without an answer, and without a byte, after which a connection counts as lost.
    per_second
        Requests to one host in a second, at most.
    workers
        Files that are downloaded at the same time.
    """

    attempts: int = 5
    first_delay: float = 2.0
    longest_delay: float = 120.0
    connect_timeout: float = 20.0
    read_timeout: float = 120.0
    per_second: float = 4.0
    workers: int = 4

    def __post_init__(self) -> None:
        for name in ("attempts", "per_second", "workers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")

    def delay(self, attempt: int, *, asked: float = 0.0) -> float:
        """Seconds to wait after the given attempt (1, 2, ...): twice as long each time, and no two clients alike.

        Parameters
        ----------
        attempt
            Number of the attempt that failed.
        asked
            Seconds that the server asked for (Retry-After); kept to unless longer than `longest_delay`.
        """
        backoff = self.first_delay * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
        return min(max(backoff, asked), self.longest_delay)


@dataclass
class RateLimiter:
    """Keeps requests to each host apart, over all threads."""

    per_second: float
    _next: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, address: str) -> None:
        """Wait until a request to the host of an address may be made."""
        host = urlsplit(address).netloc
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next.get(host, now))
            self._next[host] = start + 1 / self.per_second
        time.sleep(max(0.0, start - now))


class _Adapter(HTTPAdapter):
    """Gives every request time limits, also those that other packages make through our session."""

    def __init__(self, patience: Patience, limiter: RateLimiter) -> None:
        self._timeout = (patience.connect_timeout, patience.read_timeout)
        self._limiter = limiter
        super().__init__(pool_maxsize=max(10, patience.workers))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if options.get("timeout") is None:
            options["timeout"] = self._timeout
        self._limiter.wait(request.url or "")
        return super().send(request, **options)


class _TokenAuth(requests.auth.AuthBase):
    """A bearer token; its value is never printed."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def find_login(archive: str, host: str) -> tuple[str, str] | None:
    """User and password for an archive: from the environment, or else from netrc; None if there are none.

    Raises
    ------
    LoginError
        If netrc cannot be read, because of its syntax or its permissions.
    """
    user, password = LOGINS.get(archive, ("", ""))
    if password and os.environ.get(password):
        return os.environ.get(user, ""), os.environ[password]
    try:
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        raise LoginError(f"netrc cannot be used: {error.msg} (line {error.lineno}).") from error
    return None if entry is None else (entry[0], entry[2] or "")


def make_session(archive: str, host: str, patience: Patience, limiter: RateLimiter) -> requests.Session:
    """A session with time limits, a steady rate, and the archive's login where there is one.

    Raises
    ------
    LoginError
        If VSA refuses the login, or netrc cannot be read.
    """
    login = find_login(archive, host)
    session = _vsa_session(*login) if archive == "vsa" and login else requests.Session()
    adapter = _Adapter(patience, limiter)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    session.headers["User-Agent"] = "lsst-ir-fusion"
    # Compressed on the way, a file has another length than the archive says, and cannot be resumed.
    session.headers["Accept-Encoding"] = "identity"
    if login and archive == "lsst":
        session.auth = _TokenAuth(login[1])
    elif login and archive != "vsa":
        session.auth = login
    return session


def _vsa_session(user: str, password: str) -> requests.Session:
    """A session that is logged in to the VISTA Science Archive; the community is in VSA_COMMUNITY."""
    from astroquery.vsa import VsaClass  # on demand: few have a login there, and astroquery takes its time

    archive = VsaClass(username=user, password=password, community=os.environ.get("VSA_COMMUNITY", ""))
    if not archive.logged_in():
        raise LoginError("The VISTA Science Archive refused the login in VSA_USER, VSA_PASSWORD and VSA_COMMUNITY.")
    return archive.session


def login_hint(archive: str, host: str) -> str:
    """What a user can do who has no login, or an expired one."""
    names = " and ".join(name for name in LOGINS.get(archive, ()) if name)
    return f"set {names}, or add {host} to netrc" if names else f"add {host} to netrc"


def ask_repeatedly(
    ask: Callable[[], Answer],
    patience: Patience,
    *,
    passing: tuple[type[Exception], ...],
    wait: Callable[[float], None],
) -> Answer:
    """Call something until it succeeds, waiting longer each time; the last error is raised as `ArchiveError`.

    Parameters
    ----------
    ask
        What to call.
    patience
        How often, and how long to wait.
    passing
        Errors that may pass; others are raised at once.
    wait
        Waits for some seconds.
    """
    for attempt in range(1, patience.attempts + 1):
        try:
            return ask()
        except passing as error:
            if attempt == patience.attempts:
                raise ArchiveError(f"{error} (after {attempt} attempts)") from error
            wait(patience.delay(attempt, asked=getattr(error, "retry_after", 0.0)))
    raise AssertionError("patience.attempts is positive")
