"""Verdicts on injected sources: half of the point sources at the depth, unbiased fluxes, agreement with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import MEDIAN_ERROR
from dmu5.checks import Check
from dmu5.injection.response import SelectionFunction
from dmu5.quality_checks import Limit
from dmu5.selection_function import Curve, falls_below
from obs_vista.bands import shown_band

HALF_AT_DEPTH = Limit(0.3, 0.6)
FLUX_BIAS = Limit(0.02, 0.05)
TRUTH_DIFFERENCE = Limit(0.03, 0.06)
MIN_SOURCES = 30
"""Smallest number of sources of a bin that is judged."""


def half_magnitude(function: SelectionFunction, band: str) -> tuple[float, float]:
    """Magnitude at which half of the point sources have a peak of their own in a band, and its error; NaN if unknown.

    The error is that of the magnitudes at which half plus and minus the error of the completeness there are found.
    """
    table = function.table
    chosen = (table["band"] == band) & (table["selection"] == band) & (table["kind"] == "point") & (table["tract"] < 0)
    bins = table[chosen]
    bins.sort("magnitude")
    magnitude, share, error = (np.asarray(bins[name], float) for name in ("magnitude", "completeness", "error"))
    weight = error**-2.0
    half = falls_below(magnitude, share, weight, 0.5)
    if not np.isfinite(half):
        return half, float("nan")
    # Two bins share the error of the curve between them.
    near = float(np.interp(half, magnitude, error)) / np.sqrt(2)
    ends = [falls_below(magnitude, share, weight, level) for level in (0.5 + near, 0.5 - near)]
    return half, float(np.nan_to_num(0.5 * (ends[1] - ends[0]), nan=magnitude[1] - magnitude[0]))


def depth_checks(function: SelectionFunction, catalogue: Table, bands: Sequence[str]) -> list[Check]:
    """Half of the point sources at the 5-sigma depth are detected: the threshold is 5 sigma."""
    rows = []
    for band in bands:
        depth = np.asarray(catalogue[f"{band}_depth5"], float)
        if not np.isfinite(depth).any():
            continue
        (half, error), median = half_magnitude(function, band), float(np.nanmedian(depth))
        what = f"{shown_band(band)}: half of the injected point sources are detected at"
        value = f"{half:.2f} +- {error:.2f}, depth {median:.2f}"
        verdict = HALF_AT_DEPTH.verdict(half - median, error=error)
        rows.append(Check(what, value, "<= 0.3 mag from the depth, fails > 0.6", verdict, band, False))
    return rows


def bias_checks(response: Table, catalogue: Table, bands: Sequence[str]) -> list[Check]:
    """Point-source fluxes of injected point sources a magnitude or more above the depth are unbiased."""
    rows = []
    for band in bands:
        depth = np.asarray(catalogue[f"{band}_depth5"], float)
        if not len(response) or not np.isfinite(depth).any():
            continue
        chosen = (response["band"] == band) & (response["flux"] == "psfFlux") & (response["kind"] == "point")
        chosen &= np.asarray(response["magnitude"]) < np.nanmedian(depth) - 1
        bins = response[chosen]
        count = int(np.sum(bins["n"]))
        what, limit = f"{shown_band(band)}: bias of psfFlux of injected point sources", "<= 2%, fails > 5%"
        if count < MIN_SOURCES:
            rows.append(Check(what, f"only {count} sources, not judged", limit, "warn", band, False))
            continue
        # Bins are combined by the errors of their medians.
        error = MEDIAN_ERROR * np.asarray(bins["scatter"], float) / np.sqrt(np.asarray(bins["n"], float))
        weight = 1 / np.maximum(error, 1e-4) ** 2
        bias = float(np.average(np.asarray(bins["bias"], float), weights=weight))
        verdict = FLUX_BIAS.verdict(bias, error=float(1 / np.sqrt(weight.sum())))
        rows.append(Check(what, f"{100 * bias:+.2f}% of {count}", limit, verdict, band, False))
    return rows


def truth_differences(function: SelectionFunction, curves: Mapping[str, Curve]) -> Table:
    """Completeness from injection beside that of true sources, in bins with enough of both.

    Returns
    -------
    table
        band, magnitude, n_true, n_injected, truth, injection, and the error of their difference.
    """
    table, rows = function.table, []
    for band, curve in curves.items():
        chosen = (
            (table["band"] == band) & (table["selection"] == "any") & (table["kind"] == "all") & (table["tract"] < 0)
        )
        injected = {round(float(row["magnitude"]), 3): row for row in table[chosen]}
        for middle, total, share, error in zip(curve.middle, curve.total, curve.fraction, curve.error, strict=True):
            row = injected.get(round(float(middle), 3))
            if row is None or total < MIN_SOURCES or row["n"] < MIN_SOURCES:
                continue
            both = float(np.hypot(error, row["error"]))
            rows.append((band, middle, int(total), int(row["n"]), share, float(row["completeness"]), both))
    names = ["band", "magnitude", "n_true", "n_injected", "truth", "injection", "error"]
    return Table(rows=rows or None, names=names, dtype=["U8", float, int, int, float, float, float])


def truth_checks(differences: Table) -> list[Check]:
    """Completeness from injection agrees with that of true sources at every magnitude, within the errors of both."""
    rows = []
    for band in dict.fromkeys(map(str, differences["band"])):
        mine = differences[differences["band"] == band]
        off = np.asarray(mine["injection"], float) - np.asarray(mine["truth"], float)
        beyond = np.abs(off) - 2 * np.asarray(mine["error"], float)
        worst = int(np.argmax(beyond))
        verdict = TRUTH_DIFFERENCE.verdict(float(off[worst]), error=float(mine["error"][worst]))
        value = f"{100 * off[worst]:+.1f}% at {mine['magnitude'][worst]:.2f}, rms {100 * np.sqrt(np.mean(off**2)):.1f}%"
        what = f"{shown_band(band)}: completeness by injection against truth, worst of {len(mine)} bins"
        rows.append(Check(what, value, "<= 3% beyond 2 errors, fails > 6%", verdict, band, False))
    return rows
