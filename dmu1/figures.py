"""Figures of dmu1: quality by band, images on the sky, maps and jobs."""

from __future__ import annotations

from collections.abc import Sequence

import healsparse
import hpgeom
import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from dmu0.figure_style import DIVERGING
from dmu0.figures import finish_sky_axes
from dmu0.sky.skymap import Patch
from dmu0.sky.sphere import SkyPlane
from dmu0.surveys import Vista
from dmu1.coverage import image_corners
from dmu1.selection import zero_point_limits
from obs_vista.bands import BAND_ORDER, in_band_order, shown_band

ACCEPTED, REJECTED = "#006BA4", "#C85200"
"""Blue and vermilion of the colour-blind-safe Tableau palette."""

QUANTITIES = {
    "seeing": "seeing [arcsec]",
    "magzpt": "zero point [mag]",
    "noise_ratio": "sky noise, measured / predicted",
    "ellipticity": "ellipticity",
}
"""Columns of the inventory that measure the quality of an image, with the labels of their axes."""


def bands_present(table: Table) -> list[str]:
    """The bands of a table, from blue to red."""
    return list(in_band_order(map(str, table["band"])))


def plot_quality(selected: Table, vista: Vista) -> Figure:
    """Seeing, zero point, noise ratio and ellipticity of every image, by band, with the limits of the survey.

    Parameters
    ----------
    selected
        Inventory with the column accepted; readable rows are shown, slightly offset in x.
    vista
        VISTA section of the survey, for its cuts.
    """
    table = selected[selected["state"] == "ok"]
    bands, spread = bands_present(table), np.random.default_rng(0).uniform(-0.3, 0.3, len(table))
    figure, panels = plt.subplots(2, 2, figsize=(10, 6.5), sharex=True, layout="constrained")
    place = np.array([bands.index(band) for band in table["band"]], float) + spread
    for panel, (name, label) in zip(panels.flat, QUANTITIES.items(), strict=True):
        for wanted, colour, marker, text in ((True, ACCEPTED, "o", "accepted"), (False, REJECTED, "x", "rejected")):
            rows = np.asarray(table["accepted"]) == wanted
            panel.scatter(
                place[rows],
                table[name][rows],
                s=14,
                c=colour,
                marker=marker,
                alpha=0.7,
                lw=0.8,
                label=f"{rows.sum()} {text}",
            )
        _draw_limits(panel, name, table, vista, bands)
        panel.set_ylabel(label)
        panel.set_xticks(range(len(bands)), [shown_band(band) for band in bands], fontsize=8)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _draw_limits(panel: Axes, name: str, table: Table, vista: Vista, bands: list[str]) -> None:
    """The limits of a cut as dashed lines."""
    cuts = vista.cuts
    level: Sequence[float] = ()
    if name == "seeing" and cuts.seeing_max is not None:
        level = (cuts.seeing_max,)
    elif name == "ellipticity" and cuts.ellipticity_max is not None:
        level = (cuts.ellipticity_max,)
    elif name == "noise_ratio" and cuts.noise_ratio_range is not None:
        level = cuts.noise_ratio_range
    for value in level:
        panel.axhline(value, color="0.3", ls="--", lw=1)
    if name == "magzpt" and cuts.zero_point_sigma is not None:
        for band, value in zero_point_limits(table, cuts.zero_point_sigma).items():
            x = bands.index(band)
            panel.plot([x - 0.4, x + 0.4], [value, value], color="0.3", ls="--", lw=1)


def _sky_axes(panel: Axes, plane: SkyPlane, x: np.ndarray, y: np.ndarray) -> None:
    """Axes of a map that preserve angles at the centre, with east to the left, limited to the given positions."""
    panel.set_xlim(np.max(x), np.min(x))
    panel.set_ylim(np.min(y), np.max(y))
    panel.locator_params(axis="x", nbins=4)
    finish_sky_axes(panel, plane)


def _in_plane(corners: np.ndarray) -> tuple[SkyPlane, np.ndarray]:
    """The tangent plane of a map of corners (..., RA and Dec), and the corners projected on it."""
    plane = SkyPlane.around(corners[..., 0], corners[..., 1])
    return plane, np.stack(plane.place(corners[..., 0], corners[..., 1]), axis=-1)


