"""Figures of the catalogue: positions, depth, accuracy and selection function."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dmu0.figures import axis_labels, finish_sky_axes, right_ascension
from dmu0.sky.sphere import SkyPlane
from dmu3.figures import COLOURS, MARKERS
from dmu5.diagnostics import DWARF_LOCUS, Locus, Offsets, good_flux
from dmu5.selection_function import Curve, depth_map
from obs_vista.bands import plain_band
from obs_vista.photometry import magnitude_of


def _panels(count: int, *, width: float = 2.3, height: float = 2.1, columns: int = 5):
    """A grid of axes with a given number of panels; surplus axes are hidden."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns + 0.6, height * rows + 0.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.ravel()[count:]:
        axis.axis("off")
    return figure, axes.ravel()[:count]


def plot_sky(catalogue: Table, band: str) -> Figure:
    """Objects on the sky, larger if brighter in the given band; grey ones are not usable in it."""
    figure, axis = plt.subplots(figsize=(6.5, 6), layout="constrained")
    plane = SkyPlane.around(catalogue["coord_ra"], catalogue["coord_dec"])
    ra, dec = plane.place(catalogue["coord_ra"], catalogue["coord_dec"])
    usable = np.asarray(catalogue[f"{band}_usable"], bool)
    magnitude = magnitude_of(np.asarray(catalogue[f"{band}_psfFlux"]))
    size = np.clip(2 * (27 - np.nan_to_num(magnitude, nan=27)), 1, 60)
    axis.scatter(ra[~usable], dec[~usable], s=4, color="0.8", label=f"not usable in {band}")
    known = magnitude[usable & np.isfinite(magnitude)]
    low, high = np.percentile(known, [1, 95]) if len(known) else (15, 25)
    points = axis.scatter(
        ra[usable], dec[usable], s=size[usable], c=magnitude[usable], cmap="cividis_r", vmin=low, vmax=high
    )
    if usable.any():
        figure.colorbar(points, ax=axis, label=f"{band} PSF magnitude (AB)", shrink=0.8)
    axis.invert_xaxis()
    finish_sky_axes(axis, plane)
    if (~usable).any():
        axis.legend(fontsize=8)
    return figure


def plot_depths(catalogue: Table, bands: Sequence[str]) -> Figure:
    """Map of the 5-sigma depth in each band, relative to the median of the band."""
    figure, axes = _panels(len(bands))
    plane = SkyPlane.around(catalogue["coord_ra"], catalogue["coord_dec"])
    image = None
    for axis, band in zip(axes, bands, strict=True):
        depth, extent = depth_map(catalogue, band)
        middle = np.nanmedian(depth) if np.isfinite(depth).any() else np.nan
        image = axis.imshow(
            depth - middle, origin="lower", extent=extent, cmap="cividis", vmin=-0.4, vmax=0.4, aspect="auto"
        )
        axis.set_title(f"{band}: {middle:.2f}", fontsize=9)
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
    figure, axes = _panels(len(bands))
    edges = np.arange(14, 28 + width, width)
    for axis, band in zip(axes, bands, strict=True):
        chosen = good_flux(catalogue, f"{band}_kronFlux", snr_min=5)
        axis.hist(
            magnitude_of(np.asarray(catalogue[f"{band}_kronFlux"])[chosen]), edges, color=COLOURS[plain_band(band)]
        )
        if truth is not None:
            axis.hist(magnitude_of(np.asarray(truth[f"flux_{band}"])), edges, histtype="step", color="k", label="true")
        axis.set_yscale("log")
        axis.set_title(band, fontsize=9)
    if truth is not None:
        axes[0].legend(fontsize=7)
    figure.supxlabel("Kron magnitude (AB)", fontsize=9)
    figure.supylabel(f"objects per {width} mag", fontsize=9)
    return figure


