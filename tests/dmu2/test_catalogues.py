"""Readers of reference catalogues, their flags, and merging, on real files and on synthetic ones."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, Table

from dmu0.robust_statistics import MAD_TO_SIGMA
from dmu0.sky.matching import propagate
from dmu2.catalogues import TWOMASS_EPOCH, TWOMASS_VEGA_TO_AB, read_catalogue
from dmu2.merging import compare_positions, merge
from dmu2.refcat import ReferenceCatalogueError, read_shard


@pytest.fixture(scope="module")
def real(realdata):
    """The real PS1, Gaia and 2MASS catalogues."""
    paths = {
        "ps1": realdata / "refcats" / "ps1_189584.fits",
        "gaia": realdata / "refcats" / "gaia_189584.fits",
        "twomass": realdata / "twomass" / "CF_2mass.fits",
    }
    return {kind: read_catalogue(kind, [path])[0] for kind, path in paths.items()}


def partner(catalogue: Table, rng, *, scatter: float, offset: tuple[float, float] = (12.0, -7.0)) -> Table:
    """A synthetic catalogue of every second source, moved by an offset and a scatter in mas."""
    out = catalogue[::2].copy()
    east, north = rng.normal(0, scatter, (2, len(out)))
    out["ra"], out["dec"] = propagate(out["ra"], out["dec"], east + offset[0], north + offset[1], years=1.0)
    for name in ("ra_err", "dec_err"):
        out[name] = np.full(len(out), scatter)
    return out


def test_real_ps1_and_gaia(real) -> None:
    """PS1 agrees with Gaia: 0 and 4 mas at the catalogued positions (Gaia minus PS1: 0, -4), scatter 7 mas."""
    row = compare_positions(real["ps1"], real["gaia"], radius=1.0, names=("ps1", "gaia"))
    print(f"PS1 - Gaia: {row['matches']} pairs, {row['ra_offset']:.2f}, {row['dec_offset']:.2f} mas,", end=" ")
    print(f"MAD {row['ra_mad']:.2f}, {row['dec_mad']:.2f} mas; chance {row['false_rate']:.4f}")
    print(f"at one epoch: {row['ra_offset_epoch']:.2f}, {row['dec_offset_epoch']:.2f} mas,", end=" ")
    print(f"MAD {row['ra_mad_epoch']:.2f}, {row['dec_mad_epoch']:.2f} mas")
    assert row["matches"] > 2600
    assert row["ra_offset"] == pytest.approx(0, abs=1.5)
    assert row["dec_offset"] == pytest.approx(4, abs=1.5)
    assert 0.5 * (row["ra_mad"] + row["dec_mad"]) == pytest.approx(7, abs=1)
    assert row["false_rate"] < 0.01


def test_proper_motion_brings_them_closer(real) -> None:
    """Gaia's motions to the epochs of PS1 lower the scatter and the offset: epochs and signs are right."""
    row = compare_positions(real["ps1"], real["gaia"], radius=1.0, names=("ps1", "gaia"))
    assert row["ra_mad_epoch"] < 0.8 * row["ra_mad"]
    assert row["dec_mad_epoch"] < 0.8 * row["dec_mad"]
    assert abs(row["dec_offset_epoch"]) < 2


@pytest.mark.parametrize(("kind", "flux"), [("ps1", "ps1_i"), ("gaia", "gaia_g"), ("twomass", "tmass_j")])
def test_real_alone_and_with_partner(real, rng, kind, flux) -> None:
    """Each real catalogue is read whole, and a synthetic partner of every second source is matched to it."""
    catalogue = real[kind]
    assert len(catalogue) > 2000
    assert np.isfinite(catalogue[f"{flux}_flux"]).mean() > 0.95
    other = partner(catalogue, rng, scatter=30)
    row = compare_positions(other, catalogue, radius=1.0, names=("synthetic", kind))
    print(f"synthetic - {kind}: {row['matches']} pairs, {row['ra_offset']:.1f}, {row['dec_offset']:.1f} mas,", end=" ")
    print(f"MAD {row['ra_mad']:.1f}, {row['dec_mad']:.1f}, expected {row['expected_mad']:.1f}")
    assert row["matches"] > 0.97 * len(other)
    assert row["ra_offset"] == pytest.approx(12, abs=3)
    assert row["dec_offset"] == pytest.approx(-7, abs=3)
    assert row["ra_mad"] == pytest.approx(30 / MAD_TO_SIGMA, rel=0.1)


