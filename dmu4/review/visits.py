"""Reviews of calibrated visits: tables and figures that show bad detectors."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack
from lsst.daf.butler import Butler
from lsst.images import Image
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from dmu0.sky.sphere import mean_position, tangent_offsets
from dmu4.detectors.background import fit_background
from dmu4.detectors.mask import detector_mask
from obs_vista.photometry import magnitude_of

OUTLINED = [withStroke(linewidth=1.5, foreground="0.2")]

NUMBERED = 5
"""Largest number of visits per row for which detector numbers are drawn."""

MAPS = {
    "seeing": ("seeing (arcsec)", "viridis"),
    "zero_point_offset": ("zero point - header (mag)", "cividis"),
    "noise_ratio": ("measured / predicted scatter of empty pixels", "viridis"),
    "astrometric_scatter": ("astrometric scatter, one axis (arcsec)", "cividis"),
    "psf_size_residual": ("PSF size residual dT/T of reserved stars", "cividis"),
    "sky_gradient": ("sky: largest - smallest value (ADU)", "viridis"),
}
"""Column of a summary -> label and colour map of its figure."""


def read_summaries(butler: Butler) -> Table:
    """The summaries of all visits in one table, one row per detector; empty if there are none."""
    if not butler.registry.queryDatasetTypes("visit_summary"):  # no step has ever made one
        return Table()
    references = sorted(butler.query_datasets("visit_summary", explain=False), key=lambda ref: ref.dataId["visit"])
    if not references:
        return Table()
    table = vstack([butler.get(reference) for reference in references], metadata_conflicts="silent")
    table["zero_point_offset"] = np.asarray(table["zero_point"]) - np.asarray(table["zero_point_header"])
    return table


def read_sources(butler: Butler, visit: int) -> Table:
    """The sources of all detectors of a visit, with the column ``detector``; empty if there are none."""
    parts = []
    for reference in butler.query_datasets("source", visit=visit, explain=False):
        part = butler.get(reference)
        part["detector"] = int(reference.dataId["detector"])
        parts.append(part)
    return vstack(parts, metadata_conflicts="silent") if parts else Table()


def visit_table(summaries: Table) -> Table:
    """One row per visit: medians over its detectors, and the number of accepted ones."""
    rows = []
    for visit in np.unique(summaries["visit"]):
        part = summaries[summaries["visit"] == visit]
        medians = [float(np.median(np.asarray(part[name]))) for name in ("seeing", "zero_point", "noise_ratio")]
        scatter = float(np.median(np.asarray(part["astrometric_scatter"])) * 1000)
        refined = int((np.asarray(part["status"]).astype(str) == "calibrated").sum())
        rows.append(
            (int(visit), str(part["band"][0]), len(part), refined, int(part["accepted"].sum()), *medians, scatter)
        )
    names = ("visit", "band", "detectors", "from stars", "accepted", "seeing", "zero point", "noise ratio", "scatter")
    table = Table(rows=rows, names=names)
    for name, unit in (("seeing", "arcsec"), ("zero point", "mag"), ("scatter", "mas")):
        table[name].unit = unit
        table[name].format = ".3f"
    table["noise ratio"].format = ".3f"
    return table


def plot_maps(summaries: Table, column: str) -> Figure:
    """The detectors of each visit on the sky, north up and east left, coloured by one column; rejected ones hatched.

    All visits are drawn in one frame, because separate frames would take five times longer.

    Parameters
    ----------
    summaries
        Table from `read_summaries`.
    column
        Column to show, a key of `MAPS`.
    """
    label, colours = MAPS[column]
    values = np.asarray(summaries[column], float)
    low, high = np.nanpercentile(values, [2, 98]) if np.isfinite(values).any() else (0.0, 1.0)
    outlines = _outlines(summaries)
    visits = sorted(np.unique(summaries["visit"]), key=lambda visit: _order(summaries, visit))
    columns = max(3, round(np.sqrt(0.6 * len(visits))))
    pitch = np.ptp(outlines, axis=(0, 1)) * [1.08, 1.2]
    places = np.array([visits.index(visit) for visit in summaries["visit"]])
    middles = np.stack([-(places % columns), -(places // columns)], axis=1) * pitch
    outlines = outlines + middles[:, None]
    figure = plt.figure(figsize=(8, 10), layout="constrained")
    axis = figure.subplots()
    drawn = PolyCollection(outlines, array=values, cmap=colours, edgecolors="0.3", linewidths=0.5)
    drawn.set_clim(low, high)
    axis.add_collection(drawn)
    for outline in outlines[~np.asarray(summaries["accepted"], bool)]:
        axis.fill(*outline.T, fill=False, hatch="xxx", edgecolor="tab:red", linewidth=1.2)
    centred = {"ha": "center", "va": "center", "in_layout": False}
    for row, outline in zip(summaries, outlines, strict=True) if columns <= NUMBERED else ():
        style = {"fontsize": 6, "color": "w", "path_effects": OUTLINED}
        axis.text(*outline.mean(axis=0), str(row["detector"]), **style, **centred)
    for number, visit in enumerate(visits):
        mine = places == number
        name = f"{summaries['band'][mine][0]}  {visit}"
        axis.text(
            middles[mine][0, 0], outlines[mine][..., 1].max() + 0.06 * pitch[1], name, fontsize=24 / columns, **centred
        )
    axis.set_aspect("equal")
    axis.autoscale_view()
    axis.invert_xaxis()
    axis.set_axis_off()
    bottom, bar = outlines[..., 1].min() - 0.06 * pitch[1], 2 * 10 ** round(np.log10(pitch[0] / 10))
    axis.plot([0, -bar], [bottom, bottom], color="k", linewidth=1.5)
    axis.text(0, bottom - 0.02 * pitch[1], f"{bar} arcmin, north up, east left", fontsize=8, va="top")
    figure.colorbar(drawn, ax=axis, label=label, shrink=0.7)
    return figure


def _order(summaries: Table, visit: int) -> tuple[float, int]:
    band = str(summaries["band"][summaries["visit"] == visit][0])
    return ("vz", "vy", "vj", "vh", "vk").index(band), int(visit)


def _outlines(summaries: Table) -> np.ndarray:
    """Corners of each detector in arcmin east and north of the centre of its visit [detector, corner, axis]."""
    outlines = np.empty((len(summaries), 4, 2))
    for visit in np.unique(summaries["visit"]):
        mine = np.asarray(summaries["visit"] == visit)
        part = summaries[mine]
        centre = mean_position(part["ra"], part["dec"])
        corners = [_arcmin(np.asarray(part[f"ra{k}"]), np.asarray(part[f"dec{k}"]), centre) for k in range(4)]
        outlines[mine] = np.transpose(corners, (2, 0, 1))
    return outlines


def _arcmin(ra: np.ndarray, dec: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    east, north = tangent_offsets(ra, dec, centre=centre)
    return 60 * east, 60 * north


def plot_arrows(sources: Table) -> Figure:
    """Offsets of stars from their references, with the transformation of the header and with the refined one.

    Parameters
    ----------
    sources
        Sources of one visit, from `read_sources`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
    matched = sources[np.asarray(sources["astrometry_used"], bool)]
    ra, dec = np.asarray(matched["coord_ra"]), np.asarray(matched["coord_dec"])
    east, north = _arcmin(ra, dec, mean_position(ra, dec))
    for axis, suffix, title in ((axes[0], "_before", "header"), (axes[1], "", "refined")):
        u, v = np.asarray(matched[f"east{suffix}"]), np.asarray(matched[f"north{suffix}"])
        arrows = axis.quiver(east, north, -u, v, angles="uv", scale=2000, width=0.002, color="tab:blue")
        axis.quiverkey(arrows, 0.85, 1.03, 100, "100 mas", labelpos="W")
        rms = np.sqrt(np.mean(u**2 + v**2) / 2)
        axis.set_title(f"{title}: {rms:.0f} mas rms, one axis", loc="left", fontsize=9)
        axis.set_xlabel("east (arcmin)")
        axis.set_aspect("equal")
        axis.invert_xaxis()
    axes[0].set_ylabel("north (arcmin)")
    return figure


