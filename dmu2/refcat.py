"""The reference catalogue: writing and reading htm7 shards with the columns of LSST reference catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import Table
from lsst.sphgeom import HtmPixelization, LonLat, UnitVector3d

from dmu0.files.catalogue_files import READ_ERRORS, CatalogueError, read_catalogue_file
from dmu0.files.columns import conversion, epochs, unit_of
from dmu0.files.tables import write_table
from dmu0.sky.matching import DAYS_PER_YEAR, propagate
from obs_vista.bands import OPTICAL_BANDS, VISTA_BANDS

HTM_LEVEL = 7
"""Level of the hierarchical triangular mesh of the shards, whose pixels are about half a degree across."""

SURVEY_BANDS = (*(band for band in OPTICAL_BANDS if band != "u"), *VISTA_BANDS)
"""Bands to which PS1 and 2MASS can be transformed."""

ORIGINAL_FLUXES = (
    *(f"ps1_{band}" for band in "grizy"),
    *(f"tmass_{band}" for band in "jhk"),
    *(f"gaia_{band}" for band in ("g", "bp", "rp")),
)
"""Fluxes of the reference catalogues (AB), in addition to those in the survey's own system."""

_POSITION_COLUMNS = (
    ("id", "i8", "", "identifier, unique over all shards"),
    ("coord_ra", "f8", "rad", "ICRS right ascension at the epoch"),
    ("coord_dec", "f8", "rad", "ICRS declination at the epoch"),
    ("coord_ra_err", "f4", "rad", "standard error of coord_ra times cos(coord_dec)"),
    ("coord_dec_err", "f4", "rad", "standard error of coord_dec"),
    ("epoch", "f8", "d", "MJD (TAI) of the position"),
    ("pm_ra", "f8", "rad / yr", "proper motion in right ascension times cos(coord_dec); NaN if unknown"),
    ("pm_dec", "f8", "rad / yr", "proper motion in declination; NaN if unknown"),
    ("pm_ra_err", "f4", "rad / yr", "standard error of pm_ra; NaN if unknown"),
    ("pm_dec_err", "f4", "rad / yr", "standard error of pm_dec; NaN if unknown"),
    ("position_from", "U8", "", "catalogue of the position: gaia, ps1, 2mass or vista"),
    ("extended", "?", "", "a catalogue says that this is not a point source"),
)

_LSST_NAMES = {
    "coord_raErr": "coord_ra_err",
    "coord_decErr": "coord_dec_err",
    "pm_raErr": "pm_ra_err",
    "pm_decErr": "pm_dec_err",
}
# Faster than any star by a factor of ten (Barnard's star moves 5e-5 rad/yr): such a column holds something else.
_PM_LIMIT = 5e-4


class ReferenceCatalogueError(ValueError):
    """A reference catalogue file is missing, unreadable or incomplete."""


def columns() -> tuple[tuple[str, str, str, str], ...]:
    """Name, dtype, unit and meaning of each column of a shard."""
    own = [
        column
        for band in SURVEY_BANDS
        for column in _flux_columns(band, f"flux of a point source in {band}, in the survey's own system, AB")
    ]
    originals = [
        column
        for name in ORIGINAL_FLUXES
        for column in _flux_columns(name, f"flux of a point source in {name.replace('_', ' ')}, as catalogued, AB")
    ]
    return (*_POSITION_COLUMNS, *own, *originals)


def _flux_columns(name: str, meaning: str) -> list[tuple[str, str, str, str]]:
    return [
        (f"{name}_flux", "f4", "nJy", f"{meaning}; NaN if unknown"),
        (f"{name}_fluxErr", "f4", "nJy", f"standard error of {name}_flux"),
    ]


def empty_shard(rows: int = 0) -> Table:
    """A shard with a given number of rows without values: fluxes and motions NaN, identifiers 0."""
    table = Table()
    for name, dtype, unit, meaning in columns():
        fill = np.nan if dtype.startswith("f") else np.zeros(1, dtype)[0]
        table[name] = np.full(rows, fill, dtype)
        table[name].unit = u.Unit(unit) if unit else None
        table[name].description = meaning
    return table


