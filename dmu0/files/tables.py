"""Tables on disk, written atomically: Parquet with units and descriptions, and readable text (ECSV)."""

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
    """Write a table as Parquet, atomically.

    Parameters
    ----------
    table
        The table.
    path
        Path of the file.
    words
        Provenance (`dmu0.files.provenance.Provenance.words`); if None, the version of the code.

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
    """Write a small table as readable text (ECSV), atomically."""
    with written_whole(path) as part:
        table.write(part, format="ascii.ecsv")
    return path


def read_table(path: Path) -> Table:
    """Read a table written by `write_table`.

    Raises
    ------
    FileNotFoundError
        If it does not exist; the message says what to run.
    """
    if not path.exists():
        stage = next((part for part in path.parts[::-1] if re.fullmatch(r"dmu\d", part)), "an earlier stage")
        raise FileNotFoundError(f"There is no {path}: run the notebooks of {stage} for this survey first.")
    return Table.read(path, format="parquet")
