"""Readers of catalogue files in the common formats, without interpretation of the columns.

The format is recognized from the content, not from the name. Columns of text formats remain text, because a flag
``000`` and an identifier of 19 digits are not numbers; `dmu0.files.columns` converts them to numbers, positions and
flags.
"""

from __future__ import annotations

import csv
import io
import re
import threading
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from astropy.io import fits, votable
from astropy.io.votable.tree import Resource, VOTableFile
from astropy.table import MaskedColumn, Table
from astropy.table.meta import YamlParseError, get_header_from_yaml
from astropy.utils.exceptions import AstropyWarning

from dmu0.files.checksums import refuse_irregular

READ_ERRORS = (
    *(OSError, ValueError, TypeError, ArithmeticError, LookupError, EOFError, AttributeError, RuntimeError),
    *(SyntaxError, AssertionError, fits.VerifyError, zlib.error, pa.ArrowException, ExpatError, csv.Error),
    *(votable.exceptions.VOWarning, YamlParseError),
)
"""Exceptions raised by readers of damaged files, found by truncating and changing files everywhere and by fuzzing."""

WARNING_FILTERS = threading.Lock()
"""Lock for the warning filters, which belong to the whole process: threads change them one at a time."""

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x1f\x9d", b"(\xb5/\xfd")
"""First bytes of files by gzip, bzip2, xz, zip, compress and zstd."""

COORDINATE_SYSTEMS = "coordinate_systems"
"""Key of a table's metadata: column name -> coordinate system given by a VOTable."""

_SEPARATORS = ("\t", "|", ";", ",")
_NUMBER_OR_NOTHING = re.compile(r"[-+]?[\d.][\d.eE+:\s-]*|null|none|nan|n/a|na|-+|\\N|", re.IGNORECASE)


class CatalogueError(ValueError):
    """A catalogue file cannot be used; the message is the reason, to be appended to the file name."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress Astropy's warnings about odd headers, units and versions; checks report those that matter."""
    with WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def read_catalogue_file(path: Path) -> Table:
    """Read a table: FITS, Parquet, VOTable, ECSV, IPAC, or text separated by commas, tabs, bars or blanks.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Table
        All scalar columns with the units given by the file; missing values are masked, or as written in text formats.
        Vector columns are omitted.

    Raises
    ------
    CatalogueError
        If the file cannot be read, contains no table or a duplicate column, or reports an error or truncation.
    """
    try:
        refuse_irregular(path)
        with path.open("rb") as stream:
            start = stream.read(4096)
        return _reader(start)(path)
    except CatalogueError:
        raise
    except READ_ERRORS as error:
        raise CatalogueError(f"cannot be read: {type(error).__name__}: {_first_line(error)}") from error


def _reader(start: bytes) -> Callable[[Path], Table]:
    """The reader for a file, chosen from its first bytes."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"SIMPLE  ="):
        return _read_fits
    if start.startswith(b"PAR1"):
        return _read_parquet
    if text.startswith(b"<"):
        if b"VOTABLE" not in start.upper():
            raise CatalogueError("is XML, but no VOTable")
        return _read_votable
    if start.startswith(COMPRESSED):
        raise CatalogueError("is compressed as a whole: unpack it, for example with gunzip")
    if b"\0" in start:
        raise CatalogueError(
            f"is neither FITS nor Parquet nor a VOTable nor a text table: it begins with {start[:9]!r}"
        )
    if text.startswith(b"# %ECSV"):
        return _read_ecsv
    return _read_ipac if text.startswith((b"\\", b"|")) else _read_text


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _refuse_twice(names: Sequence[str]) -> None:
    """Refuse duplicate columns: it would be unknown which one is meant."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CatalogueError(f"has the column {twice[0]!r} {Counter(names)[twice[0]]} times")


def _read_fits(path: Path) -> Table:
    """The table of a FITS file (`_one_of`)."""
    with path.open("rb") as stream, without_warnings(), fits.open(stream, memmap=False) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise CatalogueError("holds no table")
        for one in tables:
            _make_zeros_whole(one.header)
        described = [([name.strip() for name in one.columns.names], one.header["NAXIS2"], one.name) for one in tables]
        chosen = tables[_one_of(described)]
        _refuse_twice([name.strip() for name in chosen.columns.names])
        nulls = _take_scaled_nulls(chosen)
        table = Table.read(chosen, format="fits", unit_parse_strict="silent")
    for name, mask in nulls.items():
        table[name] = MaskedColumn(np.ma.getdata(table[name]), mask=mask, unit=table[name].unit)
    return _scalar_columns(table)


def _one_of(tables: Sequence[tuple[list[str], int, str]]) -> int:
    """The number of the table to read: the first one that has rows, and is no header of an image (FITS_LDAC).

    Parameters
    ----------
    tables
        Column names, number of rows and name of each.

    Raises
    ------
    CatalogueError
        If another table has the same columns: they may be parts of one catalogue.
    """
    useful = [number for number, (_, rows, name) in enumerate(tables) if rows and name.upper() != "LDAC_IMHEAD"]
    if not useful:
        return 0
    first = tables[useful[0]][0]
    parts = [tables[number][2] or f"table {number + 1}" for number in useful if tables[number][0] == first]
    if len(parts) > 1:
        raise CatalogueError(
            f"has {len(parts)} tables of the same columns ({', '.join(parts[:5])}): write one table, or files"
        )
    return useful[0]


def _make_zeros_whole(header: fits.Header) -> None:
    """Write TZERO without fraction as an integer: unsigned integers with 32768.0 make astropy fail."""
    for keyword in header["TZERO*"]:
        if isinstance(header[keyword], float) and header[keyword].is_integer():
            header[keyword] = int(header[keyword])


def _take_scaled_nulls(hdu: fits.BinTableHDU | fits.TableHDU) -> dict[str, np.ndarray]:
    """Where scaled integers have the value TNULL, which the standard compares before scaling, and astropy after.

    TNULL of these columns is removed, for astropy cannot read it where they are unsigned."""
    if not isinstance(hdu, fits.BinTableHDU) or hdu.data is None:
        return {}
    stored = hdu.data.view(np.ndarray)
    found = {}
    for column in hdu.columns:
        scaled = column.bscale not in ("", None, 1) or column.bzero not in ("", None, 0)
        if scaled and isinstance(column.null, int) and stored[column.name].dtype.kind in "iu":
            found[column.name] = stored[column.name] == column.null
            column.null = None
    return found


def _read_votable(path: Path) -> Table:
    """The table of a VOTable (`_one_of`); the result of a failed or truncated query is refused."""
    with without_warnings():
        content = votable.parse(path, verify="ignore")
        _check_status(content)
        tables = [table for table in content.iter_tables() if not table.is_empty()]
        if not tables:
            raise CatalogueError("is a VOTable without a table")
        described = [([field.name for field in one.fields], len(one.array), str(one.name or "")) for one in tables]
        chosen = tables[_one_of(described)]
        _refuse_twice([field.name for field in chosen.fields])
        table = chosen.to_table(use_names_over_ids=True)
    systems = {system.ID: system.system for system in content.iter_coosys()}
    table.meta = {
        COORDINATE_SYSTEMS: {field.name: systems[field.ref] for field in chosen.fields if field.ref in systems}
    }
    return _scalar_columns(table)


def _check_status(content: VOTableFile) -> None:
    """Refuse the result of a query that failed or that has only some of the rows (DALI 1.1, section 4.4.1)."""
    for info in _infos(content):
        value = str(info.value).upper()
        if str(info.name).upper() != "QUERY_STATUS" or value == "OK":
            continue
        said = f": {' '.join(info.content.split())[:200]}" if info.content else ""
        if value == "OVERFLOW":
            raise CatalogueError(f"was cut short by the archive (QUERY_STATUS OVERFLOW){said}: ask for a smaller area")
        raise CatalogueError(f"is an error of the archive (QUERY_STATUS {info.value}){said}: ask it again")


def _infos(element: VOTableFile | Resource) -> Iterator[votable.tree.Info]:
    yield from element.infos
    for resource in element.resources:
        yield from _infos(resource)
    for table in getattr(element, "tables", ()):
        yield from table.infos


def _read_parquet(path: Path) -> Table:
    """A Parquet file; units from Astropy's metadata, or from those of the fields."""
    columns = pyarrow.parquet.read_table(path)
    _refuse_twice(columns.column_names)
    units = _parquet_units(columns.schema)
    table = Table()
    for name, field, values in zip(columns.column_names, columns.schema, columns.itercolumns(), strict=True):
        if pa.types.is_dictionary(field.type):
            values = values.cast(field.type.value_type)
        column = _parquet_column(values)
        if column is not None:
            table[name] = column
            table[name].unit = units.get(name)
    return _scalar_columns(table)


def _parquet_units(schema: pa.Schema) -> dict[str, str | None]:
    metadata = schema.metadata or {}
    units = {
        field.name: field.metadata[b"unit"].decode()
        for field in schema
        if field.metadata is not None and b"unit" in field.metadata
    }
    if b"table_meta_yaml" in metadata:
        header = get_header_from_yaml(metadata[b"table_meta_yaml"].decode().split("\n"))
        units |= {column["name"]: column.get("unit") for column in header["datatype"]}
    return units


def _parquet_column(values: pa.ChunkedArray) -> MaskedColumn | None:
    """A column with nulls masked; None for lists and structures."""
    kind = values.type
    mask = np.asarray(values.is_null())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        filled = values.fill_null(False if pa.types.is_boolean(kind) else pa.scalar(0, kind))
        return MaskedColumn(filled.to_numpy(), mask=mask)
    of_text = (pa.types.is_decimal, pa.types.is_temporal, pa.types.is_binary, pa.types.is_large_binary)
    views = (pa.types.is_string_view, pa.types.is_binary_view)
    if any(is_kind(kind) for is_kind in (*of_text, *views)):
        values = values.cast(pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    return MaskedColumn(np.array(["" if value is None else value for value in values.to_pylist()], str), mask=mask)


def _read_ecsv(path: Path) -> Table:
    with without_warnings():
        return _scalar_columns(Table.read(path, format="ascii.ecsv"))


def _read_ipac(path: Path) -> Table:
    """IRSA's format, which defines types, units and missing values."""
    with without_warnings():
        return _scalar_columns(Table.read(path, format="ascii.ipac"))


def _read_text(path: Path) -> Table:
    """Text columns, named by the first line, or by the last comment if all lines contain only numbers."""
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        head = [line.rstrip("\r\n") for _, line in zip(range(1000), stream, strict=False)]
    layout = _Layout(head)
    _refuse_twice(layout.names)
    if layout.separator is None:
        columns = _split_blanks(path, layout)
    else:
        read = pyarrow.csv.ReadOptions(skip_rows=layout.skip, column_names=layout.names, use_threads=False)
        # Text is text: a blank is a blank, and types are not looked for.
        types = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(layout.names, pa.string()), strings_can_be_null=False
        )
        found = pyarrow.csv.read_csv(path, read, pyarrow.csv.ParseOptions(delimiter=layout.separator), types)
        columns = [np.array(column.to_pylist(), str) for column in found.itercolumns()]
    table = Table(dict(zip(layout.names, columns, strict=True)))
    for name, unit in layout.units.items():
        table[name].unit = unit or None
    return table


class _Layout:
    """The layout of a text table, from its first lines.

    Attributes
    ----------
    separator
        Character between values; None: blanks.
    names
        Names of the columns.
    units
        Column name -> unit, if a line of units follows the names, as in files from VizieR.
    skip
        Number of lines before the first row.
    """

    def __init__(self, lines: list[str]) -> None:
        rows = [number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")]
        comments = [number for number, line in enumerate(lines[: rows[0]] if rows else lines) if line.startswith("#")]
        named = comments[-1] if comments and (not rows or _only_numbers(lines[rows[0]])) else rows[0] if rows else None
        if named is None:
            raise CatalogueError("has no line that names columns")
        header = lines[named].lstrip("# ")
        self.separator = next((mark for mark in _SEPARATORS if mark in header), None)
        self.names = [name.strip().strip('"') for name in self._split(header)]
        self.skip = named + 1
        self.units: dict[str, str] = {}
        following = lines[named + 1 : named + 3]
        rules = [bool(re.fullmatch(r"[-\s|,;]*-{3}[-\s|,;]*|-+", line)) for line in following]
        if rules[:1] == [True]:
            self.skip += 1
        elif rules[1:] == [True]:
            units = self._split(following[0])
            self.units = dict(zip(self.names, (unit.strip().strip('"') for unit in units), strict=False))
            self.skip += 2
        if len(self.names) < 2 or all(_NUMBER_OR_NOTHING.fullmatch(name) for name in self.names):
            raise CatalogueError(f"has no line that names columns: {lines[named][:60]!r}")

    def _split(self, line: str) -> list[str]:
        if self.separator is None:
            return line.split()
        return next(csv.reader(io.StringIO(line), delimiter=self.separator))


def _only_numbers(line: str) -> bool:
    """Whether a line contains only values, so that the names are in the comment above it."""
    words = re.split(r"[\t|;,]", line) if re.search(r"[\t|;,]", line) else line.split()
    return all(_NUMBER_OR_NOTHING.fullmatch(word.strip().strip('"')) for word in words)


def _split_blanks(path: Path, layout: _Layout) -> list[np.ndarray]:
    """Columns of a table separated by blanks; each line must have a value for every column."""
    rows = []
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if number <= layout.skip or not line.strip() or line.startswith("#"):
                continue
            words = line.split()
            if len(words) != len(layout.names):
                raise CatalogueError(f"has {len(words)} values in line {number}, and {len(layout.names)} columns")
            rows.append(words)
    return [np.array(column, str) for column in zip(*rows, strict=True)] or [np.empty(0, str) for _ in layout.names]


def _scalar_columns(table: Table) -> Table:
    """The columns with one value per row, numbers and text; vectors of length one (TDIM, arraysize="1") are such."""
    for name in table.colnames:
        if table[name].ndim > 1 and np.prod(table[name].shape[1:]) == 1:
            table[name] = table[name].reshape(len(table))
    return table[[name for name in table.colnames if table[name].ndim == 1]]
