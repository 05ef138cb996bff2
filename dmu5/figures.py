"""Figures of the catalogue: positions, depth, accuracy and selection function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dmu0.figure_style import DIVERGING, MAGNITUDE, band_colour, band_marker, band_ticks, name_panel, panels
from dmu0.figures import axis_labels, finish_sky_axes, right_ascension
from dmu0.robust_statistics import robust_scatter
from dmu0.sky.sphere import SkyPlane
from dmu2.bright_stars import BrightStars
from dmu5.accuracy import ReferenceOffset, StarFluxes
from dmu5.checks import Check
from dmu5.diagnostics import DWARF_LOCUS, Locus, Offsets, good_flux
from dmu5.quality_checks import BASELINE_RATIO, REFERENCE_MAG, short_value, verdict_table
from dmu5.selection_function import Curve, depth_map
from obs_vista.bands import shown_band
from obs_vista.photometry import magnitude_of


def plot_sky(catalogue: Table, band: str) -> Figure:
    """Objects on the sky, larger if brighter in the given band; grey ones are not usable in it."""
    figure, axis = plt.subplots(figsize=(6.5, 6), layout="constrained")
    plane = SkyPlane.around(catalogue["coord_ra"], catalogue["coord_dec"])
    ra, dec = plane.place(catalogue["coord_ra"], catalogue["coord_dec"])
    usable = np.asarray(catalogue[f"{band}_usable"], bool)
    magnitude = magnitude_of(np.asarray(catalogue[f"{band}_psfFlux"]))
    size = np.clip(2 * (27 - np.nan_to_num(magnitude, nan=27)), 1, 60)
    axis.scatter(ra[~usable], dec[~usable], s=4, color="0.8", label=f"not usable in {shown_band(band)}")
    known = magnitude[usable & np.isfinite(magnitude)]
    low, high = np.percentile(known, [1, 95]) if len(known) else (15, 25)
    points = axis.scatter(
        ra[usable], dec[usable], s=size[usable], c=magnitude[usable], cmap="cividis_r", vmin=low, vmax=high
    )
    if usable.any():
        figure.colorbar(points, ax=axis, label=f"{shown_band(band)} PSF {MAGNITUDE}", shrink=0.8)
    axis.invert_xaxis()
    finish_sky_axes(axis, plane)
    if (~usable).any():
        axis.legend(fontsize=8)
    return figure


def plot_halos(catalogue: Table, stars: BrightStars) -> Figure:
    """Objects on the sky, and the halos of bright stars with the objects in them."""
    figure, axis = plt.subplots(figsize=(6.0, 6), layout="constrained")
    plane = SkyPlane.around(catalogue["coord_ra"], catalogue["coord_dec"])
    ra, dec = plane.place(catalogue["coord_ra"], catalogue["coord_dec"])
    inside = np.asarray(catalogue["brightStar_flag"], bool)
    axis.scatter(ra[~inside], dec[~inside], s=2, color="0.75", label="objects")
    axis.scatter(ra[inside], dec[inside], s=4, color="0.15", label="objects in halos")
    angle = np.linspace(0, 2 * np.pi, 60)
    for star_ra, star_dec, radius in zip(*stars, strict=True):
        north = star_dec + radius / 3600 * np.sin(angle)
        east = star_ra + radius / 3600 * np.cos(angle) / np.cos(np.radians(star_dec))
        axis.plot(*plane.place(east, north), color="tab:red", lw=0.8)
    axis.set_xlim(ra.min(), ra.max())
    axis.set_ylim(dec.min(), dec.max())
    axis.invert_xaxis()
    finish_sky_axes(axis, plane)
    axis.legend(fontsize=8, loc="upper right")
    return figure


def plot_depths(catalogue: Table, bands: Sequence[str]) -> Figure:
    """Map of the 5-sigma depth in each band, relative to the median of the band."""
    figure, axes = panels(len(bands), height=2.3)
    plane = SkyPlane.around(catalogue["coord_ra"], catalogue["coord_dec"])
    image = None
    for axis, band in zip(axes, bands, strict=True):
        depth, extent = depth_map(catalogue, band)
        middle = np.nanmedian(depth) if np.isfinite(depth).any() else np.nan
        image = axis.imshow(
            depth - middle, origin="lower", extent=extent, cmap=DIVERGING, vmin=-0.4, vmax=0.4, aspect="auto"
        )
        axis.set_facecolor("0.85")
        axis.set_title(f"{shown_band(band)}: {middle:.2f}", fontsize=9, color=band_colour(band), weight="bold")
        axis.tick_params(labelsize=6)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.yaxis.set_major_locator(MaxNLocator(4))
        if not plane.polar:
            axis.xaxis.set_major_formatter(right_ascension)
    axes[0].invert_xaxis()
    figure.colorbar(image, ax=axes, label="5-sigma depth minus median (mag)", shrink=0.8)
    for name, label in zip(("supxlabel", "supylabel"), axis_labels(plane), strict=True):
        getattr(figure, name)(label, fontsize=9)
    return figure


def plot_counts(catalogue: Table, bands: Sequence[str], *, width: float = 0.5, truth: Table | None = None) -> Figure:
    """Number of objects above 5 sigma as a function of magnitude in each band; true sources as a line."""
    figure, axes = panels(len(bands))
    edges = np.arange(14, 28 + width, width)
    for axis, band in zip(axes, bands, strict=True):
        chosen = good_flux(catalogue, f"{band}_kronFlux", snr_min=5)
        magnitudes = magnitude_of(np.asarray(catalogue[f"{band}_kronFlux"])[chosen])
        axis.hist(magnitudes, edges, color=band_colour(band), alpha=0.8, label="objects")
        if truth is not None:
            axis.hist(magnitude_of(np.asarray(truth[f"flux_{band}"])), edges, histtype="step", color="k", label="truth")
        depth = np.asarray(catalogue[f"{band}_depth5"], float)
        if np.isfinite(depth).any():
            axis.axvline(np.nanmedian(depth), color="k", ls=":", lw=1, label="5 sigma")
        axis.set_yscale("log")
        name_panel(axis, band, f"{int(chosen.sum())} objects")
    axes[0].legend(fontsize=6, loc="lower right")
    figure.supxlabel(f"Kron {MAGNITUDE}", fontsize=9)
    figure.supylabel(f"objects above 5 sigma per {width} mag", fontsize=9)
    return figure


def plot_offsets(offsets: Offsets, *, limit: float = 30.0, reference: str = "true", band: str = "vk") -> Figure:
    """Position offsets of stars from true or reference positions, and a distance as a circle."""
    figure, axis = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    axis.plot(offsets.ra, offsets.dec, "o", ms=3, color=band_colour(band), mec="k", mew=0.2)
    angle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(limit * np.cos(angle), limit * np.sin(angle), "k--", lw=1, label=f"{limit:.0f} mas")
    axis.axhline(0, color="0.6", lw=0.6)
    axis.axvline(0, color="0.6", lw=0.6)
    reach = 3 * limit
    axis.set_xlim(reach, -reach)
    axis.set_ylim(-reach, reach)
    axis.set_aspect("equal")
    axis.set_xlabel(f"RA, measured - {reference} (mas)")
    axis.set_ylabel(f"Dec, measured - {reference} (mas)")
    axis.legend(fontsize=8, loc="upper right")
    return figure


def plot_pulls(stars: Sequence[StarFluxes]) -> Figure:
    """Deviations of bright stars in units of their error, with and without the flux floor, and a unit Gaussian."""
    figure, axes = panels(len(stars))
    edges, line = np.linspace(-6, 6, 25), np.linspace(-6, 6, 200)
    for axis, item in zip(axes, stars, strict=True):
        bright, note = item.bright, "too few stars"
        if bright.sum() > 1:
            whole, bare = (np.clip(pull[bright], -6, 6) for pull in (item.total_pull, item.pull))
            axis.hist(whole, edges, density=True, color=band_colour(item.band), alpha=0.8, label="with floor")
            axis.hist(bare, edges, density=True, histtype="step", color="0.4", label="without")
            note = f"width {robust_scatter(item.total_pull[bright]):.2f} of {bright.sum()}"
        axis.plot(line, np.exp(-0.5 * line**2) / np.sqrt(2 * np.pi), color="k", lw=1, label="unit Gaussian")
        name_panel(axis, item.band, note)
    axes[-1].legend(fontsize=6, loc="upper right")
    figure.supxlabel("(measured - true flux) / error, of stars above 50 sigma", fontsize=9)
    figure.supylabel("density", fontsize=9)
    return figure


def plot_verdicts(checks: Sequence[Check], bands: Sequence[str]) -> Figure:
    """Verdict of every check of every band, as a table in colour."""
    names, table = verdict_table(checks, bands)
    figure, axis = plt.subplots(figsize=(max(0.62 * len(bands) + 4.2, 6), 0.3 * len(names) + 1), layout="constrained")
    colours = {"pass": "#CFE8DD", "warn": "#F6D58E", "fail": "#E4786C"}
    for (name, band), check in table.items():
        x, y = bands.index(band), names.index(name)
        axis.add_patch(plt.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=colours[check.verdict]))
        axis.text(x, y, short_value(check.value), ha="center", va="center", fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_ylim(len(names) - 0.5, -0.5)
    band_ticks(axis, list(bands))
    axis.tick_params(length=0)
    axis.set_title("green: passes; yellow: to beware of; red: fails", fontsize=9, loc="left")
    for spine in axis.spines.values():
        spine.set_visible(False)
    return figure


def plot_locus(locus: Locus) -> Figure:
    """Point sources in g-i and J-Ks, with the published locus of dwarf stars."""
    figure, axis = plt.subplots(figsize=(6, 4.2), layout="constrained")
    axis.plot(
        locus.g_i, locus.j_k, "o", ms=3, color=band_colour("vj"), mec="k", mew=0.2, label=f"{len(locus)} point sources"
    )
    axis.plot(*np.transpose(DWARF_LOCUS), "k-s", ms=5, mfc="none", label="dwarf stars (Covey et al. 2007)")
    axis.axvspan(0.5, 1.5, color="0.9", zorder=-1)
    axis.set_xlim(-0.5, 4)
    axis.set_ylim(-1.2, 1.0)
    axis.set_xlabel("g - i (AB mag)")
    axis.set_ylabel("J - Ks (AB mag)")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def plot_baseline(table: Table) -> Figure:
    """Ratio of fused to baseline flux in apertures of 2 arcsec diameter: median and scatter of the objects."""
    return _plot_ratios(
        [(row["band"], row["ratio"], row["scatter"], row["n"]) for row in table],
        "fused / baseline flux",
        limit=BASELINE_RATIO.good,
    )


def plot_references(offsets: Sequence[ReferenceOffset]) -> Figure:
    """Ratio of catalogue to reference flux of bright stars: median and scatter."""
    rows = [(item.band, float(np.median(item.ratio)), item.scatter, len(item)) for item in offsets if len(item) > 1]
    return _plot_ratios(rows, "catalogue / reference flux", limit=REFERENCE_MAG.good)


def _plot_ratios(rows: Sequence[tuple[str, float, float, int]], label: str, *, limit: float) -> Figure:
    """Ratio of each band with its scatter and its limit."""
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    axis.axhspan(1 - limit, 1 + limit, color="0.9", label=f"limit, {100 * limit:.0f}%")
    for place, (band, ratio, scatter, _) in enumerate(rows):
        style: dict[str, Any] = {
            "fmt": band_marker(band),
            "color": band_colour(band),
            "mec": "k",
            "mew": 0.5,
            "capsize": 3,
        }
        axis.errorbar(place, ratio, scatter, **style)
    axis.axhline(1, color="k", lw=0.8)
    band_ticks(axis, [str(row[0]) for row in rows], [str(row[3]) for row in rows])
    axis.set_ylabel(label)
    axis.set_title("median and scatter of single objects, with their number", fontsize=9, loc="left")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def plot_curves(
    curves: dict[str, Curve],
    *,
    label: str,
    expected: dict[str, np.ndarray] | None = None,
    limits: tuple[float, float] = (-0.05, 1.25),
) -> Figure:
    """A fraction as a function of magnitude in each band, with its error; the expected completeness as a line."""
    figure, axes = panels(len(curves))
    for axis, (band, curve) in zip(axes, curves.items(), strict=True):
        style: dict[str, Any] = {"fmt": band_marker(band), "ms": 4, "color": band_colour(band), "mec": "k", "mew": 0.4}
        axis.errorbar(curve.middle, curve.fraction, curve.error, label="measured", **style)
        if expected is not None:
            axis.plot(curve.middle, expected[band], "k-", lw=1, label="5 sigma in the band")
        axis.axhline(0.5, color="0.6", lw=0.6)
        axis.set_ylim(*limits)
        half = curve.limit()
        note = f"half at {half:.2f}" if np.isfinite(half) else f"{curve.total.sum()} sources"
        name_panel(axis, band, note)
        axis.grid(alpha=0.3)
    axes[-1].legend(fontsize=6, loc="lower left")
    figure.supxlabel(MAGNITUDE, fontsize=9)
    figure.supylabel(label, fontsize=9)
    return figure


def plot_expected(magnitude: np.ndarray, expected: dict[str, np.ndarray]) -> Figure:
    """The completeness expected from the depth, for all bands."""
    figure, axis = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for band, chance in expected.items():
        style: dict[str, Any] = {"color": band_colour(band), "marker": band_marker(band), "ms": 4}
        axis.plot(magnitude, chance, label=shown_band(band), **style)
    axis.axhline(0.5, color="0.6", lw=0.6)
    axis.set_xlabel(f"{MAGNITUDE} of a point source")
    axis.set_ylabel("probability of 5 sigma")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axis.grid(alpha=0.3)
    return figure
