"""Failures of earlier runs that dmu2 has to live with: 9, 10, 11 and 25 of the list."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from dmu0.sky.matching import match
from dmu2.colour_terms import PUBLISHED
from dmu2.merging import merge
from dmu2.photometry import star_fluxes
from dmu2.refcat import read_shard, write_shards
from dmu2.shards import HEADER, FewReferenceStars, NoReferenceStars, build, report, warn_of_few


def catalogue(prefix: str, bands: str, ra, dec, magnitude: float = 17.0) -> Table:
    """A catalogue of stars at given positions, with the same AB magnitude in every band."""
    ra, dec = np.asarray(ra, float), np.asarray(dec, float)
    out = Table({"id": 1000 + np.arange(len(ra)), "ra": ra, "dec": dec, "extended": np.zeros(len(ra), bool)})
    for name, value in (("ra_err", 20.0), ("dec_err", 20.0), ("epoch", 56000.0)):
        out[name] = np.full(len(ra), value)
    for name in ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err"):
        out[name] = np.full(len(ra), np.nan)
    for band in bands:
        out[f"{prefix}_{band}_flux"] = np.full(len(ra), 10 ** (0.4 * (31.4 - magnitude)))
        out[f"{prefix}_{band}_fluxErr"] = 0.01 * out[f"{prefix}_{band}_flux"]
    return out


def test_9_aperture_correction(rng) -> None:
    """9: the flux of a point source does not depend on the aperture it was measured in, to 1%."""
    j, i = np.mgrid[:400, :400]
    x, y = np.meshgrid(np.arange(30, 390, 40) + 0.3, np.arange(30, 390, 40) - 0.2)
    x, y = x.ravel(), y.ravel()
    flux = rng.uniform(2e4, 1e5, len(x))
    image = rng.normal(500, 4, (400, 400))
    for k in range(len(x)):
        image += flux[k] / (2 * np.pi * 1.2**2) * np.exp(-((i - x[k]) ** 2 + (j - y[k]) ** 2) / (2 * 1.2**2))
    fluxes = [
        star_fluxes(
            image, x=x, y=y, fwhm=2.8, saturation=1e6, alone=np.ones(len(x), bool), gain=40.0, radius=radius
        ).flux
        for radius in (0.7, 1.0, 1.5, 2.0)
    ]
    for measured in fluxes:
        ratio = np.median(measured / flux)
        print(f"flux / truth {ratio:.4f} (limit 1 +- 0.01)")
        assert ratio == pytest.approx(1, abs=0.01)


def test_10_missing_band_in_a_shard(rng) -> None:
    """10: a pointing without J is reported in the bands that need it, with a fallback; the others are used."""
    ra, dec = rng.uniform(35.6, 35.65, 60), rng.uniform(-5.1, -5.05, 60)
    twomass = catalogue("tmass", "jhk", ra, dec)
    for name in ("tmass_j_flux", "tmass_j_fluxErr"):
        twomass[name][:] = np.nan
    optical = catalogue("ps1", "grizy", ra, dec)
    table = build(merge({"ps1": optical, "twomass": twomass}, radius=1.0), PUBLISHED)
    rows = report(table, bands=("r", "i", "vj", "vk"), shards=[], min_stars=20)
    states = dict(zip(rows["band"].tolist(), rows["state"].tolist(), strict=True))
    assert states == {"r": "ok", "i": "ok", "vj": "empty", "vk": "empty"}
    assert set(rows["fallback"][rows["state"] == "empty"]) == {HEADER}
    shard = int(rows["shard"][0])
    with pytest.warns(FewReferenceStars, match=f"Shard {shard} has fewer than 20 reference stars in vj 0, vk 0"):
        warn_of_few(rows, expected=[shard], min_stars=20)


def test_10_empty_shards_fail(rng) -> None:
    """10: references that cover none of the survey's shards stop the run, with what to do."""
    table = build(merge({"ps1": catalogue("ps1", "grizy", [120.0], [40.0])}, radius=1.0), PUBLISHED)
    rows = report(table, bands=("i", "vk"), shards=[133201], min_stars=20)
    with pytest.raises(NoReferenceStars, match="do the reference catalogues cover the survey"):
        warn_of_few(rows, expected=[133201], min_stars=20)


def test_11_merge_writes_what_it_says(rng, tmp_path) -> None:
    """11: assignments take effect: the flux of every matched star is there after merging, building and reading."""
    ra, dec = rng.uniform(35.6, 35.62, 50), rng.uniform(-5.1, -5.08, 50)
    optical = catalogue("ps1", "grizy", ra, dec)
    twomass = catalogue("tmass", "jhk", ra[::-1][:30], dec[::-1][:30], magnitude=16.5)
    twomass["tmass_j_flux"] *= np.linspace(1, 1.1, 30)
    merged = merge({"ps1": optical, "twomass": twomass}, radius=0.5)
    back = read_shard(next(iter(write_shards(build(merged, PUBLISHED), tmp_path).values())))
    assert np.isfinite(back["tmass_j_flux"]).sum() == 30
    expected = dict(zip(range(1049, 1019, -1), np.asarray(twomass["tmass_j_flux"]), strict=True))
    for row in back[np.isfinite(back["tmass_j_flux"])]:
        assert row["tmass_j_flux"] == pytest.approx(expected[row["id"]], rel=1e-6)
    assert np.isfinite(back["ps1_i_flux"]).all()


def test_25_no_source_twice(rng) -> None:
    """25: a crowded clump against one counterpart, and overlapping chunks, give each source to one row only."""
    clump = rng.normal(0, 0.3 / 3600, (2, 40))
    found = match(10 + clump[0], clump[1], np.array([10.0]), np.array([0.0]), radius=1.0)
    assert len(found) == 1
    assert found.separation[0] == pytest.approx(np.hypot(*clump).min() * 3600, abs=1e-3)
    merged = merge(
        {"ps1": catalogue("ps1", "i", 10 + clump[0], clump[1]), "twomass": catalogue("tmass", "j", [10.0], [0.0])},
        radius=1.0,
    )
    assert (merged["tmass_id"] >= 0).sum() == 1
    assert len(merged) == 40
