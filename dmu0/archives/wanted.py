"""Requests to the archives: one per file, and what they have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

import astropy.units as u
import numpy as np
import requests
from astropy.coordinates import SkyCoord
from astropy.table import Table

from dmu0.archives.session import Patience, RateLimiter, make_session, same_domain
from dmu0.archives.tap import run_query
from dmu0.sky.skymap import survey_patches
from dmu0.sky.tract import Patch, Tract
from dmu0.surveys import Survey, SurveyError
from obs_vista.bands import get_band

SERVICES = MappingProxyType(
    {
        "vsa": "http://tap.roe.ac.uk/vsa",
        "vista": "http://tap.roe.ac.uk/vsa",
        "eso": "https://archive.eso.org/tap_obs",
        "ps1": "https://tapvizier.cds.unistra.fr/TAPVizieR/tap",
        "twomass": "https://tapvizier.cds.unistra.fr/TAPVizieR/tap",
        "gaia": "https://gea.esac.esa.int/tap-server/tap",
        "lsst": "https://data.lsst.cloud/api/tap",
    }
)
"""TAP service of each query of a survey file; the key ``<query>_service`` in the survey file names a mirror."""

VSA_FILES = "http://vsa.roe.ac.uk/cgi-bin/fits_download.cgi"
"""Address of the files of the VISTA Science Archive; the key ``vsa_files`` in the survey file names a mirror."""


@dataclass(frozen=True)
class Request:
    """A file that an archive should have.

    Attributes
    ----------
    archive
        Key of the query in the survey file: vsa, eso, hsc, hsc_psf, ps1, twomass, gaia, vista, lsst.
    kind
        Type of file (`dmu0.files.integrity.KINDS`).
    path
        Path to write to, relative to the survey's data folder of dmu0.
    address
        Address of the file, or of the TAP service for the query.
    query
        Query in ADQL whose result is written; empty for files.
    bytes
        Size of the file; -1 if the archive does not give it.
    """

    archive: str
    kind: str
    path: str
    address: str
    query: str = ""
    bytes: int = -1


@dataclass
class Archives:
    """The state shared by the clients: the survey, its tracts, sessions with the archives, and request settings.

    Attributes
    ----------
    survey
        The survey whose inputs are requested.
    tracts
        Numbers of the tracts, separated by spaces; empty: all of the survey.
    patience
        Number of attempts, delays and request rate.
    wait
        Function that waits for some seconds.
    """

    survey: Survey
    tracts: str = ""
    patience: Patience = field(default_factory=Patience)
    wait: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.limiter = RateLimiter(self.patience.per_second)
        self._sessions: dict[tuple[str, str], requests.Session] = {}
        self.patches: list[Patch] = survey_patches(self.survey, self.tracts)

    @property
    def queries(self) -> dict[str, str]:
        """The queries of the survey file."""
        return self.survey.inputs.query

    def tract_list(self) -> list[Tract]:
        """The tracts of the survey, each once."""
        return list({patch.tract.id: patch.tract for patch in self.patches}.values())

    def session(self, archive: str, address: str) -> requests.Session:
        """The session with a host of an archive, logged in if there is a login.

        Answers of an archive may send us to any host: the login of an archive is for its own hosts only.
        """
        host = urlsplit(address).hostname or ""
        login = archive.split("_")[0]
        login = login if any(same_domain(host, own) for own in self._hosts(login)) else ""
        if (login, host) not in self._sessions:
            self._sessions[login, host] = make_session(login, host, self.patience, self.limiter)
        return self._sessions[login, host]

    def _hosts(self, archive: str) -> set[str]:
        """The hosts of an archive: those that the survey file names, and that of its service."""
        texts = [text for key, text in self.queries.items() if key.split("_")[0] == archive and "://" in text]
        texts += [SERVICES[archive]] if archive in SERVICES and f"{archive}_service" not in self.queries else []
        return {urlsplit(text).hostname or "" for text in texts}

    def close(self) -> None:
        """Close the sessions."""
        for session in self._sessions.values():
            session.close()

    def service(self, archive: str) -> str:
        """Address of the TAP service for a query."""
        return self.queries.get(f"{archive}_service", SERVICES[archive])

    def fill(self, archive: str, **names: object) -> str:
        """A query of the survey file with names filled in.

        Raises
        ------
        SurveyError
            If the query has an unknown placeholder.
        """
        try:
            return self.queries[archive].format(**names)
        except (KeyError, IndexError, ValueError) as error:
            raise SurveyError(
                f"{self.survey.path}: inputs.query.{archive} has the unknown placeholder {error}; "
                f"known are {', '.join(names)}."
            ) from error

    def cone_queries(self, archive: str, tract: Tract) -> list[str]:
        """The query of the survey file for the circle around a tract; two queries if it crosses RA 0."""
        ra, dec, radius = tract_circle(tract)
        names = {"dec": f"{dec:.6f}", "radius": f"{radius:.6f}", "tract": tract.id, "filters": self._filters()}
        starts = [ra]
        if "CIRCLE" not in self.queries[archive].upper():
            reach = radius / np.cos(np.radians(dec))
            starts += [ra + 360] if ra - reach < 0 else []
            starts += [ra - 360] if ra + reach > 360 else []
        return [self.fill(archive, ra=f"{start:.6f}", **names) for start in starts]

    def ask(self, archive: str, query: str) -> Table:
        """The result of a query."""
        service = self.service(archive)
        session = self.session(archive, service)
        return run_query(service, query, session=session, patience=self.patience, archive=archive, wait=self.wait)

    def _filters(self) -> str:
        """The names of the survey's VISTA bands in the archives, as an ADQL list."""
        bands = self.survey.vista.stack_bands if self.survey.vista else ()
        return ", ".join(f"'{get_band(band).aliases[0]}'" for band in bands)


def tract_circle(tract: Tract) -> tuple[float, float, float]:
    """Right ascension, declination and radius (ICRS deg) of a circle that contains a tract."""
    corners = tract.corners()
    corners = corners if isinstance(corners, SkyCoord) else SkyCoord(corners)
    radius = tract.center.separation(corners).max()
    return float(tract.center.ra.deg), float(tract.center.dec.deg), float((radius + 0.01 * u.deg).deg)
