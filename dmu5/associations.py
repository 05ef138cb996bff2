"""Objects of the catalogue in other lists: Gaia, VSA, LSST, spectroscopic redshifts, or one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from dmu0.files.catalogue_files import read_catalogue_file
from dmu0.sky.matching import match


def associate(objects: Table, other: Table, *, identifier: str, ra: str, dec: str, radius: float = 1.0) -> Table:
    """Pairs of an object and an entry of another list, mutual nearest neighbours within a radius.

    Parameters
    ----------
    objects
        Catalogue with ``objectId``, ``coord_ra`` and ``coord_dec``, one row per object.
    other
        The other list.
    identifier, ra, dec
        Names of its identifiers and of its positions, ICRS, deg, at the epoch of the catalogue.
    radius
        Largest separation, arcsec.

    Returns
    -------
    Table
        Three columns: ``objectId``, the identifier under its own name, and ``separation`` in arcsec; in order of
        objectId.

    Raises
    ------
    KeyError
        If the other list has no such column; the message lists those that it has.
    """
    for name in (identifier, ra, dec):
        if name not in other.colnames:
            raise KeyError(f"The list has no column {name!r}; it has {', '.join(other.colnames[:20])}.")
    places = [np.ma.filled(np.ma.asarray(column).astype(float), np.nan) for column in (other[ra], other[dec])]
    pairs = match(np.asarray(objects["coord_ra"]), np.asarray(objects["coord_dec"]), *places, radius=radius)
    table = Table({"objectId": np.asarray(objects["objectId"])[pairs.first]})
    table[identifier] = np.asarray(other[identifier])[pairs.second]
    table["separation"] = np.asarray(pairs.separation, np.float32)
    table["separation"].unit = "arcsec"
    table["objectId"].description = objects["objectId"].description
    table["separation"].description = "Distance between the two positions"
    table.sort("objectId")
    return table


def associate_file(objects: Table, path: Path, *, identifier: str, ra: str, dec: str, radius: float = 1.0) -> Table:
    """`associate` with a list in a file: FITS, VOTable, ECSV, CSV or Parquet.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no list {path}.")
    return associate(objects, read_catalogue_file(path), identifier=identifier, ra=ra, dec=dec, radius=radius)
