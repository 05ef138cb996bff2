"""Pairs of objects and entries of another list: each once, the nearest, within the radius, whatever is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from dmu5.associations import associate, associate_file

OBJECTS = Table({"objectId": [30, 10, 20], "coord_ra": [359.9999, 0.0001, 10.0], "coord_dec": [60.0, 60.0, -5.0]})


def other() -> Table:
    """Entries 0.18 arcsec east of the first object, at the third, at 0.9 arcsec from it, far away, and nowhere."""
    ra = MaskedColumn([0.0, 10.0, 10.00025, 50.0, 0.0], mask=[False] * 4 + [True])
    return Table({"source_id": [7, 8, 9, 5, 4], "ra": ra, "dec": [60.0, -5.0, -5.0, 0.0, 60.0]})


def test_pairs_are_mutual_and_near() -> None:
    """Object 20 gets the nearer of two entries; one entry halfway between two objects goes to one of them, once."""
    pairs = associate(OBJECTS, other(), identifier="source_id", ra="ra", dec="dec", radius=1.0)
    assert pairs.colnames == ["objectId", "source_id", "separation"]
    assert pairs["objectId"].tolist()[-2:] in ([10, 20], [20, 30])
    assert pairs["source_id"].tolist().count(7) == 1
    row = pairs[pairs["objectId"] == 20][0]
    assert (row["source_id"], row["separation"]) == (8, 0)
    near = pairs[pairs["source_id"] == 7][0]
    assert near["separation"] == pytest.approx(0.18, rel=1e-3)  # 0.0001 deg of RA at declination 60
    assert pairs["separation"].unit == "arcsec"


def test_lists_are_read_from_files(tmp_path: Path) -> None:
    """The same pairs from a FITS file; a missing file or column is named."""
    path = tmp_path / "gaia.fits"
    table = other()[:4]
    table["ra"] = np.asarray(table["ra"])
    table.write(path)
    pairs = associate_file(OBJECTS, path, identifier="source_id", ra="ra", dec="dec")
    assert {*pairs["source_id"].tolist()} == {7, 8}
    with pytest.raises(FileNotFoundError, match=r"vsa\.fits"):
        associate_file(OBJECTS, tmp_path / "vsa.fits", identifier="sourceID", ra="ra", dec="dec")
    with pytest.raises(KeyError, match=r"no column 'sourceID'; it has source_id, ra, dec"):
        associate_file(OBJECTS, path, identifier="sourceID", ra="ra", dec="dec")
