"""Tables on disk: Parquet with units and descriptions, and text for people; there whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Table

from dmu0.files.atomic import written_whole
from dmu0.files.code_version import code_version
from dmu0.files.metadata import into_parquet


def write_table(table: Table, path: Path, words: Mapping[str, str] | None = None) -> Path:
    """Write a table as Parquet, whole or not at all.

    Parameters
    ----------
    table
        The table.
    path
        Name of the file.
    words
        Its provenance (`dmu0.files.provenance.Provenance.words`); the version of the code if None.

    Raises
    ------
    ValueError
        If a column is masked: missing values are NaN, -1 or "" here.
    """
    masked = [name for name in table.colnames if hasattr(table[name], "mask") and np.any(table[name].mask)]
    if masked:
        raise ValueError(f"{path.name}: columns {', '.join(masked)} have masked values; write NaN, -1 or '' instead.")
    with written_whole(path) as part:
        table.write(part, format="parquet")
        # Astropy writes units and descriptions, but cannot add key-values of others.
        with_words = into_parquet(pq.ParquetFile(part).read(), code_version().words() if words is None else words)
        pq.write_table(with_words, part)
    return path


def write_ecsv(table: Table, path: Path) -> Path:
    """Write a small table as text that people can read (ECSV), whole or not at all."""
    with written_whole(path) as part:
        table.write(part, format="ascii.ecsv")
    return path


def read_table(path: Path) -> Table:
    """Read a table that `write_table` wrote.

    Raises
    ------
    FileNotFoundError
        If it is not there; the message says what to run.
    """
    if not path.exists():
        stage = next((part for part in path.parts[::-1] if re.fullmatch(r"dmu\d", part)), "an earlier stage")
        raise FileNotFoundError(f"There is no {path}: run the notebooks of {stage} for this survey first.")
    return Table.read(path, format="parquet")
