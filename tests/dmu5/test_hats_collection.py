"""The HATS collection: every object once, in the partition where it is, with a complete margin; LSDB opens it."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from hats.io.validation import is_valid_collection
from hats.pixel_math.spatial_index import compute_spatial_index

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu0.schema.tables import empty_table
from dmu5.hats_collection import MARGIN, Pixel, choose_pixels, write_hats
from dmu5.writers import sky_index, write_parquet

COLUMNS = schema_columns(["vk"])  # of one band, for speed

with warnings.catch_warnings():  # lsdb sets an option that this pandas no longer needs
    warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
    import lsdb

in_lsdb = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # it uses what pandas 4 will remove


PROVENANCE = Provenance("lsst-ir-fusion 9.8.7", "0123abcd" * 5, "no", "31", "trial.yaml", *["5e"] * 5)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    """1000 objects in two tracts that overlap, each with rows that are not primary, in partitions of at most 200."""
    folder, rng = tmp_path_factory.mktemp("catalogue"), np.random.default_rng(3)
    table = empty_table(COLUMNS, 1000)
    table["coord_ra"] = 150 + rng.uniform(-0.05, 0.05, len(table))
    table["coord_dec"] = rng.uniform(-0.05, 0.05, len(table))
    table["vk_psfFlux"] = rng.normal(300, 100, len(table))
    table["objectId"] = 7 * np.arange(len(table))[::-1]
    west = np.asarray(table["coord_ra"]) < 150
    paths = []
    for tract, mine in ((8524, west), (8525, ~west)):
        part = table.copy()
        part["tract"] = tract
        part["detect_isPrimary"] = mine
        part["objectId"] += tract * 10**11
        paths.append(write_parquet(part, folder, COLUMNS, tract=tract, provenance=PROVENANCE))
    table["objectId"] += np.where(west, 8524, 8525) * 10**11
    hats = folder / "hats"
    assert write_hats(paths, hats, COLUMNS, name="trial", provenance=PROVENANCE, max_rows=200) == len(table)
    return hats, table


def test_partitions_split_where_objects_are_many(rng: np.random.Generator) -> None:
    """Each index is in one partition and none has too many; positions that are all the same cannot be split."""
    index = np.sort(rng.integers(3 << 46, 5 << 46, 5000))
    pixels = choose_pixels(index, lowest=6, max_rows=300)
    counts = [int(np.diff(np.searchsorted(index, pixel.limits()))[0]) for pixel in pixels]
    assert sum(counts) == 5000
    assert max(counts) <= 300
    assert all(one.limits()[1] <= other.limits()[0] for one, other in pairwise(pixels))
    assert choose_pixels(np.full(50, 12345), lowest=28, max_rows=10) == [Pixel(29, 12345)]
    assert choose_pixels(np.zeros(0, np.int64)) == []


def test_the_index_is_that_of_hats(rng: np.random.Generator) -> None:
    """Our index of a position is the one that LSDB computes, near the poles too."""
    ra, dec = rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000)))
    np.testing.assert_array_equal(sky_index(ra, dec), compute_spatial_index(ra, dec))


def test_every_object_is_there_once(collection: tuple[Path, Table]) -> None:
    """hats finds the collection valid; rows are sorted, in their pixel, and those of the catalogue."""
    folder, table = collection
    assert is_valid_collection(folder, strict=True, verbose=False)
    files = sorted(folder.glob("object/dataset/Norder=*/Dir=*/Npix=*.parquet"))
    assert len(files) > 3
    ids = []
    for path in files:
        rows = pq.ParquetFile(path).read()
        index = rows["_healpix_29"].to_numpy()
        assert (np.diff(index) >= 0).all()
        assert len(rows) <= 200
        order, number = int(path.parts[-3].split("=")[1]), int(path.stem.split("=")[1])
        assert {*(index >> 2 * (29 - order))} == {number}
        assert rows.schema.field("vk_psfFlux").metadata[b"unit"] == b"nJy"
        assert rows.schema.metadata[b"lsst-ir-fusion.commit"].decode() == PROVENANCE.commit
        ids += rows["objectId"].to_pylist()
    assert sorted(ids) == sorted(table["objectId"])


@in_lsdb
def test_lsdb_opens_it(collection: tuple[Path, Table]) -> None:
    """A cone, an object by its identifier, and values and columns as they were."""
    folder, table = collection
    catalogue = lsdb.open_catalog(folder, columns=["objectId", "coord_ra", "coord_dec", "vk_psfFlux"])
    cone = catalogue.cone_search(150.01, 0.005, 60.0).compute()
    places = SkyCoord(table["coord_ra"], table["coord_dec"], unit="deg")
    inside = places.separation(SkyCoord(150.01, 0.005, unit="deg")) < 60 * u.arcsec
    assert 20 < inside.sum() < 200
    assert {*cone["objectId"]} == {*table["objectId"][inside]}
    chosen = table[123]
    found = catalogue.id_search({"objectId": int(chosen["objectId"])}).compute()
    assert len(found) == 1
    assert found["vk_psfFlux"].iloc[0] == pytest.approx(chosen["vk_psfFlux"], rel=1e-6)


@in_lsdb
def test_matches_across_edges_are_found(collection: tuple[Path, Table]) -> None:
    """All pairs within 5 arcsec are found, also those in two partitions, which the margin supplies."""
    folder, table = collection
    catalogue = lsdb.open_catalog(folder, columns=["objectId", "coord_ra", "coord_dec"])
    matched = catalogue.crossmatch(
        catalogue, radius_arcsec=4.999, n_neighbors=9, suffixes=("_1", "_2"), suffix_method="all_columns"
    ).compute()
    places = SkyCoord(table["coord_ra"], table["coord_dec"], unit="deg")
    one, other, _, _ = places.search_around_sky(places, 4.999 * u.arcsec)
    ids = np.asarray(table["objectId"])
    assert {*zip(matched["objectId_1"], matched["objectId_2"], strict=True)} == {
        *zip(ids[one], ids[other], strict=True)
    }
    assert len(one) > 1100


def test_the_margin_is_complete(collection: tuple[Path, Table]) -> None:
    """Every object within the margin's width of another partition's object is in that partition's margin."""
    folder, table = collection
    partitions = {}
    for path in folder.glob("object/dataset/Norder=*/Dir=*/Npix=*.parquet"):
        rows = pq.ParquetFile(path).read(columns=["objectId", "coord_ra", "coord_dec"]).to_pandas()
        margin = folder / "object_margin" / path.relative_to(folder / "object")
        known = {*pq.ParquetFile(margin).read(columns=["objectId"])["objectId"].to_pylist()} if margin.exists() else {}
        partitions[path] = (rows, known)
    pairs = 0
    everything = SkyCoord(table["coord_ra"], table["coord_dec"], unit="deg")
    for rows, known in partitions.values():
        near = everything.search_around_sky(
            SkyCoord(rows["coord_ra"], rows["coord_dec"], unit="deg"), MARGIN * u.arcsec
        )
        others = {*np.asarray(table["objectId"])[near[1]]} - {*rows["objectId"]}
        pairs += len(others)
        assert others <= {*known}
        assert not {*known} & {*rows["objectId"]}
    assert pairs > 10


