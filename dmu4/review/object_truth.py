"""Comparison of the object table with the truth of a simulated sky: detection and fluxes of isolated stars."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dmu0.robust_statistics import clipped_moments
from dmu0.sky.sphere import mean_position, tangent_offsets
from dmu0.truth import detectable, is_star, isolated, match_to_truth
from dmu4.review.objects import GALAXY, bands_of, median_of
from obs_vista.photometry import flux_of, magnitude_of

NEIGHBOURS = 0.05
"""Largest contribution of neighbours to an isolated star in any band, relative to its own flux."""


def match_truth(objects: Table, truth: Table) -> Table:
    """Match isolated true stars with objects.

    Parameters
    ----------
    objects
        The object table.
    truth
        True sources with ra, dec, type, flux_<band>.

    Returns
    -------
    Table
        Isolated true stars inside the area of primary objects that exceed 5 sigma in any band, according to its median
        depth: their fluxes, the ``row`` of the matching primary object (-1 if there is none), its ``distance`` in mas
        (NaN), and whether it was ``found``.
    """
    primary = np.flatnonzero(objects["detect_isPrimary"])
    bands = [band for band in bands_of(objects) if f"flux_{band}" in truth.colnames]
    centre = mean_position(objects["coord_ra"], objects["coord_dec"])
    there = 3600 * np.column_stack(tangent_offsets(truth["ra"], truth["dec"], centre=centre))
    here = 3600 * np.column_stack(tangent_offsets(objects["coord_ra"], objects["coord_dec"], centre=centre))[primary]
    margin = 3.0
    inside = np.all((there > here.min(axis=0) + margin) & (there < here.max(axis=0) - margin), axis=1)
    seen, _ = detectable(truth, {band: flux_of(median_of(objects[f"{band}_depth5"], 3)) for band in bands})
    alone = np.logical_and.reduce([isolated(truth, band, fraction=NEIGHBOURS) for band in bands])
    stars = truth[inside & seen & alone & is_star(truth)]
    pairs = match_to_truth(stars, objects["coord_ra"][primary], objects["coord_dec"][primary])
    row, distance = np.full(len(stars), -1), np.full(len(stars), np.nan)
    row[pairs.first], distance[pairs.first] = primary[pairs.second], 1000 * pairs.separation
    matched = Table({"row": row, "distance": distance, "found": row >= 0})
    for band in bands:
        matched[f"flux_{band}"] = np.asarray(stars[f"flux_{band}"])
    return matched


def flux_ratios(objects: Table, matched: Table, *, kind: str = "psfFlux", bright: float = 20) -> Table:
    """Median and scatter of the ratio of measured to true flux in each band, for matched stars above a limit."""
    rows = []
    found = matched[np.asarray(matched["found"])]
    for band in bands_of(objects):
        if f"flux_{band}" not in matched.colnames:
            continue
        row = np.asarray(found["row"])
        flux, error = (np.asarray(objects[f"{band}_{name}"])[row] for name in (kind, f"{kind}Err"))
        chosen = (flux > bright * error) & ~np.asarray(objects[f"{band}_{kind}_flag"])[row]
        ratio = flux[chosen] / np.asarray(found[f"flux_{band}"])[chosen]
        middle, scatter = clipped_moments(ratio)
        rows.append((band, len(ratio), round(middle, 4), round(scatter, 4)))
    return Table(rows=rows or None, names=("band", "stars", "median", "scatter"), dtype=(str, int, float, float))


def plot_truth(objects: Table, matched: Table) -> Figure:
    """Relative error of the point-source flux of isolated stars against true magnitude, one panel per band."""
    found = matched[np.asarray(matched["found"])]
    bands = [band for band in bands_of(objects) if f"flux_{band}" in matched.colnames]
    columns = min(5, len(bands))
    rows = -(-len(bands) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.7 * columns, 2.4 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    row = np.asarray(found["row"])
    for axis, band in zip(axes.flat, bands, strict=False):
        truth = np.asarray(found[f"flux_{band}"])
        ratio = np.asarray(objects[f"{band}_psfFlux"])[row] / truth - 1
        error = np.asarray(objects[f"{band}_psfFluxErr"])[row] / truth
        axis.errorbar(magnitude_of(truth), 100 * ratio, 100 * error, fmt="o", ms=2.5, lw=0.6, color=GALAXY, alpha=0.6)
        axis.axhspan(-2, 2, color="0.85", zorder=0)
        axis.axhline(0, color="k", lw=0.5)
        axis.set(ylim=(-12, 12))
        axis.set_title(band, fontsize=10)
    for axis in axes.flat[len(bands) :]:
        axis.set_visible(False)
    figure.supxlabel("true magnitude (AB)")
    figure.supylabel("point-source flux / truth - 1 (%)")
    return figure
