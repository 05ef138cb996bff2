"""Blends: how many galaxies are found in the light of neighbours, and how many without, where the true sky is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from dmu0.sky.sphere import unit_vectors
from dmu0.truth import is_star, match_to_truth
from dmu5.checks import Check
from dmu5.diagnostics import depth_at
from dmu5.quality_checks import Limit
from obs_vista.bands import shown_band

REACH = 3.0
"""Distance of a neighbour in arcsec."""

SHARE = 0.05
"""Smallest flux of a neighbour in units of that of the galaxy."""

LOST_BESIDE, LOST_ALONE = Limit(0.20, 0.35), Limit(0.02, 0.05)
"""Largest fractions of galaxies above 5 sigma that are not found beside a neighbour, and without one."""


class Found(NamedTuple):
    """How many of some true sources were found."""

    total: int
    found: int

    @property
    def fraction(self) -> float:
        """Fraction that was found; NaN without sources."""
        return self.found / self.total if self.total else float("nan")

    @property
    def error(self) -> float:
        """Binomial standard error of the fraction, with one success and one failure added; NaN without sources."""
        share = (self.found + 1) / (self.total + 2)
        return float(np.sqrt(share * (1 - share) / self.total)) if self.total else float("nan")


def galaxies_found(truth: Table, catalogue: Table, band: str) -> tuple[Found, Found]:
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
        Galaxies with and without another source within `REACH` that has `SHARE` of their flux or more. A galaxy is
        found if it and an object are mutual nearest neighbours, see `dmu0.truth.match_to_truth`.
    """
    ra, dec, flux = (np.asarray(truth[name], float) for name in ("ra", "dec", f"flux_{band}"))
    bright = ~is_star(truth) & (flux > np.asarray(depth_at(catalogue, ra, dec, [band])[band]))
    found = np.zeros(len(truth), bool)
    found[match_to_truth(truth, catalogue["coord_ra"], catalogue["coord_dec"]).first] = True
    chosen, places = np.flatnonzero(bright), unit_vectors(ra, dec)
    if not len(chosen):
        return Found(0, 0), Found(0, 0)
    near = cKDTree(places).query_ball_point(places[chosen], 2 * np.sin(np.radians(REACH / 3600) / 2))
    beside = np.array(
        [
            any(other != one and flux[other] > SHARE * flux[one] for other in others)
            for one, others in zip(chosen, near, strict=True)
        ]
    )
    first, second = found[chosen[beside]], found[chosen[~beside]]
    return Found(len(first), int(np.sum(first))), Found(len(second), int(np.sum(second)))


def blend_checks(beside: Found, alone: Found, band: str) -> list[Check]:
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
        value = f"{100 * one.fraction:.1f} +- {100 * one.error:.1f}% of {one.total}" if one.total else "there are none"
        verdict = limit.verdict(1 - one.fraction, error=np.nan_to_num(one.error))
        said = f">= {100 * (1 - limit.good):.0f}%, fails < {100 * (1 - limit.bad):.0f}%"
        name = f"{shown_band(band)}: galaxies above 5 sigma {what} that are found"
        rows.append(Check(name, value, said, verdict, band, False))
    return rows
