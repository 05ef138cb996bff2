"""Whether two catalogues are the same: ``python -m tests.same_catalogue ONE OTHER`` (Parquet files or folders)."""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

TOLERANCE = 1e-6
"""Relative difference up to which two numbers are the same."""


def differences(one: pd.DataFrame, other: pd.DataFrame, *, tolerance: float = TOLERANCE) -> list[str]:
    """What differs between two tables of objects, whatever the order of their rows.

    Parameters
    ----------
    one, other
        Tables with the column ``objectId``, one row per object.
    tolerance
        Relative difference up to which two floating-point numbers are the same; all else has to be equal.

    Returns
    -------
    list
        One line per column that differs, with the number of rows and the largest difference; empty if none does.
    """
    left, right = (table.set_index("objectId").sort_index() for table in (one, other))
    found = [f"{name} is in one of them only" for name in sorted(set(left.columns) ^ set(right.columns))]
    if not (left.index.is_unique and right.index.is_unique):
        return [*found, "objectId is not unique"]
    if not left.index.equals(right.index):
        return [*found, f"{len(left.index.symmetric_difference(right.index))} objects are in one of them only"]
    for name in left.columns.intersection(right.columns):
        a, b = left[name].to_numpy(), right[name].to_numpy()
        if a.dtype.kind != "f":
            differ = a != b
            largest = ""
        else:
            a, b = a.astype(float), b.astype(float)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            with np.errstate(invalid="ignore"):
                relative = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
            differ = ~same & ~(relative <= tolerance)
            largest = f", by up to {np.nanmax(relative[differ], initial=0):.2g}"
        if differ.any():
            found.append(f"{name} differs in {int(differ.sum())} of {len(a)} rows{largest}")
    return found


def main() -> int:
    """Compare two catalogues; 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", help="a Parquet file or folder")
    parser.add_argument("other", help="another one")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="relative, of floating-point numbers")
    options = parser.parse_args()
    one, other = pd.read_parquet(options.one), pd.read_parquet(options.other)
    found = differences(one, other, tolerance=options.tolerance)
    print("\n".join(found) or f"{len(one)} objects, {len(one.columns)} columns: the same to {options.tolerance:g}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
