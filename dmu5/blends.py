"""Blends: how many galaxies are found in the light of neighbours, and how many without, where the true sky is known."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from dmu0.truth import is_star, isolated, match_to_truth
from dmu5.checks import Check
from dmu5.diagnostics import Completeness, depth_at
from dmu5.quality_checks import Limit
from obs_vista.bands import shown_band

REACH = 3.0
"""Distance of a neighbour in arcsec."""

SHARE = 0.05
"""Smallest flux of the neighbours together in units of that of the galaxy."""

LOST_BESIDE, LOST_ALONE = Limit(0.20, 0.35), Limit(0.02, 0.05)
"""Largest fractions of galaxies above 5 sigma that are not found beside a neighbour, and without one."""


def galaxies_found(truth: Table, catalogue: Table, band: str) -> tuple[Completeness, Completeness]:
    """Galaxies above the 5-sigma flux of a point source that were found: those beside a neighbour, and those alone.

    Parameters
    ----------
    truth
        True sources with ra, dec (deg), type and ``flux_<band>`` in nJy: those of the area of the survey.
    catalogue
        Primary objects.
    band
        The band of fluxes and depth.

    Returns
    -------
    beside, alone
        Galaxies with and without other sources within `REACH` that have `SHARE` of their flux or more together. One is
        found if it and an object are mutual nearest neighbours, see `dmu0.truth.match_to_truth`.
    """
    ra, dec, flux = (np.asarray(truth[name], float) for name in ("ra", "dec", f"flux_{band}"))
    bright = ~is_star(truth) & (flux > np.asarray(depth_at(catalogue, ra, dec, [band])[band]))
    found = np.zeros(len(truth), bool)
    found[match_to_truth(truth, catalogue["coord_ra"], catalogue["coord_dec"]).first] = True
    alone = isolated(truth, band, fraction=SHARE, radius=REACH)
    first, second = found[bright & ~alone], found[bright & alone]
    return Completeness(len(first), int(first.sum())), Completeness(len(second), int(second.sum()))


def blend_checks(beside: Completeness, alone: Completeness, band: str) -> list[Check]:
    """Check the fractions of galaxies that were found against their limits, two sampling errors allowed.

    Parameters
    ----------
    beside, alone
        From `galaxies_found`.
    band
        The band.
    """
    rows = []
    for what, one, limit in (
        (f"with a neighbour within {REACH:.0f} arcsec", beside, LOST_BESIDE),
        ("without one", alone, LOST_ALONE),
    ):
        verdict = limit.verdict(1 - one.fraction, error=np.nan_to_num(one.error))
        said = f">= {100 * (1 - limit.good):.0f}%, fails < {100 * (1 - limit.bad):.0f}%"
        name = f"{shown_band(band)}: galaxies above 5 sigma {what} that are found"
        rows.append(Check(name, one.percentage(1), said, verdict, band, False))
    return rows