def plot_images(selected: Table, column: str) -> Figure:
    """Outlines of the images on the sky, one panel per band, coloured by the deviation of a quantity from its median in
    the band, so that a night that differs is seen in every band; rejected images are hatched.

    Parameters
    ----------
    selected
        Rows with corners; if there is a column accepted, rejected images are hatched.
    column
        Column to show, one of `QUANTITIES`.
    """
    table = selected[selected["state"] == "ok"]
    bands, (plane, corners) = bands_present(table), _in_plane(image_corners(table))
    columns = min(len(bands), 3)
    rows = -(-len(bands) // columns)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=((3.6 if columns > 1 else 5.4) * columns + 1, 3.5 * rows if columns > 1 else 5),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    off, medians = from_band_median(table, column)
    scale = _diverging(off)
    accepted = np.asarray(table["accepted"]) if "accepted" in table.colnames else np.ones(len(table), bool)
    for panel, band in zip(panels.flat, bands, strict=False):
        for wanted in (True, False):
            here = (np.asarray(table["band"]) == band) & (accepted == wanted)
            outlines = PolyCollection(corners[here], cmap=DIVERGING, norm=scale, edgecolor="0.2", lw=0.5)
            outlines.set(array=off[here], alpha=0.45 if wanted else 0.25)
            if not wanted:
                outlines.set(hatch="///", edgecolor=REJECTED)
            panel.add_collection(outlines)
        _sky_axes(panel, plane, corners[..., 0], corners[..., 1])
        panel.label_outer()
        good = int(np.sum(accepted & (table["band"] == band)))
        bad = int(np.sum(table["band"] == band)) - good
        rejected = f", {bad} rejected (hatched)" if bad else ""
        panel.set_title(f"{shown_band(band)}: {good} images{rejected}, median {medians[band]:.2f}", fontsize=9)
    for panel in list(panels.flat)[len(bands) :]:
        panel.set_axis_off()
    label = f"{QUANTITIES[column]}, minus the median of the band"
    figure.colorbar(plt.cm.ScalarMappable(scale, DIVERGING), ax=panels, label=label, shrink=0.8)
    return figure


def plot_detectors(selected: Table, column: str) -> Figure:
    """A matrix of stacks and detectors, coloured by the deviation of a quantity from its median in the band: a bad
    detector is a column, a bad night a row.

    Parameters
    ----------
    selected
        Inventory; readable rows of the first 60 stacks by band and time are shown.
    column
        Column to show, one of `QUANTITIES`.
    """
    table = selected[selected["state"] == "ok"]
    first = {str(row["path"]): (BAND_ORDER.index(row["band"]), row["mjd"], row["exposure"]) for row in table}
    stacks = sorted(first, key=first.get)[:60]
    values, (off, _) = np.full((len(stacks), 16), np.nan), from_band_median(table, column)
    for row, deviation in zip(table, off, strict=True):
        if row["path"] in stacks:
            values[stacks.index(row["path"]), row["detector"] - 1] = deviation
    figure, panel = plt.subplots(figsize=(8, 1.4 + 0.24 * len(stacks)), layout="constrained")
    picture = panel.imshow(values, cmap=DIVERGING, norm=_diverging(values), aspect="auto")
    panel.set_xticks(range(16), range(1, 17))
    panel.set_xlabel("detector")
    panel.set_ylabel("band and exposure")
    panel.set_yticks(
        range(len(stacks)), [f"{shown_band(BAND_ORDER[first[s][0]])} {first[s][2]}" for s in stacks], fontsize=8
    )
    figure.colorbar(picture, ax=panel, label=f"{QUANTITIES[column]}, minus the median of the band")
    return figure


def from_band_median(table: Table, column: str) -> tuple[np.ndarray, dict[str, float]]:
    """Values of a column minus their median in each band, and the medians."""
    off, medians = np.array(table[column], float), {}
    for band in bands_present(table):
        here = np.asarray(table["band"]) == band
        known = off[here & np.isfinite(off)]
        medians[band] = float(np.median(known)) if len(known) else float("nan")
        off[here] -= medians[band]
    return off, medians


def _diverging(off: np.ndarray) -> plt.Normalize:
    """A scale about zero that reaches as far as most of the deviations."""
    known = np.abs(off[np.isfinite(off)])
    reach = max(float(np.percentile(known, 98)), 1e-6) if len(known) else 1.0
    return plt.Normalize(-reach, reach)


def plot_patches(images: Table, patches: Sequence[Patch], judged: Table) -> Figure:
    """Outlines of images over the inner boxes of patches, with the names of the patches.

    Parameters
    ----------
    images
        Accepted images.
    patches
        The patches; the figure is wide if some are more than a degree from the others.
    judged
        Table from `dmu1.coverage.judge_patches`; skipped patches are dotted.
    """
    boxes = np.array([_corners(patch) for patch in patches])
    plane, everything = _in_plane(np.concatenate([boxes, image_corners(images)]) if len(images) else boxes)
    boxes, outlines = everything[: len(patches)], everything[len(patches) :]
    figure, panel = plt.subplots(figsize=(6.5, 6.5), layout="constrained")
    panel.add_collection(PolyCollection(outlines, facecolor=ACCEPTED, alpha=0.04, edgecolor="none"))
    panel.add_collection(PolyCollection(outlines, facecolor="none", edgecolor=ACCEPTED, lw=0.5, alpha=0.6))
    for patch, box, state in zip(patches, boxes, judged["state"], strict=True):
        style = {"job": "-", "skipped": ":"}[str(state)]
        panel.add_collection(PolyCollection([box], facecolor="none", edgecolor="k", lw=1.5, ls=style))
        if len(patches) <= 100:
            panel.text(*box.mean(axis=0), f"{patch.tract.id}\n{patch.name}", ha="center", va="center", fontsize=9)
    margin = 0.05 * np.ptp(everything[..., 1])
    x, y = (everything[..., axis] + [[margin, -margin] * 2] for axis in (0, 1))
    _sky_axes(panel, plane, x, y)
    return figure


def _corners(patch: Patch) -> np.ndarray:
    """Corners of the inner box of a patch in deg [corner, axis]."""
    corners = patch.inner_corners()
    return np.column_stack([corners.ra.deg, corners.dec.deg])


def plot_maps(
    maps: dict[str, healsparse.HealSparseMap], patches: Sequence[Patch], label: str, *, counts: bool = False
) -> Figure:
    """HEALPix maps, one panel per band, with the outlines of patches: numbers on a common scale, other quantities as
    deviations from the median of the band, which is in the title.

    Parameters
    ----------
    maps
        Band -> map; bands without any finite value are left blank.
    patches
        The patches, which define the part of the sky to show.
    label
        Quantity of the maps, with its unit.
    counts
        Whether the values are whole numbers.
    """
    plane, boxes = _in_plane(np.array([_corners(patch) for patch in patches]))
    margin = 0.1 * np.ptp(boxes[..., 1])
    x = np.linspace(boxes[..., 0].max() + margin, boxes[..., 0].min() - margin, 300)
    y = np.linspace(boxes[..., 1].min() - margin, boxes[..., 1].max() + margin, 300)
    grid = plane.sky(*np.meshgrid(x, y))
    images = {band: _blank(sparse.get_values_pos(*grid, lonlat=True)) for band, sparse in maps.items()}
    titles = {band: shown_band(band) for band in images}
    if not counts:
        for band, image in images.items():
            middle = float(np.nanmedian(image)) if np.isfinite(image).any() else np.nan
            images[band], titles[band] = image - middle, f"{shown_band(band)}: median {middle:.2f}"
        label = f"{label}, minus the median of the band"
    known = np.concatenate([image[np.isfinite(image)] for image in images.values()] + [np.zeros(0)])
    low, high = (known.min(), max(known.max(), known.min() + 1e-6)) if len(known) else (0, 1)
    colours, scale = plt.get_cmap("viridis"), plt.Normalize(low, high)
    if not counts:
        colours, scale = plt.get_cmap(DIVERGING), _diverging(known)
    elif high - low < 12:  # one colour per number
        scale = BoundaryNorm(np.arange(low - 0.5, np.floor(high) + 1), colours.N)
    columns = min(len(maps), 3)
    rows = -(-len(maps) // columns)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=((3.6 if columns > 1 else 5.4) * columns + 1, 3.5 * rows if columns > 1 else 5),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for panel, (band, image) in zip(panels.flat, images.items(), strict=False):
        panel.pcolormesh(x, y, image, cmap=colours, norm=scale, rasterized=True)
        panel.add_collection(PolyCollection(boxes, facecolor="none", edgecolor="0.35", lw=1))
        _sky_axes(panel, plane, x, y)
        panel.label_outer()
        panel.set_facecolor("0.85")
        panel.set_title(titles[band], fontsize=10)
    for panel in list(panels.flat)[len(maps) :]:
        panel.set_axis_off()
    ticks = np.arange(low, np.floor(high) + 1) if isinstance(scale, BoundaryNorm) else None
    figure.colorbar(plt.cm.ScalarMappable(scale, colours), ax=panels, label=label, shrink=0.8, ticks=ticks)
    return figure


def _blank(values: np.ndarray) -> np.ndarray:
    """Map values with NaN where there is no value."""
    values = np.asarray(values, float)
    return np.where((values == 0) | (values == hpgeom.UNSEEN), np.nan, values)


def plot_jobs(jobs: Table, judged: Table, bands: Sequence[str]) -> Figure:
    """A matrix of patches and bands: colours show the covered fraction, numbers that of the images.

    Parameters
    ----------
    jobs, judged
        Tables from the coverage step; the first 40 patches to be processed are shown.
    bands
        Bands of the survey.
    """
    shown = judged[judged["state"] == "job"][:40]
    rows = {(int(row["tract"]), int(row["patch"])): number for number, row in enumerate(shown)}
    coverage, counts = np.zeros((len(shown), len(bands))), np.zeros((len(shown), len(bands)), int)
    for job in jobs:
        row = rows.get((int(job["tract"]), int(job["patch"])))
        if row is not None:
            column = list(bands).index(str(job["band"]))
            coverage[row, column], counts[row, column] = job["coverage"], job["n_images"]
    figure, panel = plt.subplots(figsize=(2.5 + 0.75 * len(bands), 2 + 0.42 * len(shown)), layout="constrained")
    picture = panel.imshow(coverage, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        colour = "k" if coverage[row, column] > 0.6 else "w"
        panel.text(column, row, count, ha="center", va="center", color=colour, fontsize=9)
    panel.set_xticks(range(len(bands)), [shown_band(band) for band in bands], fontsize=8)
    panel.set_yticks(range(len(shown)), [f"{tract} {patch}" for tract, patch in rows])
    panel.set_xlabel("band (numbers: images)")
    panel.set_ylabel("tract and patch")
    figure.colorbar(picture, ax=panel, label="fraction of the patch covered")
    return figure