def plot_offsets(offsets: Offsets, *, limit: float = 30.0) -> Figure:
    """Position offsets of stars, and the limit on their median distance as a circle."""
    figure, axis = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    axis.plot(offsets.ra, offsets.dec, "o", ms=3, color=COLOURS["vk"], mec="k", mew=0.2)
    angle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(limit * np.cos(angle), limit * np.sin(angle), "k--", lw=1, label=f"{limit:.0f} mas")
    axis.axhline(0, color="0.6", lw=0.6)
    axis.axvline(0, color="0.6", lw=0.6)
    reach = 3 * limit
    axis.set_xlim(reach, -reach)
    axis.set_ylim(-reach, reach)
    axis.set_aspect("equal")
    axis.set_xlabel("RA, measured - true (mas)")
    axis.set_ylabel("Dec, measured - true (mas)")
    axis.legend(fontsize=8, loc="upper right")
    return figure


def plot_pulls(comparisons: Sequence) -> Figure:
    """Distribution of (measured - true) / error of stars in each band, compared with a Gaussian of unit width."""
    figure, axes = _panels(len(comparisons))
    edges = np.linspace(-6, 6, 31)
    line = np.linspace(-6, 6, 200)
    for axis, item in zip(axes, comparisons, strict=True):
        if len(item):
            axis.hist(np.clip(item.pull, -6, 6), edges, density=True, color=COLOURS[item.band])
        axis.plot(line, np.exp(-0.5 * line**2) / np.sqrt(2 * np.pi), color="k", lw=1)
        axis.set_title(f"{item.band}: {len(item)} stars", fontsize=9)
    figure.supxlabel("(measured - true) / error", fontsize=9)
    figure.supylabel("density", fontsize=9)
    return figure


def plot_locus(locus: Locus) -> Figure:
    """Point sources in g-i and J-Ks, with the published locus of dwarf stars."""
    figure, axis = plt.subplots(figsize=(6, 4.2), layout="constrained")
    axis.plot(
        locus.g_i, locus.j_k, "o", ms=3, color=COLOURS["vj"], mec="k", mew=0.2, label=f"{len(locus)} point sources"
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
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for place, row in enumerate(table):
        band = row["band"]
        axis.errorbar(
            place,
            row["ratio"],
            row["scatter"],
            fmt=MARKERS[plain_band(band)],
            color=COLOURS[plain_band(band)],
            mec="k",
            mew=0.5,
            capsize=3,
        )
    axis.axhline(1, color="k", lw=0.8)
    axis.set_xticks(range(len(table)), [f"{row['band']}\n{row['n']}" for row in table])
    axis.set_xlabel("band and number of objects")
    axis.set_ylabel("fused / baseline flux")
    axis.grid(alpha=0.3)
    return figure


def plot_curves(curves: dict[str, Curve], *, label: str, expected: dict[str, np.ndarray] | None = None) -> Figure:
    """A fraction as a function of magnitude in each band, with its error; the expected completeness as a line."""
    figure, axes = _panels(len(curves))
    for axis, (band, curve) in zip(axes, curves.items(), strict=True):
        axis.errorbar(
            curve.middle,
            curve.fraction,
            curve.error,
            fmt=MARKERS[plain_band(band)],
            ms=4,
            color=COLOURS[plain_band(band)],
            mec="k",
            mew=0.4,
        )
        if expected is not None:
            axis.plot(curve.middle, expected[band], "k-", lw=1)
        axis.axhline(0.5, color="0.6", lw=0.6)
        axis.set_ylim(-0.05, 1.1)
        axis.set_title(band, fontsize=9)
        axis.grid(alpha=0.3)
    figure.supxlabel("magnitude (AB)", fontsize=9)
    figure.supylabel(label, fontsize=9)
    return figure


def plot_expected(magnitude: np.ndarray, expected: dict[str, np.ndarray]) -> Figure:
    """The completeness expected from the depth, for all bands."""
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for band, chance in expected.items():
        axis.plot(
            magnitude, chance, color=COLOURS[plain_band(band)], marker=MARKERS[plain_band(band)], ms=4, label=band
        )
    axis.axhline(0.5, color="0.6", lw=0.6)
    axis.set_xlabel("magnitude of a point source (AB)")
    axis.set_ylabel("probability of 5 sigma")
    axis.legend(ncols=2, fontsize=8)
    axis.grid(alpha=0.3)
    return figure
