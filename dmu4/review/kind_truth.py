"""Stars and galaxies against the truth of a simulated sky: completeness, contamination and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from astropy.table import Table
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dmu0.truth import is_star, match_to_truth
from dmu4.objects.kinds import Evidence, find_kinds, fit_kinds
from dmu4.review.objects import GALAXY, STAR, bands_of
from obs_vista.bands import VISTA_BANDS
from obs_vista.photometry import magnitude_of

EDGES = (16.0, 20.0, 22.0, 23.0, 24.0, 24.5, 25.0, 25.5, 26.0)
"""Edges of the ranges of true magnitude in which kinds are judged."""

STEPS = (0.0, 0.02, 0.1, 0.3, 0.7, 0.9, 0.98, 1.0)
"""Edges of the ranges of probability in which its calibration is judged."""


def optical_probability(objects: Table, name: str) -> np.ndarray:
    """Probabilities from the optical bands alone, by a fit to them alone: ``point`` or ``star`` of all rows."""
    bands = [band for band in bands_of(objects) if band not in VISTA_BANDS]
    evidence = Evidence.of_table(objects, bands)
    model = fit_kinds(evidence[np.asarray(objects["detect_isPrimary"], bool)])
    return np.asarray(getattr(find_kinds(model, evidence), name))


def classifications(objects: Table) -> dict[str, np.ndarray]:
    """Probabilities of a star by the classifications of a table and by those that VISTA adds nothing to [row]."""
    found = {
        "refExtendedness": 1 - np.asarray(objects["refExtendedness"], float),
        "sizes, optical": optical_probability(objects, "point"),
        "sizes, all bands": np.asarray(objects["pointProbability"], float),
        "sizes and colours, optical": optical_probability(objects, "star"),
        "sizes and colours, all bands": np.asarray(objects["starProbability"], float),
    }
    if not any(band in VISTA_BANDS for band in bands_of(objects)):
        return {name: found[name] for name in ("refExtendedness", "sizes, all bands", "sizes and colours, all bands")}
    return found


def match_kinds(objects: Table, truth: Table) -> tuple[Table, np.ndarray]:
    """True sources that have a primary object, and the row of each."""
    primary = np.flatnonzero(objects["detect_isPrimary"])
    pairs = match_to_truth(truth, objects["coord_ra"][primary], objects["coord_dec"][primary])
    return truth[pairs.first], primary[pairs.second]


def judge_kinds(
    probability: np.ndarray, star: np.ndarray, chosen: np.ndarray, *, limit: float = 0.5
) -> tuple[int, float, float]:
    """Number of true stars, fraction of them that are called stars, and fraction of galaxies among those called stars.

    Parameters
    ----------
    probability
        Probabilities of a star [N]; NaN is not called a star.
    star
        Whether each source is a star in truth [N].
    chosen
        Sources to judge [N].
    limit
        Probability above which a source is called a star.
    """
    called = chosen & (np.nan_to_num(probability) > limit)
    stars, count = int(np.sum(chosen & star)), int(np.sum(called))
    complete = np.sum(called & star) / stars if stars else np.nan
    wrong = np.sum(called & ~star) / count if count else np.nan
    return stars, float(complete), float(wrong)


def kinds_by_magnitude(objects: Table, truth: Table, probabilities: Mapping[str, np.ndarray], band: str) -> Table:
    """Completeness and contamination of the stars in ranges of true magnitude, one row per classification and range.

    Parameters
    ----------
    objects, truth
        Object table, and true sources with type and ``flux_<band>``.
    probabilities
        Name of a classification -> probabilities of all rows of the table.
    band
        Band of the magnitudes.
    """
    mine, row = match_kinds(objects, truth)
    star, magnitude = is_star(mine), magnitude_of(np.asarray(mine[f"flux_{band}"], float))
    rows = []
    for name, values in probabilities.items():
        for low, high in pairwise(EDGES):
            chosen = (magnitude >= low) & (magnitude < high)
            stars, complete, wrong = judge_kinds(values[row], star, chosen)
            rows.append((name, low, high, stars, int(np.sum(chosen & ~star)), complete, wrong))
    names = ("by", "from", "to", "stars", "galaxies", "completeness", "contamination")
    table = Table(rows=rows or None, names=names, dtype=(str, float, float, int, int, float, float))
    for name in names[-2:]:
        table[name].info.format = ".3f"
    return table


def well_seen(objects: Table, truth: Table, *, faintest: float = 24.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the objects for which the limits of star completeness hold, and whether they are stars in truth.

    They are brighter than a true magnitude in i, or above 10 sigma in Ks.
    """
    mine, row = match_kinds(objects, truth)
    chosen = np.zeros(len(mine), bool)
    if "flux_i" in mine.colnames:
        chosen |= magnitude_of(np.asarray(mine["flux_i"], float)) < faintest
    if "vk_psfFlux" in objects.colnames:
        flux, error = (np.asarray(objects[f"vk_psfFlux{end}"], float)[row] for end in ("", "Err"))
        chosen |= np.nan_to_num(flux / error) > 10
    return row[chosen], is_star(mine)[chosen]


