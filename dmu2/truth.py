"""The reference catalogue of a simulated survey against its true sky."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import robust_scatter
from dmu0.truth import MATCH_RADIUS, is_star, match_to_truth, true_positions
from dmu2.colour_terms import magnitude_errors
from dmu2.refcat import SURVEY_BANDS, sky_positions
from obs_vista.photometry import magnitude_of

BRIGHT = 0.05
"""Largest error (mag) of stars that offsets are taken from: below it, what 2MASS detects at all biases nothing."""


def compare_with_truth(table: Table, truth: Table, *, radius: float = MATCH_RADIUS) -> Table:
    """Fluxes and positions of reference stars against those of the true stars at the same place.

    Parameters
    ----------
    table
        The reference catalogue, all shards together.
    truth
        True sources: id, ra, dec (deg) at ``meta["epoch_mjd_tai"]``, pm_ra, pm_dec (mas/yr), type, flux_<band> (nJy).
    radius
        Matching radius in arcsec.

    Returns
    -------
    rows
        One a band: band, stars, offset (mag, median of bright ones, reference minus truth) and pull (scatter over
        quoted error of all). The metadata have ra_offset and dec_offset, medians in mas.
    """
    point = table[~np.asarray(table["extended"])]
    epoch = float(np.median(point["epoch"]))
    stars = truth[is_star(truth)]
    true_ra, true_dec = true_positions(stars, epoch=epoch)
    ra, dec = sky_positions(point)
    pairs = match_to_truth(stars, ra, dec, radius=radius, epoch=epoch)
    found, expected = point[pairs.second], stars[pairs.first]
    out = Table(names=("band", "stars", "offset", "pull"), dtype=("U4", "i8", "f8", "f8"))
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
        out.add_row((band, int(known.sum()), float(np.median(difference[bright])), pull))
    # 2MASS alone is a dozen years older: positions of the better catalogues only.
    good = np.asarray(found["position_from"]) != "2mass"
    east = (ra[pairs.second] - true_ra[pairs.first] + 180) % 360 - 180
    east = east * np.cos(np.radians(dec[pairs.second]))
    out.meta["ra_offset"] = float(np.median(east[good])) * 3.6e6
    out.meta["dec_offset"] = float(np.median((dec[pairs.second] - true_dec[pairs.first])[good])) * 3.6e6
    return out
