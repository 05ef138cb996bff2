"""Checks of the probabilities that objects are spurious, where the true sky is known."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from dmu4.review.spurious_truth import CUT, SpuriousCounts, count_spurious, has_source, spurious_calibration
from dmu5.checks import Check
from dmu5.diagnostics import Completeness
from dmu5.quality_checks import Limit

NOT_REAL, CALLED = Limit(0.01, 0.03), Limit(0.005, 0.02)
"""Largest fraction of objects without a source among those below `CUT`, and of real objects called spurious."""


def judge_spurious(objects: Table, truth: Table) -> tuple[list[Check], Table]:
    """The checks of a catalogue, and how often objects of similar probability have no source.

    Parameters
    ----------
    objects
        Object table, one row per object.
    truth
        True sources.
    """
    real = has_source(objects, truth)
    return spurious_checks(count_spurious(objects, truth, real)), spurious_calibration(objects, real)


def spurious_checks(counts: SpuriousCounts) -> list[Check]:
    """Check how many of the objects below `CUT` are real, and how many real ones are above it.

    Two sampling errors are allowed.

    Parameters
    ----------
    counts
        From `dmu4.review.spurious_truth.count_spurious`.
    """
    kept = Completeness(counts.kept, counts.kept_real)
    called = Completeness(counts.real, counts.called)
    before = f", {100 * counts.real / counts.all:.2f}% of all {counts.all}" if counts.all else ""
    rows = []
    for what, one, deviation, limit, said in (
        (
            f"objects of spuriousProbability < {CUT:g} with a true source",
            kept,
            1 - kept.fraction,
            NOT_REAL,
            f">= {100 * (1 - NOT_REAL.good):g}%, fails < {100 * (1 - NOT_REAL.bad):g}%",
        ),
        (
            f"objects with a true source of spuriousProbability >= {CUT:g}",
            called,
            called.fraction,
            CALLED,
            f"<= {100 * CALLED.good:g}%, fails > {100 * CALLED.bad:g}%",
        ),
    ):
        verdict = limit.verdict(deviation, error=np.nan_to_num(one.error))
        rows.append(Check(what, one.percentage(2) + (before if one is kept else ""), said, verdict, "", False))
    return rows
