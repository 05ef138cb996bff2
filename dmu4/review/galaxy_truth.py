"""Comparison of galaxies with the truth of a simulated sky: total fluxes, colours and sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu0.truth import NEIGHBOUR_RADIUS, is_star, isolated, match_to_truth, neighbour_fraction
from dmu4.review.objects import GALAXY, STAR, bands_of
from obs_vista.bands import shown_band
from obs_vista.photometry import POGSON, magnitude_of

NEIGHBOURS = 0.02
"""Largest contribution of neighbours to an isolated galaxy, relative to its own flux in the band."""

UNDERLYING = 0.5
"""Largest contribution of neighbours in quoted errors to a galaxy that judges the errors: an undetected one of 2% of
its flux, which no fit can tell from it, is five errors of a galaxy of 250 sigma."""

RANGES = ((10.0, 20.0), (20.0, np.inf))
"""Ranges of the true flux over the quoted error in which model fluxes are judged."""


def true_galaxies(truth: Table, objects: Table) -> tuple[Table, Table]:
    """True galaxies, and the primary objects that they are, in the same order."""
    galaxies = truth[~is_star(truth)]
    primary = objects[np.asarray(objects["detect_isPrimary"], bool)]
    pairs = match_to_truth(galaxies, primary["coord_ra"], primary["coord_dec"])
    return galaxies[pairs.first], primary[pairs.second]


def total_flux(objects: Table, band: str, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Total flux of a kind, its error, and whether it is good: Kron fluxes are divided by their fraction."""
    flux, error = (np.asarray(objects[f"{band}_{kind}{end}"], float) for end in ("", "Err"))
    good = ~np.asarray(objects[f"{band}_{kind}_flag"], bool) & (error > 0)
    if kind == "kronFlux":
        fraction = np.asarray(objects[f"{band}_kronFraction"], float)
        flux, error = flux / fraction, error / fraction
    return flux, error, good & np.isfinite(flux)


def model_fluxes_of_galaxies(objects: Table, truth: Table) -> Table:
    """Model and Kron fluxes over true fluxes of isolated galaxies, in ranges of signal to noise, one row each.

    Parameters
    ----------
    objects
        The object table.
    truth
        True sources, with ra, dec, type and ``flux_<band>``.

    Returns
    -------
    Table
        Band, lowest signal to noise, number of galaxies; the median ratio of model flux to truth with its sampling
        error, scatter and width of the pulls, the floor in their errors; the number of galaxies whose neighbours are
        within `UNDERLYING` errors, and the width of their pulls; median and scatter of Kron fluxes over their fraction.
    """
    names = (
        *("band", "above", "galaxies", "model", "sampling", "scatter", "pull"),
        *("alone", "pull_alone", "kron", "kron_scatter"),
    )
    rows = []
    for band in (band for band in bands_of(objects) if f"flux_{band}" in truth.colnames):
        light = neighbour_fraction(truth, band, radius=NEIGHBOUR_RADIUS)
        one = Table(truth, copy=False)
        one["neighbours"] = light
        mine, found = true_galaxies(one[(light < NEIGHBOURS) | is_star(truth)], objects)
        true = np.asarray(mine[f"flux_{band}"], float)
        flux, error, good = total_flux(found, band, "cModelFlux")
        kron, _, has_kron = total_flux(found, band, "kronFlux")
        for low, high in RANGES:
            chosen = good & has_kron & (true > low * error) & (true < high * error)
            count = int(chosen.sum())
            if count < 3:
                rows.append((band, low, count, *([np.nan] * 4), 0, *([np.nan] * 3)))
                continue
            ratio, of_kron = flux[chosen] / true[chosen], kron[chosen] / true[chosen]
            floor = np.nan_to_num(np.asarray(found[f"{band}_fluxFloor"], float)) * flux
            pull = (flux - true)[chosen] / np.hypot(error, floor)[chosen]
            alone = pull[(np.asarray(mine["neighbours"]) * true < UNDERLYING * error)[chosen]]
            scatter = robust_scatter(ratio)
            values = (np.median(ratio), MEDIAN_ERROR * scatter / np.sqrt(count), scatter, robust_scatter(pull))
            width = robust_scatter(alone) if len(alone) > 2 else np.nan
            rows.append((band, low, count, *values, len(alone), width, np.median(of_kron), robust_scatter(of_kron)))
    kinds = (str, float, int, *([float] * 4), int, *([float] * 3))
    table = Table(rows=rows or None, names=names, dtype=kinds)
    for name, kind in zip(names[3:], kinds[3:], strict=True):
        if kind is float:
            table[name].info.format = ".3f"
    return table


