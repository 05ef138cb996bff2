"""Quality cuts: the detector images to be used, and the reasons for rejecting the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import robust_scatter
from dmu0.surveys import Vista

ZERO_POINT_SIGMA_MIN = 0.05
"""Smallest assumed scatter (mag) of the zero points of a band: a few similar nights say little about the next."""

ZERO_POINT_EXCESS = 0.5
"""Smallest limit (mag) on how much a zero point may exceed the median of its band: a new mirror coating gains some
tenths. A wrong zero point is not harmless: the image would have too large a weight and too faint fluxes."""


NOISE_RATIO_FACTOR = 1.5
"""By how much a noise ratio may differ from the median of its band: an image whose noise is given too small by more
would have more than twice its weight in coadds."""

FEWEST_TO_COMPARE = 3
"""Images of a band of which a median says which one is odd."""


class Rejection(NamedTuple):
    """The effect of one cut.

    Attributes
    ----------
    cut
        Name of the cut.
    limit
        Limit of the cut, as text.
    rejects
        Whether each row of the inventory is rejected.
    reasons
        Reason for each row, as text; meaningful where ``rejects`` is true.
    """

    cut: str
    limit: str
    rejects: np.ndarray
    reasons: np.ndarray


def select(inventory: Table, vista: Vista) -> tuple[Table, Table]:
    """Apply the cuts of a survey.

    All cuts are applied to all images, so that all reasons of a rejection are recorded. Of several stacks of the same
    exposure, only the one with the most usable detectors is kept.

    Parameters
    ----------
    inventory
        Inventory made by `dmu1.inventory`.
    vista
        VISTA section of the survey: bands, cuts, and whether confidence maps are required.

    Returns
    -------
    selected
        Inventory with the columns ``accepted`` and ``rejected_because``, with reasons separated by "; ".
    cuts
        Table with one row per cut: name, limit, n_failed (images that fail the cut), n_first (those that passed all
        earlier cuts), n_left (images that pass this and all earlier cuts).
    """
    reasons: list[list[str]] = [[] for _ in range(len(inventory))]
    left = np.ones(len(inventory), bool)
    rows = [("all images", "", 0, 0, len(inventory))]
    for rejection in _rejections(inventory, vista):
        for number in np.flatnonzero(rejection.rejects):
            reasons[number].append(str(rejection.reasons[number]))
        rows.append(_count(rejection, left))
        left &= ~rejection.rejects
    duplicates = _duplicates(inventory, left)
    for number in np.flatnonzero(duplicates.rejects):
        reasons[number].append(str(duplicates.reasons[number]))
    rows.append(_count(duplicates, left))
    left &= ~duplicates.rejects

    selected = inventory.copy()
    selected["accepted"] = left
    selected["accepted"].description = "whether the image is used"
    selected["rejected_because"] = np.array(["; ".join(why) for why in reasons], dtype=str)
    selected["rejected_because"].description = "every cut that it failed"
    cuts = Table(rows=rows, names=("cut", "limit", "n_failed", "n_first", "n_left"))
    return selected, cuts


def count_reasons(selected: Table) -> Table:
    """The number of images for each reason of rejection, without values; an image can have several reasons.

    Parameters
    ----------
    selected
        Inventory from `select`.
    """
    given = [reason for because in selected["rejected_because"] if because for reason in str(because).split("; ")]
    kinds = Counter(re.split(r" \(| -?\d|: | of exposure", reason)[0] for reason in given)
    rows = kinds.most_common()
    return Table({"reason": np.array([kind for kind, _ in rows], str), "images": np.array([n for _, n in rows], int)})


def _count(rejection: Rejection, left: np.ndarray) -> tuple[str, str, int, int, int]:
    """A row of the table of cuts, given the images that passed the earlier cuts."""
    first = int(np.sum(rejection.rejects & left))
    return rejection.cut, rejection.limit, int(rejection.rejects.sum()), first, int(left.sum()) - first


def _rejections(inventory: Table, vista: Vista) -> Iterator[Rejection]:
    """The cuts in the order of the table. For images that could not be read, this is the only reason."""
    cuts, read = vista.cuts, np.asarray(inventory["state"] == "ok")
    why = [f"not read: {reason}" for reason in inventory["reason"]]
    yield _rejection("readable", "", ~read, why)
    yield _rejection(
        "band",
        " ".join(vista.stack_bands),
        read & ~np.isin(inventory["band"], vista.stack_bands),
        [_why_not_band(str(band), vista) for band in inventory["band"]],
    )
    if vista.noise == "confidence":
        yield _rejection(
            "confidence map", "", read & (inventory["confidence_path"] == ""), list(inventory["confidence_problem"])
        )
    yield _listed("OBSTATUS", inventory["obstatus"], cuts.obstatus_reject, read)
    yield _listed("ESOGRADE", inventory["esograde"], cuts.esograde_reject, read)
    if cuts.seeing_max is not None:
        yield _ranged("seeing", inventory["seeing"], -np.inf, cuts.seeing_max, read, unit=" arcsec")
    if cuts.ellipticity_max is not None:
        yield _ranged("ellipticity", inventory["ellipticity"], -np.inf, cuts.ellipticity_max, read)
    if cuts.noise_ratio_range is not None:
        absolute = _ranged("noise ratio", inventory["noise_ratio"], *cuts.noise_ratio_range, read)
        yield absolute
        yield _noise_of_band(inventory, read & ~absolute.rejects)
    yield _known_zero_point(inventory, vista.magnitudes, read)
    if cuts.zero_point_sigma is not None:
        yield _zero_point(inventory, cuts.zero_point_sigma, read)


def _why_not_band(band: str, vista: Vista) -> str:
    return f"band {band} is taken from coadds" if band in vista.bands else f"band {band} is not one of the survey's"


def _rejection(cut: str, limit: str, rejects: np.ndarray, reasons: list[str]) -> Rejection:
    return Rejection(cut, limit, np.asarray(rejects, bool), np.array(reasons, dtype=object))


def _listed(name: str, values: np.ndarray, refused: tuple[str, ...], read: np.ndarray) -> Rejection:
    """A cut on text; archives truncate OBSTATUS to ten characters, hence also "Must Repea"."""
    rejects = read & np.isin(np.char.strip(np.asarray(values, str)), refused)
    return _rejection(name, "not " + ", ".join(refused), rejects, [f"{name} is {value}" for value in values])


def _ranged(name: str, values: np.ndarray, low: float, high: float, read: np.ndarray, *, unit: str = "") -> Rejection:
    """A cut on a number; unknown values are rejected, because they are not known to be good."""
    values = np.asarray(values, float)
    with np.errstate(invalid="ignore"):
        rejects = read & ~((values >= low) & (values <= high))
    limit = f"{low:g} to {high:g}{unit}" if np.isfinite(low) else f"at most {high:g}{unit}"
    reasons = [f"{name} unknown" if np.isnan(value) else f"{name} {value:.3g}{unit} ({limit})" for value in values]
    return _rejection(name, limit, rejects, reasons)


def _noise_of_band(inventory: Table, read: np.ndarray) -> Rejection:
    """A cut on noise ratios that differ from the median of their band: what is wrong with all images is no reason."""
    values, bands = np.asarray(inventory["noise_ratio"], float), np.asarray(inventory["band"], str)
    middle = np.full(len(values), np.nan)
    for band in np.unique(bands[read]):
        of_band = read & (bands == band)
        if of_band.sum() >= FEWEST_TO_COMPARE:
            middle[of_band] = np.median(values[of_band])
    with np.errstate(invalid="ignore", divide="ignore"):
        rejects = read & ((values > middle * NOISE_RATIO_FACTOR) | (values < middle / NOISE_RATIO_FACTOR))
    reasons = [
        f"noise ratio {value:.3g}, {value / median:.2f} times the median of its band (at most a factor of "
        f"{NOISE_RATIO_FACTOR:g})"
        for value, median in zip(values, middle, strict=True)
    ]
    return _rejection("noise of the band", f"within a factor of {NOISE_RATIO_FACTOR:g}", rejects, reasons)


def zero_point_limits(inventory: Table, sigma: float) -> dict[str, float]:
    """The faintest allowed zero point in each band: the median minus a multiple of the robust scatter.

    Parameters
    ----------
    inventory
        Inventory, of which the readable rows are used.
    sigma
        Multiple of the scatter, which is at least `ZERO_POINT_SIGMA_MIN`.
    """
    return {band: middle - sigma * scatter for band, (middle, scatter) in _zero_points(inventory).items()}


def _zero_points(inventory: Table) -> dict[str, tuple[float, float]]:
    """Median and robust scatter of the known zero points of each band."""
    known = inventory[(inventory["state"] == "ok") & np.isfinite(inventory["magzpt"])]
    found = {}
    for band in np.unique(known["band"]):
        values = np.asarray(known["magzpt"][known["band"] == band])
        found[str(band)] = (float(np.median(values)), float(np.fmax(robust_scatter(values), ZERO_POINT_SIGMA_MIN)))
    return found


def _known_zero_point(inventory: Table, magnitudes: str, read: np.ndarray) -> Rejection:
    """A cut on missing zero points: without one no stage can convert counts to fluxes."""
    unknown = ~np.isfinite(np.asarray(inventory["magzpt"], float))
    problems = np.asarray(inventory["zero_point_problem"], str)
    if magnitudes == "Vega":
        unknown |= problems != ""
    reasons = ["zero point unknown" + (f": {why}" if why else "") for why in problems]
    return _rejection("zero point known", "", read & unknown, reasons)


def _zero_point(inventory: Table, sigma: float, read: np.ndarray) -> Rejection:
    """A cut on zero points that are too faint, because of clouds, or too bright, because of header errors."""
    bands, values = _zero_points(inventory), np.asarray(inventory["magzpt"], float)
    middle, scatter = np.array([bands.get(str(band), (np.nan, np.nan)) for band in inventory["band"]]).reshape(-1, 2).T
    low, high = middle - sigma * scatter, middle + np.maximum(sigma * scatter, ZERO_POINT_EXCESS)
    with np.errstate(invalid="ignore"):
        rejects = read & ((values < low) | (values > high))
    reasons = [
        f"zero point {value:.3f} " + (f"(at least {least:.3f})" if value < least else f"(at most {most:.3f})")
        for value, least, most in zip(values, low, high, strict=True)
    ]
    return _rejection("zero point", f"within {sigma:g} sigma", rejects, reasons)


def _duplicates(inventory: Table, left: np.ndarray) -> Rejection:
    """A cut on stacks that have the same exposure number as another usable stack.

    The stack with the most usable detectors is kept, then that with the most combined exposures, then the first by
    name.
    """
    rejects = np.zeros(len(inventory), bool)
    reasons = [""] * len(inventory)
    path, exposure = np.asarray(inventory["path"], str), np.asarray(inventory["exposure"])
    stacks: dict[int, dict[str, list[int]]] = {}
    for number in np.flatnonzero(left):
        stacks.setdefault(int(exposure[number]), {}).setdefault(path[number], []).append(number)
    for files in stacks.values():
        if len(files) == 1:
            continue
        best = min(files, key=lambda name: (-len(files[name]), -max(inventory["nicomb"][files[name]]), name))
        for name, numbers in files.items():
            if name == best:
                continue
            rejects[numbers] = True
            for number in numbers:
                reasons[number] = f"duplicate of exposure {exposure[number]} in {best}"
    return _rejection("duplicates", "one stack per exposure", rejects, reasons)
