"""The fused catalogue: the pipeline's object tables, held against the schema, completed, written in every format."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import healsparse
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import Column, Table
from lsst.daf.butler import MissingCollectionError, MissingDatasetTypeError
from mocpy import MOC

from dmu0.surveys import Survey
from dmu4.butler.repository import open_butler
from dmu5.schema import CatalogueColumn, catalogue_columns, check_table, empty_table, with_schema, write_schema

log = logging.getLogger(__name__)

OBJECT = "object"
"""Dataset type of the pipeline's tables, one a tract."""
MOC_ORDER = 14
"""HEALPix order of the catalogue's coverage, cells of 13 arcsec."""


@dataclass(frozen=True)
class TractCatalogue:
    """What became of one tract.

    Parameters
    ----------
    tract
        Which.
    state
        ``done``, ``skipped`` or ``failed``.
    reason
        Why, if not done.
    n_rows, n_primary
        Rows, and objects.
    """

    tract: int
    state: str
    reason: str = ""
    n_rows: int = 0
    n_primary: int = 0


def read_objects(survey: Survey, tracts: str = "") -> dict[int, Table]:
    """The pipeline's object tables, by tract.

    Parameters
    ----------
    survey
        The survey; its Butler repository is that of dmu4.
    tracts
        Tracts to read, separated by spaces; all that there are if empty.

    Raises
    ------
    FileNotFoundError
        If there is no repository.
    """
    wanted = [int(tract) for tract in tracts.split()] or list(survey.tracts)
    found: dict[int, Table] = {}
    with open_butler(survey) as butler:
        try:
            references = butler.query_datasets(OBJECT, explain=False)
        except (MissingDatasetTypeError, MissingCollectionError):
            log.warning("The repository of %s has no dataset type %r: no tract was finished.", survey.name, OBJECT)
            return found
        for reference in references:
            tract = int(reference.dataId["tract"])
            if tract in wanted:
                found[tract] = butler.get(reference)
    return {tract: found[tract] for tract in wanted if tract in found}


def fuse(objects: Table, columns: Sequence[CatalogueColumn], *, ebv_map: Path | None = None) -> Table:
    """The catalogue of a tract from its object table: completed, and with the units and words of the schema.

    Parameters
    ----------
    objects
        The pipeline's table: all columns of the schema but ``ebv``.
    columns
        The schema.
    ebv_map
        A healsparse map of E(B-V); None: ``ebv`` is NaN.

    Raises
    ------
    SchemaError
        If the table's columns are not those of the schema.
    """
    table = objects.copy()
    if "ebv" not in table.colnames:
        table["ebv"] = look_up_ebv(np.asarray(table["coord_ra"]), np.asarray(table["coord_dec"]), ebv_map)
    check_table(table, columns)
    return with_schema(table, columns)


def look_up_ebv(ra: np.ndarray, dec: np.ndarray, ebv_map: Path | None) -> np.ndarray:
    """Galactic reddening at positions in deg, from a healsparse map; NaN without one and outside it.

    Raises
    ------
    FileNotFoundError
        If the map is named and not there.
    """
    if ebv_map is None:
        return np.full(len(ra), np.nan, np.float32)
    if not ebv_map.exists():
        raise FileNotFoundError(
            f"There is no map of E(B-V) {ebv_map}: correct the parameter ebv_map, or leave it empty."
        )
    sky = healsparse.HealSparseMap.read(str(ebv_map))
    values = np.asarray(sky.get_values_pos(ra, dec, lonlat=True), np.float32)
    return np.where(values == np.float32(sky.sentinel), np.nan, values).astype(np.float32)


def make_catalogue(survey: Survey, *, tracts: str = "", ebv_map: Path | None = None) -> Iterator[TractCatalogue]:
    """Write the Parquet catalogue of a survey, one folder a tract, and the schema beside it.

    Every column is there for every band of the survey. A tract without objects gives a table without rows.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to do, separated by spaces; all if empty.
    ebv_map
        See `fuse`.

    Raises
    ------
    SchemaError
        If a table's columns are not those of the schema.
    """
    folder = survey.folders[5] / "catalogue"
    columns = catalogue_columns(survey.bands)
    write_schema(folder / "schema.yaml", survey.bands)
    found = read_objects(survey, tracts)
    for tract in [int(tract) for tract in tracts.split()] or list(survey.tracts):
        if tract not in found:
            write_parquet(empty_table(columns), folder, tract=tract)
            yield TractCatalogue(tract, "skipped", "the pipeline made no object table")
            continue
        table = fuse(found[tract], columns, ebv_map=ebv_map)
        write_parquet(table, folder, tract=tract)
        yield TractCatalogue(tract, "done", "", len(table), int(np.sum(table["detect_isPrimary"])))


def parquet_path(folder: Path, *, tract: int) -> Path:
    """The catalogue file of a tract. The folder is not ``tract=...``: readers would find the column twice."""
    return folder / "parquet" / str(tract) / "object.parquet"


