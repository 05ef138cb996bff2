"""Comparison of calibrated detectors of a simulated survey with the truth."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.table import Row, Table
from astropy.wcs import WCS


def compare_with_truth(summaries: Table, truth: Table) -> Table:
    """Errors of the zero point and of the positions of each detector.

    Parameters
    ----------
    summaries
        Table from `dmu4.review.visits.read_summaries`.
    truth
        Table from `dmu0.truth.read_detector_truth`.

    Returns
    -------
    astropy.table.Table
        Columns visit, detector, band; zero_point_error (mag); east, north (mas, at the centre); worst (mas, at a
        corner).
    """
    known = {(int(row["exposure"]), int(row["detector"])): row for row in truth}
    rows = []
    for row in summaries:
        made = known[int(row["visit"]), int(row["detector"])]
        # exposure time, airmass and Vega to AB are the same on both sides: what is left is the error of the header
        true_zero_point = row["zero_point_header"] + made["zero_point"] - made["magzpt"]
        corners = np.array([[row[f"ra{k}"], row[f"dec{k}"]] for k in range(4)] + [[row["ra"], row["dec"]]])
        offset = _offsets(made, corners, int(row["nx"]), int(row["ny"]))
        worst = float(np.hypot(*offset[:4].T).max())
        error = float(row["zero_point"] - true_zero_point)
        rows.append((int(row["visit"]), int(row["detector"]), str(row["band"]), error, *offset[4], worst))
    result = Table(rows=rows, names=("visit", "detector", "band", "zero_point_error", "east", "north", "worst"))
    for name, unit in (("zero_point_error", u.mag), ("east", u.mas), ("north", u.mas), ("worst", u.mas)):
        result[name].unit = unit
    return result


def _offsets(made: Row, sky: np.ndarray, nx: int, ny: int) -> np.ndarray:
    """Measured minus true positions, mas, of the four corners and of the centre of a detector."""
    wcs = true_wcs(made)
    pixels = [[-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5], [(nx - 1) / 2, (ny - 1) / 2]]
    true = wcs.all_pix2world(pixels, 0)
    east = ((sky[:, 0] - true[:, 0] + 180) % 360 - 180) * np.cos(np.radians(true[:, 1]))
    return np.stack([east, sky[:, 1] - true[:, 1]], axis=1) * 3.6e6


def true_wcs(made: Row) -> WCS:
    """The transformation with which a detector was simulated (VISTA's ZPN), from a row of the truth."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.radesys = ["RA---ZPN", "DEC--ZPN"], "ICRS"
    wcs.wcs.crval = [made["crval1"], made["crval2"]]
    wcs.wcs.crpix = [made["crpix1"], made["crpix2"]]
    wcs.wcs.cd = [[made["cd1_1"], made["cd1_2"]], [made["cd2_1"], made["cd2_2"]]]
    wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 44.0), (2, 5, -10300.0)])
    wcs.wcs.set()
    return wcs


def mean_zero_point_error(summaries: Table) -> float:
    """Error in mag of the mean zero point of some detectors, which share the reference stars of the sky they share.

    The errors of two detectors are correlated by the part of their area that they have in common, as far as they are
    due to the stars.

    Parameters
    ----------
    summaries
        Rows of `dmu4.review.visits.read_summaries`, of one band and of detectors of one size and orientation.
    """
    error, dec = np.asarray(summaries["zero_point_err"], float), np.asarray(summaries["dec"], float)
    ra = [np.asarray(summaries[f"ra{k}"], float) for k in range(4)]
    decs = np.stack([np.asarray(summaries[f"dec{k}"], float) for k in range(4)])
    reference = float(np.asarray(summaries["ra"], float)[0])
    east = np.stack([((one - reference + 180) % 360 - 180) * np.cos(np.radians(dec)) for one in ra])
    known, shared = np.isfinite(error), np.ones((len(error), len(error)))
    for along in (east, decs):
        low, high = along.min(axis=0), along.max(axis=0)
        common = np.minimum.outer(high, high) - np.maximum.outer(low, low)
        shared *= np.clip(common / np.mean(high - low), 0, 1)
    covariance = (shared * np.multiply.outer(error, error))[np.ix_(known, known)]
    return float(np.sqrt(covariance.sum()) / known.sum()) if known.any() else np.nan
