"""The catalogue as users open it: the rows and columns that were asked for, wherever on the sky."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.table import Table
from mocpy import MOC

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu0.schema.tables import empty_table
from dmu5 import flux_error, magnitude, magnitude_error, open_catalogue, signal_to_noise
from dmu5.writers import write_parquet

BANDS = ("i", "vk")
COLUMNS = schema_columns(BANDS)
CENTRES = [(0.0, -30.0), (150.0, 2.2), (10.0, 89.99), (200.0, -89.995)]


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator, provenance: Provenance) -> tuple[Path, Table]:
    """Objects around four positions, across RA 0 and at both poles: one tract each."""
    tables = []
    for tract, (ra, dec) in enumerate(CENTRES):
        table = empty_table(COLUMNS, 300)
        places = SkyCoord(ra, dec, unit="deg").directional_offset_by(
            rng.uniform(0, 360, 300) * u.deg, 200 * np.sqrt(rng.uniform(0, 1, 300)) * u.arcsec
        )
        table["coord_ra"], table["coord_dec"] = places.ra.deg, places.dec.deg
        table["tract"] = tract
        table["objectId"] = tract * 1000 + np.arange(300)
        table["detect_isPrimary"] = np.arange(300) % 4 > 0
        table["refBand"] = np.where(np.arange(300) % 2, "i", "vk")
        table["vk_psfFlux"] = rng.normal(1000, 400, 300)
        table["vk_psfFluxErr"] = 100.0
        table["vk_fluxFloor"] = 0.05
        table["vk_psfFlux_flag"] = np.arange(300) % 10 == 0
        table["vk_psfFlux"][::7] = np.nan
        table["i_usable"] = np.arange(300) % 3 == 0
        write_parquet(table, tmp_path, COLUMNS, tract=tract, provenance=provenance)
        tables.append(table)
    whole = empty_table(COLUMNS, 1200)
    for name in whole.colnames:
        whole[name] = np.concatenate([table[name] for table in tables])
    return tmp_path, whole


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("radius", [40.0, 90.0])
def test_a_cone_has_the_rows_within_its_radius(
    folder: tuple[Path, Table], centre: tuple[float, float], radius: float
) -> None:
    """As many as on the sphere, from a centre that is off that of the objects."""
    path, table = folder
    ra, dec = centre[0] + 0.004, centre[1] - 0.003 * np.sign(centre[1])
    apart = SkyCoord(table["coord_ra"], table["coord_dec"], unit="deg").separation(SkyCoord(ra, dec, unit="deg"))
    expected = {*table["objectId"][apart < radius * u.arcsec].tolist()}
    found = open_catalogue(path).cone(ra, dec, radius).read("objectId")
    assert found.colnames == ["objectId"]
    assert {*found["objectId"].tolist()} == expected
    assert len(expected) >= 2


def test_choices_are_chained(folder: tuple[Path, Table]) -> None:
    """Filters, tract, primary rows and usable ones together; missing values fulfil no comparison, and are masked."""
    path, table = folder
    chosen = open_catalogue(path).primary().tract(2).where("vk_psfFlux > 900 and not vk_psfFlux_flag and refBand == i")
    found = chosen.read("objectId", "vk_psfFlux")
    rows = (table["tract"] == 2) & table["detect_isPrimary"] & (table["vk_psfFlux"] > 900) & ~table["vk_psfFlux_flag"]
    rows &= table["refBand"] == "i"
    assert {*found["objectId"].tolist()} == {*table["objectId"][rows].tolist()}
    assert found["vk_psfFlux"].unit == "nJy"
    usable = open_catalogue(path).usable("i").read("vk_psfFlux")
    assert usable["vk_psfFlux"].mask.sum() == np.isnan(table["vk_psfFlux"][table["i_usable"]]).sum() > 0
    assert len(open_catalogue(path).read("{band}_usable").colnames) == 2
    assert open_catalogue(path).where("objectId == 2007").read("objectId", "tract")["tract"].tolist() == [2]


def test_a_map_of_the_sky_chooses_rows(folder: tuple[Path, Table], tmp_path: Path) -> None:
    """Rows inside a MOC, given as such or as a file."""
    path, table = folder
    moc = MOC.from_cone(lon=Longitude(150.0 * u.deg), lat=Latitude(2.2 * u.deg), radius=60 * u.arcsec, max_depth=17)
    moc.save(str(tmp_path / "a.moc.fits"), format="fits")
    inside = moc.contains_lonlat(np.asarray(table["coord_ra"]) * u.deg, np.asarray(table["coord_dec"]) * u.deg)
    for given in (moc, tmp_path / "a.moc.fits"):
        assert {*open_catalogue(path).moc(given).read("objectId")["objectId"].tolist()} == {*table["objectId"][inside]}
    assert inside.sum() > 5


def test_columns_are_described_without_reading(folder: tuple[Path, Table], provenance: Provenance) -> None:
    """Names, units, UCDs, descriptions, bands, and who made the file."""
    catalogue = open_catalogue(folder[0])
    columns = catalogue.columns
    assert list(columns["name"]) == [column.name for column in COLUMNS]
    assert list(columns["description"]) == [column.description for column in COLUMNS]
    assert catalogue.bands == list(BANDS)
    assert catalogue.provenance == provenance.words()


def test_mistakes_are_explained(folder: tuple[Path, Table], tmp_path: Path) -> None:
    """A column that does not exist, a comparison that cannot be read, and a folder without a catalogue."""
    catalogue = open_catalogue(folder[0])
    with pytest.raises(KeyError, match="Did you mean vk_psfFlux"):
        catalogue.read("VK_psfflux")
    with pytest.raises(KeyError, match="no column 'flux'"):
        catalogue.where("flux > 3")
    with pytest.raises(ValueError, match="'vk_psfFlux is big' is no condition"):
        catalogue.where("vk_psfFlux is big")
    with pytest.raises(FileNotFoundError, match="no catalogue in"):
        open_catalogue(tmp_path / "nowhere")


def test_magnitudes_heed_flags_floor_and_noise() -> None:
    """1000 nJy are AB 23.9; a flux of 5 per cent floor and no noise has S/N 20; flagged and faint ones have none."""
    table = Table({"vk_psfFlux": [1000.0, 1e6, 1000.0, 30.0, -5.0, np.nan]})
    table["vk_psfFluxErr"] = [100.0, 1e-6, 100.0, 10.0, 10.0, 10.0]
    table["vk_psfFlux_flag"] = [False, False, True, False, False, False]
    table["vk_fluxFloor"] = 0.05
    np.testing.assert_allclose(magnitude(table, "vk_psfFlux", snr_min=5), [23.9, 16.4, *[np.nan] * 4], rtol=1e-6)
    np.testing.assert_allclose(flux_error(table, "vk_psfFlux")[:2], [np.hypot(100, 50), 5e4])
    np.testing.assert_allclose(signal_to_noise(table, "vk_psfFlux")[1], 20)
    np.testing.assert_allclose(magnitude_error(table, "vk_psfFlux")[1], 0.05 * 2.5 / np.log(10))
    assert np.isnan(magnitude_error(table, "vk_psfFlux")[2:]).tolist() == [True, False, True, True]
