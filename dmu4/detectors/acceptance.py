"""Selection of the detectors of a visit that are good enough to be coadded, with the reasons for rejections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table


@dataclass(frozen=True)
class Limits:
    """Limits on the statistics of the calibration.

    Attributes
    ----------
    astrometric_scatter
        Largest astrometric scatter along one axis, arcsec.
    zero_point_error
        Largest error of the zero point, mag.
    zero_point_offset
        Largest deviation of the zero point from the median of the visit's detectors, whose zero points CASU has made
        equal, mag.
    psf_size_residual
        Largest ``|dT/T|`` of reserved stars, after subtracting twice its error.
    noise_ratio
        Largest ratio of measured to predicted scatter of empty pixels, and of predicted to measured.
    seeing_offset
        Largest relative deviation of the seeing from the median of the visit.
    crowding
        Largest fraction of the light of bright stars by which a wide aperture with a local sky falls short of their PSF
        fluxes, after subtracting twice its error: the light of neighbours in the annulus. Beyond it the sky and the
        zero point are wrong: by 0.02 to 0.04 mag in fields of 6,000 synthetic stars on 1024 x 1024 pixels, which lose
        0.12 to 0.17, and by 0.06 to 0.23 mag in fields of 8,000 and 12,000, which lose 0.23 to 0.39.
    """

    astrometric_scatter: float = 0.1
    zero_point_error: float = 0.05
    zero_point_offset: float = 0.15
    psf_size_residual: float = 0.1
    noise_ratio: float = 1.6
    seeing_offset: float = 0.5
    crowding: float = 0.1


def rejection(summaries: Table, limits: Limits) -> list[str]:
    """The reasons for rejecting each detector of a visit; an empty string if it is accepted.

    A statistic that could not be measured does not cause a rejection: a detector with the solution of the header is as
    good as its header.

    Parameters
    ----------
    summaries
        Table with one row per detector, from `dmu4.detectors.tables.summary_table`.
    limits
        Limits on the statistics.
    """
    offset = np.asarray(summaries["zero_point"]) - np.median(np.asarray(summaries["zero_point"]))
    wide = np.asarray(summaries["seeing"]) / np.median(np.asarray(summaries["seeing"])) - 1
    # only the part of an offset beyond three times its error counts, of a size residual beyond twice its error
    offset_noise = 3 * np.nan_to_num(np.asarray(summaries["zero_point_err"]))
    size_noise = 2 * np.nan_to_num(np.asarray(summaries["psf_size_residual_err"]))
    size = np.abs(np.asarray(summaries["psf_size_residual"]))
    noise = np.asarray(summaries["noise_ratio"], float)
    lost = 1 - np.asarray(summaries["psf_growth"], float) - 2 * np.nan_to_num(np.asarray(summaries["psf_growth_err"]))
    checks = (
        ("astrometric scatter", np.asarray(summaries["astrometric_scatter"]), limits.astrometric_scatter, "arcsec"),
        ("zero point error", np.asarray(summaries["zero_point_err"]), limits.zero_point_error, "mag"),
        ("zero point offset", np.maximum(np.abs(offset) - offset_noise, 0), limits.zero_point_offset, "mag"),
        ("PSF size residual", np.maximum(size - size_noise, 0), limits.psf_size_residual, ""),
        ("noise ratio", noise, limits.noise_ratio, ""),
        ("inverse noise ratio", 1 / np.where(noise > 0, noise, np.nan), limits.noise_ratio, ""),
        ("seeing offset", np.abs(wide), limits.seeing_offset, "of the median"),
        ("crowding", lost, limits.crowding, "of the light of stars in annuli"),
    )
    reasons: list[list[str]] = [[] for _ in range(len(summaries))]
    for name, values, limit, unit in checks:
        for number, value in enumerate(values):
            if value > limit:  # False for NaN
                reasons[number].append(f"{name} {value:.3g} {unit}".rstrip() + f" (limit {limit:g})")
    return ["; ".join(parts) for parts in reasons]


def summarise(summaries: list[Table], limits: Limits) -> Table:
    """Combine the detectors of a visit into one table, in order, with `accepted` and `rejected_because`.

    Parameters
    ----------
    summaries
        Tables with one row each.
    limits
        Limits on the statistics.

    Raises
    ------
    ValueError
        If there are no tables.
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