def plot_residuals(sources: Table) -> Figure:
    """Residuals of magnitudes and of PSF sizes as a function of magnitude, for the stars of one visit."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    flux = np.asarray(sources["psf_flux"])
    magnitude = magnitude_of(flux)
    used = np.asarray(sources["photometry_used"], bool)
    axes[0].plot(magnitude[used], np.asarray(sources["dmag"])[used], ".", color="tab:blue", ms=4)
    axes[0].set(xlabel="magnitude (AB)", ylabel="detector - reference (mag)", ylim=(-0.35, 0.35))
    for name, marker, colour in (("psf_used", ".", "tab:blue"), ("psf_reserved", "s", "tab:orange")):
        chosen = np.asarray(sources[name], bool)
        label = name.removeprefix("psf_")
        axes[1].plot(magnitude[chosen], np.asarray(sources["psf_dt"])[chosen], marker, color=colour, ms=4, label=label)
    axes[1].set(xlabel="magnitude (AB)", ylabel="dT / T, star - PSF", ylim=(-0.2, 0.2))
    axes[1].legend(fontsize=8)
    for axis in axes:
        axis.axhline(0, color="0.5", lw=0.8)
    return figure


def plot_background(pawprint: Image, *, seeing: float) -> Figure:
    """A detector image, its sky model, and the difference.

    Parameters
    ----------
    pawprint
        Image in counts.
    seeing
        FWHM of stars in pixels.
    """
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    image = pawprint.array
    mask = detector_mask(image, None, saturation=np.inf)
    background = fit_background(image, mask, fwhm=seeing)
    model = background.image()
    for axis, pixels, middle, title in (
        (axes[0], image, background.level, "stack"),
        (axes[1], model, background.level, "sky"),
        (axes[2], image - model, 0.0, "stack - sky"),
    ):
        reach = 4 * background.noise
        drawn = axis.imshow(pixels, origin="lower", cmap="gray", vmin=middle - reach / 2, vmax=middle + reach)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("x (px)")
        axis.figure.colorbar(drawn, ax=axis, shrink=0.6, label="ADU" if axis is axes[2] else None)
    axes[0].set_ylabel("y (px)")
    return figure
