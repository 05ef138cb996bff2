"""Tables on disk: Parquet with units and descriptions, there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from astropy.table import Table


def write_table(table: Table, path: Path) -> Path:
    """Write a table as Parquet, under a temporary name that is then changed.

    Raises
    ------
    ValueError
        If a column is masked: missing values are NaN, -1 or "" here.
    """
    masked = [name for name in table.colnames if hasattr(table[name], "mask") and np.any(table[name].mask)]
    if masked:
        raise ValueError(f"{path.name}: columns {', '.join(masked)} have masked values; write NaN, -1 or '' instead.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    table.write(part, format="parquet", overwrite=True)
    part.replace(path)
    return path


def read_table(path: Path) -> Table:
    """Read a table that `write_table` wrote.

    Raises
    ------
    FileNotFoundError
        If it is not there; the message says what to run.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}: run the notebooks of {path.parts[-4]} for this survey first.")
    return Table.read(path, format="parquet")
