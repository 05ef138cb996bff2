"""Spurious objects against the truth of a simulated sky: those left, real ones that are lost, and calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from dmu0.sky.sphere import unit_vectors
from dmu0.truth import match_to_truth, true_positions
from dmu4.review.kind_truth import calibration
from dmu4.review.objects import bands_of

CUT = 0.5
"""Probability from which an object is called spurious."""

BESIDE = 1.0
"""Distance in arcsec from a true source within which an object has its light, if it is not its counterpart."""


class SpuriousCounts(NamedTuple):
    """Numbers of primary objects of a simulated sky.

    Attributes
    ----------
    all, real
        All objects, and those with a true source.
    kept, kept_real
        Those of both that are below `CUT`.
    beside
        Those of the kept objects without a source that are within `BESIDE` of one.
    called
        Objects with a true source that are called spurious.
    unknown
        Objects whose probability is not known: they are neither kept nor called spurious.
    """

    all: int
    real: int
    kept: int
    kept_real: int
    beside: int
    called: int
    unknown: int


def has_source(objects: Table, truth: Table) -> np.ndarray:
    """Whether an object and a true source are mutual nearest neighbours [N], see `dmu0.truth.match_to_truth`.

    A star that moves is at several places: true sources are taken at the epoch of the truth, and at those of all bands.

    Parameters
    ----------
    objects
        Object table, one row per object.
    truth
        True sources.
    """
    epochs: list[float | None] = [None]
    if {"pm_ra", "pm_dec"} <= {*truth.colnames}:
        of_bands = [np.asarray(objects[f"{band}_epoch"], float) for band in bands_of(objects)]
        epochs += [float(np.median(one[np.isfinite(one)])) for one in of_bands if np.isfinite(one).any()]
    found = np.zeros(len(objects), bool)
    for epoch in epochs:
        found[match_to_truth(truth, objects["coord_ra"], objects["coord_dec"], epoch=epoch).second] = True
    return found


def count_spurious(objects: Table, truth: Table, real: np.ndarray) -> SpuriousCounts:
    """Count objects without a source, and real ones, among those called spurious and those that are not.

    Parameters
    ----------
    objects
        Object table, one row per object.
    truth
        True sources.
    real
        Whether each object has one of them [N], from `has_source`.
    """
    probability = np.asarray(objects["spuriousProbability"], float)
    kept, called = probability < CUT, probability >= CUT
    left = objects[kept & ~real]
    sources = cKDTree(unit_vectors(*true_positions(truth)))
    distance, _ = sources.query(unit_vectors(*(np.asarray(left[name], float) for name in ("coord_ra", "coord_dec"))))
    return SpuriousCounts(
        all=len(real),
        real=int(real.sum()),
        kept=int(kept.sum()),
        kept_real=int(np.sum(kept & real)),
        beside=int(np.sum(distance < 2 * np.sin(np.radians(BESIDE / 3600) / 2))),
        called=int(np.sum(called & real)),
        unknown=int(np.sum(np.isnan(probability))),
    )


def spurious_calibration(objects: Table, real: np.ndarray) -> Table:
    """Fraction of objects without a true source among those of similar probability, one row per range.

    Parameters
    ----------
    objects
        Object table, one row per object.
    real
        Whether each object has a true source [N], from `has_source`.
    """
    table = calibration(np.asarray(objects["spuriousProbability"], float), ~real)
    table.rename_columns(["sources", "stars"], ["objects", "spurious"])
    return table
