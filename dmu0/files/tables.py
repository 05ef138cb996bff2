"""Tables on disk: Parquet with units and descriptions, and text for people; there whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from astropy.table import Table

from dmu0.files.atomic import written_whole


def write_table(table: Table, path: Path) -> Path:
    """Write a table as Parquet, whole or not at all.

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