def test_real_twomass(real, realdata) -> None:
    """Galactic positions become ICRS, masked errors make fluxes NaN, and magnitudes become AB fluxes."""
    table = Table.read(realdata / "twomass" / "CF_2mass.fits")
    catalogue = real["twomass"]
    missing = int(np.ma.getmaskarray(table["e_Kmag"]).sum())
    assert np.isnan(catalogue["tmass_k_flux"]).sum() == pytest.approx(missing, abs=30)
    assert 80 < np.median(catalogue["ra"]) < 100
    brightest = 31.4 - 2.5 * np.log10(np.nanmax(catalogue["tmass_j_flux"])) - TWOMASS_VEGA_TO_AB["j"]
    assert brightest == pytest.approx(np.min(table["Jmag"][~np.ma.getmaskarray(table["e_Jmag"])]), abs=1e-3)


def test_real_ps1_epochs(realdata) -> None:
    """Epochs in seconds of 1970 become MJD, and motions that no star has are unknown, not radians per year."""
    shard = read_shard(realdata / "refcats" / "ps1_189584.fits")
    assert 55000 < np.median(shard["epoch"]) < 57500
    assert not np.isfinite(shard["pm_ra"]).any()
    gaia = read_shard(realdata / "refcats" / "gaia_189584.fits")
    assert np.isfinite(gaia["pm_ra"]).mean() > 0.8
    assert str(gaia["pm_ra"].unit) == "rad / yr"


def test_merge_real(real) -> None:
    """Gaia and PS1 become one list: Gaia's positions, PS1's fluxes beside them, each source once."""
    merged = merge({"ps1": real["ps1"], "gaia": real["gaia"]}, radius=1.0)
    both = (merged["gaia_id"] > 0) & (merged["ps1_id"] > 0)
    assert both.sum() > 2600
    assert len(merged) == len(real["ps1"]) + len(real["gaia"]) - both.sum()
    assert set(merged["position_from"][both]) == {"gaia"}
    assert np.isfinite(merged["ps1_i_flux"][both]).mean() > 0.95


def test_identifiers_stay_unique(real) -> None:
    """Two catalogues that number their sources alike give a list in which no number occurs twice."""
    one, two = real["ps1"][:100].copy(), real["gaia"][:100].copy()
    one["id"], two["id"] = np.arange(100), np.arange(100)
    merged = merge({"ps1": one, "gaia": two}, radius=0.001)
    assert len(merged) == 200
    assert len(np.unique(merged["id"])) == 200


def vizier_twomass() -> Table:
    """Four 2MASS sources: sound, upper limit in Ks, contaminated, and an asteroid."""
    table = Table({"RAJ2000": [10.0, 10.1, 10.2, 10.3], "DEJ2000": [1.0, 1.0, 1.0, 1.0], "Cntr": [1, 2, 3, 4]})
    for band in ("J", "H", "K"):
        table[f"{band}mag"] = [15.0, 15.5, 14.0, 13.0]
        table[f"e_{band}mag"] = MaskedColumn([0.05, 0.06, 0.03, 0.03], mask=[False, band == "K", False, False])
    table["Qflg"], table["Cflg"], table["Aflg"] = (
        ["AAA", "AAU", "AAA", "AAA"],
        ["000", "000", "c00", "000"],
        [0, 0, 0, 1],
    )
    table["Date"] = ["1999-03-01"] * 4
    return table


def test_twomass_flags(tmp_path) -> None:
    """Upper limits and contaminated bands have no flux, asteroids are left out, the date gives the epoch."""
    path = tmp_path / "twomass.fits"
    vizier_twomass().write(path)
    catalogue, files = read_catalogue("twomass", [path])
    assert files["state"].tolist() == ["done"]
    assert catalogue["id"].tolist() == [1, 2, 3]
    assert np.isfinite(catalogue["tmass_j_flux"]).tolist() == [True, True, False]
    assert np.isfinite(catalogue["tmass_k_flux"]).tolist() == [True, False, True]
    assert catalogue["epoch"][0] == 51238


