"""The zero points that detectors have in common: how far they moved, and how accurate they are."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table, vstack
from lsst.daf.butler import Butler
from matplotlib.figure import Figure

from dmu0.figure_style import BAD, GOOD, NEUTRAL
from dmu0.surveys import Survey
from dmu1.steps import patches_to_make
from dmu4.review.visit_truth import compare_with_truth
from dmu4.review.visits import read_summaries
from obs_vista.bands import in_band_order, shown_band


def read_zero_points(butler: Butler, survey: Survey, tracts: str = "", truth: Table | None = None) -> Table:
    """The zero points of all detectors, alone and from common stars.

    Parameters
    ----------
    butler
        Repository of the survey.
    survey
        The survey.
    tracts
        Tracts, separated by spaces; empty: those of the survey.
    truth
        Table from `dmu0.truth.read_detector_truth`, or None.

    Returns
    -------
    Table
        One row per tract and detector: the columns of `dmu4.detectors.star_lists.zero_point_table`, and tract, band,
        ``alone_err``, and ``true_alone`` and ``true_common``, the errors of both zero points in mag (NaN if the truth
        is unknown); empty if there are none.
    """
    if not any(known.name == "common_zero_points" for known in butler.registry.queryDatasetTypes()):
        return Table()
    chosen, parts = patches_to_make(survey, tracts), []
    summaries = read_summaries(butler)
    rows = {(int(row["visit"]), int(row["detector"])): number for number, row in enumerate(summaries)}
    for ref in butler.query_datasets("common_zero_points", explain=False, limit=None):
        if int(ref.dataId["tract"]) not in chosen:
            continue
        part = butler.get(ref)
        mine = summaries[[rows[int(row["visit"]), int(row["detector"])] for row in part]]
        part["tract"], part["band"] = int(ref.dataId["tract"]), str(ref.dataId["band"])
        part["alone_err"] = np.asarray(mine["zero_point_err"])
        part["true_alone"] = part["true_common"] = np.nan
        if truth is not None:
            part["true_alone"] = np.asarray(compare_with_truth(mine, truth)["zero_point_error"])
            part["true_common"] = part["true_alone"] + np.asarray(part["correction"])
        parts.append(part)
    return vstack(parts, metadata_conflicts="silent") if parts else Table()


def summarise_zero_points(found: Table) -> Table:
    """One row per tract and band: numbers, errors and scatters of the zero points in mmag.

    Parameters
    ----------
    found
        Table from `read_zero_points`.

    Returns
    -------
    Table
        tract, band, detectors, stars and shared (medians of a detector), moved (rms of the corrections), alone_err and
        relative_err (medians), common_err, visit_spread; and from the truth alone and common (scatter of the errors),
        offset (their mean) and pull (root mean square of the errors about their mean over what is expected).
    """
    rows = []
    for tract, band, part in _parts(found):
        errors = np.asarray(part["true_common"])
        pulls = (errors - errors.mean()) / np.hypot(part["relative_err"], part["psf_err"])
        milli = (
            np.sqrt(np.mean(np.square(part["correction"]))),
            np.median(part["alone_err"]),
            np.median(part["relative_err"]),
            part["common_err"][0],
            part["visit_spread"][0],
            np.std(part["true_alone"]),
            np.std(errors),
            errors.mean(),
        )
        counts = (len(part), int(np.median(part["n_stars"])), int(np.median(part["n_shared"])))
        pull = round(float(np.sqrt(np.mean(pulls**2))), 2)
        rows.append((tract, band, *counts, *(round(1000 * float(value), 1) for value in milli), pull))
    names = ["tract", "band", "detectors", "stars", "shared", "moved", "alone_err", "relative_err", "common_err"]
    names += ["visit_spread", "alone", "common", "offset", "pull"]
    return Table(rows=rows or None, names=names, dtype=[int, str, int, int, int, *9 * [float]])


def _parts(found: Table) -> list[tuple[int, str, Table]]:
    """The rows of each tract and band, from blue to red."""
    if not len(found):
        return []
    tracts, bands = np.asarray(found["tract"]), np.asarray(found["band"]).astype(str)
    order = in_band_order(np.unique(bands).tolist())
    return [
        (int(tract), band, found[chosen])
        for tract in np.unique(tracts)
        for band in order
        if (chosen := (tracts == tract) & (bands == band)).any()
    ]


def plot_zero_points(found: Table) -> Figure:
    """Zero points of each detector about the mean of its visit, alone and in common, with their errors.

    Parameters
    ----------
    found
        Table from `read_zero_points`, of one tract or more; a simulated survey also shows the truth.
    """
    parts = _parts(found)
    figure, axes = plt.subplots(len(parts), 1, figsize=(11, 2.1 * len(parts)), squeeze=False, layout="constrained")
    for axis, (_, band, part) in zip(axes[:, 0], parts, strict=True):
        part = part[np.lexsort([part["detector"], part["visit"]])]
        place, common = np.arange(len(part)), np.asarray(part["zero_point"])
        visit, alone = np.asarray(part["visit"]), common - np.asarray(part["correction"])
        level = np.array([common[visit == one].mean() for one in visit])
        options = {"fmt": "o", "ms": 4, "lw": 1, "capsize": 0}
        axis.errorbar(
            place - 0.12, 1e3 * (alone - level), 1e3 * part["alone_err"], color=NEUTRAL, label="alone", **options
        )
        axis.errorbar(
            place + 0.12,
            1e3 * (common - level),
            1e3 * part["relative_err"],
            color=GOOD,
            label="common stars",
            **options,
        )
        true = common - np.asarray(part["true_common"])
        if np.isfinite(true).all():
            shift = np.asarray(part["true_common"]).mean()
            axis.plot(place, 1e3 * (true + shift - level), "_", color=BAD, ms=9, mew=2, label="truth")
        for edge in np.flatnonzero(np.diff(visit)):
            axis.axvline(edge + 0.5, color="0.8", lw=1)
        axis.set(ylabel=f"{shown_band(band)} (mmag)", xlim=(-0.7, len(part) - 0.3))
    axes[0, 0].legend(ncols=3, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    axes[-1, 0].set_xlabel("detectors, by visit (separated by lines)")
    figure.suptitle("Zero points about the mean of their visit")
    return figure
