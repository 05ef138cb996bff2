"""The selection function: completeness, bias and scatter of fluxes from injected sources, as a table and a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from dmu0.files.tables import read_table
from dmu0.robust_statistics import robust_scatter
from obs_vista.photometry import magnitude_of

ANY = "any"
"""Selection of every object of the catalogue, whatever the band of its detection."""

KINDS = ("all", "point", "extended")
"""Kinds of sources."""


def population_weights(sources: Table, *, slope: float) -> np.ndarray:
    """Weights that turn magnitudes drawn uniformly into number counts of a slope d log10 N / dm.

    With them, sources of one magnitude in any other band have the mixture of colours that the sky has.
    """
    magnitude = np.asarray(sources["magnitude"], float)
    return 10 ** (slope * (magnitude - magnitude.mean())) if len(magnitude) else np.zeros(0)


def matched_weights(sources: Table, magnitudes: np.ndarray, band: str, *, edges: np.ndarray) -> np.ndarray:
    """Weights that give the sources the distribution of some magnitudes in a band.

    With them, injected sources can be compared with a population that ends where a simulated sky does.

    Parameters
    ----------
    sources
        The sources.
    magnitudes
        True magnitudes of the population in ``band``.
    band
        Band of the magnitudes.
    edges
        Edges of the bins in which the numbers are matched, AB mag; sources outside get no weight.
    """
    mine = magnitude_of(np.asarray(sources[f"flux_{band}"], float))
    number = np.digitize(mine, edges) - 1
    inside = (number >= 0) & (number < len(edges) - 1)
    have, wanted = np.histogram(mine[inside], edges)[0], np.histogram(magnitudes, edges)[0]
    ratio = np.divide(wanted, have, out=np.zeros(len(have)), where=have > 0)
    return np.where(inside, ratio[np.clip(number, 0, len(ratio) - 1)], 0.0)


def selected(sources: Table, selection: str) -> np.ndarray:
    """Whether each source was selected: found at all (``any``), or found with a peak of its own in a band."""
    name = "found" if selection == ANY else f"{selection}_detected"
    return np.asarray(sources["found"], bool) & np.asarray(sources[name], bool)


def of_kind(sources: Table, kind: str) -> np.ndarray:
    """Whether each source is of a kind of `KINDS`."""
    extended = np.asarray(sources["extended"], bool)
    return np.ones(len(sources), bool) if kind == "all" else extended == (kind == "extended")


def completeness_table(
    sources: Table, bands: Sequence[str], *, edges: np.ndarray, weights: np.ndarray, by_place: bool = True
) -> Table:
    """Completeness in bins of the true magnitude of each band, for each selection and kind, of all and of each patch.

    Parameters
    ----------
    sources
        Sources of `dmu5.injection.recovery.recover`.
    bands
        Bands of the magnitudes; selections are `ANY` and the band itself, i and Ks.
    edges
        Edges of the bins, AB mag.
    weights
        Weight of each source.
    by_place
        Whether single patches get rows too, with the number of the tract and patch; -1 stands for all.

    Returns
    -------
    table
        band, selection, kind, tract, patch, magnitude (middle of the bin), n, completeness and its error; bins without
        sources have no row. The error is binomial for the effective number of sources, (sum w)^2 / sum w^2.
    """
    places = [(-1, -1)]
    if by_place and len(sources):
        pairs = np.column_stack([np.asarray(sources["tract"]), np.asarray(sources["patch"])])
        places += [(int(tract), int(patch)) for tract, patch in np.unique(pairs, axis=0)]
    middle, rows = 0.5 * (edges[1:] + edges[:-1]), []
    for band in bands:
        number = np.digitize(magnitude_of(np.asarray(sources[f"flux_{band}"], float)), edges) - 1
        for selection in dict.fromkeys((ANY, band, *(name for name in ("i", "vk") if name in bands))):
            kept = selected(sources, selection)
            for kind in KINDS:
                for tract, patch in places if kind == "all" else places[:1]:
                    here = of_kind(sources, kind) & (number >= 0) & (number < len(middle))
                    if tract >= 0:
                        here &= (np.asarray(sources["tract"]) == tract) & (np.asarray(sources["patch"]) == patch)
                    binned = _fractions(number[here], kept[here], weights[here], len(middle))
                    rows += [
                        (band, selection, kind, tract, patch, middle[k], count, share, error)
                        for k, (count, share, error) in enumerate(binned)
                        if count
                    ]
    names = ["band", "selection", "kind", "tract", "patch", "magnitude", "n", "completeness", "error"]
    return Table(rows=rows or None, names=names, dtype=["U8", "U8", "U8", int, int, float, int, float, float])


def _fractions(number: np.ndarray, kept: np.ndarray, weights: np.ndarray, bins: int) -> list[tuple[int, float, float]]:
    """Number of sources in each bin, the weighted fraction of them that is kept, and its error."""
    count = np.bincount(number, minlength=bins)
    total, power, part = (
        np.bincount(number, values, minlength=bins) for values in (weights, weights**2, weights * kept)
    )
    result = []
    for k in range(bins):
        if not total[k] > 0:
            result.append((0, float("nan"), float("nan")))
            continue
        share, effective = part[k] / total[k], total[k] ** 2 / power[k]
        smooth = (share * effective + 1) / (effective + 2)
        result.append((int(count[k]), float(share), float(np.sqrt(smooth * (1 - smooth) / effective))))
    return result


def flux_response(sources: Table, bands: Sequence[str], *, edges: np.ndarray) -> Table:
    """Bias and scatter of measured over true fluxes of found sources, in bins of true magnitude.

    Kron fluxes are divided by the fraction of the light in their ellipse; GAaP and circles are compared for point
    sources only through the fluxes of other point sources, so that their ratio includes the light outside.

    Returns
    -------
    table
        band, flux, kind, magnitude, n, bias (median of measured over true, minus one), scatter, and width (of the pull,
        measured minus true over error).
    """
    used = (
        sources[np.asarray(sources["measured"], bool) & np.asarray(sources["found"], bool)] if len(sources) else sources
    )
    middle, rows = 0.5 * (edges[1:] + edges[:-1]), []
    for band in bands:
        true = np.asarray(used[f"flux_{band}"], float)
        number = np.digitize(magnitude_of(true), edges) - 1
        for flux in ("psfFlux", "kronFlux", "cModelFlux", "gaap1p0Flux", "ap06Flux", "ap12Flux"):
            value, error = (np.asarray(used[f"{band}_{flux}{end}"], float) for end in ("", "Err"))
            if flux == "kronFlux":
                fraction = np.asarray(used[f"{band}_kronFraction"], float)
                value, error = value / fraction, error / fraction
            good = np.isfinite(value) & (error > 0) & ~np.asarray(used[f"{band}_{flux}_flag"], bool)
            for kind in KINDS[1:]:
                for k, here in enumerate(good & of_kind(used, kind) & (number == k) for k in range(len(middle))):
                    if np.count_nonzero(here) < 5:
                        continue
                    ratio, pull = value[here] / true[here], (value[here] - true[here]) / error[here]
                    bias, scatter = float(np.median(ratio) - 1), float(robust_scatter(ratio))
                    width = float(robust_scatter(pull))
                    rows.append((band, flux, kind, middle[k], int(here.sum()), bias, scatter, width))
    names = ["band", "flux", "kind", "magnitude", "n", "bias", "scatter", "width"]
    return Table(rows=rows or None, names=names, dtype=["U8", "U12", "U8", float, int, float, float, float])


@dataclass(frozen=True)
class SelectionFunction:
    """The probability that a source is in the catalogue, from injected sources.

    Attributes
    ----------
    table
        Table of `completeness_table`.
    """

    table: Table

    @classmethod
    def read(cls, path: Path) -> SelectionFunction:
        """Read the selection function of a release, ``selection/completeness.parquet``."""
        return cls(read_table(path))

    def __call__(
        self,
        magnitude: np.ndarray | float,
        *,
        band: str,
        selection: str = ANY,
        kind: str = "all",
        tract: int = -1,
        patch: int = -1,
    ) -> np.ndarray:
        """Completeness at some magnitudes, interpolated between the bins.

        Brighter than the first bin it is that of the first bin, fainter than the last one it is zero.

        Parameters
        ----------
        magnitude
            True AB magnitudes in ``band``.
        band
            Band of the magnitudes.
        selection
            ``any`` for all objects, or the band in which an object must have a peak, e.g. ``i`` or ``vk``.
        kind
            One of `KINDS`.
        tract, patch
            Place; -1 for the mean of all.

        Raises
        ------
        KeyError
            If nothing was injected for this choice.
        """
        table = self.table
        wanted = {"band": band, "selection": selection, "kind": kind, "tract": tract, "patch": patch}
        chosen = np.logical_and.reduce([np.asarray(table[name]) == value for name, value in wanted.items()])
        if not chosen.any():
            said = ", ".join(f"{name} {value}" for name, value in wanted.items())
            raise KeyError(f"There is no selection function for {said}.")
        rows = table[chosen]
        order = np.argsort(np.asarray(rows["magnitude"]))
        known, share = (np.asarray(rows[name], float)[order] for name in ("magnitude", "completeness"))
        return np.interp(np.asarray(magnitude, float), known, share, left=share[0], right=0.0)
