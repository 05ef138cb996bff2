"""Galaxies that are found beside neighbours and without, on a small sky whose answers are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu5.blends import blend_checks, galaxies_found
from dmu5.diagnostics import Completeness

DEC = 62.0
EAST = 1 / np.cos(np.radians(DEC)) / 3600
"""An arcsecond to the east in degrees of right ascension."""


def sources(rows: list[tuple[float, float, str, float]]) -> Table:
    """True sources from arcseconds east and north of a place at 0 h, type and flux."""
    east, north, kind, flux = zip(*rows, strict=True)
    ra = (np.array(east) * EAST) % 360
    return Table({"ra": ra, "dec": DEC + np.array(north) / 3600, "type": list(kind), "flux_i": flux})


@pytest.fixture
def sky() -> tuple[Table, Table]:
    """Eight sources about 0 h at high declination, and the objects of some of them; the depth is 100 nJy."""
    truth = sources(
        [
            (0.0, 0.0, "galaxy", 1000.0),  # beside the next; found
            (2.4, 0.0, "galaxy", 120.0),  # beside the first; lost
            (-20.0, 0.0, "galaxy", 500.0),  # alone: the next has less than a twentieth; found
            (-20.0, 2.0, "galaxy", 24.0),  # below the depth
            (30.0, 5.0, "star", 900.0),  # a star does not count, but is a neighbour
            (30.0, 2.5, "galaxy", 300.0),  # beside the star; found
            (50.0, 0.0, "galaxy", 200.0),  # alone: the next is 3.3 arcsec away; lost
            (50.0, 3.3, "galaxy", 90.0),  # below the depth
        ]
    )
    seen = truth[[0, 2, 4, 5]]
    objects = Table({"coord_ra": seen["ra"], "coord_dec": seen["dec"]})
    objects["i_depth5"], objects["i_usable"] = 31.4 - 2.5 * np.log10(100.0), True
    return truth, objects


def test_each_galaxy_is_counted_once(sky: tuple[Table, Table]) -> None:
    """Three galaxies have neighbours, across 0 h too, and two of them are found; of two alone one is."""
    beside, alone = galaxies_found(*sky, "i")
    assert beside == Completeness(3, 2)
    assert alone == Completeness(2, 1)
    assert beside.fraction == pytest.approx(2 / 3)
    # Three of five: one success and one failure added.
    assert beside.error == pytest.approx(np.sqrt(0.6 * 0.4 / 3))


def test_nothing_is_covered(sky: tuple[Table, Table]) -> None:
    """Where the band is nowhere usable there are no galaxies to find: the checks warn, and stop nothing."""
    truth, objects = sky
    objects["i_usable"] = False
    found = galaxies_found(truth, objects, "i")
    assert found == (Completeness(0, 0), Completeness(0, 0))
    assert [check.verdict for check in blend_checks(*found, "i")] == ["warn", "warn"]


@pytest.mark.parametrize(
    ("found", "verdict"), [(800, "pass"), (776, "pass"), (770, "warn"), (640, "warn"), (610, "fail")]
)
def test_limits_allow_two_sampling_errors(found: int, verdict: str) -> None:
    """Of 1,000 galaxies 80% less twice 1.3% pass, and less than 65% less twice 1.5% fail."""
    check = blend_checks(Completeness(1000, found), Completeness(1000, 990), "i")
    assert [one.verdict for one in check] == [verdict, "pass"]
    assert not any(one.stops for one in check)
    assert f"{found / 10:.1f}" in check[0].value
