"""Figures of the selection function by injection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from dmu0.figure_style import BAD, GOOD, MAGNITUDE, band_colour, band_marker, name_panel, panels
from dmu5.injection.injection_checks import TRUTH_DIFFERENCE, half_magnitude
from dmu5.injection.response import SelectionFunction


def plot_completeness(function: SelectionFunction, bands: Sequence[str]) -> Figure:
    """Completeness of injected sources in each band: in the catalogue at all, and detected in the band."""
    figure, axes = panels(len(bands))
    table = function.table[(function.table["tract"] < 0) & (function.table["kind"] == "all")]
    for axis, band in zip(axes, bands, strict=True):
        for selection, face, label in (
            ("any", band_colour(band), "in the catalogue"),
            (band, "none", "peak in the band"),
        ):
            rows = table[(table["band"] == band) & (table["selection"] == selection) & (table["n"] >= 5)]
            style = {"fmt": band_marker(band), "ms": 4, "mfc": face, "color": band_colour(band), "mew": 0.7, "lw": 0.8}
            axis.errorbar(rows["magnitude"], rows["completeness"], rows["error"], label=label, **style)
        half, _ = half_magnitude(function, band)
        axis.axvline(half, color="k", ls="--", lw=0.8)
        axis.axhline(0.5, color="0.6", lw=0.6)
        axis.set_ylim(-0.05, 1.25)
        name_panel(axis, band, f"half in the band at {half:.2f}")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=6, loc="lower left")
    figure.supxlabel(f"true {MAGNITUDE}", fontsize=9)
    figure.supylabel("completeness of injected sources", fontsize=9)
    return figure


def plot_response(response: Table, bands: Sequence[str]) -> Figure:
    """Bias and scatter of point-source fluxes of points, and of Kron fluxes of galaxies, in each band."""
    figure, axes = panels(len(bands))
    for axis, band in zip(axes, bands, strict=True):
        for flux, kind, colour, marker in (("psfFlux", "point", GOOD, "o"), ("kronFlux", "extended", BAD, "s")):
            chosen = (response["band"] == band) & (response["flux"] == flux) & (response["kind"] == kind)
            rows = response[chosen]
            shift = 0.06 if kind == "extended" else -0.06
            style = {"fmt": marker, "ms": 3.5, "color": colour, "lw": 0.8}
            axis.errorbar(rows["magnitude"] + shift, rows["bias"], rows["scatter"], label=f"{flux}, {kind}", **style)
        axis.axhline(0, color="k", lw=0.8)
        axis.set_ylim(-0.6, 0.6)
        name_panel(axis, band)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=6, loc="lower left")
    figure.supxlabel(f"true {MAGNITUDE}", fontsize=9)
    figure.supylabel("measured / true flux - 1, median and scatter", fontsize=9)
    return figure


def plot_against_truth(differences: Table, bands: Sequence[str]) -> Figure:
    """Completeness by injection minus that of true sources, with the errors of both and the limit."""
    figure, axes = panels(len(bands))
    for axis, band in zip(axes, bands, strict=True):
        rows = differences[differences["band"] == band]
        off = np.asarray(rows["injection"], float) - np.asarray(rows["truth"], float)
        style = {"fmt": band_marker(band), "ms": 4, "color": band_colour(band), "lw": 0.8}
        axis.axhspan(-TRUTH_DIFFERENCE.good, TRUTH_DIFFERENCE.good, color="0.88", zorder=-1)
        axis.errorbar(rows["magnitude"], off, rows["error"], **style)
        axis.axhline(0, color="k", lw=0.8)
        axis.set_ylim(-0.3, 0.3)
        name_panel(axis, band, f"rms {100 * np.sqrt(np.mean(off**2)):.1f}%" if len(off) else "")
        axis.grid(alpha=0.3)
    figure.supxlabel(f"true {MAGNITUDE}", fontsize=9)
    figure.supylabel("completeness, injection - truth", fontsize=9)
    return figure
