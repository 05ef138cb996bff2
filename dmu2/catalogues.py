"""Readers of reference catalogues (PS1, 2MASS, Gaia and VISTA) in the formats of the archives, with common columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import Table, vstack

from dmu0.files.catalogue_files import READ_ERRORS, CatalogueError, read_catalogue_file
from dmu0.files.columns import angles, epochs, flags, numbers, positions, rates
from dmu0.files.rounding import rounding_errors
from dmu2 import quality
from dmu2.catalogue_fluxes import System, set_flux
from dmu2.identifiers import first_of_each, identifiers, unique_identifiers
from dmu2.refcat import ReferenceCatalogueError, read_shard
from obs_vista.bands import VISTA_BANDS
from obs_vista.photometry import POGSON

# AB minus Vega. 2MASS: zero-magnitude fluxes of 1594, 1024 and 666.7 Jy (Cohen et al. 2003, AJ 126, 1090).
# Gaia: zero points in AB minus those in Vega of DR3 (Riello et al. 2021, A&A 649, A3).
TWOMASS_VEGA_TO_AB = {"j": 0.8938, "h": 1.3743, "k": 1.8402}
GAIA_VEGA_TO_AB = {"g": 25.8010 - 25.6874, "bp": 25.3540 - 25.3385, "rp": 25.1040 - 24.7479}

TWOMASS_EPOCH = 51500.0
"""MJD of the middle of the survey (1997-2001), for tables without dates of observation."""

# Magnitudes that stars of a catalogue can have, with room on both sides: 0 is possible in 2MASS only, where Betelgeuse
# has -4.4 in Ks; PS1 and VISTA saturate at 12, and the brightest star of Gaia has 1.7.
_PS1 = System("AB", (5.0, 35.0))
_TWOMASS = System("Vega", (-6.0, 30.0))
_GAIA = System("Vega", (1.0, 30.0))
_VISTA = System("Vega", (5.0, 35.0))

_MAS_PER_RADIAN = float(np.degrees(1) * 3.6e6)
_MOTION = ("pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err")
_ROUNDING = "rounding"
_MOTION_MAX = 11_000.0  # mas/yr; Barnard's star moves 10,400
_ERROR_RANGE = (1e-6, 1e4)  # mas, of a catalogued position
_TWOMASS_ERRORS = (5.0, 1e4)  # mas; the smallest of 2MASS is 30: what is below is in another unit


def read_ps1(path: Path) -> Table:
    """PS1 mean objects: a chunk of MAST or of VizieR (II/349), or an LSST shard.

    See `read_catalogue` for the columns; fluxes are ``ps1_g_flux`` ... ``ps1_y_flux``.
    """
    table = read_catalogue_file(path)
    if "coord_ra" in table.colnames:
        return _from_lsst(path, {band: f"{band}_flux" for band in "grizy"}, "ps1", _PS1)
    out = _start(table, ids=("objID", "objid"), preferred=(("raMean", "decMean"), ("RAJ2000", "DEJ2000")))
    for axis, names in (("ra_err", ("raMeanErr", "e_RAJ2000")), ("dec_err", ("decMeanErr", "e_DEJ2000"))):
        out[axis] = angles(table, names, to=u.mas, assumed="arcsec", valid=_ERROR_RANGE, default=20.0)
    out["epoch"] = epochs(table, ("epochMean", "Epoch"), default=56300.0)
    for band in "grizy":
        names = (f"{band}MeanPSFMag", f"{band}mag"), (f"{band}MeanPSFMagErr", f"e_{band}mag")
        set_flux(out, f"ps1_{band}", table, *names, system=_PS1, to_ab=None)
    psf, kron = (
        numbers(table, names, valid=_PS1.valid) for names in (("iMeanPSFMag", "imag"), ("iMeanKronMag", "iKmag"))
    )
    errors = [
        numbers(table, names, valid=(0, 2)) for names in (("iMeanPSFMagErr", "e_imag"), ("iMeanKronMagErr", "e_iKmag"))
    ]
    bits = numbers(table, ("qualityFlag", "Qual"), valid=(0, 2**31))
    out["extended"] = quality.ps1_extended(psf, kron, np.hypot(*errors), bits)
    out["usable"] &= quality.ps1_usable(bits)
    return _finish(out, "ps1")


def read_twomass(path: Path) -> Table:
    """2MASS point sources: a table of VizieR (II/246) or IRSA names; positions may be galactic.

    Fluxes are ``tmass_j_flux``, ``tmass_h_flux``, ``tmass_k_flux``; upper limits and contaminated bands are NaN.
    """
    table = read_catalogue_file(path)
    out = _start(table, ids=("Cntr", "cntr", "pts_key"), preferred=(("RAJ2000", "DEJ2000"), ("ra", "dec")))
    # A position error of 80 mas is that of a typical source (Skrutskie et al. 2006, AJ 131, 1163).
    error = angles(table, ("errMaj", "err_maj"), to=u.mas, assumed="arcsec", valid=_TWOMASS_ERRORS, default=80.0)
    out["ra_err"], out["dec_err"] = error, error
    out["epoch"] = epochs(table, ("JD", "jdate", "Date", "date"), default=TWOMASS_EPOCH)
    qualities = flags(table, ("Qflg", "ph_qual"), width=3)
    contamination = flags(table, ("Cflg", "cc_flg"), width=3)
    for position, (band, upper) in enumerate(zip("jhk", "JHK", strict=True)):
        names = (f"{upper}mag", f"{band}_m"), (f"e_{upper}mag", f"{band}_msigcom", f"{band}_cmsig")
        good = quality.twomass_good(qualities, contamination, position)
        set_flux(out, f"tmass_{band}", table, *names, system=_TWOMASS, to_ab=TWOMASS_VEGA_TO_AB[band], good=good)
    out["extended"] = numbers(table, ("Xflg", "gal_contam"), valid=(0, 9), default=0.0) > 0
    out["usable"] &= ~(numbers(table, ("Aflg", "mp_flg"), valid=(0, 9), default=0.0) > 0)
    return _finish(out, "2mass")


def read_gaia(path: Path) -> Table:
    """Gaia sources: a table with the names of the Gaia archive (DR2 or later) or of VizieR, or an LSST shard.

    Fluxes are ``gaia_g_flux``, ``gaia_bp_flux``, ``gaia_rp_flux``.
    """
    table = read_catalogue_file(path)
    if "coord_ra" in table.colnames:
        return _from_lsst(path, {band: f"phot_{band}_mean_flux" for band in ("g", "bp", "rp")}, "gaia", _GAIA)
    out = _start(table, ids=("source_id", "Source", "DR3Name"), preferred=(("ra", "dec"), ("RA_ICRS", "DE_ICRS")))
    for axis, names in (("ra_err", ("ra_error", "e_RA_ICRS")), ("dec_err", ("dec_error", "e_DE_ICRS"))):
        out[axis] = angles(table, names, to=u.mas, assumed="mas", valid=_ERROR_RANGE, default=1.0)
    out["epoch"] = epochs(table, ("ref_epoch", "Epoch"), default=57388.5)
    for name, theirs in (("pm_ra", ("pmra", "pmRA")), ("pm_dec", ("pmdec", "pmDE"))):
        out[name] = rates(table, theirs, to="mas / yr", valid=(-_MOTION_MAX, _MOTION_MAX))
        errors = (f"{theirs[0]}_error", f"e_{theirs[1]}")
        out[f"{name}_err"] = rates(table, errors, to="mas / yr", valid=(0, _MOTION_MAX))
    for band, short in (("g", "G"), ("bp", "BP"), ("rp", "RP")):
        names = (f"phot_{band}_mean_mag", f"{short}mag"), (f"e_{short}mag",)
        # The archive gives the ratio of flux to error in place of an error in magnitudes.
        ratio = numbers(table, (f"phot_{band}_mean_flux_over_error",), valid=(1e-3, 1e9), default=100.0)
        set_flux(
            out,
            f"gaia_{band}",
            table,
            *names,
            system=_GAIA,
            to_ab=GAIA_VEGA_TO_AB[band],
            error=POGSON / ratio,
        )
    out["usable"] &= quality.gaia_usable(numbers(table, ("ruwe", "RUWE"), valid=(0, 1e6)))
    return _finish(out, "gaia")


def read_vista(path: Path) -> Table:
    """A source table of the VISTA Science Archive: aperture-corrected magnitudes (AperMag3, Vega) of all bands.

    Fluxes are ``vz_flux`` ... ``vk_flux``, already in the survey's own system.
    """
    table = read_catalogue_file(path)
    out = _start(table, ids=("sourceID", "SOURCEID"), preferred=(("ra", "dec"), ("RA2000", "DEC2000")))
    out["ra_err"], out["dec_err"] = np.full(len(out), 50.0), np.full(len(out), 50.0)
    out["epoch"] = epochs(table, ("epoch", "mjd"), default=55500.0)
    for name, band in VISTA_BANDS.items():
        theirs = band.aliases[0].lower()
        good = quality.vista_good(numbers(table, (f"{theirs}ppErrBits",), valid=(0, 2**31), default=0.0))
        names = (f"{theirs}AperMag3",), (f"{theirs}AperMag3Err",)
        set_flux(out, name, table, *names, system=_VISTA, to_ab=band.vega_to_ab, good=good)
    out["extended"] = numbers(table, ("mergedClass",), valid=(-9, 9), default=-1.0) > 0
    return _finish(out, "vista")


READERS: dict[str, Callable[[Path], Table]] = {
    "ps1": read_ps1,
    "twomass": read_twomass,
    "gaia": read_gaia,
    "vista_catalogue": read_vista,
}
"""Reader of each type of file in the manifest."""


def read_catalogue(kind: str, paths: Sequence[Path]) -> tuple[Table, Table]:
    """Read all files of one catalogue; only the stars of unreadable files are lost.

    Parameters
    ----------
    kind
        Type of the catalogue, a key of `READERS`.
    paths
        The files; stars of overlapping files are kept once (`dmu2.identifiers.first_of_each`).

    Returns
    -------
    catalogue
        Columns id (each number once), ra, dec (deg), ra_err, dec_err (mas), epoch (MJD TAI), pm_ra, pm_dec and errors
        (mas/yr, NaN if unknown), extended, usable, and fluxes with errors (nJy, AB, NaN if missing).
    files
        One row per file: path, kind, state ("done" or "failed"), reason, rows, duplicates.
    """
    tables, reasons = [], []
    for path in map(Path, paths):
        try:
            tables.append(READERS[kind](path))
            reasons.append("")
        except ReferenceCatalogueError as error:
            reasons.append(str(error))
        except CatalogueError as error:
            reasons.append(f"{path} {error}.")
        except READ_ERRORS as error:
            reasons.append(f"{path} cannot be used: {type(error).__name__}: {error}")
    catalogue = vstack(tables, metadata_conflicts="silent") if tables else Table()
    read = np.array([not reason for reason in reasons], bool)
    rows, duplicates = np.zeros((2, len(reasons)), np.int64)
    rows[read] = [len(table) for table in tables]
    if len(catalogue):
        keep = first_of_each(*(np.asarray(catalogue[name]) for name in ("id", "ra", "dec")))
        source = np.repeat(np.arange(len(reasons)), rows)
        duplicates = np.bincount(source[~keep], minlength=len(reasons))
        catalogue = catalogue[keep]
        catalogue["id"] = unique_identifiers(*(np.asarray(catalogue[name]) for name in ("id", "ra", "dec")))
    files = Table(
        {
            "path": np.array([str(path) for path in paths], np.str_),
            "kind": np.full(len(reasons), kind),
            "state": np.where(read, "done", "failed"),
            "reason": np.array(reasons, np.str_),
            "rows": rows,
            "duplicates": duplicates,
        }
    )
    return catalogue, files


def _from_lsst(path: Path, fluxes: dict[str, str], catalogue: str, system: System) -> Table:
    """A catalogue from an LSST shard."""
    shard = read_shard(path)
    there = {band: column for band, column in fluxes.items() if {column, f"{column}Err"} <= set(shard.colnames)}
    if not there:
        raise CatalogueError(
            f"has none of the fluxes {', '.join(fluxes.values())} with an error, as a shard of {catalogue}"
        )
    out = _start(shard, ids=("id",))
    out["ra_err"] = np.asarray(shard["coord_ra_err"], float) * _MAS_PER_RADIAN
    out["dec_err"] = np.asarray(shard["coord_dec_err"], float) * _MAS_PER_RADIAN
    out["epoch"] = np.asarray(shard["epoch"])
    for name in _MOTION:
        out[name] = np.asarray(shard[name], float) * _MAS_PER_RADIAN
    for band in fluxes:
        names = (fluxes[band],), (f"{fluxes[band]}Err",)
        set_flux(out, f"{catalogue}_{band}", shard, *names, system=system, to_ab=0.0)
    return _finish(out, catalogue)


def _start(table: Table, *, ids: Sequence[str], preferred: Sequence[tuple[str, str]] = ()) -> Table:
    """The first columns of a catalogue: positions, identifiers, unknown motions, and whether rows are usable."""
    ra, dec = positions(table, preferred)
    out = Table(
        {"ra": ra, "dec": dec, "id": identifiers(table, ids)}, meta={_ROUNDING: rounding_errors(table, preferred)}
    )
    out["usable"] = np.isfinite(ra) & np.isfinite(dec)
    out["extended"] = np.zeros(len(out), bool)
    for name in _MOTION:
        out[name] = np.full(len(out), np.nan)
    return out


def _finish(out: Table, catalogue: str) -> Table:
    """The usable rows, with units, errors of positions that were rounded, and the number of those excluded."""
    for name, rounding in zip(("ra_err", "dec_err"), out.meta[_ROUNDING], strict=True):
        across = np.cos(np.radians(out["dec"])) if name == "ra_err" else 1.0
        out[name] = np.hypot(out[name], rounding * across)
    out.meta = {"catalogue": catalogue, "rows": len(out), "unusable": int((~out["usable"]).sum())}
    out = out[np.asarray(out["usable"])]
    units = {"ra": u.deg, "dec": u.deg, "ra_err": u.mas, "dec_err": u.mas, "epoch": u.d}
    for name in out.colnames:
        unit = units.get(name) or (u.mas / u.yr if name in _MOTION else None)
        out[name].unit = u.nJy if name.endswith(("_flux", "_fluxErr")) else unit
    return out
