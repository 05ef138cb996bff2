"""Shards: columns, round trip, positions at a date, and the report of thin ones."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from astropy.table import Table
from lsst.sphgeom import HtmPixelization

from dmu0.sky.skymap import sky_polygon
from dmu2.colour_terms import PUBLISHED
from dmu2.merging import merge
from dmu2.refcat import (
    ReferenceCatalogueError,
    columns,
    empty_shard,
    read_shard,
    shard_index,
    sky_positions,
    write_shards,
)
from dmu2.shards import HEADER, FewReferenceStars, NoReferenceStars, build, expected_shards, report, warn_of_few
from obs_vista.photometry import magnitude_of


def stars(rng, n: int, *, ra: float = 35.6, dec: float = -5.1, width: float = 0.1) -> Table:
    """A 2MASS catalogue of stars of J-Ks = 0.5 (Vega)."""
    out = Table({"id": np.arange(1, n + 1)})
    out["ra"], out["dec"] = rng.uniform(ra, ra + width, n), rng.uniform(dec, dec + width, n)
    for name, value in (("ra_err", 80.0), ("dec_err", 80.0), ("epoch", 51500.0)):
        out[name] = np.full(n, value)
    for name in ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err"):
        out[name] = np.full(n, np.nan)
    out["extended"], out["usable"] = np.zeros(n, bool), np.ones(n, bool)
    for name, magnitude in (("tmass_j", 15 + 0.8938), ("tmass_h", 14.7 + 1.3743), ("tmass_k", 14.5 + 1.8402)):
        out[f"{name}_flux"] = np.full(n, 10 ** (0.4 * (31.4 - magnitude)))
        out[f"{name}_fluxErr"] = 0.02 * out[f"{name}_flux"]
    return out


def test_round_trip(rng, tmp_path) -> None:
    """Every star comes back from the shard it belongs to, with all columns, units and fluxes in VISTA's system."""
    merged = merge({"twomass": stars(rng, 200, width=0.6)}, radius=1.0)
    table = build(merged, PUBLISHED)
    written = write_shards(table, tmp_path / "refcat")
    assert len(written) > 1
    back = [read_shard(path) for path in written.values()]
    assert sum(len(shard) for shard in back) == 200
    for number, shard in zip(written, back, strict=True):
        assert shard.colnames == [name for name, *_ in columns()]
        assert str(shard["coord_ra"].unit) == "rad"
        assert str(shard["vk_flux"].unit) == "nJy"
        assert (shard_index(*sky_positions(shard)) == number).all()
        assert magnitude_of(shard["vz_flux"]) == pytest.approx(15 + 0.86 * 0.5 + 0.506, abs=1e-5)
        assert magnitude_of(shard["vk_flux"]) == pytest.approx(14.5 - 0.006 * 0.5 + 1.816, abs=1e-5)
        assert np.isnan(shard["g_flux"]).all()


def test_positions_at_a_date() -> None:
    """Proper motion carries a star from its epoch to the date asked for; unknown motion leaves it."""
    shard = empty_shard(2)
    shard["coord_ra"][:], shard["coord_dec"][:], shard["epoch"][:] = np.radians(10.0), 0.0, 51544.5
    shard["pm_ra"][0], shard["pm_dec"][0] = np.radians(0.1 / 3600), np.radians(-0.2 / 3600)
    ra, dec = sky_positions(shard, 51544.5 + 10 * 365.25)
    assert (ra - 10) * 3600 == pytest.approx([1.0, 0.0], abs=1e-6)
    assert dec * 3600 == pytest.approx([-2.0, 0.0], abs=1e-6)


