"""Provenance in the metadata of files, written and read: Parquet, FITS, VOTable, lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import parse as parse_votable
from astropy.io.votable.tree import Info, VOTableFile

from dmu0.files.code_version import PACKAGE

PREFIX = f"{PACKAGE}."
"""Prefix of the keys in the metadata of Parquet, which other software uses too."""

CARDS = {
    "software": "CREATOR",
    "commit": "GITHASH",
    "modified": "GITMOD",
    "schema_version": "SCHEMA",
    "survey": "SURVEY",
    "survey_sha256": "SURVSHA",
    "sky_map": "SKYMAP",
    "sky_map_sha1": "SKYMSHA",
    "inputs_sha256": "INPUTSHA",
    "newest_input": "NEWINPUT",
}
"""Item of the provenance -> FITS keyword."""


def in_lines(words: Mapping[str, str]) -> str:
    """One line per item, ``name: value``, for Butler collections and for display."""
    return "\n".join(f"{name}: {value}" for name, value in words.items())


def from_lines(text: str) -> dict[str, str]:
    """The items written by `in_lines`; other lines are ignored."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value for name, _, value in pairs if name in CARDS}


def into_parquet(table: pa.Table, words: Mapping[str, str]) -> pa.Table:
    """An Arrow table with the items in the metadata of its schema, their names prefixed with `PREFIX`."""
    metadata = dict(table.schema.metadata or {})
    return table.replace_schema_metadata(metadata | {PREFIX + name: value for name, value in words.items()})


def into_header(header: fits.Header, words: Mapping[str, str]) -> None:
    """Set the cards of `CARDS` in a FITS header."""
    for name, value in words.items():
        header[CARDS[name]] = value


def into_votable(votable: VOTableFile, words: Mapping[str, str]) -> None:
    """Append an INFO element per item to a VOTable."""
    votable.infos.extend(Info(name=name, value=value) for name, value in words.items())


def read_provenance(path: Path) -> dict[str, str]:
    """The provenance in a file; empty if it has none.

    Parameters
    ----------
    path
        A Parquet file, a FITS file (its primary header is read) or a VOTable, according to the suffix.

    Raises
    ------
    ValueError
        If the suffix is unknown.
    """
    match path.suffix:
        case ".parquet":
            metadata = pq.read_schema(path).metadata or {}
            found = {key.decode(): value.decode() for key, value in metadata.items() if key.startswith(PREFIX.encode())}
            return {name: found[PREFIX + name] for name in CARDS if PREFIX + name in found}
        case ".fits":
            header = fits.getheader(path)
            return {name: header[keyword] for name, keyword in CARDS.items() if keyword in header}
        case ".vot":
            return {info.name: info.value for info in parse_votable(path).infos if info.name in CARDS}
        case _:
            raise ValueError(f"{path.name}: provenance is read from names that end with .parquet, .fits or .vot.")