def write_parquet(table: Table, folder: Path, *, tract: int) -> Path:
    """Write one tract, zstd-compressed; units and descriptions are in the file.

    The column ``tract`` is in the file too, as a number, so that a file makes sense on its own.
    """
    path = parquet_path(folder, tract=tract)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    table.write(part, format="parquet", overwrite=True)
    arrow = pq.ParquetFile(part).read()  # astropy put units and descriptions there, but cannot compress
    floats = [field.name for field in arrow.schema if pa.types.is_floating(field.type)]
    pq.write_table(
        arrow,
        part,
        compression="zstd",
        use_byte_stream_split=floats,
        use_dictionary=[*set(arrow.column_names) - {*floats}],
    )
    part.replace(path)
    return path


def tract_table(states: Sequence[TractCatalogue]) -> Table:
    """What became of each tract, one row a tract."""
    names = list(TractCatalogue.__dataclass_fields__)
    rows = [tuple(getattr(state, name) for name in names) for state in states]
    return Table(rows=rows or None, names=names, dtype=[int, "U8", "U256", int, int])


def write_ecsv(table: Table, path: Path) -> Path:
    """Write a small table as text, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    table.write(part, format="ascii.ecsv", overwrite=True)
    part.replace(path)
    return path


def read_catalogue(survey: Survey, *, tracts: str = "", columns: Sequence[str] | None = None) -> Table:
    """The catalogue of a survey.

    Parameters
    ----------
    survey
        The survey.
    tracts
        Tracts to read, separated by spaces; all if empty.
    columns
        Names to read; all if None.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    folder = survey.folders[5] / "catalogue"
    wanted = [int(tract) for tract in tracts.split()] or list(survey.tracts)
    paths = [parquet_path(folder, tract=tract) for tract in wanted]
    paths = [path for path in paths if path.exists()]
    if not paths:
        raise FileNotFoundError(f"There is no catalogue in {folder}: run dmu5/1_Fused_catalogue for this survey first.")
    schema = [column for column in catalogue_columns(survey.bands) if columns is None or column.name in columns]
    tables = [pq.ParquetFile(path).read(columns=[column.name for column in schema]) for path in paths]
    joined = Table()
    for column in schema:
        values = [np.asarray(table[column.name].to_numpy()) for table in tables]
        data = np.concatenate(values).astype(column.dtype)
        joined.add_column(Column(data, name=column.name, unit=column.unit or None, description=column.description))
    return joined


def write_fits(table: Table, path: Path, columns: Sequence[CatalogueColumn]) -> Path:
    """Write a FITS table whose header says unit, UCD and meaning of each column (TUNIT, TUCD, TCOMM)."""
    hdu = fits.table_to_hdu(_plain(table))
    for number, column in enumerate(columns, start=1):
        if column.ucd:
            hdu.header[f"TUCD{number}"] = column.ucd
        hdu.header[f"TCOMM{number}"] = column.description[:NOTE_LENGTH]
    hdu.header["EXTNAME"] = "OBJECT"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(part, overwrite=True)
    part.replace(path)
    return path


NOTE_LENGTH = 68
"""Characters of a description that fit into a FITS card; the rest is in the schema."""


def write_votable(table: Table, path: Path, columns: Sequence[CatalogueColumn]) -> Path:
    """Write a VOTable (binary2) with units, UCDs and descriptions."""
    votable = from_table(_plain(table), table_id="object")
    fields = {field.name: field for field in votable.get_first_table().fields}
    for column in columns:
        if column.ucd:
            fields[column.name].ucd = column.ucd
        fields[column.name].description = column.description
    votable.set_all_tables_format("binary2")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    votable.to_xml(str(part))
    part.replace(path)
    return path


def _plain(table: Table) -> Table:
    """The table without the UCDs of its columns, which the writers put where they belong themselves."""
    plain = Table(table, copy=False)
    for name in plain.colnames:
        plain[name].meta.clear()
    return plain


def write_mocs(table: Table, folder: Path, bands: Sequence[str]) -> dict[str, float]:
    """Write the sky where objects are usable, one MOC a band and one of the catalogue.

    Returns
    -------
    areas
        Name (a band, or ``catalogue``) -> arcmin^2. Cells without an object are not counted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    areas = {}
    for name in ("catalogue", *bands):
        rows = table if name == "catalogue" else table[np.asarray(table[f"{name}_usable"])]
        if not len(rows):
            areas[name] = 0.0
            (folder / f"{name}.moc.fits").unlink(missing_ok=True)
            continue
        places = SkyCoord(np.asarray(rows["coord_ra"]), np.asarray(rows["coord_dec"]), unit="deg")
        moc = MOC.from_skycoords(places, max_norder=MOC_ORDER).degrade_to_order(MOC_ORDER - 2)
        part = folder / f".{name}.{os.getpid()}.part"
        moc.save(str(part), format="fits", overwrite=True)
        shutil.move(part, folder / f"{name}.moc.fits")
        areas[name] = float(moc.sky_fraction * 4 * np.pi * (u.rad**2).to(u.arcmin**2))
    return areas