def plot_galaxies(objects: Table, truth: Table, bands: Sequence[str]) -> Figure:
    """Total flux of isolated galaxies over the truth against signal to noise, by model and in Kron ellipses.

    Parameters
    ----------
    objects, truth
        As in `model_fluxes_of_galaxies`.
    bands
        Bands to show, one panel each.
    """
    figure, axes = plt.subplots(
        1, len(bands), figsize=(4.4 * len(bands), 4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, band in zip(axes[0], bands, strict=True):
        mine, found = true_galaxies(truth[isolated(truth, band, fraction=NEIGHBOURS) | is_star(truth)], objects)
        true = np.asarray(mine[f"flux_{band}"], float)
        _, error, _ = total_flux(found, band, "cModelFlux")
        for kind, colour, marker, name in (
            ("kronFlux", STAR, "x", "Kron"),
            ("cModelFlux", GALAXY, "o", "disc and bulge"),
        ):
            flux, _, good = total_flux(found, band, kind)
            chosen = good & (true > 5 * error)
            axis.plot(
                (true / error)[chosen],
                100 * (flux / true - 1)[chosen],
                marker,
                color=colour,
                ms=3.5,
                alpha=0.6,
                label=name,
            )
        axis.axhspan(-2, 2, color="0.85", zorder=0)
        axis.axhline(0, color="k", lw=0.5)
        axis.set(xscale="log", ylim=(-60, 60), xlabel="true flux / error of the model flux", title=shown_band(band))
    axes[0, 0].set_ylabel("total flux / truth - 1 (%)")
    axes[0, 0].legend()
    return figure


def colour_offsets(
    objects: Table, truth: Table, kind: str, pairs: Sequence[tuple[str, str]], *, snr_min: float = 15
) -> Table:
    """Median error of a colour of galaxies, in magnitudes, for pairs of bands.

    Parameters
    ----------
    objects, truth
        As in `model_fluxes_of_galaxies`.
    kind
        Kind of flux.
    pairs
        Pairs of bands.
    snr_min
        Smallest signal to noise in both bands.

    Returns
    -------
    Table
        Bands, number of galaxies, median of measured minus true colour with its sampling error, its scatter, and the
        width of the pulls, with the floors of both bands in their errors.
    """
    rows = []
    for first, second in pairs:
        alone = isolated(truth, first, fraction=NEIGHBOURS) & isolated(truth, second, fraction=NEIGHBOURS)
        mine, found = true_galaxies(truth[alone | is_star(truth)], objects)
        chosen, (difference, square) = np.ones(len(mine), bool), np.zeros((2, len(mine)))
        for band, sign in ((first, 1), (second, -1)):
            flux, error, good = total_flux(found, band, kind)
            chosen &= good & (flux > snr_min * error)
            floor = np.nan_to_num(np.asarray(found[f"{band}_fluxFloor"], float))
            square += np.square(error / np.where(good, flux, np.nan)) + np.square(floor)
            difference += sign * (magnitude_of(flux) - magnitude_of(np.asarray(mine[f"flux_{band}"], float)))
        values, count = difference[chosen], int(chosen.sum())
        scatter = robust_scatter(values) if count > 2 else np.nan
        median = float(np.median(values)) if count else np.nan
        pull = robust_scatter(values / (POGSON * np.sqrt(square[chosen]))) if count > 2 else np.nan
        sampling = MEDIAN_ERROR * scatter / np.sqrt(max(count, 1))
        rows.append((f"{first} - {second}", count, median, sampling, scatter, pull))
    names = ("colour", "galaxies", "median", "sampling", "scatter", "pull")
    table = Table(rows=rows or None, names=names, dtype=(str, int, *([float] * 4)))
    for name in names[2:]:
        table[name].info.format = ".4f"
    return table