def test_ps1_flags(tmp_path) -> None:
    """-999 is missing, bad measurements are left out, and extended objects are told by flag and by Kron magnitude."""
    table = Table({"objID": [1, 2, 3, 4], "raMean": [1.0, 1.1, 1.2, 1.3], "decMean": [0.0] * 4})
    table["epochMean"], table["qualityFlag"] = [56000.0] * 4, [4 | 16, 4 | 1, 64, 4]
    for band in "grizy":
        table[f"{band}MeanPSFMag"], table[f"{band}MeanPSFMagErr"] = [18.0, 18.0, 18.0, 18.0], [0.01] * 4
        table[f"{band}MeanKronMag"], table[f"{band}MeanKronMagErr"] = [18.0, 18.0, 18.0, 17.5], [0.01] * 4
    table["yMeanPSFMag"][0] = -999.0
    path = tmp_path / "ps1.fits"
    table.write(path)
    catalogue, _ = read_catalogue("ps1", [path])
    assert catalogue["id"].tolist() == [1, 2, 4]
    assert catalogue["extended"].tolist() == [False, True, True]
    assert np.isnan(catalogue["ps1_y_flux"][0])
    assert catalogue["ps1_i_flux"][0] == pytest.approx(10 ** (0.4 * (31.4 - 18)))


def test_gaia_and_vista(tmp_path) -> None:
    """Tables of the Gaia and VISTA archives: proper motions, RUWE, Vega magnitudes of the survey's own bands."""
    gaia = Table({"source_id": [5, 6], "ra": [3.0, 3.1], "dec": [0.0, 0.0], "ref_epoch": [2016.0, 2016.0]})
    gaia["pmra"], gaia["pmdec"], gaia["ruwe"] = [100.0, 0.0], [-50.0, 0.0], [1.0, 3.0]
    gaia["phot_g_mean_mag"] = [15.0, 15.0]
    gaia.write(tmp_path / "gaia.fits")
    stars, _ = read_catalogue("gaia", [tmp_path / "gaia.fits"])
    assert stars["id"].tolist() == [5]
    assert stars["pm_ra"][0] == 100
    assert stars["epoch"][0] == pytest.approx(57388.5, abs=0.1)
    vista = Table({"sourceID": [7], "ra": [3.0], "dec": [0.0], "mergedClass": [-1]})
    vista["ksAperMag3"], vista["ksAperMag3Err"], vista["zAperMag3"] = [16.0], [0.02], [-9.999995e8]
    vista.write(tmp_path / "vista.fits")
    sources, _ = read_catalogue("vista_catalogue", [tmp_path / "vista.fits"])
    assert 31.4 - 2.5 * np.log10(sources["vk_flux"][0]) == pytest.approx(16 + 1.816)
    assert np.isnan(sources["vz_flux"][0])


def test_csv_as_people_write_them(tmp_path) -> None:
    """Flags of zeros, nulls, dashes and sexagesimal positions: every star has the fluxes that it should have."""
    lines = "ra,dec,j_m,j_msigcom,h_m,h_msigcom,k_m,k_msigcom,ph_qual,cc_flg,date"
    lines += "\n02:18:09.1,-00:30:00,15.0,0.05,14.5,0.05,14.3,0.05,AAA,000,1998-10-01"
    lines += "\n02:18:09.2,-00:30:00,15.2,0.05,null,null,14.4,--,AAU,000,\n"
    (tmp_path / "t.csv").write_text(lines)
    catalogue, files = read_catalogue("twomass", [tmp_path / "t.csv"])
    assert files["state"].tolist() == ["done"]
    assert catalogue["ra"] == pytest.approx([15 * (2 + 18 / 60 + s / 3600) for s in (9.1, 9.2)])
    assert catalogue["dec"] == pytest.approx([-0.5, -0.5])
    assert catalogue["tmass_j_flux"] == pytest.approx(
        [10 ** (0.4 * (31.4 - m - TWOMASS_VEGA_TO_AB["j"])) for m in (15, 15.2)]
    )
    assert np.isfinite(catalogue["tmass_h_flux"]).tolist() == [True, False]
    assert np.isfinite(catalogue["tmass_k_flux"]).tolist() == [True, False]
    assert catalogue["epoch"].tolist() == [51087, TWOMASS_EPOCH]
    assert len(set(catalogue["id"].tolist())) == 2