def test_stale_shards_go(rng, tmp_path) -> None:
    """Writing another catalogue to the folder leaves no shard of the one before."""
    first = build(merge({"twomass": stars(rng, 20)}, radius=1.0), PUBLISHED)
    second = build(merge({"twomass": stars(rng, 20, ra=200.0)}, radius=1.0), PUBLISHED)
    old = write_shards(first, tmp_path)
    new = write_shards(second, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{shard}.parquet" for shard in new}
    assert not set(old) & set(new)
    assert write_shards(empty_shard(), tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_broken_catalogues_are_refused(rng, tmp_path) -> None:
    """A missing column and a double identifier are named, and nothing is written."""
    table = build(merge({"twomass": stars(rng, 5)}, radius=1.0), PUBLISHED)
    table["id"][1] = table["id"][0]
    with pytest.raises(ReferenceCatalogueError, match="occurs 2 times"):
        write_shards(table, tmp_path)
    with pytest.raises(ReferenceCatalogueError, match="coord_ra"):
        write_shards(Table({"id": [1]}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_vista_fluxes_come_first(rng) -> None:
    """Where a VISTA catalogue has a star, its flux is kept; elsewhere colour terms make it."""
    vista = stars(rng, 2)[["id", "ra", "dec", "ra_err", "dec_err", "epoch", "extended", "usable"]]
    for name in ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err"):
        vista[name] = np.full(2, np.nan)
    twomass = stars(rng, 4)
    vista["ra"], vista["dec"] = twomass["ra"][:2], twomass["dec"][:2]
    vista["vk_flux"], vista["vk_fluxErr"] = [1e6, 2e6], [1e3, 1e3]
    table = build(merge({"twomass": twomass, "vista_catalogue": vista}, radius=1.0), PUBLISHED)
    assert table["vk_flux"][:2].tolist() == [1e6, 2e6]
    assert np.isfinite(table["vk_flux"]).all()
    assert np.isfinite(table["vz_flux"]).all()


def test_expected_shards() -> None:
    """The shards of a region are those that its points are in."""
    corners = [(35.5, -5.3), (35.9, -5.3), (35.9, -4.9), (35.5, -4.9)]
    shards = expected_shards([sky_polygon(corners), sky_polygon(corners)])
    inside = shard_index(*np.random.default_rng(0).uniform((35.5, -5.3), (35.9, -4.9), (500, 2)).T)
    assert set(np.unique(inside).tolist()) <= set(shards)
    assert len(shards) < 12
    assert expected_shards([]) == []


def test_full_shard_takes_seconds(rng, tmp_path) -> None:
    """A shard of 30,000 stars is built, written, read and counted in under 5 s of CPU time."""
    centre = HtmPixelization(7).triangle(133201).getCentroid()
    ra, dec = np.degrees(np.arctan2(centre.y(), centre.x())), np.degrees(np.arcsin(centre.z()))
    catalogue = stars(rng, 30_000, ra=ra, dec=dec, width=0.05)
    start = time.process_time()
    merged = merge({"twomass": catalogue}, radius=0.1)
    table = build(merged, PUBLISHED)
    read_shard(next(iter(write_shards(table, tmp_path).values())))
    report(table, bands=("vj", "vk"), shards=[133201], min_stars=20)
    took = time.process_time() - start
    print(f"a shard of {len(table)} stars: {took:.2f} s (limit 5)")
    assert took < 5


def test_report_of_survey_without_references() -> None:
    """An empty catalogue gives an empty report with the right columns, and no warning."""
    rows = report(build(merge({}, radius=1.0), PUBLISHED), bands=("vk",), shards=[], min_stars=20)
    assert rows.colnames == ["shard", "band", "stars", "bright", "median_error", "state", "fallback"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of_few(rows, expected=[], min_stars=20) == []


def test_thin_shards_are_named(rng) -> None:
    """A shard with too few stars and an empty one have a state and the fallback, and are warned of by number."""
    table = build(merge({"twomass": stars(rng, 30)}, radius=1.0), PUBLISHED)
    table["vz_flux"][5:] = np.nan
    full = int(shard_index(*sky_positions(table))[0])
    here = shard_index(*sky_positions(table)) == full
    rows = report(table[here], bands=("vz", "vk"), shards=[full, full + 1], min_stars=10)
    states = {(row["shard"], row["band"]): row["state"] for row in rows}
    assert states[full, "vk"] == "ok"
    assert states[full, "vz"] in ("few", "empty")
    assert states[full + 1, "vk"] == "empty"
    assert set(rows["fallback"][rows["state"] != "ok"]) == {HEADER}
    with pytest.warns(FewReferenceStars) as caught:
        messages = warn_of_few(rows, expected=[full, full + 1], min_stars=10)
    assert [str(warning.message) for warning in caught] == messages
    assert messages[1].startswith(f"Shard {full + 1} has fewer than 10 reference stars in vz 0, vk 0")
    with pytest.raises(NoReferenceStars, match="min_stars_per_shard"):
        warn_of_few(rows, expected=[full + 1], min_stars=10)
