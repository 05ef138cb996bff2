"""Which detectors of a visit are good enough to be coadded, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table


@dataclass(frozen=True)
class Limits:
    """Limits on what calibration measured.

    Attributes
    ----------
    astrometric_scatter
        Arcsec, one axis.
    zero_point_error
        Mag.
    zero_point_offset
        Mag; departure from the median of the visit's detectors, whose zero points CASU has made equal.
    psf_size_residual
        ``|dT/T|`` of reserved stars, over twice its error.
    noise_ratio
        Scatter of empty pixels over predicted.
    seeing_offset
        Relative departure of the seeing from the visit's median.
    """

    astrometric_scatter: float = 0.1
    zero_point_error: float = 0.05
    zero_point_offset: float = 0.15
    psf_size_residual: float = 0.1
    noise_ratio: float = 1.6
    seeing_offset: float = 0.5


def rejection(summaries: Table, limits: Limits) -> list[str]:
    """Why each detector of a visit is rejected; an empty string where it is accepted.

    A statistic that could not be measured rejects nothing: a detector with the header's solution is as good as its
    header.

    Parameters
    ----------
    summaries
        One row per detector, as `dmu4.detectors.tables.summary_table` makes them.
    limits
        What is allowed.
    """
    offset = np.asarray(summaries["zero_point"]) - np.median(np.asarray(summaries["zero_point"]))
    wide = np.asarray(summaries["seeing"]) / np.median(np.asarray(summaries["seeing"])) - 1
    # an offset counts beyond three times its error, a size residual beyond twice: noise rejects nothing
    offset_noise = 3 * np.nan_to_num(np.asarray(summaries["zero_point_err"]))
    size_noise = 2 * np.nan_to_num(np.asarray(summaries["psf_size_residual_err"]))
    size = np.abs(np.asarray(summaries["psf_size_residual"]))
    checks = (
        ("astrometric scatter", np.asarray(summaries["astrometric_scatter"]), limits.astrometric_scatter, "arcsec"),
        ("zero point error", np.asarray(summaries["zero_point_err"]), limits.zero_point_error, "mag"),
        ("zero point offset", np.maximum(np.abs(offset) - offset_noise, 0), limits.zero_point_offset, "mag"),
        ("PSF size residual", np.maximum(size - size_noise, 0), limits.psf_size_residual, ""),
        ("noise ratio", np.asarray(summaries["noise_ratio"]), limits.noise_ratio, ""),
        ("seeing offset", np.abs(wide), limits.seeing_offset, "of the median"),
    )
    reasons: list[list[str]] = [[] for _ in range(len(summaries))]
    for name, values, limit, unit in checks:
        for number, value in enumerate(values):
            if value > limit:  # not-a-number is not
                reasons[number].append(f"{name} {value:.3g} {unit}".rstrip() + f" (limit {limit:g})")
    return ["; ".join(parts) for parts in reasons]


def summarise(summaries: list[Table], limits: Limits) -> Table:
    """The detectors of a visit in one table, in order, with `accepted` and `rejected_because`.

    Parameters
    ----------
    summaries
        One-row tables.
    limits
        What is allowed.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not summaries:
        raise ValueError("A visit needs the summary of at least one detector.")
    ordered = sorted(summaries, key=lambda table: int(table["detector"][0]))
    result = Table()
    for name in ordered[0].colnames:
        result[name] = np.array([table[name][0] for table in ordered])
        result[name].description = ordered[0][name].description
        result[name].unit = ordered[0][name].unit
    reasons = rejection(result, limits)
    result["accepted"] = np.array([not reason for reason in reasons])
    result["accepted"].description = "within the limits of the survey: goes into coadds"
    result["rejected_because"] = np.array(reasons)
    result["rejected_because"].description = "the limits that it exceeds; empty if accepted"
    return result
