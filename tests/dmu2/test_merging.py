"""Merging by hand: whose position, fluxes and words a star gets, and offsets of positions far from the equator."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from dmu0.robust_statistics import MAD_TO_SIGMA
from dmu0.sky.matching import propagate
from dmu2.catalogues import GAIA_VEGA_TO_AB, TWOMASS_VEGA_TO_AB
from dmu2.merging import compare_all, compare_positions, merge

DEC = -61.0


def catalogue(flux: str, ra: list[float], dec: list[float], *, first: int, **values: object) -> Table:
    """Stars at 2000.0 without motion, with fluxes 100, 200, ... and identifiers from `first`."""
    count = len(ra)
    out = Table({"id": first + np.arange(count), "ra": ra, "dec": dec})
    for name, value in {"ra_err": 20.0, "dec_err": 10.0, "epoch": 51544.5}.items():
        out[name] = np.full(count, value)
    for name in ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err"):
        out[name] = np.full(count, np.nan)
    out["extended"], out["usable"] = np.zeros(count, bool), np.ones(count, bool)
    out[f"{flux}_flux"] = 100.0 * (1 + np.arange(count))
    out[f"{flux}_fluxErr"] = np.full(count, 5.0)
    for name, value in values.items():
        out[name] = value
    return out


def test_each_star_has_the_best_position_and_the_words_of_all() -> None:
    """Gaia's position, PS1's flux beside it; extended where any catalogue says so, whichever comes later."""
    gaia = catalogue("gaia_g", [10.0, 11.0], [DEC, DEC], first=1, extended=[True, False])
    ps1 = catalogue("ps1_i", [12.0, 11.0 + 0.2 / 3600, 10.0 + 0.3 / 3600], [DEC] * 3, first=50)
    ps1["extended"] = [True, False, False]
    merged = merge({"ps1": ps1, "gaia": gaia}, radius=1.0)
    assert list(merged["position_from"]) == ["gaia", "gaia", "ps1"]
    assert np.asarray(merged["ra"]) == pytest.approx([10.0, 11.0, 12.0], abs=1e-9)
    assert list(merged["ps1_id"]) == [52, 51, 50]
    assert list(merged["gaia_id"]) == [1, 2, -1]
    assert list(merged["ps1_i_flux"]) == [300.0, 200.0, 100.0]
    assert np.isnan(merged["gaia_g_flux"][2])
    assert list(merged["extended"]) == [True, False, True]
    separation = np.cos(np.radians(DEC)) * np.array([0.3, 0.2])
    assert np.asarray(merged["ps1_separation"][:2]) == pytest.approx(separation, rel=1e-4)
    assert np.isnan(merged["ps1_separation"][2])
    assert merged["ra"].unit == u.deg
    assert merged["pm_ra"].unit == u.mas / u.yr
    assert merged["ps1_i_flux"].unit == u.nJy


def test_the_added_catalogue_is_matched_at_its_epoch() -> None:
    """A star of Gaia that moves 1 arcsec a year is where 2MASS saw it 10 years before; at its own epoch it is not."""
    gaia = catalogue("gaia_g", [10.0], [DEC], first=1, epoch=51544.5 + 3652.5, pm_ra=600.0, pm_dec=-800.0)
    ra, dec = propagate(np.array([10.0]), np.array([DEC]), np.array([600.0]), np.array([-800.0]), years=-10.0)
    tmass = catalogue("tmass_j", list(ra), list(dec), first=7)
    merged = merge({"twomass": tmass, "gaia": gaia}, radius=1.0)
    assert len(merged) == 1
    assert merged["tmass_id"][0] == 7
    row = compare_positions(tmass, gaia, radius=12.0, names=("2mass", "gaia"))
    assert (row["ra_offset"], row["dec_offset"]) == pytest.approx((-6000, 8000), abs=2)
    assert (row["ra_offset_epoch"], row["dec_offset_epoch"]) == pytest.approx((0, 0), abs=1e-3)
    other = compare_positions(gaia, tmass, radius=12.0, names=("gaia", "2mass"))
    assert (other["ra_offset"], other["dec_offset"]) == pytest.approx((6000, -8000), abs=2)
    assert (other["ra_offset_epoch"], other["dec_offset_epoch"]) == pytest.approx((0, 0), abs=1e-3)


def test_offsets_on_the_sky_across_zero(rng: np.random.Generator) -> None:
    """120 mas east and 40 south, on the sky at Dec -61 across 0 h, with unequal scatter, and what errors predict."""
    count = 400
    ra, dec = (359.95 + rng.uniform(0, 0.1, count)) % 360, DEC + rng.uniform(0, 0.1, count)
    one = catalogue("ps1_i", list(ra), list(dec), first=1)
    east, north = rng.normal(120, 30, count), rng.normal(-40, 10, count)
    there = propagate(ra, dec, east, north, years=1.0)
    two = catalogue("gaia_g", list(there[0]), list(there[1]), first=1)
    row = compare_positions(two, one, radius=1.0, names=("gaia", "ps1"))
    assert row["pair"] == "gaia - ps1"
    assert row["matches"] == count
    assert (row["ra_offset"], row["dec_offset"]) == pytest.approx((120, -40), abs=6)
    assert row["ra_mad"] == pytest.approx(30 / MAD_TO_SIGMA, rel=0.15)
    assert row["dec_mad"] == pytest.approx(10 / MAD_TO_SIGMA, rel=0.15)
    # Errors of 20 and 10 mas in each: the median variance of all axes is between 200 and 800 mas^2.
    assert row["expected_mad"] == pytest.approx(np.sqrt((200 + 800) / 2) / MAD_TO_SIGMA, rel=1e-3)
    table = compare_all({"gaia": two, "ps1": one}, radius=1.0)
    assert list(table["pair"]) == ["ps1 - gaia"]
    assert table["ra_offset"][0] == pytest.approx(-120, abs=6)
    assert table["ra_offset"].unit == u.mas


def test_vega_to_ab_of_the_catalogues() -> None:
    """2MASS: 1594, 1024 and 666.7 Jy at magnitude zero (Cohen et al. 2003); Gaia DR3 within 5 mmag of its table."""
    zero = {"j": 1594.0, "h": 1024.0, "k": 666.7}
    for band, jansky in zero.items():
        assert TWOMASS_VEGA_TO_AB[band] == pytest.approx(8.9 - 2.5 * np.log10(jansky), abs=2e-3)
    assert pytest.approx({"g": 0.1136, "bp": 0.0155, "rp": 0.3561}, abs=1e-4) == GAIA_VEGA_TO_AB