def calibration(probability: np.ndarray, star: np.ndarray) -> Table:
    """Fraction of true stars among sources of similar probability, with its sampling error, one row per range.

    Parameters
    ----------
    probability
        Probabilities of a star [N]; NaN is left out.
    star
        Whether each source is a star in truth [N].
    """
    rows = []
    known = np.isfinite(probability)
    number = np.digitize(probability[known], STEPS[1:-1])
    for step in range(len(STEPS) - 1):
        p, s = probability[known][number == step], star[known][number == step]
        if len(p):
            error = np.sqrt(max(float(np.sum(p * (1 - p))), 1.0)) / len(p)
            rows.append((STEPS[step], STEPS[step + 1], len(p), float(p.mean()), float(s.mean()), error))
    names = ("from", "to", "sources", "probability", "stars", "sampling")
    table = Table(rows=rows or None, names=names, dtype=(float, float, int, float, float, float))
    for name in names[3:]:
        table[name].info.format = ".3f"
    return table


STYLES = {
    "refExtendedness": ("0.5", "s", "-"),
    "sizes, optical": (STAR, "v", ":"),
    "sizes, all bands": (STAR, "^", "-"),
    "sizes and colours, optical": (GALAXY, "d", ":"),
    "sizes and colours, all bands": (GALAXY, "o", "-"),
}
"""Colour, marker and line of each classification."""


def plot_kinds(table: Table, calibrated: Mapping[str, Table]) -> Figure:
    """Completeness and contamination of stars by magnitude, and the calibration of the probabilities.

    Parameters
    ----------
    table
        From `kinds_by_magnitude`.
    calibrated
        Name of a probability -> table from `calibration`.
    """
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for name in dict.fromkeys(table["by"]):
        mine = table[np.asarray(table["by"]) == name]
        colour, marker, line = STYLES[name]
        middle = 0.5 * (np.asarray(mine["from"]) + np.asarray(mine["to"]))
        for axis, column in zip(axes, ("completeness", "contamination"), strict=False):
            axis.plot(middle, mine[column], marker=marker, ls=line, color=colour, ms=4.5, label=name)
    for axis, column, limit in zip(axes, ("stars called stars", "galaxies among them"), (0.95, 0.05), strict=False):
        axis.axhline(limit, color="k", lw=0.8, ls="--")
        axis.set(xlabel="true magnitude (AB)", ylabel=f"fraction of {column}", ylim=(-0.03, 1.03))
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7, loc="lower left")
    for name, one in calibrated.items():
        colour, marker, _ = STYLES[name]
        axes[2].errorbar(
            one["probability"], one["stars"], one["sampling"], fmt=marker, color=colour, ms=4.5, label=name
        )
    axes[2].plot([0, 1], [0, 1], "k--", lw=0.8)
    axes[2].set(xlabel="probability", ylabel="fraction of stars in truth", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes[2].legend(fontsize=7)
    axes[2].grid(alpha=0.3)
    return figure
