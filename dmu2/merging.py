"""Merging of reference catalogues into one list of stars, and comparison of their positions."""

from __future__ import annotations

from collections.abc import Mapping

import astropy.units as u
import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import MAD_TO_SIGMA
from dmu0.sky.matching import DAYS_PER_YEAR, Matches, false_match_rate, match, propagate
from dmu2.identifiers import free_numbers

ORDER = ("gaia", "ps1", "twomass", "vista_catalogue")
"""Catalogues in order of the accuracy of their positions: the position of a star is from the first that has it."""

LABELS = {"gaia": "gaia", "ps1": "ps1", "twomass": "2mass", "vista_catalogue": "vista"}
"""Values of ``position_from``."""

_PREFIX = {"gaia": "gaia", "ps1": "ps1", "twomass": "tmass", "vista_catalogue": "vista"}
_ASTROMETRY = ("ra", "dec", "ra_err", "dec_err", "epoch", "pm_ra", "pm_dec", "pm_ra_err", "pm_dec_err")
_UNITS = {"ra": u.deg, "dec": u.deg, "ra_err": u.mas, "dec_err": u.mas, "epoch": u.d}
_MOTION_UNIT = u.mas / u.yr


def merge(catalogues: Mapping[str, Table], *, radius: float) -> Table:
    """Merge catalogues into one list, by mutual nearest neighbours at the epoch of the catalogue that is added.

    Parameters
    ----------
    catalogues
        Name (see `ORDER`) -> catalogue from `dmu2.catalogues.read_catalogue`; empty ones are ignored.
    radius
        Matching radius in arcsec.

    Returns
    -------
    table
        One row per star: id, position and motion with errors, ``position_from``, extended (in any catalogue), and for
        each catalogue its identifier (``ps1_id``; -1 if absent), separation (arcsec; NaN) and fluxes (nJy AB; NaN).
    """
    merged = Table()
    for kind in ORDER:
        catalogue = catalogues.get(kind)
        if catalogue is None or len(catalogue) == 0:
            continue
        prefix = _PREFIX[kind]
        if len(merged) == 0:
            pairs = Matches(*(np.empty(0, np.int64) for _ in range(2)), np.empty(0), np.empty(0, np.int64))
        else:
            ra, dec = at_epoch(merged, float(np.nanmedian(catalogue["epoch"])))
            pairs = match(ra, dec, catalogue["ra"], catalogue["dec"], radius=radius)
        merged = _join(merged, catalogue, pairs, kind, prefix)
    return _with_units(merged) if len(merged) else _empty()


def compare_positions(first: Table, second: Table, *, radius: float, names: tuple[str, str]) -> dict[str, float | str]:
    """Offsets and scatter of the positions of two catalogues, as catalogued and at a common epoch.

    Offsets are medians of first minus second over mutual nearest neighbours, in mas; scatter is the median absolute
    deviation. For the common epoch, the catalogue with proper motions is moved to the epoch of each counterpart.

    Returns
    -------
    row
        Values of pair, matches, false_rate and its error, ra_offset, dec_offset, ra_mad, dec_mad, the same with
        ``_epoch``, and expected_mad along one axis from the quoted errors.
    """
    pairs = match(first["ra"], first["dec"], second["ra"], second["dec"], radius=radius)
    row: dict[str, float | str] = {"pair": f"{names[0]} - {names[1]}", "matches": len(pairs)}
    chance = false_match_rate(first["ra"], first["dec"], second["ra"], second["dec"], radius=radius)
    row |= {"false_rate": chance.rate, "false_rate_err": chance.rate_err}
    one, two = first[pairs.first], second[pairs.second]
    row |= _offsets(one["ra"], one["dec"], two["ra"], two["dec"], "")
    if np.isfinite(two["pm_ra"]).sum() >= np.isfinite(one["pm_ra"]).sum():
        ra, dec = at_epoch(two, np.asarray(one["epoch"]))
        row |= _offsets(one["ra"], one["dec"], ra, dec, "_epoch")
    else:
        ra, dec = at_epoch(one, np.asarray(two["epoch"]))
        row |= _offsets(ra, dec, two["ra"], two["dec"], "_epoch")
    variance = np.concatenate(
        [np.asarray(one[f"{axis}_err"]) ** 2 + np.asarray(two[f"{axis}_err"]) ** 2 for axis in ("ra", "dec")]
    )
    row["expected_mad"] = float(np.sqrt(np.nanmedian(variance))) / MAD_TO_SIGMA if len(pairs) else np.nan
    return row


