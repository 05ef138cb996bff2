"""The small catalogue: some forty columns that most people use, one row per object, without flagged values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from astropy.table import Table

from dmu0.schema.columns import SchemaColumn
from dmu0.schema.tables import make_table

COMMON = (
    "objectId", "coord_ra", "coord_dec", "coord_raErr", "coord_decErr", "tract", "refBand", "refExtendedness",
    "starProbability", "spuriousProbability", "kronRad", "ebv",
)  # fmt: skip
"""Columns that an object has once."""

PER_BAND = ("gaap1p0Flux", "gaap1p0FluxErr", "cModelFlux")
"""Columns of each band: a flux for colours with its error, and a total flux."""


def lite_columns(columns: Sequence[SchemaColumn]) -> list[SchemaColumn]:
    """The columns of the small catalogue: twelve, and three per band, so that nine or ten bands have about forty.

    Parameters
    ----------
    columns
        The schema of the catalogue. Fluxes are described as missing where they are flagged.
    """
    wanted = {*COMMON} | {f"{column.band}_{name}" for column in columns if column.band for name in PER_BAND}
    return [
        replace(column, description=f"{column.description}; missing where it is flagged") if column.band else column
        for column in columns
        if column.name in wanted
    ]


def make_lite(table: Table, columns: Sequence[SchemaColumn]) -> Table:
    """The primary rows of a catalogue, with the columns of `lite_columns` and without flagged fluxes.

    Parameters
    ----------
    table
        The catalogue.
    columns
        The schema of the catalogue.
    """
    rows = np.asarray(table["detect_isPrimary"], bool)
    values = {}
    for column in lite_columns(columns):
        data = np.array(table[column.name])[rows]
        if column.band:
            flag = np.asarray(table[f"{column.name.removesuffix('Err')}_flag"], bool)[rows]
            data[flag] = np.nan
        values[column.name] = data
    return make_table(values, lite_columns(columns), length=int(rows.sum()))
