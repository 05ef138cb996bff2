"""Reference catalogues: PS1, 2MASS, Gaia and VISTA sources, one table per tract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from astropy.table import Table, unique, vstack

from dmu0.archives.session import ArchiveError
from dmu0.archives.wanted import Archives, Request
from dmu0.sky.tract import Tract
from dmu0.surveys import SurveyError

# Separates the queries of a table that is asked for in parts.
_AND = "\n;\n"


def catalogue_tables(archives: Archives, tracts: Iterable[Tract]) -> Iterator[Request]:
    """One table per reference catalogue of the survey and per tract.

    Raises
    ------
    SurveyError
        If the file pattern of a catalogue has no placeholder for the tract.
    """
    references = archives.survey.references
    kinds = (("ps1", references.ps1), ("twomass", references.twomass), ("gaia", references.gaia))
    wanted = [(archive, archive, pattern) for archive, pattern in kinds]
    wanted.append(("vista", "vista_catalogue", references.vista))
    for tract in tracts:
        for archive, kind, pattern in wanted:
            if pattern is None or archive not in archives.queries:
                continue
            if pattern.count("*") != 1:
                raise SurveyError(
                    f"{archives.survey.path}: references.{archive} needs one '*' for the tract: {pattern!r}."
                )
            query = _AND.join(archives.cone_queries(archive, tract))
            yield Request(archive, kind, pattern.replace("*", str(tract.id)), archives.service(archive), query)


def fetch_catalogue(archives: Archives, request: Request) -> Table:
    """Query the table of a request.

    Raises
    ------
    ArchiveError
        If the table has no rows, or the service fails.
    """
    parts = [archives.ask(request.archive, query) for query in request.query.split(_AND)]
    table = parts[0] if len(parts) == 1 else unique(vstack(parts))
    if len(table) == 0:
        raise ArchiveError(f"{request.address} has no sources there.")
    return table
