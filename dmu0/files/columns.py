"""Columns of catalogues as numbers, flags, dates and positions, for any type, unit and marker of missing values.

Columns with a unit are converted; those with an impossible unit are refused. Values outside the possible range of a
quantity, such as the -999, -99.99, 99 and 0 that archives write for missing magnitudes, are missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time

from dmu0.files.catalogue_files import COORDINATE_SYSTEMS, CatalogueError, without_warnings

POSITION_COLUMNS = (
    ("coord_ra", "coord_dec"),
    ("raMean", "decMean"),
    ("RAJ2000", "DEJ2000"),
    ("_RAJ2000", "_DEJ2000"),
    ("RA_ICRS", "DE_ICRS"),
    ("ra", "dec"),
    ("RA2000", "DEC2000"),
    ("ALPHA_J2000", "DELTA_J2000"),
    ("GLON", "GLAT"),
)
"""Names of right ascension and declination (or Galactic longitude and latitude), in order of preference."""

_MISSING = ("", "null", "none", "nan", "--", "-", "---", "n/a", "na", "<na>", "\\n", "...", "masked")
# Case tells bands apart in short names: gmag is PS1's and Gmag Gaia's.
_SHORT_MAGNITUDE = re.compile(r"(e_)?[A-Za-z]{1,2}mag")
_SEXAGESIMAL = re.compile(
    r"\s*([-+\u2212]?)(\d{1,3})(?:\s*[:hd\u00b0]\s*|\s+)(\d{1,2})(?:(?:\s*[:m'\u2032]\s*|\s+)(\d{1,2}(?:\.\d*)?)\s*[s\"\u2033]?|m)?\s*"
)
_ANGLES = (
    *((word, 1.0) for word in ("", "deg", "degree", "degrees", "d", "\u00b0")),
    *((word, 57.29577951308232) for word in ("rad", "radian", "radians")),
    *((word, 15.0) for word in ("h", "hr", "hour", "hours", "hourangle")),
    *((word, 1 / 60) for word in ("arcmin", "arcminute", "arcminutes")),
    *((word, 1 / 3600) for word in ("arcsec", "arcsecond", "arcseconds", "as")),
    ("mas", 1 / 3.6e6),
)
DEGREES = dict(_ANGLES)
_SEXAGESIMAL_UNITS = {"h:m:s": 15.0, "hms": 15.0, "hh:mm:ss": 15.0, "d:m:s": 1.0, "dms": 1.0, "dd:mm:ss": 1.0}


# Placeholders for missing dates.
_NINES = (9.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)


def find_column(table: Table, names: Sequence[str]) -> str | None:
    """The first of some columns that a table has; case is ignored unless names differ only by case.

    Raises
    ------
    CatalogueError
        If two columns have a name, and neither in the case that is asked for.
    """
    for name in names:
        if name in table.colnames:
            return name
        if _SHORT_MAGNITUDE.fullmatch(name):
            continue
        folded = [column for column in table.colnames if column.strip().lower() == name.lower()]
        if len(folded) > 1:
            raise CatalogueError(f"has the columns {' and '.join(map(repr, folded))}: which of them is {name!r}?")
        if folded:
            return folded[0]
    return None


def unit_of(table: Table, name: str) -> str:
    """The unit of a column as written in the file, without quotes; empty if it has none."""
    unit = table[name].unit
    return "" if unit is None else re.sub(r"^UnrecognizedUnit\((.*)\)$", r"\1", str(unit)).strip(" \"'")


def text(table: Table, name: str) -> np.ndarray:
    """A column as text without surrounding blanks; missing values are empty."""
    column = np.ma.asarray(table[name])
    mask = np.ma.getmaskarray(column)
    values = np.asarray(column.data)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    elif values.dtype.kind != "U":
        values = np.array([_word(value) for value in values.tolist()], str)
    values = np.char.strip(values) if values.size else values.astype("U1")
    missing = mask | np.isin(np.char.lower(values), _MISSING)
    return np.where(missing, "", values)


def _word(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def numbers(
    table: Table,
    names: Sequence[str],
    *,
    valid: tuple[float, float] = (-np.inf, np.inf),
    default: float = np.nan,
    factor: float = 1.0,
) -> np.ndarray:
    """The first existing column of several, as float64.

    Parameters
    ----------
    table
        The table.
    names
        Possible names of the column.
    valid
        Smallest and largest possible value, after multiplication by the factor; others are missing.
    default
        Replacement of missing values, and of all values if there is no such column.
    factor
        Factor by which the values are multiplied.

    Raises
    ------
    CatalogueError
        If a value is text that is neither a number nor a marker of a missing value.
    """
    name = find_column(table, names)
    if name is None:
        return np.full(len(table), default)
    with np.errstate(invalid="ignore", over="ignore"):
        values = _floats(table, name) * factor
        possible = np.isfinite(values) & (values >= valid[0]) & (values <= valid[1])
    return np.where(possible, values, default)


def _floats(table: Table, name: str) -> np.ndarray:
    """A column as float64; missing and infinite values are NaN."""
    column = np.ma.asarray(table[name])
    if column.dtype.kind in "biuf":
        values = column.astype(float).filled(np.nan)
    elif not len(column):  # numpy cannot replace in no text
        return np.empty(0)
    else:
        words = text(table, name)
        try:
            # Python, and numpy with it, takes 1_5 for 15.
            values = np.where(words == "", "nan", np.char.replace(words, "_", "?")).astype(float)
        except ValueError:
            wrong = next(word for word in words.tolist() if word and not _is_number(word))
            raise CatalogueError(f"has {wrong[:40]!r} in the column {name!r}, which must hold numbers") from None
    return np.where(np.isfinite(values), values, np.nan)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


def angles(
    table: Table, names: Sequence[str], *, to: u.UnitBase, assumed: str, valid: tuple[float, float], default: float
) -> np.ndarray:
    """Small angles, such as position errors, in a chosen unit; columns without a unit are in ``assumed``."""
    name = find_column(table, names)
    if name is None:
        return np.full(len(table), default)
    spelled = unit_of(table, name) or assumed
    factor = DEGREES.get(spelled.lower())
    if factor is None:
        raise CatalogueError(f"gives the column {name!r} in {spelled!r}, which is no angle")
    return numbers(table, (name,), valid=valid, default=default, factor=factor * u.deg.to(to))


def conversion(spelled: str, to: str, *, what: str) -> float:
    """The factor from a unit as written in a file to another unit.

    Raises
    ------
    CatalogueError
        If the unit is unknown or belongs to another quantity.
    """
    with without_warnings():
        for form in (None, "vounit", "cds", "fits"):
            try:
                return float(u.Unit(spelled, format=form, parse_strict="raise").to(to))
            except (ValueError, TypeError, u.UnitsError):
                continue
    raise CatalogueError(f"gives {what} in {spelled!r}, which cannot be converted to {to}")


def rates(table: Table, names: Sequence[str], *, to: str, valid: tuple[float, float]) -> np.ndarray:
    """Proper motions and their errors, NaN if unknown; columns without a unit are in the requested one."""
    name = find_column(table, names)
    if name is None:
        return np.full(len(table), np.nan)
    factor = conversion(unit_of(table, name) or to, to, what=f"the proper motion {name!r}")
    return numbers(table, (name,), valid=valid, factor=factor)


def position_columns(table: Table, preferred: Sequence[tuple[str, str]] = ()) -> tuple[str, str]:
    """Names of the columns of right ascension and declination, or of Galactic longitude and latitude.

    Raises
    ------
    CatalogueError
        If there are none; parameters as for `positions`.
    """
    pairs = (*preferred, *POSITION_COLUMNS)
    for pair in pairs:
        longitude, latitude = (find_column(table, (name,)) for name in pair)
        if longitude is not None and latitude is not None:
            return longitude, latitude
    names = ", ".join(f"{first} and {second}" for first, second in dict.fromkeys(pairs))
    raise CatalogueError(f"has no positions: none of {names} is there, but {', '.join(table.colnames)[:200]}")


def positions(table: Table, preferred: Sequence[tuple[str, str]] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension (0 to 360) and declination of all rows, ICRS deg; NaN where a row has none.

    Parameters
    ----------
    table
        Catalogue as read from its file.
    preferred
        Pairs of column names that are tried before `POSITION_COLUMNS`.

    Raises
    ------
    CatalogueError
        If there are no such columns, their unit is not an angle, their frame is unknown, or no row of a non-empty
        table has a valid position.
    """
    longitude, latitude = position_columns(table, preferred)
    system = table.meta.get(COORDINATE_SYSTEMS, {}).get(longitude, "")
    if re.search(r"fk4|1950|ecl|supergal|geo", str(system).lower()):
        raise CatalogueError(f"gives the position {longitude!r} in the system {system}: ICRS or galactic is needed")
    ra = _position_degrees(table, longitude, hours=longitude != "GLON")
    dec = _position_degrees(table, latitude, hours=False)
    good = (ra >= -180) & (ra <= 360) & (np.abs(dec) <= 90)
    if len(table) and 2 * np.count_nonzero(good) < np.count_nonzero(np.isfinite(ra) & np.isfinite(dec)):
        values = f"{np.nanmin(ra):.6g} to {np.nanmax(ra):.6g} and {np.nanmin(dec):.6g} to {np.nanmax(dec):.6g}"
        raise CatalogueError(f"has {longitude!r} and {latitude!r} of {values} deg, which are not on the sky")
    if len(table) and not good.any():
        raise CatalogueError(f"has no row with a number in both {longitude!r} and {latitude!r}")
    ra, dec = np.where(good, np.where(good, ra, 0) % 360, np.nan), np.where(good, dec, np.nan)
    if longitude.lower() == "glon":
        ra[good], dec[good] = _from_galactic(ra[good], dec[good])
    return np.where(ra == 360, 0.0, ra), dec