def test_no_objects_no_collection(tmp_path: Path, provenance: Provenance) -> None:
    """An empty catalogue leaves no folder, not even an old one."""
    path = write_parquet(empty_table(COLUMNS), tmp_path, COLUMNS, tract=1, provenance=provenance)
    (tmp_path / "hats" / "object").mkdir(parents=True)
    assert write_hats([path], tmp_path / "hats", COLUMNS, name="trial", provenance=provenance) == 0
    assert not (tmp_path / "hats").exists()


def test_a_cone_reads_little(tmp_path: Path, provenance: Provenance) -> None:
    """Statistics of row groups leave out most of a file of 40 000 rows for a cone of 20 arcsec."""
    columns = schema_columns(())
    rng = np.random.default_rng(5)
    table = Table(
        {
            column.name: np.zeros(40_000, column.dtype) if column.dtype != "?" else np.ones(40_000, bool)
            for column in columns
        }
    )
    table["coord_ra"] = 150 + rng.uniform(0, 0.4, len(table))
    table["coord_dec"] = rng.uniform(0, 0.4, len(table))
    table["objectId"] = np.arange(len(table))
    path = write_parquet(table, tmp_path, columns, tract=1, provenance=provenance)
    metadata = pq.ParquetFile(path).metadata
    names = metadata.schema.names
    touched = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        ra, dec = (group.column(names.index(name)).statistics for name in ("coord_ra", "coord_dec"))
        touched += ra.min < 150.306 and ra.max > 150.294 and dec.min < 0.106 and dec.max > 0.094
    assert metadata.num_row_groups == 5
    assert touched <= 2
