"""The two figures of what VISTA adds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmu0.figure_style import BAD, GOOD, NEUTRAL
from dmu5.magnitudes import magnitude
from dmu5.vista_gain.redshifts import FLUX, OUTLIER, accuracy
from dmu5.vista_gain.stars import trade_off

_STYLES = {"optical": (NEUTRAL, "s", "--"), "optical and VISTA": (BAD, "o", "-")}


def plot_redshifts(measured: Mapping[str, np.ndarray], true: np.ndarray, table: Table) -> Figure:
    """Photometric against true redshifts by each set of bands, and their accuracy by redshift and by magnitude.

    Parameters
    ----------
    measured
        "optical" and "optical and VISTA" -> redshifts.
    true
        True redshifts.
    table
        From `dmu5.vista_gain.redshifts.accuracy_table`, by "redshift" and "magnitude".
    """
    figure, axes = plt.subplots(2, 4, figsize=(13.5, 6.4), layout="constrained")
    top = float(np.nanmax(true)) if np.isfinite(true).any() else 3.0
    for axis, (name, values) in zip(axes[:, 0], measured.items(), strict=True):
        axis.plot(true, values, "o", ms=2, color=_STYLES[name][0], alpha=0.6)
        line = np.array([0, top])
        axis.plot(line, line, "k-", lw=0.8)
        for sign in (1, -1):
            axis.plot(line, line + sign * OUTLIER * (1 + line), "k:", lw=0.8)
        count, scatter, outliers, _ = accuracy(values, true)
        axis.set_title(f"{name}: {count} galaxies, NMAD {scatter:.3f}, outliers {outliers:.0%}", fontsize=8, loc="left")
        axis.set(xlim=(0, top), ylim=(0, top), xlabel="true redshift", ylabel="photometric redshift")
    labels = {"nmad": "sigma_NMAD", "outliers": f"outliers (> {OUTLIER})", "bias": "median bias"}
    for row, by in zip(axes, ("redshift", "magnitude"), strict=True):
        for axis, (column, label) in zip(row[1:], labels.items(), strict=True):
            _plot_by(axis, table[np.asarray(table["by"]) == by], column)
            axis.set(xlabel="true redshift" if by == "redshift" else "magnitude near 0.8 um (AB)", ylabel=label)
    axes[0, 1].legend(fontsize=8)
    return figure


def _plot_by(axis: Axes, table: Table, column: str) -> None:
    for name, (colour, marker, line) in _STYLES.items():
        mine = table[np.asarray(table["bands"]) == name]
        middle = 0.5 * (np.asarray(mine["from"]) + np.asarray(mine["to"]))
        axis.plot(middle, mine[column], marker=marker, ls=line, color=colour, label=name)
    axis.axhline(0, color="k", lw=0.5)
    axis.grid(alpha=0.3)


def plot_redshift_distributions(measured: Mapping[str, np.ndarray]) -> Figure:
    """Distributions of photometric redshifts where the truth is not known, and one set against the other."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    edges = np.arange(0, 3.05, 0.1)
    for name, values in measured.items():
        left.hist(values, edges, histtype="step", color=_STYLES[name][0], ls=_STYLES[name][2], lw=1.5, label=name)
    left.set(xlabel="photometric redshift", ylabel="galaxies")
    left.legend(fontsize=8)
    first, second = measured
    right.plot(measured[first], measured[second], "o", ms=2, color=GOOD, alpha=0.5)
    right.plot([0, 3], [0, 3], "k-", lw=0.8)
    right.set(xlabel=f"redshift, {first}", ylabel=f"redshift, {second}", xlim=(0, 3), ylim=(0, 3))
    return figure


def plot_stars(objects: Table, ways: Mapping[str, np.ndarray], row: np.ndarray, star: np.ndarray) -> Figure:
    """Colours of stars and galaxies, and the trade-off of completeness and contamination where the truth is known.

    Parameters
    ----------
    objects
        Primary objects.
    ways
        Name of a classification -> probabilities of all rows; empty if the truth is not known.
    row, star
        Rows of the sources that are judged, and whether they are stars.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    if {"g_psfFlux", "i_psfFlux", "vj_psfFlux", "vk_psfFlux"} <= set(objects.colnames):
        g, i, j, k = (magnitude(objects, f"{band}_{FLUX}", snr_min=10) for band in ("g", "i", "vj", "vk"))
        points = left.scatter(g - i, j - k, s=5, c=objects["starProbability"], cmap="coolwarm", vmin=0, vmax=1)
        figure.colorbar(points, ax=left, label="probability of a star")
        left.set(xlabel="g - i (mag)", ylabel="J - Ks (mag)", xlim=(-0.5, 4.5), ylim=(-1, 1.5))
    else:
        left.set_axis_off()
    for name, probability in ways.items():
        optical = name.endswith("optical")
        complete, wrong = trade_off(probability[row], star)
        colour = NEUTRAL if name == "refExtendedness" else GOOD if name.startswith("sizes,") else BAD
        if name == "refExtendedness":
            called = np.nan_to_num(probability[row]) > 0.5
            place = np.mean(called[star]), np.sum(called & ~star) / max(int(called.sum()), 1)
            right.plot(*place, "s", color=colour, label=name)
        else:
            right.plot(complete, wrong, color=colour, ls=":" if optical else "-", label=name)
    right.set(
        xlabel="fraction of stars found", ylabel="fraction of galaxies among them", xlim=(0, 1.02), ylim=(-0.02, 1)
    )
    if ways:
        right.legend(fontsize=8, loc="upper left")
        right.grid(alpha=0.3)
    else:
        right.set_axis_off()
    return figure
