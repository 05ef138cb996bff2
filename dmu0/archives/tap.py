"""Tables from TAP services: queries are repeated if a service fails, truncated results are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pyvo
import requests
from astropy.io import fits
from astropy.table import Table
from pyvo.dal import AsyncTAPJob, DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError, TAPQuery

from dmu0.archives.session import ArchiveError, LoginError, Patience, ask_repeatedly, login_hint, shown_address
from dmu0.files.atomic import written_whole

MAXREC = 20_000_000
"""Largest number of rows requested; services have their own limits, and truncated tables are refused."""


_JOB_TIMEOUT = 3600.0  # seconds that a queued query may take


class _CutShort(ArchiveError):
    """A table was truncated at the row limit of the service."""


class _Closing:
    """A session that closes all responses at the end, because PyVO leaves those open that it cannot parse."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session
        self._answers: list[requests.Response] = []

    def __enter__(self) -> _Closing:
        return self

    def __exit__(self, *error: object) -> None:
        for answer in self._answers:
            answer.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._session, name)
        if name not in ("get", "post", "delete"):
            return method

        def remember(*arguments: Any, **options: Any) -> requests.Response:
            answer = method(*arguments, **options)
            self._answers.append(answer)
            return answer

        return remember


class _Passing(Exception):
    """A failure of a service that may be temporary."""


def run_query(
    service: str,
    query: str,
    *,
    session: requests.Session,
    patience: Patience,
    archive: str = "",
    wait: Callable[[float], None] = time.sleep,
) -> Table:
    """The complete result of an ADQL query.

    Parameters
    ----------
    service
        Address of the TAP service.
    query
        Query in ADQL.
    session, patience, archive, wait
        Parameters as in `dmu0.archives.transfer.download_file`.

    Returns
    -------
    Table
        Table without masks: missing numbers are NaN or -1, missing text is "".

    Raises
    ------
    ArchiveError
        If the service cannot process the query, truncated the result, or failed too often.
    LoginError
        If the service requires another login.
    """

    def ask(mode: Callable[[str, str, requests.Session], pyvo.dal.TAPResults]) -> Table:
        return ask_repeatedly(
            lambda: _ask_once(mode, service, query, session, archive), patience, passing=(_Passing,), wait=wait
        )

    try:
        return ask(_at_once)
    except _CutShort:
        # Services give fewer rows at once than to jobs that they queue (Gaia 2,000 and 3,000,000).
        return ask(_as_a_job)


def _at_once(service: str, query: str, session: requests.Session) -> pyvo.dal.TAPResults:
    return TAPQuery(service, query, maxrec=MAXREC, session=session).execute()


def _as_a_job(service: str, query: str, session: requests.Session) -> pyvo.dal.TAPResults:
    with AsyncTAPJob.create(service, query, maxrec=MAXREC, session=session) as job:
        job.run()
        job.wait(timeout=_JOB_TIMEOUT)
        job.raise_if_error()
        return job.fetch_result()


def _ask_once(
    mode: Callable[[str, str, requests.Session], pyvo.dal.TAPResults],
    service: str,
    query: str,
    session: requests.Session,
    archive: str,
) -> Table:
    """Make one request, and distinguish temporary from permanent errors."""
    host = requests.utils.urlparse(service).hostname or service
    try:
        with _Closing(session) as closing:
            result = mode(service, query, closing)
    except DALQueryError as error:
        raise ArchiveError(f"{host} does not understand the query: {_first_line(error)}\n{query}") from error
    except DALServiceError as error:
        code = getattr(error, "code", None)
        if code in (401, 403):
            raise LoginError(f"{host} refused the login (HTTP {code}): {login_hint(archive, host)}.") from error
        if code is not None and 400 <= int(code) < 500 and int(code) != 429:
            raise ArchiveError(f"{host} refused the query (HTTP {code}): {_first_line(error)}") from error
        raise _Passing(f"{host} failed: {_first_line(error)}") from error
    except DALFormatError as error:
        raise _Passing(f"{host} sent no table: {_first_line(error)}") from error
    except DALOverflowWarning as error:
        raise _CutShort(_cut_short(host)) from error
    except (requests.RequestException, OSError) as error:
        raise _Passing(f"{host}: the connection was lost: {type(error).__name__}") from error
    if result.status[0].lower() == "overflow":
        raise _CutShort(_cut_short(host))
    return without_masks(result.to_table())


