"""The catalogue in SQLite and in a PostgreSQL server that the test starts: rows, NULL, units in TAP_SCHEMA, a cone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import sqlalchemy
from astropy.coordinates import SkyCoord
from astropy.table import Table

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu0.schema.tables import make_table
from dmu5.databases import in_cone, load_catalogue
from dmu5.fusing import fuse
from dmu5.observations import obscore_columns, outline
from dmu5.writers import write_parquet, write_schema
from tests.scenes.postgresql import free_port

BANDS = ("g", "i", "vj", "vk")
COLUMNS = schema_columns(BANDS)
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []


def postgres(*words: str | Path) -> None:
    """Run a program of PostgreSQL, which refuses to run as root."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*user, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    """A PostgreSQL server with an empty database, on a free port of this machine."""
    if not SERVERS:
        pytest.skip("the Debian package postgresql is not installed")
    folder = Path(tempfile.mkdtemp(prefix="fusion_pg_"))  # the path of its socket has to be short
    port = free_port()
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    try:
        postgres(
            SERVERS[-1] / "initdb",
            "-D",
            folder / "data",
            "-A",
            "trust",
            "-U",
            "fusion",
            "-N",
            "--locale=C",
            "-E",
            "UTF8",
        )
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        postgres(SERVERS[-1] / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w", "-o", options, "start")
        yield f"postgresql+psycopg://fusion@127.0.0.1:{port}/postgres"
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            postgres(SERVERS[-1] / "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database of each kind."""
    return f"sqlite:///{tmp_path / 'catalogue.db'}" if request.param == "sqlite" else request.getfixturevalue("server")


@pytest.fixture
def catalogue(objects: Table, tmp_path: Path, provenance: Provenance) -> tuple[Path, Table]:
    """A catalogue of two tracts, with missing fluxes and counts."""
    table = fuse(objects[:300], COLUMNS)
    table["vj_psfFlux"][::3] = np.nan
    table["g_inputCount"] = np.where(np.arange(300) % 10 == 0, -1, 4)
    table["tract"] = np.where(np.arange(300) < 200, 8524, 8525)
    write_schema(tmp_path / "schema.yaml", BANDS)
    for tract in (8524, 8525):
        write_parquet(table[table["tract"] == tract], tmp_path, COLUMNS, tract=tract, provenance=provenance)
    return tmp_path, table


def image_records() -> Table:
    """Two images, one of them without times."""
    names = ["dataproduct_type", "calib_level", "obs_collection", "obs_id", "obs_publisher_did", "s_ra", "t_min"]
    columns = [
        ["image"] * 2, [2, 3], ["trial"] * 2, ["a", "b"], ["trial/a", "trial/b"], [150.0, 151.0], [56000.5, np.nan]
    ]  # fmt: skip
    return make_table(dict(zip(names, map(np.array, columns), strict=True)), obscore_columns(), length=2)


def test_a_database_has_the_catalogue(url: str, catalogue: tuple[Path, Table]) -> None:
    """Rows, missing values, positions in a cone and images are those of the files; loading again replaces them."""
    folder, table = catalogue
    for _ in range(2):
        assert load_catalogue(url, folder, images=image_records()) == {"object": 300, "obscore": 2}
    engine = sqlalchemy.create_engine(url)
    own, ivoa = ("", "") if url.startswith("sqlite") else ("lsst_ir_fusion.", "ivoa.")
    tap = "" if url.startswith("sqlite") else '"TAP_SCHEMA".'
    with engine.connect() as connection:

        def ask(sql: str) -> list[tuple]:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(sql))]

        flux = np.asarray(table["vj_psfFlux"], float)
        ((mean, known, images),) = ask(
            f'select avg("vj_psfFlux"), count("vj_psfFlux"), sum("g_inputCount") from {own}object'
        )
        assert mean == pytest.approx(np.nanmean(flux), rel=1e-5)
        assert (known, images) == (200, 4 * 270)
        assert ask(f'select "refBand", count(*) from {own}object where "detect_isPrimary" group by "refBand"') == [
            ("i", 300)
        ]
        centre = SkyCoord(150.005, 0.003, unit="deg")
        near = SkyCoord(table["coord_ra"], table["coord_dec"], unit="deg").separation(centre) < 70 * u.arcsec
        found = ask(f'select "objectId" from {own}object where {in_cone(150.005, 0.003, 70)}')
        assert 10 < near.sum() < 200
        assert {number for (number,) in found} == {*table["objectId"][near].tolist()}
        described = ask(
            f"select unit, ucd, description from {tap}columns where column_name = 'vk_psfFlux'"
            " and table_name = 'lsst_ir_fusion.object'"
        )
        column = next(column for column in COLUMNS if column.name == "vk_psfFlux")
        assert described == [(column.unit, column.ucd, column.description)]
        ((count,),) = ask(f"select count(*) from {tap}columns where table_name = 'lsst_ir_fusion.object'")
        assert count == len(COLUMNS)
        assert ask(f"select obs_id, t_min from {ivoa}obscore order by obs_id") == [("a", 56000.5), ("b", None)]
    engine.dispose()


def test_a_row_that_cannot_be_stored_leaves_nothing(
    url: str, catalogue: tuple[Path, Table], provenance: Provenance
) -> None:
    """An identifier that comes twice is refused, and no row of the load stays."""
    folder, table = catalogue
    write_parquet(table[:5], folder, COLUMNS, tract=9999, provenance=provenance)
    with pytest.raises(Exception, match=r"(?i)unique"):
        load_catalogue(url, folder)
    engine = sqlalchemy.create_engine(url)
    own = "" if url.startswith("sqlite") else "lsst_ir_fusion."
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text(f"select count(*) from {own}object")).scalar() == 0
    engine.dispose()


def test_a_folder_without_a_schema_is_named(tmp_path: Path) -> None:
    """The message says which file is missing."""
    with pytest.raises(FileNotFoundError, match=r"schema\.yaml"):
        load_catalogue("sqlite://", tmp_path)


def test_outlines_go_around_the_origin_of_right_ascension() -> None:
    """The centre of an image at RA 0 is there, not at 180; its circle reaches the corners."""
    ra, dec = np.array([359.9, 0.3, 0.3, 359.9]), np.array([59.9, 59.9, 60.1, 60.1])
    found = outline(ra, dec)
    assert found["s_ra"] == pytest.approx(0.1, abs=1e-6)
    assert found["s_dec"] == pytest.approx(60.0, abs=1e-3)
    apart = SkyCoord(found["s_ra"], found["s_dec"], unit="deg").separation(SkyCoord(ra, dec, unit="deg")).deg
    assert found["s_fov"] == pytest.approx(2 * apart.max(), rel=1e-9)
    assert found["s_region"].split()[:4] == ["POLYGON", "ICRS", "359.900000", "59.900000"]


@pytest.mark.release
def test_every_image_of_the_release_has_a_record() -> None:
    """Coadds of ten bands on four patches and the detector images, each with a file, a band and an outline."""
    from dmu0.files.paths import PROJECT
    from dmu0.surveys import load_survey
    from dmu5.observations import obscore_records

    records = obscore_records(load_survey("sample"))
    coadds = records[records["calib_level"] == 3]
    assert len(coadds) == 40
    assert len(records) > 100
    assert len({*records["obs_publisher_did"]}) == len(records)
    assert all((PROJECT / path).is_file() for path in records["access_url"])
    assert np.isfinite(records["s_ra"]).all()
    assert np.isfinite(records["t_min"][records["facility_name"] == "VISTA"]).all()
