"""Combination of the tables of patches into the table of a tract, with the same columns in every row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table, vstack

from dmu4.objects.columns import make_object_table
from dmu4.objects.missing_bands import missing_band
from obs_vista.bands import in_band_order


def stack_patches(tables: Sequence[Table]) -> Table:
    """All rows of the patches of a tract, in order of objectId, with the columns of all bands of any patch.

    Parameters
    ----------
    tables
        Tables made by `dmu4.objects.columns`; their bands may differ.

    Raises
    ------
    ValueError
        If two rows have the same objectId.
    """
    names = {name for table in tables for name in table.colnames if name.endswith("_psfFlux")}
    bands = in_band_order(name.removesuffix("_psfFlux") for name in names)
    complete = []
    for table in tables:
        values = {name: np.asarray(table[name]) for name in table.colnames}
        for band in bands:
            if f"{band}_psfFlux" not in table.colnames:
                values |= missing_band(band, len(table))
        complete.append(make_object_table(values, bands, length=len(table)))
    merged = vstack(complete, metadata_conflicts="silent")
    merged.sort("objectId")
    identifiers = np.asarray(merged["objectId"])
    again = np.flatnonzero(np.diff(identifiers) == 0)
    if len(again):
        raise ValueError(f"Object {identifiers[again[0]]} occurs twice: a patch was given more than once.")
    return merged