def _cut_short(host: str) -> str:
    return f"{host} cut the table short at its own limit of rows: ask for a smaller area, or fewer columns."


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def without_masks(table: Table) -> Table:
    """The table with missing values as NaN, -1, False or "" instead of masks; text as strings, not objects."""
    plain = Table(meta=table.meta)
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "O":
            plain[name] = np.array(["" if value is None or value is np.ma.masked else str(value) for value in column])
        elif hasattr(column, "mask"):
            kind = column.dtype.kind
            missing = {"f": np.nan, "i": -1, "u": 0, "b": False, "U": "", "S": b""}[kind]
            plain[name] = np.asarray(column.filled(missing))
        else:
            plain[name] = np.asarray(column)
        plain[name].unit = column.unit
        plain[name].description = column.description
    return plain


def save_table(table: Table, target: Path, *, check: Callable[[Path], str]) -> None:
    """Write a table as FITS with checksums; the file gets its name when it passes the check.

    Raises
    ------
    ArchiveError
        If the table cannot be written as FITS, or the file does not pass.
    """
    plain = table.copy()
    plain.meta = {}
    for column in plain.itercols():
        column.description = None
        if not _is_fits_unit(column.unit):
            column.unit = None
    try:
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(plain)])
        with written_whole(target) as part:
            hdus.writeto(part, checksum=True)
            if reason := check(part):
                raise ArchiveError(f"The table for {target.name} {reason}.")
    except (fits.VerifyError, ValueError, TypeError) as error:
        raise ArchiveError(f"The table cannot be written to {target.name}: {error}") from error


def _is_fits_unit(unit: u.UnitBase | None) -> bool:
    """Whether a unit can be written in FITS; services also use others."""
    if unit is None:
        return True
    try:
        unit.to_string("fits")
    except ValueError:
        return False
    return True


def datalink(address: str, *, session: requests.Session, patience: Patience, wait: Callable[[float], None]) -> Table:
    """The files listed by a DataLink address.

    Raises
    ------
    LoginError
        If the service requires another login.
    ArchiveError
        If the service failed too often.
    """
    return without_masks(_links(address, session, patience, wait).to_table())


def cutout_address(
    address: str, region: str, *, session: requests.Session, patience: Patience, wait: Callable[[float], None]
) -> str:
    """Address of a cutout of a product, from the cutout service (SODA 1.0) that its DataLink address names.

    Parameters
    ----------
    address
        DataLink address of the product.
    region
        Region as the parameter POS of SODA, such as ``CIRCLE 150.1 2.2 0.1`` (ICRS deg).
    session, patience, wait
        Session of the archive, settings for repeated attempts, and function that waits.

    Raises
    ------
    LoginError
        If the service requires another login.
    ArchiveError
        If the product has no such service, or the DataLink service failed too often.
    """
    links = _links(address, session, patience, wait)
    for row in links:
        if str(row["semantics"]) != "#cutout" or not row["service_def"]:
            continue
        service = links.get_adhocservice_by_id(str(row["service_def"]))
        url = next((param.value for param in service.params if param.name == "accessURL"), None)
        inputs = [param for group in service.groups for param in group.entries if getattr(param, "name", "") == "ID"]
        product = str(inputs[0].value) if inputs and inputs[0].value else str(row["ID"])
        if url is not None:
            return requests.Request("GET", str(url), params={"ID": product, "POS": region}).prepare().url or ""
    raise ArchiveError(
        f"{shown_address(address)} names no service for cutouts; leave inputs.query.lsst_cutout out for whole files."
    )


def _links(
    address: str, session: requests.Session, patience: Patience, wait: Callable[[float], None]
) -> pyvo.dal.adhoc.DatalinkResults:
    """The answer of a DataLink address."""
    host = requests.utils.urlparse(address).hostname or address

    def ask() -> pyvo.dal.adhoc.DatalinkResults:
        try:
            with _Closing(session) as closing:
                return pyvo.dal.adhoc.DatalinkResults.from_result_url(address, session=closing)
        except (DALServiceError, DALFormatError, requests.RequestException, OSError, ValueError) as error:
            # ValueError is what the parser raises for a page that is no table, as that of a refused login.
            code = _status(address, session)
            if code in (401, 403):
                raise LoginError(f"{host} refused the login (HTTP {code}): {login_hint('lsst', host)}.") from error
            raise _Passing(f"{address} failed: {_first_line(error)}") from error

    return ask_repeatedly(ask, patience, passing=(_Passing,), wait=wait)


def _status(address: str, session: requests.Session) -> int:
    """HTTP status of an address, which pyvo does not pass on; 0 if there is no answer."""
    try:
        with session.get(address, stream=True) as response:
            return response.status_code
    except requests.RequestException:
        return 0
