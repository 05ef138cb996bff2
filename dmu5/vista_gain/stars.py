"""The separation of stars and galaxies by the optical bands alone, and with VISTA."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table

from dmu0.truth import is_star
from dmu4.review.kind_truth import match_kinds
from obs_vista.photometry import magnitude_of


def trade_off(probability: np.ndarray, star: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Completeness of stars, and fraction of galaxies among what is called a star, for each value as the limit.

    Parameters
    ----------
    probability
        Probabilities of a star [N]; NaN counts as zero.
    star
        Whether each source is a star [N].
    """
    value = np.nan_to_num(probability)
    order = np.argsort(-value, kind="stable")
    found, count = np.cumsum(star[order]), np.arange(1, len(star) + 1)
    # Sources of equal probability are above the limit together.
    last = np.flatnonzero(np.append(np.diff(value[order]) != 0, True)) if len(star) else np.zeros(0, int)
    return found[last] / max(int(star.sum()), 1), 1 - found[last] / count[last]


def contamination_at(probability: np.ndarray, star: np.ndarray, *, completeness: float = 0.9) -> float:
    """Fraction of galaxies among the sources of highest probability that contain a fraction of the stars."""
    complete, wrong = trade_off(probability, star)
    enough = np.flatnonzero(complete >= completeness)
    return float(wrong[enough[0]]) if len(enough) else np.nan


def faint_sources(
    objects: Table, truth: Table, *, band: str, low: float, high: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of true sources in a range of true magnitude, whether they are stars, and their magnitudes."""
    mine, row = match_kinds(objects, truth)
    magnitude = magnitude_of(np.asarray(mine[f"flux_{band}"], float))
    chosen = (magnitude >= low) & (magnitude < high)
    return row[chosen], is_star(mine)[chosen], magnitude[chosen]


def contaminations(ways: Mapping[str, np.ndarray], row: np.ndarray, star: np.ndarray) -> Table:
    """Fraction of galaxies among stars at 90% completeness, for several classifications, one row each."""
    rows = [(name, int(star.sum()), int((~star).sum()), contamination_at(p[row], star)) for name, p in ways.items()]
    table = Table(rows=rows or None, names=("by", "stars", "galaxies", "contamination"), dtype=(str, int, int, float))
    table["contamination"].info.format = ".3f"
    return table
