"""Comparison of the reference catalogue of a simulated survey with its true sky."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import robust_scatter
from dmu0.truth import MATCH_RADIUS, is_star, match_to_truth, true_positions
from dmu2.colour_terms import magnitude_errors
from dmu2.refcat import SURVEY_BANDS, sky_positions
from obs_vista.photometry import magnitude_of

BRIGHT = 0.05
"""Largest error (mag) of stars used for offsets: the selection bias of 2MASS detections is negligible for these."""


def compare_with_truth(table: Table, truth: Table, *, radius: float = MATCH_RADIUS) -> Table:
    """Compare fluxes and positions of reference stars with those of matching true stars.

    Parameters
    ----------
    table
        Reference catalogue of all shards.
    truth
        True sources with id, ra, dec (deg) at ``meta["epoch_mjd_tai"]``, pm_ra, pm_dec (mas/yr), type, flux_<band>
        (nJy).
    radius
        Matching radius in arcsec.

    Returns
    -------
    rows
        One row per band: band, stars, offset (mag, reference minus truth, median of bright stars), offset_error (of
        that median, from the quoted errors) and pull (ratio of scatter to quoted error of all stars). The metadata
        contain the median offsets ra_offset and dec_offset in mas.
    """
    point = table[~np.asarray(table["extended"])]
    epoch = float(np.median(point["epoch"]))
    stars = truth[is_star(truth)]
    true_ra, true_dec = true_positions(stars, epoch=epoch)
    ra, dec = sky_positions(point)
    pairs = match_to_truth(stars, ra, dec, radius=radius, epoch=epoch)
    found, expected = point[pairs.second], stars[pairs.first]
    out = Table(names=("band", "stars", "offset", "offset_error", "pull"), dtype=("U8", "i8", "f8", "f8", "f8"))
    for band in SURVEY_BANDS:
        if f"flux_{band}" not in truth.colnames:
            continue
        flux, error = found[f"{band}_flux"], found[f"{band}_fluxErr"]
        difference = magnitude_of(flux) - magnitude_of(expected[f"flux_{band}"])
        sigma = magnitude_errors(flux, error)
        known = np.isfinite(difference) & np.isfinite(sigma)
        bright = known & (sigma < BRIGHT)
        if not bright.any():
            continue
        pull = robust_scatter(difference[known] / sigma[known], about=0)
        # The variance of a median is pi / 2 that of a mean.
        error = np.sqrt(np.pi / 2 * np.sum(np.square(sigma[bright]))) / bright.sum()
        out.add_row((band, int(known.sum()), float(np.median(difference[bright])), error, pull))
    # 2MASS alone is a dozen years older: positions of the better catalogues only.
    good = np.asarray(found["position_from"]) != "2mass"
    east = (ra[pairs.second] - true_ra[pairs.first] + 180) % 360 - 180
    east = east * np.cos(np.radians(dec[pairs.second]))
    out.meta["ra_offset"] = float(np.median(east[good])) * 3.6e6
    out.meta["dec_offset"] = float(np.median((dec[pairs.second] - true_dec[pairs.first])[good])) * 3.6e6
    return out