def test_missing_identifiers_lose_no_star(tmp_path) -> None:
    """Masked, zero and absent identifiers: all stars stay, with numbers of their own; a second copy adds none."""
    table = Table({"ra": [359.99999, 0.00001, 3, 4], "dec": [0.0] * 4, "j_m": [15.0] * 4, "j_msigcom": [0.05] * 4})
    for name, ids in (("masked", MaskedColumn([0] * 4, mask=[True] * 4)), ("zero", [0] * 4), ("absent", None)):
        paths = [tmp_path / f"{name}_{number}.vot" for number in (1, 2)]
        for path in paths:
            (table if ids is None else Table({"cntr": ids, **table})).write(path, format="votable")
        catalogue, files = read_catalogue("twomass", paths)
        assert files["duplicates"].tolist() == [0, 4], name
        assert len(np.unique(catalogue["id"])) == len(catalogue) == 4


def test_lsst_shards_of_every_version(tmp_path) -> None:
    """Fluxes in Jy by unit or by version 0, in nJy since version 1, and positions in degrees are what they say."""
    flux = 10 ** (-0.4 * (18 + 48.6)) * 1e23
    for number, (unit, factor, version) in enumerate(
        [("Jy", 1.0, None), (None, 1.0, 0), (None, 1e9, 1), ("nJy", 1e9, 2), ("mJy", 1e3, 2)]
    ):
        table = Table({"id": [1, 2, 3], "coord_ra": np.radians([1.0, 2, 3]), "coord_dec": np.zeros(3)})
        if number % 2:
            table["coord_ra"] = np.array([1.0, 2, 3]) * u.deg
        for name, value in (("i_flux", flux), ("i_fluxErr", flux / 100)):
            table[name] = np.full(3, value * factor)
            table[name].unit = unit
        if version is not None:
            table.meta["HIERARCH REFCAT_FORMAT_VERSION"] = version
        path = tmp_path / f"ps1_{number}.fits"
        table.write(path)
        catalogue, files = read_catalogue("ps1", [path])
        assert files["reason"].tolist() == [""]
        assert catalogue["ps1_i_flux"] == pytest.approx(10 ** (-0.4 * (18 - 31.4)), rel=1e-6)
        assert catalogue["ps1_i_fluxErr"] == pytest.approx(10 ** (-0.4 * (18 - 31.4)) / 100, rel=1e-6)
        assert catalogue["ra"] == pytest.approx([1, 2, 3])


def test_running_numbers_stay_unique_in_three_catalogues(rng) -> None:
    """Three catalogues that count from one give a list in which no number occurs twice."""
    tables = {kind: numbered(rng, 20) for kind in ("gaia", "ps1", "twomass")}
    merged = merge(tables, radius=0.001)
    assert len(np.unique(merged["id"])) == len(merged) == 60


def numbered(rng, n: int) -> Table:
    """A catalogue of numbered stars without fluxes."""
    table = Table(
        {"id": np.arange(1, n + 1), "ra": rng.uniform(10, 11, n), "dec": np.zeros(n), "epoch": np.full(n, 5e4)}
    )
    for name in ("ra_err", "dec_err", "pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err"):
        table[name] = np.full(n, np.nan)
    table["extended"] = np.zeros(n, bool)
    return table


def test_bad_file_costs_itself_only(tmp_path) -> None:
    """An unreadable file and one without positions are failed with reasons; overlapping rows are kept once."""
    vizier_twomass().write(tmp_path / "good.fits")
    vizier_twomass().write(tmp_path / "again.fits")
    (tmp_path / "page.fits").write_text("<html>service down</html>")
    Table({"flux": [1.0]}).write(tmp_path / "odd.fits")
    paths = [tmp_path / f"{name}.fits" for name in ("page", "good", "odd", "again")]
    catalogue, files = read_catalogue("twomass", paths)
    assert files["state"].tolist() == ["failed", "done", "failed", "done"]
    assert "page.fits" in files["reason"][0]
    assert "RAJ2000" in files["reason"][2]
    assert files["duplicates"].tolist() == [0, 0, 0, 3]
    assert len(catalogue) == 3


def test_unreadable_shard(tmp_path) -> None:
    """A shard that is missing or is no table is refused by name."""
    with pytest.raises(ReferenceCatalogueError, match=r"none\.fits"):
        read_shard(tmp_path / "none.fits")
    (tmp_path / "bad.parquet").write_text("not a table")
    with pytest.raises(ReferenceCatalogueError, match=r"bad\.parquet"):
        read_shard(tmp_path / "bad.parquet")


