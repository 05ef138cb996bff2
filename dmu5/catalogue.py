"""The catalogue as its users open it: columns, filters, cones, tracts and MOCs, read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from astropy.table import MaskedColumn, Table
from mocpy import MOC

from dmu0.files.paths import PROJECT
from dmu0.sky.sphere import unit_vectors

POSITION = ("coord_ra", "coord_dec")


def open_catalogue(where: str | Path) -> Catalogue:
    """Open a catalogue without reading rows.

    Parameters
    ----------
    where
        Name of a survey that was released in this project, or the path of what was downloaded: the folder of a
        catalogue, its ``parquet`` folder, a HATS collection, or one Parquet file such as ``object_lite.parquet``.

    Raises
    ------
    FileNotFoundError
        If there are no Parquet files.

    Examples
    --------
    >>> stars = (
    ...     open_catalogue("sample").cone(35.61, -5.11, 60).where("i_extendedness < 0.5").read("vk_psfFlux")
    ... )  # doctest: +SKIP
    """
    released = PROJECT / "dmu5" / "data" / str(where) / "catalogue"
    path = released if released.is_dir() else Path(where)
    for pattern in ("parquet/*/object.parquet", "object/dataset/Norder=*/Dir=*/Npix=*.parquet", "*/object.parquet"):
        files = sorted(path.glob(pattern)) if path.is_dir() else [path] * path.is_file()
        if files:
            return Catalogue(ds.dataset([str(file) for file in files], format="parquet"))
    raise FileNotFoundError(
        f"There is no catalogue in {path}: give the name of a released survey, or the path of its Parquet files."
    )


@dataclass(frozen=True)
class Catalogue:
    """Rows of a catalogue that were chosen, but not read.

    Every method returns a new catalogue with fewer rows, so that choices can be chained; `read` reads. Statistics of
    the files tell which parts are not needed.

    Attributes
    ----------
    dataset
        The Parquet files.
    condition
        Condition that rows fulfil; None for all.
    circle
        Centre in ICRS deg and radius in arcsec; None for the whole sky.
    sky
        Map of the sky in which rows lie; None for the whole sky.
    """

    dataset: ds.Dataset
    condition: pc.Expression | None = None
    circle: tuple[float, float, float] | None = None
    sky: MOC | None = None

    @property
    def columns(self) -> Table:
        """The columns: name, unit, UCD and description."""
        keys = (b"unit", b"ucd", b"description")
        rows = [
            (field.name, *((field.metadata or {}).get(key, b"").decode() for key in keys))
            for field in self.dataset.schema
        ]
        return Table(rows=rows, names=("name", "unit", "ucd", "description"))

    @property
    def bands(self) -> list[str]:
        """Labels of the bands, in the order of the columns."""
        names = self.dataset.schema.names
        return list(dict.fromkeys(name.partition("_")[0] for name in names if name.endswith("_gaap1p0Flux")))

    @property
    def provenance(self) -> dict[str, str]:
        """Provenance from the metadata of the files."""
        said = self.dataset.schema.metadata or {}
        prefix = b"lsst-ir-fusion."
        return {key[len(prefix) :].decode(): text.decode() for key, text in said.items() if key.startswith(prefix)}

    def where(self, condition: str | pc.Expression) -> Self:
        """Rows that fulfil a condition as well.

        Parameters
        ----------
        condition
            An expression of pyarrow, or comparisons of columns with numbers, joined by ``and``:
            ``"vk_psfFlux > 100 and i_extendedness < 0.5 and not vk_psfFlux_flag"``.

        Raises
        ------
        ValueError
            If a comparison cannot be read; the message quotes it.
        KeyError
            If there is no such column.
        """
        new = self._parse(condition) if isinstance(condition, str) else condition
        return replace(self, condition=new if self.condition is None else self.condition & new)

    def _parse(self, text: str) -> pc.Expression:
        whole = None
        for part in text.split(" and "):
            new = self._comparison(part.strip())
            whole = new if whole is None else whole & new
        return whole

    def _comparison(self, text: str) -> pc.Expression:
        words = text.split()
        operators = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__", "==": "__eq__", "!=": "__ne__"}
        match words:
            case ["not", name]:
                return ~self._field(name)
            case [name]:
                return self._field(name)
            case [name, operator, value] if operator in operators:
                other = self._value(value)
                return getattr(self._field(name), operators[operator])(other)
        raise ValueError(f"{text!r} is no condition: write <column> < <number>, <column>, or not <column>.")

    def _value(self, text: str) -> pc.Expression | int | float | str:
        if text in self.dataset.schema.names:
            return self._field(text)
        for kind in (int, float):  # identifiers have more digits than a float
            try:
                return kind(text)
            except ValueError:
                continue
        return text.strip("'\"")

    def _field(self, name: str) -> pc.Expression:
        if name not in self.dataset.schema.names:
            near = [other for other in self.dataset.schema.names if other.lower() == name.lower()]
            hint = f" Did you mean {near[0]}?" if near else ""
            raise KeyError(f"The catalogue has no column {name!r}.{hint}")
        return pc.field(name)

    def primary(self) -> Self:
        """One row per object; nothing changes where there are no others."""
        return self.where("detect_isPrimary") if "detect_isPrimary" in self.dataset.schema.names else self

    def tract(self, number: int) -> Self:
        """Rows of a tract."""
        return self.where(self._field("tract") == number)

    def usable(self, band: str) -> Self:
        """Rows with data, a PSF and no saturation in a band."""
        return self.where(f"{band}_usable")

    def cone(self, ra: float, dec: float, radius: float) -> Self:
        """Rows within a distance of a position.

        Parameters
        ----------
        ra, dec
            Centre, ICRS, deg.
        radius
            Radius, arcsec.
        """
        reach = radius / 3600
        box = (pc.field("coord_dec") >= dec - reach) & (pc.field("coord_dec") <= dec + reach)
        if abs(dec) + reach < 90:
            wide = np.degrees(np.arcsin(min(np.sin(np.radians(reach)) / np.cos(np.radians(dec)), 1.0)))
            low, high = (ra - wide) % 360, (ra + wide) % 360
            east, west = pc.field("coord_ra") >= low, pc.field("coord_ra") <= high
            box = box & ((east & west) if low <= high else (east | west))
        return replace(self.where(box), circle=(ra, dec, radius))

    def moc(self, moc: MOC | str | Path) -> Self:
        """Rows inside a multi-order coverage map, or in the file of one."""
        return replace(self, sky=moc if isinstance(moc, MOC) else MOC.load(str(moc)))

    def read(self, *names: str) -> Table:
        """Read columns of the chosen rows.

        Parameters
        ----------
        names
            Columns; all of them if none is given. A name with ``{band}`` means the columns of every band.

        Returns
        -------
        Table
            Missing values are masked.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        wanted = [one for name in names for one in self._expand(name)] or self.dataset.schema.names
        for name in wanted:
            self._field(name)
        on_sky = self.circle is not None or self.sky is not None
        extra = [name for name in POSITION if on_sky and name not in wanted]
        arrow = self.dataset.to_table(columns=[*wanted, *extra], filter=self.condition)
        if on_sky:
            arrow = arrow.filter(self._inside(*(arrow[name].to_numpy() for name in POSITION)))
        table = Table()
        for name in wanted:
            table[name] = _column(arrow[name], arrow.schema.field(name))
        return table

    def _expand(self, name: str) -> list[str]:
        return [name.replace("{band}", band) for band in self.bands] if "{band}" in name else [name]

    def _inside(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Whether each position in deg is in the circle and in the map."""
        inside = np.ones(len(ra), bool)
        if self.circle is not None:
            x, y, radius = self.circle
            centre = unit_vectors(np.array([x]), np.array([y]))
            apart = np.linalg.norm(unit_vectors(ra, dec) - centre, axis=-1)
            inside &= apart <= 2 * np.sin(np.radians(radius / 3600) / 2)
        if self.sky is not None and len(ra):
            inside &= self.sky.contains_lonlat(ra * u.deg, dec * u.deg)
        return inside


def _column(values: pa.ChunkedArray, field: pa.Field) -> MaskedColumn:
    """A column with the unit and description of its field; masked where it is NULL."""
    said = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
    text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    nothing = "" if text else False if pa.types.is_boolean(field.type) else np.nan
    nothing = -1 if pa.types.is_integer(field.type) else nothing
    null = values.is_null().to_numpy() if values.null_count else False
    data = np.asarray((pc.fill_null(values, nothing) if values.null_count else values).to_numpy())
    column = MaskedColumn(data.astype(str) if text else data, mask=null, unit=said.get("unit") or None)
    column.description = said.get("description")
    column.meta.update({"ucd": said["ucd"]} if "ucd" in said else {})
    return column