def compare_all(catalogues: Mapping[str, Table], *, radius: float) -> Table:
    """`compare_positions` for every pair of catalogues with stars; an empty table if there are fewer than two."""
    kinds = [kind for kind in ("ps1", "twomass", "gaia", "vista_catalogue") if len(catalogues.get(kind, ()))]
    rows = [
        compare_positions(catalogues[a], catalogues[b], radius=radius, names=(LABELS[a], LABELS[b]))
        for number, a in enumerate(kinds)
        for b in kinds[number + 1 :]
    ]
    names = ["pair", "matches", "false_rate", "false_rate_err"]
    names += [f"{what}{epoch}" for epoch in ("", "_epoch") for what in ("ra_offset", "dec_offset", "ra_mad", "dec_mad")]
    names.append("expected_mad")
    table = Table({name: [row[name] for row in rows] for name in names})
    if not rows:
        table = Table(names=names, dtype=["U16", "i8"] + ["f8"] * (len(names) - 2))
    for name in names[4:]:
        table[name].unit = u.mas
    return table


def at_epoch(table: Table, mjd: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Positions at a date, or at one date per row."""
    years = np.nan_to_num((mjd - np.asarray(table["epoch"], float)) / DAYS_PER_YEAR)
    motion = (np.asarray(table["pm_ra"], float), np.asarray(table["pm_dec"], float))
    return propagate(np.asarray(table["ra"]), np.asarray(table["dec"]), *motion, years=years)


def _offsets(ra1: np.ndarray, dec1: np.ndarray, ra2: np.ndarray, dec2: np.ndarray, suffix: str) -> dict[str, float]:
    """Medians and median absolute deviations of position differences, in mas."""
    delta_ra = (np.asarray(ra1) - np.asarray(ra2) + 180) % 360 - 180
    differences = {
        "ra": delta_ra * np.cos(np.radians(np.asarray(dec2))) * 3.6e6,
        "dec": (np.asarray(dec1) - np.asarray(dec2)) * 3.6e6,
    }
    row = {}
    for axis, values in differences.items():
        middle = float(np.median(values)) if values.size else np.nan
        row[f"{axis}_offset{suffix}"] = middle
        row[f"{axis}_mad{suffix}"] = float(np.median(np.abs(values - middle))) if values.size else np.nan
    return row


def _join(merged: Table, catalogue: Table, pairs: Matches, kind: str, prefix: str) -> Table:
    """Add the columns of a catalogue to the matched rows, and its other stars as new rows."""
    alone = np.ones(len(catalogue), bool)
    alone[pairs.second] = False
    before, total = len(merged), len(merged) + int(alone.sum())
    source = np.full(total, -1)
    source[pairs.first] = pairs.second
    source[before:] = np.flatnonzero(alone)
    found = source >= 0
    out = Table()
    for name in ("id", *_ASTROMETRY):
        old = np.asarray(merged[name]) if before else np.empty(0, catalogue[name].dtype)
        out[name] = np.concatenate([old, np.asarray(catalogue[name])[alone]])
    # Catalogues number their sources independently: a number that is in use is made negative, or the next free number
    # below is taken.
    taken = before + np.flatnonzero(np.isin(out["id"][before:], out["id"][:before]))
    out["id"][taken] = -out["id"][taken] - 1
    out["id"] = free_numbers(np.asarray(out["id"]), taken, step=-1)
    out["position_from"] = np.concatenate(
        [np.asarray(merged["position_from"], "U8") if before else np.empty(0, "U8"), np.full(alone.sum(), LABELS[kind])]
    )
    out["extended"] = np.zeros(total, bool)
    for name in merged.colnames:
        if name not in out.colnames:
            fill = -1 if name.endswith("_id") else np.nan
            out[name] = np.concatenate([np.asarray(merged[name]), np.full(total - before, fill)])
    out["extended"][:before] = merged["extended"] if before else False
    out["extended"][found] |= np.asarray(catalogue["extended"])[source[found]]
    out[f"{prefix}_id"] = np.where(found, np.asarray(catalogue["id"])[source], -1)
    separation = np.full(total, np.nan)
    separation[pairs.first] = pairs.separation
    out[f"{prefix}_separation"] = separation
    for name in catalogue.colnames:
        if name.endswith(("_flux", "_fluxErr")):
            out[name] = np.where(found, np.asarray(catalogue[name])[source], np.nan)
    return out


def _with_units(table: Table) -> Table:
    for name in table.colnames:
        if name in _UNITS:
            table[name].unit = _UNITS[name]
        elif name.startswith("pm_"):
            table[name].unit = _MOTION_UNIT
        elif name.endswith(("_flux", "_fluxErr")):
            table[name].unit = u.nJy
        elif name.endswith("_separation"):
            table[name].unit = u.arcsec
    return table


def _empty() -> Table:
    """A list without stars."""
    names = ("id", *_ASTROMETRY, "position_from", "extended")
    return _with_units(Table(names=names, dtype=("i8", *("f8" for _ in _ASTROMETRY), "U8", "?")))