@pytest.mark.parametrize("ending", [".fits", ".vot"])
def test_files_of_several_tables(tmp_path, ending):
    """Headers of images (FITS_LDAC) and tables without rows are passed over; parts of one catalogue are refused."""
    stars = Table({"source_id": [7, 8], "ra": [34.51, 34.52], "dec": [-5.01, -5.02], "phot_g_mean_mag": [17.0, 18.0]})
    path = tmp_path / f"gaia{ending}"

    def write(*tables: tuple[Table, str]) -> None:
        if ending == ".fits":
            hdus = [fits.BinTableHDU(table, name=name) for table, name in tables]
            fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)
            return
        whole = from_table(tables[0][0])
        whole.resources[0].tables[0].name = tables[0][1]
        for table, name in tables[1:]:
            part = from_table(table).resources[0]
            part.tables[0].name = name
            whole.resources.append(part)
        whole.to_xml(str(path))

    header = Table({"Header": ["SIMPLE  =                    T"]})
    for tables in ([(header, "LDAC_IMHEAD"), (stars, "LDAC_OBJECTS")], [(stars[:0], "EMPTY"), (stars, "STARS")]):
        write(*tables)
        found, files = read_catalogue("gaia", [path])
        assert (files["state"][0], sorted(found["id"])) == ("done", [7, 8])
    write((stars[:1], "CCD1"), (stars[1:], "CCD2"))
    _, files = read_catalogue("gaia", [path])
    assert "has 2 tables of the same columns (CCD1, CCD2)" in files["reason"][0]


def test_identifiers_as_views(tmp_path):
    """Text that Arrow holds as views is text."""
    columns = {"source_id": pa.array(["5", "4295806720123456789"[:18]]).cast(pa.string_view())}
    columns |= {"ra": [34.51, 34.52], "dec": [-5.01, -5.02], "phot_g_mean_mag": [17.0, 18.0]}
    pq.write_table(pa.table(columns), tmp_path / "gaia.parquet")
    found, _ = read_catalogue("gaia", [tmp_path / "gaia.parquet"])
    assert sorted(found["id"]) == [5, 429580672012345678]


def test_dates_that_are_none(tmp_path):
    """Years since 2000 are refused, not replaced by the epoch of the catalogue; placeholders are."""
    stars = Table({"source_id": [7, 8], "ra": [34.51, 34.52], "dec": [-5.01, -5.02], "phot_g_mean_mag": [17.0, 18.0]})
    for epochs, said in (([16.0, 15.5], "has 16 in the column 'ref_epoch', which is no date"), ([-999.0, 99.0], "")):
        stars["ref_epoch"] = epochs
        stars.write(tmp_path / "gaia.fits", overwrite=True)
        found, files = read_catalogue("gaia", [tmp_path / "gaia.fits"])
        assert said in files["reason"][0]
        assert bool(said) == (len(found) == 0)


def test_position_errors_of_twomass_in_another_unit(tmp_path):
    """Errors in degrees without a unit would be 0.02 mas: they are those of a typical source instead."""
    stars = Table({"ra": [34.51, 34.52], "dec": [-5.01, -5.02], "err_maj": [0.08 / 3600, 0.12], "j_m": [14.0, 15.0]})
    stars["j_msigcom"] = 0.02
    stars.write(tmp_path / "2mass.fits")
    found, _ = read_catalogue("twomass", [tmp_path / "2mass.fits"])
    np.testing.assert_allclose(found["ra_err"], [80, 120])


@pytest.mark.parametrize("kind", ["ps1", "twomass", "gaia", "vista_catalogue"])
def test_text_columns_without_rows(tmp_path, kind):
    """A table of text columns that has no rows is a catalogue without stars, not an error of numpy."""
    names = ("ra", "dec", "raMean", "decMean", "j_m", "h_m", "gMeanPSFMag", "phot_g_mean_mag", "ref_epoch", "epochMean")
    table = Table({name: np.empty(0, "U1") for name in names})
    table.write(tmp_path / "none.ecsv", format="ascii.ecsv")
    found, files = read_catalogue(kind, [tmp_path / "none.ecsv"])
    assert (len(found), files["state"][0], files["rows"][0]) == (0, "done", 0)
