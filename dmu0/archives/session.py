"""Connections to archives: time limits, repeated attempts, a limited rate, and logins that are never stored here."""

from __future__ import annotations

import netrc
import os
import random
import re
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
"""Environment variables with the user and the password (or the token) of each archive that may require them."""


class ArchiveError(RuntimeError):
    """An archive failed to deliver what was requested, and another attempt would not help."""


class AbsentError(ArchiveError):
    """An archive does not have a file."""


class LoginError(ArchiveError):
    """An archive requires a login, which is missing, was refused or has expired."""


@dataclass(frozen=True)
class Patience:
    """Settings for requests to an archive.

    Attributes
    ----------
    attempts
        Number of attempts before a request counts as failed.
    first_delay, longest_delay
        Seconds before the second attempt, which double with every further attempt, and their maximum.
    connect_timeout, read_timeout
        Seconds without a connection, and without data, after which a connection counts as lost.
    per_second
        Largest number of requests per second to one host.
    workers
        Number of files downloaded at the same time.
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
        """Seconds to wait after the given attempt (1, 2, ...), doubled each time, with a random part.

        Parameters
        ----------
        attempt
            Number of the attempt that failed.
        asked
            Seconds requested by the server (Retry-After), respected up to `longest_delay`.
        """
        backoff = self.first_delay * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
        return min(max(backoff, asked), self.longest_delay)


@dataclass
class RateLimiter:
    """Limits the rate of requests to each host, over all threads.

    Attributes
    ----------
    per_second
        Largest number of requests per second to one host.
    """

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
    """Adds time limits to every request, including those that other packages make through our session."""

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
    """User and password for an archive, from the environment or else from netrc; None if there are none.

    Raises
    ------
    LoginError
        If netrc cannot be read because of its syntax or permissions.
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
    """A session with time limits, a limited rate, and the login of the archive if there is one.

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
    # If compressed for transfer, a file does not have the length given by the archive, and cannot be resumed.
    session.headers["Accept-Encoding"] = "identity"
    if login and archive == "lsst":
        session.auth = _TokenAuth(login[1])
    elif login and archive != "vsa":
        session.auth = login
    return session


def _vsa_session(user: str, password: str) -> requests.Session:
    """A session logged in to the VISTA Science Archive; the community is taken from VSA_COMMUNITY."""
    from astroquery.vsa import VsaClass  # on demand: few have a login there, and astroquery takes its time

    archive = VsaClass(username=user, password=password, community=os.environ.get("VSA_COMMUNITY", ""))
    if not archive.logged_in():
        raise LoginError("The VISTA Science Archive refused the login in VSA_USER, VSA_PASSWORD and VSA_COMMUNITY.")
    return archive.session


def same_domain(host: str, other: str) -> bool:
    """Whether two hosts are the same, or siblings in a domain of at least two names (``a.eso.org``, ``b.eso.org``)."""
    domain = host.partition(".")[2]
    return host == other or ("." in domain and not domain[-1].isdigit() and domain == other.partition(".")[2])


_SECRET = re.compile(r"([?&][^=&]*(?:sig|token|credential|password|secret|key)[^=&]*=)[^&#]*", re.IGNORECASE)


def shown_address(address: str) -> str:
    """An address as files and messages may show it: signatures and keys in its query become ``***``."""
    return _SECRET.sub(r"\1***", address)


def login_hint(archive: str, host: str) -> str:
    """Advice for users without a login or with an expired one."""
    names = " and ".join(name for name in LOGINS.get(archive, ()) if name)
    return f"set {names}, or add {host} to netrc" if names else f"add {host} to netrc"


def ask_repeatedly(
    ask: Callable[[], Answer],
    patience: Patience,
    *,
    passing: tuple[type[Exception], ...],
    wait: Callable[[float], None],
) -> Answer:
    """Call a function until it succeeds, waiting longer each time; the last error is raised as `ArchiveError`.

    Parameters
    ----------
    ask
        Function to call.
    patience
        Number of attempts and delays between them.
    passing
        Exceptions that may be temporary; others are raised at once.
    wait
        Function that waits for some seconds.
    """
    for attempt in range(1, patience.attempts + 1):
        try:
            return ask()
        except passing as error:
            if attempt == patience.attempts:
                raise ArchiveError(f"{error} (after {attempt} attempts)") from error
            wait(patience.delay(attempt, asked=getattr(error, "retry_after", 0.0)))
    raise AssertionError("patience.attempts is positive")