def _from_galactic(longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sky = SkyCoord(l=longitude * u.deg, b=latitude * u.deg, frame="galactic").icrs
    return sky.ra.deg, sky.dec.deg


def _position_degrees(table: Table, name: str, *, hours: bool) -> np.ndarray:
    """One coordinate in degrees, from numbers in the unit of the column or from sexagesimal text."""
    spelled = unit_of(table, name).lower()
    words = text(table, name) if np.ma.asarray(table[name]).dtype.kind in "USO" else np.empty(0, str)
    written = any(_SEXAGESIMAL.fullmatch(word) and not _is_number(word) for word in words.tolist())
    if spelled in _SEXAGESIMAL_UNITS or written:
        default = 15.0 if hours else 1.0
        return _sexagesimal_degrees(table, name, words, factor=_SEXAGESIMAL_UNITS.get(spelled, default))
    factor = DEGREES.get(spelled)
    if factor is None or (factor == 15.0 and not hours):
        raise CatalogueError(f"gives the position {name!r} in {unit_of(table, name)!r}: deg, rad, h or h:m:s is needed")
    with np.errstate(over="ignore"):  # what is infinite then is not on the sky
        return _floats(table, name) * factor


def _sexagesimal_degrees(table: Table, name: str, words: np.ndarray, *, factor: float) -> np.ndarray:
    """Text such as 02:18:09.1 or -05 00 00 in degrees; a declination of -00 30 00 is negative."""
    spelled = unit_of(table, name).lower()
    if spelled not in ("", *_SEXAGESIMAL_UNITS) and DEGREES.get(spelled, 0) not in (1.0, 15.0):
        raise CatalogueError(f"writes the position {name!r} as text, and gives its unit as {spelled!r}")
    if factor == 15.0 and spelled in ("deg", "degree", "degrees", "d"):
        raise CatalogueError(f"writes {name!r} as sexagesimal text in deg: is it in hours? Give h:m:s or d:m:s")
    degrees = np.full(len(words), np.nan)
    for row, word in enumerate(words.tolist()):
        if not word:
            continue
        match = _SEXAGESIMAL.fullmatch(word)
        if match is None or float(match[3]) >= 60 or float(match[4] or 0) > 60:
            raise CatalogueError(f"has {word[:40]!r} in the column {name!r}, which is no position")
        value = float(match[2]) + float(match[3]) / 60 + float(match[4] or 0) / 3600
        degrees[row] = factor * (-value if match[1] in ("-", "\u2212") else value)
    return degrees


def epochs(table: Table, names: Sequence[str], *, default: float) -> np.ndarray:
    """Dates as MJD, from MJD, Julian dates, Julian years, seconds since 1970 or text (2009-11-04, J2015.5).

    The ranges do not overlap: years are below 2200, MJDs of 1950 to 2100 are 33000 to 88000, Julian dates exceed two
    million, and seconds of any date since 1971 exceed 30 million. Single values that are no date are missing.

    Raises
    ------
    CatalogueError
        If there are values, and none is a date: with another epoch, proper motions would be applied wrongly.
    """
    name = find_column(table, names)
    if name is None:
        return np.full(len(table), float(default))
    if np.ma.asarray(table[name]).dtype.kind in "USO":
        words = text(table, name)
        if any(word and not _is_number(word) for word in words.tolist()):
            return _dates(words, name, default=default)
    values = _floats(table, name)
    found, dates = np.full(len(values), float(default)), np.zeros(len(values), bool)
    for low, high, zero, step in (
        (1850, 2200, 51544.5 - 2000 * 365.25, 365.25),
        (33000, 88000, 0, 1),
        (2433000, 2488000, -2400000.5, 1),
        (3e7, 4e9, 40587, 1 / 86400),
    ):
        chosen = (values > low) & (values < high)
        found[chosen] = zero + values[chosen] * step
        dates |= chosen
    written = values[(values > 0) & ~np.isin(values, _NINES)]
    if len(written) and not dates.any():
        raise CatalogueError(f"has {written[0]:g} in the column {name!r}, which is no date as 2009-11-04 or MJD")
    return found


def _dates(words: np.ndarray, name: str, *, default: float) -> np.ndarray:
    """MJD of dates as text; the default for text that is not a date, unless none is."""
    different, row = np.unique(words, return_inverse=True)
    dates = np.array([_date(word) for word in different.tolist()], float)[row]
    written = words[words != ""]
    if len(written) and not np.isfinite(dates).any():
        raise CatalogueError(
            f"has {str(written[0])[:40]!r} in the column {name!r}, which is no date as 2009-11-04 or MJD"
        )
    return np.where(np.isfinite(dates), dates, default)


def _date(word: str) -> float:
    """MJD of a calendar date, a Julian or Besselian year, or a number of any of these meanings; NaN for other text."""
    if _is_number(word):
        return float(epochs(Table({"date": [float(word)]}), ("date",), default=np.nan)[0])
    if year := re.fullmatch(r"([JB])(\d{4}(?:\.\d*)?)", word, re.IGNORECASE):
        return float(Time(float(year[2]), format="jyear" if year[1] in "jJ" else "byear", scale="tt").mjd)
    match = re.match(r"(\d{4})[-/](\d{2})[-/](\d{2})(?:[T ](\d{2}:\d{2}:\d{2}(?:\.\d+)?))?", word)
    if match is None or not ("01" <= match[2] <= "12" and "01" <= match[3] <= "31"):
        return np.nan
    try:
        when = f"{match[1]}-{match[2]}-{match[3]} {match[4] or '00:00:00'}"
        return float(Time(when, format="iso", scale="utc").mjd)
    except ValueError:  # the 30th of February, the hour 25
        return np.nan


def flags(table: Table, names: Sequence[str], *, width: int) -> np.ndarray | None:
    """A flag of one character per band as text, or None; zeros lost by software that read 000 as 0 are restored."""
    name = find_column(table, names)
    if name is None:
        return None
    column = np.ma.asarray(table[name])
    if column.dtype.kind == "f":
        filled = column.astype(float).filled(np.nan)
        words = np.array(["" if np.isnan(value) else f"{value:.0f}" for value in filled.tolist()], str)
    else:
        words = text(table, name)
    return np.array([word.zfill(width) if word.isdigit() else word for word in words.tolist()], f"U{max(width, 16)}")
