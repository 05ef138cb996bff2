"""Identifiers: read from any type, unique, and duplicates found on the sphere."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from dmu2.identifiers import UNKNOWN, first_of_each, identifiers, unique_identifiers

ARCSEC = 1 / 3600


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([5, 0, -1, -9999], [5, UNKNOWN, UNKNOWN, UNKNOWN]),
        (MaskedColumn([5, 6], mask=[True, False]), [UNKNOWN, 6]),
        (np.array([5, 2**63 + 1], np.uint64), [5, UNKNOWN]),
        (np.array([5, 200], np.uint8), [5, 200]),
        (["Gaia DR3 4295806720", "Gaia DR3 38655544960", "", "null"], [4295806720, 38655544960, UNKNOWN, UNKNOWN]),
        (["6917528997577384320", "99999999999999999999"], [6917528997577384320, UNKNOWN]),
        (["J02180910-0500150", "17.0"], [UNKNOWN, 17]),
        (np.array([3.0, np.nan, 2.0**60, 2.5]), [3, UNKNOWN, UNKNOWN, UNKNOWN]),
    ],
)
def test_identifiers_of_every_type(column, expected):
    """Numbers in text, masks, unsigned integers; what is no number, or lost its last digits, is unknown."""
    found = identifiers(Table({"id": column}), ("source_id", "id"))
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_no_column_of_identifiers():
    """A table without any has unknown ones."""
    assert identifiers(Table({"ra": [1.0, 2.0]}), ("id",)).tolist() == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(("ra", "dec"), [(34.0, -5.0), (0.0, -5.0), (123.0, 90.0), (10.0, -90.0)])
def test_duplicates_on_the_sphere(ra, dec):
    """Stars without identifiers are one within 0.05 arcsec and two at 0.5, at right ascension 0 and at the poles."""
    side = -1 if dec > 0 else 1
    wide = 1 / np.cos(np.radians(dec)) if abs(dec) < 90 else 0
    unknown = np.full(2, UNKNOWN)
    for apart, kept in ((0.01, 1), (0.5, 2)):
        step = apart * ARCSEC
        if wide:
            there = (ra + np.array([-step, step]) / 2 * wide) % 360, np.array([dec, dec])
        else:  # opposite sides of the pole
            there = np.array([ra, ra + 180]), dec + side * np.array([step, step]) / 2
        assert first_of_each(unknown, *there).sum() == kept, apart


def test_same_number_in_another_place_is_another_star():
    """Chunks that count their rows from one each: only rows in one place are one star, and it is the first."""
    ids = np.array([1, 2, 1, 2, 3])
    ra = np.array([10.0, 11.0, 20.0, 11.0, 11.0])
    keep = first_of_each(ids, ra, np.zeros(5))
    assert keep.tolist() == [True, True, True, False, True]
    unique = unique_identifiers(ids[keep], ra[keep], np.zeros(4))
    assert unique[:2].tolist() == [1, 2]
    assert len(set(unique.tolist())) == 4


def test_every_duplicate_is_found(rng):
    """Positions that are written to different digits in two files are found wherever cells end."""
    n = 20_000
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    ids = np.arange(1, n + 1)
    again = np.concatenate([ra, np.round(ra, 7) % 360]), np.concatenate([dec, np.clip(np.round(dec, 7), -90, 90)])
    keep = first_of_each(np.concatenate([ids, ids]), *again)
    assert keep[:n].all()
    assert not keep[n:].any()
    keep = first_of_each(np.full(2 * n, UNKNOWN), *again)
    assert keep[:n].sum() >= n - 1
    assert not keep[n:].any()


def test_new_numbers_are_unique(rng):
    """Unknown identifiers become different numbers, none of them one that is known, the same in every run."""
    ra, dec = rng.uniform(0, 360, 1000), rng.uniform(-90, 90, 1000)
    ids = np.where(rng.random(1000) < 0.5, UNKNOWN, np.arange(1000) + 1)
    new = unique_identifiers(ids, ra, dec)
    assert len(np.unique(new)) == 1000
    assert (new > 0).all()
    assert (new[ids != UNKNOWN] == ids[ids != UNKNOWN]).all()
    assert (unique_identifiers(ids, ra, dec) == new).all()
    # A known star that happens to have the number that the position gives.
    taken = unique_identifiers(np.array([UNKNOWN]), ra[:1], dec[:1])[0]
    assert len(set(unique_identifiers(np.array([UNKNOWN, taken]), ra[:2], dec[:2]).tolist())) == 2
