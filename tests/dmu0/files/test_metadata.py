"""Words of provenance come back from every format as they were put in."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import Table

from dmu0.files.code_version import code_version
from dmu0.files.metadata import CARDS, from_lines, in_lines, into_header, into_parquet, into_votable, read_provenance
from dmu0.files.tables import write_table

WORDS = {name: f"{number}{'ab' * (32 if name.endswith('sha256') else 4)}"[:64] for number, name in enumerate(CARDS)}
"""A different text for each word, digests with all their 64 characters."""


def test_parquet_keeps_what_was_there(tmp_path: Path) -> None:
    """Key-values of others stay; ours are found under their prefix."""
    table = pa.table({"a": [1, 2]}).replace_schema_metadata({"theirs": "kept"})
    pq.write_table(into_parquet(table, WORDS), tmp_path / "a.parquet")
    assert read_provenance(tmp_path / "a.parquet") == WORDS
    metadata = pq.read_schema(tmp_path / "a.parquet").metadata
    assert metadata[b"theirs"] == b"kept"
    assert metadata[b"lsst-ir-fusion.commit"].decode() == WORDS["commit"]


def test_fits(tmp_path: Path) -> None:
    """Each word has a card with a keyword of eight characters at most, and no two share one."""
    hdu = fits.PrimaryHDU()
    into_header(hdu.header, WORDS)
    hdu.writeto(tmp_path / "a.fits")
    assert read_provenance(tmp_path / "a.fits") == WORDS
    assert fits.getheader(tmp_path / "a.fits")["GITHASH"] == WORDS["commit"]
    assert len(set(CARDS.values())) == len(CARDS)
    assert max(map(len, CARDS.values())) <= 8


def test_votable(tmp_path: Path) -> None:
    """INFO elements of the whole file."""
    votable = from_table(Table({"a": [1, 2]}))
    into_votable(votable, WORDS)
    votable.to_xml(str(tmp_path / "a.vot"))
    assert read_provenance(tmp_path / "a.vot") == WORDS


def test_lines() -> None:
    """Lines for people; what others wrote into a text is not taken for ours."""
    assert from_lines("made on a Monday: yes\n" + in_lines(WORDS)) == WORDS
    assert from_lines("") == {}


def test_files_without_provenance(tmp_path: Path) -> None:
    """Files of others have none, and a format that is not known is refused."""
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    assert read_provenance(tmp_path / "a.fits") == read_provenance(tmp_path / "a.parquet") == {}
    with pytest.raises(ValueError, match=r"a\.csv"):
        read_provenance(tmp_path / "a.csv")


def test_every_table_names_the_code(tmp_path: Path) -> None:
    """Tables of all stages say which code made them, or whatever provenance they are given, and stay the same."""
    table = Table({"flux": [1.5, -2.5]}, units={"flux": "nJy"}, descriptions={"flux": "a flux"})
    plain = write_table(table, tmp_path / "plain.parquet")
    assert read_provenance(plain) == code_version().words()
    assert read_provenance(write_table(table, tmp_path / "given.parquet", WORDS)) == WORDS
    back = Table.read(plain)
    assert list(back["flux"]) == [1.5, -2.5]
    assert (back["flux"].unit, back["flux"].description) == ("nJy", "a flux")
    assert not back.meta
