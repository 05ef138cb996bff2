"""Figures of the stellar loci: stars on the published curves, and offsets of patches on the sky."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dmu0.figure_style import DIVERGING, band_colour
from dmu0.figures import finish_sky_axes
from dmu0.sky.sphere import SkyPlane
from dmu5.stellar_loci import DP2_SCATTER, PlaneStars, locus_summary, patch_offsets
from obs_vista.bands import shown_band


def plot_loci(loci: Sequence[PlaneStars]) -> Figure:
    """Bright point sources in each plane with the published locus; the range that is measured is shaded."""
    figure, axes = plt.subplots(1, len(loci), figsize=(3.3 * len(loci), 3.4), squeeze=False, layout="constrained")
    for axis, locus, row in zip(axes[0], loci, locus_summary(loci), strict=True):
        plane = locus.plane
        axis.plot(*plane.curve.T, "k-", lw=1, label="Covey et al. 2007")
        axis.plot(locus.x, locus.y, "o", ms=2.5, color=band_colour(plane.y[1]), mec="k", mew=0.2)
        axis.axvspan(plane.low, plane.high, color="0.93", zorder=-1)
        axis.set_xlabel(" - ".join(shown_band(band) for band in plane.x) + " (mag)")
        axis.set_ylabel(" - ".join(shown_band(band) for band in plane.y) + " (mag)")
        note = f"{plane.name}: scatter {1000 * row['scatter']:.0f} mmag of {row['stars']}"
        if plane.name in DP2_SCATTER:
            note += f"\n(DP2: {1000 * DP2_SCATTER[plane.name]:.0f} mmag)"
        axis.set_title(note, fontsize=8, loc="left")
    axes[0, 0].legend(fontsize=7)
    return figure


def plot_patch_offsets(loci: Sequence[PlaneStars]) -> Figure:
    """Offset of the locus of each patch from that of all stars, on the sky; numbers are offset and error in mmag."""
    figure, axes = plt.subplots(1, len(loci), figsize=(3.3 * len(loci), 3.2), squeeze=False, layout="constrained")
    image = None
    for axis, locus in zip(axes[0], loci, strict=True):
        table = patch_offsets(locus)
        axis.set_title(f"{locus.plane.name}: {len(table)} patches", fontsize=9, loc="left")
        if not len(table):
            axis.set_axis_off()
            continue
        plane = SkyPlane.around(locus.ra, locus.dec)
        ra, dec = plane.place(table["ra"], table["dec"])
        style = {"cmap": DIVERGING, "vmin": -20, "vmax": 20, "edgecolors": "k", "linewidths": 0.5, "marker": "s"}
        image = axis.scatter(ra, dec, c=1000 * np.asarray(table["offset"]), s=420, **style)
        if len(table) <= 16:
            for x, y, row in zip(ra, dec, table, strict=True):
                text = f"{1000 * row['offset']:+.0f}\n±{1000 * row['error']:.0f}"
                axis.text(x, y, text, ha="center", va="center", fontsize=6)
        axis.invert_xaxis()
        axis.margins(0.35)
        finish_sky_axes(axis, plane)
        axis.tick_params(labelsize=6)
    if image is not None:
        figure.colorbar(image, ax=axes, label="offset of the patch (mmag)", shrink=0.8)
    return figure