def shard_index(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """The htm7 pixel of each position in degrees."""
    pixels = HtmPixelization(HTM_LEVEL)
    positions = zip(np.atleast_1d(ra).tolist(), np.atleast_1d(dec).tolist(), strict=True)
    return np.array([pixels.index(UnitVector3d(LonLat.fromDegrees(x, y))) for x, y in positions], np.int64)


def write_shards(table: Table, folder: Path, words: Mapping[str, str] | None = None) -> dict[int, Path]:
    """Write each htm7 shard of a reference catalogue to ``<folder>/<htm7>.parquet``.

    Shards of an earlier catalogue that contain no star any more are removed, so that the folder is a single catalogue.

    Parameters
    ----------
    table
        The reference catalogue.
    folder
        Folder of the shards.
    words
        Provenance of the catalogue; the version of the code if None.

    Returns
    -------
    dict
        Number of the shard -> file, in order of number.

    Raises
    ------
    ReferenceCatalogueError
        If a column is missing or an identifier occurs twice.
    """
    missing = [name for name, *_ in columns() if name not in table.colnames]
    if missing:
        raise ReferenceCatalogueError(f"The reference catalogue lacks the column {missing[0]!r}.")
    if len(np.unique(table["id"])) != len(table):
        values, counts = np.unique(np.asarray(table["id"]), return_counts=True)
        raise ReferenceCatalogueError(
            f"Identifier {values[counts > 1][0]} occurs {counts.max()} times; it must be unique."
        )
    folder.mkdir(parents=True, exist_ok=True)
    shards = shard_index(np.degrees(table["coord_ra"].value), np.degrees(table["coord_dec"].value))
    written = {}
    for shard in np.unique(shards).tolist():
        path = folder / f"{shard}.parquet"
        write_table(table[shards == shard][[name for name, *_ in columns()]], path, words)
        written[shard] = path
    for path in folder.glob("*.parquet"):
        if path not in written.values():
            path.unlink()
    return written


def read_shard(path: Path | str) -> Table:
    """Read a reference shard in our format (Parquet), or in LSST's format (versions 0 to 2).

    Differences between LSST's versions are removed: names of the errors, epochs (seconds since 1970 become MJD),
    missing values (NaN, never masked) and units. Positions are converted to rad and fluxes to nJy; fluxes without a
    unit are in nJy since version 1 of the format, and in Jy before. Fluxes keep their names. Proper motions of exactly
    zero with an error of zero are unknown, and a column of impossible motions is not in rad/yr: both become NaN.

    Raises
    ------
    ReferenceCatalogueError
        If the file is missing or unreadable, has no positions, or a column has a unit of a different quantity.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            # Astropy's reader keeps the descriptions of our own columns.
            table = _without_masks(Table.read(path, format="parquet"))
            if {name for name, *_ in columns()} <= set(table.colnames):
                return table
        table = read_catalogue_file(path)
    except (*READ_ERRORS, CatalogueError) as error:
        raise ReferenceCatalogueError(f"{path} is not a readable reference shard: {error}") from error
    for name in ("id", "coord_ra", "coord_dec"):
        if name not in table.colnames:
            raise ReferenceCatalogueError(f"{path} has no column {name!r}: it is not a reference catalogue.")
    try:
        return _in_our_columns(_without_masks(table))
    except (CatalogueError, ValueError) as error:
        raise ReferenceCatalogueError(f"{path} {error}.") from error


def sky_positions(table: Table, mjd: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination (ICRS deg) of the stars of a shard, at a date if one is given.

    Parameters
    ----------
    table
        A shard from `read_shard`.
    mjd
        MJD (TAI) of the observation; stars of unknown motion are not moved. None: catalogued positions.
    """
    ra, dec = np.degrees(np.asarray(table["coord_ra"])), np.degrees(np.asarray(table["coord_dec"]))
    if mjd is None:
        return ra, dec
    to_mas = np.degrees(1) * 3.6e6
    years = np.nan_to_num((mjd - np.asarray(table["epoch"], float)) / DAYS_PER_YEAR)
    motion = [np.asarray(table[name], float) * to_mas for name in ("pm_ra", "pm_dec")]
    return propagate(ra, dec, *motion, years=years)


def _in_our_columns(table: Table) -> Table:
    """An LSST shard with our names, epochs and units."""
    for theirs, ours in _LSST_NAMES.items():
        if theirs in table.colnames:
            table.rename_column(theirs, ours)
    for name in ("coord_ra_err", "coord_dec_err", "epoch", "pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err"):
        if name not in table.colnames:
            table[name] = np.full(len(table), np.nan)
    _convert_units(table)
    table["epoch"] = epochs(table, ("epoch",), default=np.nan)
    for axis in ("pm_ra", "pm_dec"):
        motion, error = np.asarray(table[axis], float), np.asarray(table[f"{axis}_err"], float)
        unknown = (motion == 0) & ~(error > 0)
        moving = np.abs(motion[~unknown])
        if moving.size and np.mean(moving > _PM_LIMIT) > 0.01:
            unknown[:] = True
        table[axis] = np.where(unknown, np.nan, motion)
        table[f"{axis}_err"] = np.where(unknown, np.nan, error)
    units = {name: unit for name, _, unit, _ in _POSITION_COLUMNS if unit}
    for name in table.colnames:
        if name in units:
            table[name].unit = u.Unit(units[name])
        elif name.endswith(("_flux", "_fluxErr")):
            table[name].unit = u.nJy
    return table


def _convert_units(table: Table) -> None:
    """Convert positions, motions and fluxes from the units of the file to those of our columns, in place."""
    version = int(table.meta.get("REFCAT_FORMAT_VERSION", 0))
    for name in table.colnames:
        spelled = unit_of(table, name)
        if name.startswith(("coord_ra", "coord_dec")):
            factor = conversion(spelled or "rad", "rad", what=f"the column {name!r}")
        elif name.startswith(("pm_ra", "pm_dec")):
            # Shards of Gaia DR2 spell it without the year.
            spelled = "rad / yr" if spelled in ("", "rad") else spelled
            factor = conversion(spelled, "rad / yr", what=f"the column {name!r}")
        elif name.endswith(("_flux", "_fluxErr")):
            factor = conversion(spelled or ("nJy" if version >= 1 else "Jy"), "nJy", what=f"the column {name!r}")
        else:
            continue
        values = np.asarray(table[name])
        table[name] = values if factor == 1 else values.astype(float) * factor


def _without_masks(table: Table) -> Table:
    """Masked numbers as NaN, or as -1 for integers, because readers mask null values."""
    for name in table.colnames:
        if getattr(table[name], "mask", None) is not None and table[name].dtype.kind in "fi":
            table[name] = table[name].filled(np.nan if table[name].dtype.kind == "f" else -1)
    return table
