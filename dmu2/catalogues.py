"""Readers of reference catalogues: PS1, 2MASS, Gaia and VISTA, as archives deliver them, into one set of columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack
from astropy.time import Time

from dmu2 import quality
from dmu2.refcat import ReferenceCatalogueError, read_shard
from obs_vista.bands import VISTA_BANDS

# AB minus Vega. 2MASS: zero-magnitude fluxes of 1594, 1024 and 666.7 Jy (Cohen et al. 2003, AJ 126, 1090).
# Gaia: zero points in AB minus those in Vega of DR3 (Riello et al. 2021, A&A 649, A3).
TWOMASS_VEGA_TO_AB = {"j": 0.8938, "h": 1.3743, "k": 1.8402}
GAIA_VEGA_TO_AB = {"g": 25.8010 - 25.6874, "bp": 25.3540 - 25.3385, "rp": 25.1040 - 24.7479}

TWOMASS_EPOCH = 51500.0
"""MJD in the middle of the survey (1997-2001), for tables that give no date of the observation."""

_MAS_PER_RADIAN = float(np.degrees(1) * 3.6e6)
_MOTION = ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err")


def read_ps1(path: Path) -> Table:
    """PS1 mean objects: a chunk of MAST or of VizieR (II/349), or an LSST shard.

    See `read_catalogue` for the columns; fluxes are ``ps1_g_flux`` ... ``ps1_y_flux``.
    """
    table = _read(path)
    if "coord_ra" in table.colnames:
        return _from_lsst(path, {band: f"{band}_flux" for band in "grizy"}, "ps1")
    out = _positions(table, path, ra=("raMean", "RAJ2000"), dec=("decMean", "DEJ2000"))
    out["id"] = _integers(table, ("objID", "objid"), out)
    for axis, names in (("ra_err", ("raMeanErr", "e_RAJ2000")), ("dec_err", ("decMeanErr", "e_DEJ2000"))):
        out[axis] = _numbers(table, names, default=0.02) * 1000
    out["epoch"] = _numbers(table, ("epochMean", "Epoch"), default=56300.0)
    for band in "grizy":
        magnitude = _numbers(table, (f"{band}MeanPSFMag", f"{band}mag"))
        error = _numbers(table, (f"{band}MeanPSFMagErr", f"e_{band}mag"))
        _set_flux(out, f"ps1_{band}", magnitude, error, offset=0.0)
    psf, kron = _numbers(table, ("iMeanPSFMag", "imag")), _numbers(table, ("iMeanKronMag", "iKmag"))
    errors = [_numbers(table, names) for names in (("iMeanPSFMagErr", "e_imag"), ("iMeanKronMagErr", "e_iKmag"))]
    flags = _numbers(table, ("qualityFlag", "Qual"))
    out["extended"] = quality.ps1_extended(psf, kron, np.hypot(*errors), flags)
    out["usable"] &= quality.ps1_usable(flags)
    return _finish(out, "ps1")


def read_twomass(path: Path) -> Table:
    """2MASS point sources: a table of VizieR (II/246) or IRSA names; positions may be galactic.

    Fluxes are ``tmass_j_flux``, ``tmass_h_flux``, ``tmass_k_flux``; upper limits and contaminated bands are NaN.
    """
    table = _read(path)
    if "GLON" in table.colnames and not {"RAJ2000", "ra"} & set(table.colnames):
        sky = SkyCoord(
            l=_numbers(table, ("GLON",)) * u.deg, b=_numbers(table, ("GLAT",)) * u.deg, frame="galactic"
        ).icrs
        table["RAJ2000"], table["DEJ2000"] = sky.ra.deg, sky.dec.deg
    out = _positions(table, path, ra=("RAJ2000", "ra"), dec=("DEJ2000", "dec"))
    out["id"] = _integers(table, ("Cntr", "cntr", "pts_key"), out)
    # A position error of 80 mas is that of a typical source (Skrutskie et al. 2006, AJ 131, 1163).
    error = _numbers(table, ("errMaj", "err_maj"), default=0.08) * 1000
    out["ra_err"], out["dec_err"] = error, error
    out["epoch"] = _twomass_epoch(table)
    quality_flags = _strings(table, ("Qflg", "ph_qual"))
    contamination = _strings(table, ("Cflg", "cc_flg"))
    for position, band in enumerate("jhk"):
        upper = {"j": "J", "h": "H", "k": "K"}[band]
        magnitude = _numbers(table, (f"{upper}mag", f"{band}_m"))
        error = _numbers(table, (f"e_{upper}mag", f"{band}_msigcom", f"{band}_cmsig"))
        good = quality.twomass_good(quality_flags, contamination, position)
        _set_flux(out, f"tmass_{band}", np.where(good, magnitude, np.nan), error, offset=TWOMASS_VEGA_TO_AB[band])
    out["extended"] = _numbers(table, ("Xflg", "gal_contam"), default=0.0) > 0
    out["usable"] &= ~(_numbers(table, ("Aflg", "mp_flg"), default=0.0) > 0)
    return _finish(out, "2mass")


def read_gaia(path: Path) -> Table:
    """Gaia sources: a table with the names of the Gaia archive (DR2 or later), or an LSST shard.

    Fluxes are ``gaia_g_flux``, ``gaia_bp_flux``, ``gaia_rp_flux``.
    """
    table = _read(path)
    if "coord_ra" in table.colnames:
        return _from_lsst(path, {band: f"phot_{band}_mean_flux" for band in ("g", "bp", "rp")}, "gaia")
    out = _positions(table, path, ra=("ra", "RA_ICRS"), dec=("dec", "DE_ICRS"))
    out["id"] = _integers(table, ("source_id", "Source"), out)
    out["ra_err"] = _numbers(table, ("ra_error", "e_RA_ICRS"), default=1.0)
    out["dec_err"] = _numbers(table, ("dec_error", "e_DE_ICRS"), default=1.0)
    years = _numbers(table, ("ref_epoch", "Epoch"), default=2016.0)
    out["epoch"] = Time(years, format="jyear", scale="tcb").tai.mjd if len(out) else np.empty(0)
    for name, theirs in (("pm_ra", ("pmra", "pmRA")), ("pm_dec", ("pmdec", "pmDE"))):
        out[name] = _numbers(table, theirs)
        out[f"{name}_err"] = _numbers(table, (f"{theirs[0]}_error", f"e_{theirs[1]}"))
    for band, short in (("g", "G"), ("bp", "BP"), ("rp", "RP")):
        magnitude = _numbers(table, (f"phot_{band}_mean_mag", f"{short}mag"))
        signal_to_noise = _numbers(table, (f"phot_{band}_mean_flux_over_error",), default=100.0)
        error = 2.5 / np.log(10) / signal_to_noise
        _set_flux(out, f"gaia_{band}", magnitude, error, offset=GAIA_VEGA_TO_AB[band])
    out["usable"] &= quality.gaia_usable(_numbers(table, ("ruwe", "RUWE")))
    return _finish(out, "gaia")


def read_vista(path: Path) -> Table:
    """A source table of the VISTA Science Archive: aperture-corrected magnitudes (AperMag3, Vega) of all bands.

    Fluxes are ``vz_flux`` ... ``vk_flux``: the survey's own system already.
    """
    table = _read(path)
    out = _positions(table, path, ra=("ra", "RA", "RA2000"), dec=("dec", "DEC", "DEC2000"))
    if len(out) and np.nanmax(np.abs(out["ra"])) <= 2 * np.pi and table_unit(table, ("ra", "RA")) == "rad":
        out["ra"], out["dec"] = np.degrees(out["ra"]), np.degrees(out["dec"])
    out["id"] = _integers(table, ("sourceID", "SOURCEID"), out)
    out["ra_err"], out["dec_err"] = np.full(len(out), 50.0), np.full(len(out), 50.0)
    out["epoch"] = _numbers(table, ("epoch", "mjd"), default=55500.0)
    for name, band in VISTA_BANDS.items():
        theirs = band.aliases[0].lower()
        magnitude = _numbers(table, (f"{theirs}AperMag3", f"{theirs.upper()}APERMAG3"))
        error = _numbers(table, (f"{theirs}AperMag3Err", f"{theirs.upper()}APERMAG3ERR"))
        error_bits = _numbers(table, (f"{theirs}ppErrBits", f"{theirs.upper()}PPERRBITS"), default=0.0)
        good = quality.vista_good(error_bits)
        _set_flux(out, name, np.where(good, magnitude, np.nan), error, offset=band.vega_to_ab)
    star_class = _numbers(table, ("mergedClass", "MERGEDCLASS"), default=-1.0)
    out["extended"] = star_class > 0
    return _finish(out, "vista")


READERS: dict[str, Callable[[Path], Table]] = {
    "ps1": read_ps1,
    "twomass": read_twomass,
    "gaia": read_gaia,
    "vista_catalogue": read_vista,
}
"""Reader of each kind of file in the manifest."""


def read_catalogue(kind: str, paths: Sequence[Path]) -> tuple[Table, Table]:
    """Read all files of one catalogue; a bad file costs its own stars only.

    Parameters
    ----------
    kind
        A key of `READERS`.
    paths
        The files; stars of overlapping files are kept once.

    Returns
    -------
    catalogue
        Columns id, ra, dec (deg), ra_err, dec_err (mas), epoch (MJD TAI), pm_ra, pm_dec and errors (mas/yr, NaN if
        unknown), extended, usable, and fluxes with errors (nJy, AB, NaN if missing).
    files
        One row a file: path, state ("done" or "failed"), reason, rows, duplicates.
    """
    tables, rows, seen = [], [], np.empty(0, np.int64)
    for path in paths:
        try:
            table = READERS[kind](Path(path))
        except ReferenceCatalogueError as error:
            rows.append((str(path), kind, "failed", str(error), 0, 0))
            continue
        new = ~np.isin(np.asarray(table["id"]), seen)
        _, first = np.unique(np.asarray(table["id"]), return_index=True)
        new &= np.isin(np.arange(len(table)), first)
        seen = np.concatenate([seen, np.asarray(table["id"])[new]])
        rows.append((str(path), kind, "done", "", len(table), int((~new).sum())))
        tables.append(table[new])
    files = Table(
        rows=rows or None,
        names=("path", "kind", "state", "reason", "rows", "duplicates"),
        dtype=("U256", "U16", "U8", "U256", "i8", "i8"),
    )
    catalogue = vstack(tables, metadata_conflicts="silent") if tables else Table()
    return catalogue, files


def table_unit(table: Table, names: Sequence[str]) -> str:
    """The unit of the first of some columns that is there, as a string; empty if it has none."""
    for name in names:
        if name in table.colnames:
            return str(table[name].unit or "")
    return ""


def _read(path: Path) -> Table:
    """A table file of any of the formats that archives deliver."""
    formats = {".parquet": "parquet", ".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable"}
    formats |= {".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
    kind = formats.get(path.suffix.lower())
    if kind is None:
        raise ReferenceCatalogueError(f"{path}: catalogues end in {', '.join(formats)}, not {path.suffix!r}.")
    try:
        if kind == "fits":
            # LSST's shards spell units that FITS does not know; their reader sets them.
            return Table.read(path, format="fits", unit_parse_strict="silent")
        return Table.read(path, format=kind)
    except (OSError, ValueError, IndexError, TypeError, KeyError) as error:
        raise ReferenceCatalogueError(f"{path} is not a readable catalogue: {error}") from error


def _from_lsst(path: Path, fluxes: dict[str, str], catalogue: str) -> Table:
    """A catalogue from an LSST shard."""
    shard = read_shard(path)
    out = Table({"ra": np.degrees(shard["coord_ra"].value), "dec": np.degrees(shard["coord_dec"].value)})
    out["id"] = np.asarray(shard["id"])
    out["ra_err"] = np.asarray(shard["coord_ra_err"], float) * _MAS_PER_RADIAN
    out["dec_err"] = np.asarray(shard["coord_dec_err"], float) * _MAS_PER_RADIAN
    out["epoch"] = np.asarray(shard["epoch"])
    for name in _MOTION:
        out[name] = np.asarray(shard[name], float) * _MAS_PER_RADIAN
    for band, column in fluxes.items():
        flux, error = np.asarray(shard[column], float), np.asarray(shard[f"{column}Err"], float)
        good = (flux > 0) & (error > 0)
        out[f"{catalogue}_{band}_flux"] = np.where(good, flux, np.nan)
        out[f"{catalogue}_{band}_fluxErr"] = np.where(good, error, np.nan)
    out["extended"] = np.zeros(len(out), bool)
    out["usable"] = np.isfinite(out["ra"]) & np.isfinite(out["dec"])
    return _finish(out, catalogue)


def _positions(table: Table, path: Path, *, ra: Sequence[str], dec: Sequence[str]) -> Table:
    """The first columns of a catalogue: positions in degrees, and what is usable so far."""
    for names in (ra, dec):
        if not set(names) & set(table.colnames):
            raise ReferenceCatalogueError(f"{path} has none of the columns {', '.join(names)}.")
    out = Table({"ra": _numbers(table, ra), "dec": _numbers(table, dec)})
    out["usable"] = np.isfinite(out["ra"]) & np.isfinite(out["dec"])
    out["extended"] = np.zeros(len(out), bool)
    for name in _MOTION:
        out[name] = np.full(len(out), np.nan)
    return out


def _numbers(table: Table, names: Sequence[str], default: float = np.nan) -> np.ndarray:
    """The first of some columns that is there, as float64; what archives write for missing (-999, mask) is NaN."""
    for name in names:
        if name not in table.colnames:
            continue
        column = table[name]
        values = np.ma.asarray(column).astype(float).filled(np.nan)
        return np.where(values <= -990, np.nan, values)
    return np.full(len(table), default)


def _twomass_epoch(table: Table) -> np.ndarray:
    """MJD of each source: from its Julian date, else from its day, else the middle of the survey."""
    dates = _strings(table, ("Date", "date"))
    if {"JD", "jdate"} & set(table.colnames) or dates is None:
        return _numbers(table, ("JD", "jdate"), default=TWOMASS_EPOCH + 2400000.5) - 2400000.5
    days, row = np.unique(dates, return_inverse=True)
    return Time(days.tolist(), format="iso", scale="utc").mjd[row] if len(days) else np.empty(0)


def _strings(table: Table, names: Sequence[str]) -> np.ndarray | None:
    """The first of some text columns that is there, or None."""
    for name in names:
        if name in table.colnames:
            values = np.ma.asarray(table[name]).filled("")
            return np.char.decode(values, "ascii") if values.dtype.kind == "S" else values.astype(str)
    return None


def _integers(table: Table, names: Sequence[str], positions: Table) -> np.ndarray:
    """Identifiers; where the file has none, the position to 0.05 arcsec packed into an integer."""
    for name in names:
        if name in table.colnames:
            return np.asarray(np.ma.asarray(table[name]).filled(-1)).astype(np.int64)
    step = 3600 / 0.05
    ra, dec = np.nan_to_num(positions["ra"]), np.nan_to_num(positions["dec"])
    return np.round(ra * step).astype(np.int64) * 2**24 + np.round((dec + 90) * step).astype(np.int64)


def _set_flux(out: Table, name: str, magnitude: np.ndarray, error: np.ndarray, *, offset: float) -> None:
    """Add flux and error in nJy (AB) from magnitudes; both are NaN unless both are known."""
    good = np.isfinite(magnitude) & (error > 0) & (magnitude < 90)
    flux = 10 ** (0.4 * (31.4 - np.where(good, magnitude + offset, np.nan)))
    out[f"{name}_flux"] = flux
    out[f"{name}_fluxErr"] = flux * error * np.log(10) / 2.5


def _finish(out: Table, catalogue: str) -> Table:
    """Only usable rows, with units, and a note of what was left out."""
    out.meta = {"catalogue": catalogue, "rows": len(out), "unusable": int((~out["usable"]).sum())}
    out = out[np.asarray(out["usable"])]
    units = {"ra": u.deg, "dec": u.deg, "ra_err": u.mas, "dec_err": u.mas, "epoch": u.d}
    for name in out.colnames:
        unit = units.get(name) or (u.mas / u.yr if name in _MOTION else None)
        out[name].unit = u.nJy if name.endswith(("_flux", "_fluxErr")) else unit
    return out
