"""Figures of the reference catalogues: offsets, colour terms, shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from lsst.sphgeom import HtmPixelization, LonLat
from matplotlib.figure import Figure

from dmu0.figures import finish_sky_axes
from dmu0.sky.matching import match
from dmu0.sky.sphere import SkyPlane, sky_area
from dmu2.colour_terms import ColourTerm, Fit
from dmu2.refcat import HTM_LEVEL
from obs_vista.photometry import magnitude_of

# Colour-blind-safe: blue, orange, grey (Petroff's and Tableau's palettes agree on these).
BLUE, ORANGE, GREY = "#006BA4", "#FF800E", "#898989"
_MARKERS = {"gaia": ("o", BLUE), "ps1": ("s", ORANGE), "2mass": ("^", GREY), "vista": ("D", "#595959")}


def plot_sky(merged: Table) -> Figure:
    """Positions of the reference stars, by the catalogue of the position."""
    figure, axis = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
    labels, plane = np.asarray(merged["position_from"]).astype(str), SkyPlane.around(merged["ra"], merged["dec"])
    for label, (marker, colour) in _MARKERS.items():
        rows = labels == label
        if rows.any():
            where = plane.place(np.asarray(merged["ra"])[rows], np.asarray(merged["dec"])[rows])
            axis.scatter(*where, s=5, marker=marker, color=colour, label=f"{label} ({rows.sum()})", alpha=0.7, lw=0)
    axis.invert_xaxis()
    finish_sky_axes(axis, plane)
    figure.legend(title="position from", markerscale=2.5, loc="outside upper center", ncols=4)
    plt.close(figure)
    return figure


def plot_separations(first: Table, second: Table, *, radius: float, names: tuple[str, str]) -> Figure:
    """Offsets of matched sources, and their separations compared with those of chance pairs."""
    pairs = match(first["ra"], first["dec"], second["ra"], second["dec"], radius=radius)
    one, two = first[pairs.first], second[pairs.second]
    east = ((np.asarray(one["ra"] - two["ra"]) + 180) % 360 - 180) * np.cos(np.radians(np.asarray(one["dec"]))) * 3600
    north = np.asarray(one["dec"] - two["dec"]) * 3600
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    image = left.hexbin(east, north, gridsize=50, bins="log", mincnt=1, cmap="cividis", extent=(-radius, radius) * 2)
    left.plot(np.median(east), np.median(north), "+", color="white", ms=14, mew=2)
    left.set(xlabel=r"$\Delta$RA cos(Dec) (arcsec)", ylabel=r"$\Delta$Dec (arcsec)", aspect="equal")
    left.set_title(f"{names[0]} - {names[1]}: {len(pairs)} pairs")
    figure.colorbar(image, ax=left, label="pairs", shrink=0.85)
    edges = np.linspace(0, radius, 41)
    right.hist(pairs.separation, bins=edges, color=BLUE, label="pairs found")
    # Unrelated sources: density of the second catalogue times the area of each ring.
    area = sky_area(second["ra"], second["dec"]) * 3600**2
    chance = len(first) * len(second) / area * np.pi * np.diff(edges**2)
    right.stairs(chance, edges, color=ORANGE, lw=2, label="unrelated sources")
    right.set(xlabel="separation (arcsec)", ylabel="pairs", yscale="log")
    right.legend()
    plt.close(figure)
    return figure


def plot_corrections(images: Table) -> Figure:
    """Aperture corrections by band, one point per image."""
    figure, axis = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    done = images[images["state"] == "done"]
    bands = list(dict.fromkeys(done["band"].tolist()))
    for number, band in enumerate(bands):
        rows = done[done["band"] == band]
        spread = number + np.linspace(-0.3, 0.3, len(rows))
        values = 2.5 * np.log10(rows["aperture_correction"])
        errors = 1.0857 * rows["correction_err"] / rows["aperture_correction"]
        axis.errorbar(spread, values, errors, fmt="o", ms=3, color=BLUE, ecolor=GREY, lw=0.7)
    axis.set_xticks(range(len(bands)), bands)
    axis.set(xlabel="band, images in order", ylabel="aperture correction (mag)")
    plt.close(figure)
    return figure


def plot_terms(fits: Mapping[str, tuple[ColourTerm, Fit, Table]]) -> Figure:
    """Magnitude differences as a function of colour, with fitted and published terms, and residuals."""
    figure, axes = plt.subplots(
        2, len(fits), figsize=(3.1 * len(fits), 5.2), layout="constrained", sharex="col", height_ratios=(2, 1),
        squeeze=False,
    )  # fmt: skip
    for (top, below), (band, (term, fit, stars)) in zip(axes.T, fits.items(), strict=True):
        used = stars[np.asarray(stars["used"], bool)]
        top.plot(used["colour"], used["difference"], ".", ms=3, color=GREY, alpha=0.6)
        low, high = term.colour_range
        if np.isfinite(fit.colour_median):
            low, high = fit.colour_range
            grid = np.linspace(low, high, 50)
            top.plot(grid, np.polyval(fit.coefficients[::-1], grid), color=BLUE, lw=2, label="fitted")
            model = np.polyval(term.coefficients[::-1], used["colour"])
            middle = float(np.median(used["difference"] - model))
            below.plot(used["colour"], used["residual"], ".", ms=3, color=GREY, alpha=0.6)
            top.plot(
                grid, np.polyval(term.coefficients[::-1], grid) + middle, "--", color=ORANGE, lw=2, label="published"
            )
            below.axhline(0, color=BLUE, lw=1)
            limit = 5 * max(fit.scatter, 0.01)
            below.set_ylim(-limit, limit)
            bottom, top_limit = np.percentile(used["difference"], [1, 99])
            room = 0.25 * (top_limit - bottom)
            top.set_ylim(bottom - room, top_limit + room)
            margin = 0.08 * (high - low)
            top.set_xlim(low - margin, high + margin)
        first, second = term.first.replace("tmass_", "").replace("ps1_", ""), term.second.split("_")[1]
        top.set_title(f"{band}: {fit.number} stars")
        below.set_xlabel(f"{first} - {second} ({term.system.upper()}, {term.magnitudes})")
    axes[0, 0].set_ylabel("m(band) - m(base) (mag)")
    axes[1, 0].set_ylabel("residual (mag)")
    axes[0, 0].legend()
    plt.close(figure)
    return figure


def plot_shards(table: Table, *, band: str, shards: Sequence[int]) -> Figure:
    """Stars with a flux in a band, coloured by magnitude, and the borders of the shards."""
    figure, axis = plt.subplots(figsize=(6.8, 5.5), layout="constrained")
    flux = np.asarray(table[f"{band}_flux"], float)
    known = np.isfinite(flux)
    sky = np.degrees(np.asarray(table["coord_ra"])), np.degrees(np.asarray(table["coord_dec"]))
    plane = SkyPlane.around(*sky)
    ra, dec = plane.place(*sky)
    axis.plot(ra[~known], dec[~known], ".", ms=2, color="#CFCFCF", label=f"no {band} flux ({(~known).sum()})")
    magnitude = magnitude_of(flux[known])
    points = axis.scatter(ra[known], dec[known], s=8, c=magnitude, cmap="viridis_r", label=f"{band} ({known.sum()})")
    figure.colorbar(points, ax=axis, label=f"{band} (AB mag)")
    limits = axis.get_xlim(), axis.get_ylim()
    for shard in shards:
        corners = [LonLat(vertex) for vertex in HtmPixelization(HTM_LEVEL).triangle(shard).getVertices()]
        x = [corner.getLon().asDegrees() for corner in corners]
        y = [corner.getLat().asDegrees() for corner in corners]
        axis.fill(*plane.place(np.array(x), np.array(y)), fill=False, edgecolor=ORANGE, lw=1.5, label=f"shard {shard}")
    axis.set(xlim=limits[0][::-1], ylim=limits[1])
    finish_sky_axes(axis, plane)
    figure.legend(loc="outside upper center", ncols=3, markerscale=2)
    plt.close(figure)
    return figure


def plot_counts(report: Table, *, min_stars: int) -> Figure:
    """Number of stars in each shard and band, compared with the smallest number for calibration."""
    figure, axis = plt.subplots(figsize=(8, 3.8), layout="constrained")
    bands = list(dict.fromkeys(report["band"].tolist()))
    shards = sorted(set(report["shard"].tolist()))
    shown = shards[:8]
    colours = plt.colormaps["cividis"](np.linspace(0, 0.9, max(len(shown), 1)))
    for number, shard in enumerate(shown):
        rows = report[report["shard"] == shard]
        place = np.arange(len(bands)) + (number + 0.5) / len(shown) * 0.8 - 0.4
        axis.bar(place, rows["stars"], 0.8 / len(shown), color=colours[number], alpha=0.45)
        axis.bar(place, rows["bright"], 0.8 / len(shown), color=colours[number], label=f"shard {shard}")
    axis.axhline(min_stars, color=ORANGE, lw=1.5, ls="--", label=f"minimum {min_stars}")
    axis.set_xticks(range(len(bands)), bands)
    axis.set(xlabel="band", ylabel="point sources (dark: error < 5%)", yscale="log")
    figure.legend(loc="outside upper center", ncols=5)
    plt.close(figure)
    return figure
