"""Columns read from files: the same as the schema in each format, and each kind of deviation is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import Table

from dmu0.files.provenance import Provenance
from dmu0.schema.columns import schema_columns
from dmu0.schema.tables import empty_table
from dmu5.checks import column_checks
from dmu5.file_columns import FileColumn, deviations, file_columns
from dmu5.writers import write_fits, write_parquet, write_votable

BANDS = ("g", "vk")
COLUMNS = schema_columns(BANDS)
FORMATS = ("parquet", "fits", "vot")


def drop(table: Table) -> None:
    """A column less."""
    table.remove_column("vk_kronFlux")


def add(table: Table) -> None:
    """A column more."""
    table["magic"] = np.zeros(len(table))


def swap(table: Table) -> None:
    """The first two columns in the other order."""
    column = table["objectId"]
    table.remove_column("objectId")
    table.add_column(column, index=1)


def widen(table: Table) -> None:
    """A flux in double precision."""
    table.replace_column("vk_psfFlux", table["vk_psfFlux"].astype(float))


def unsign(table: Table) -> None:
    """A flag as a number."""
    table.replace_column("g_usable", table["g_usable"].astype(np.int16))


def rescale(table: Table) -> None:
    """A flux in another unit."""
    table["vk_psfFlux"].unit = "mJy"


def strip(table: Table) -> None:
    """A position without a unit."""
    table["coord_ra"].unit = None


def reword(table: Table) -> None:
    """Another description."""
    table["g_depth5"].description = "how deep it is"


def rename_case(table: Table) -> None:
    """A column whose name differs in case only from another."""
    table["G_psfflux"] = table["g_psfFlux"]


def misclassify(table: Table) -> None:
    """Another UCD."""
    table["coord_dec"].meta["ucd"] = "pos.eq.ra"


PLANTED = (
    (drop, "vk_kronFlux: missing"),
    (add, "magic: not in the schema"),
    (swap, "coord_ra: not in its place"),
    (widen, "vk_psfFlux: type 'f8', must be 'f4'"),
    (unsign, "g_usable: type"),
    (rescale, "vk_psfFlux: unit 'mJy', must be 'nJy'"),
    (strip, "coord_ra: unit '', must be 'deg'"),
    (reword, "g_depth5: description 'how deep it is', must be"),
    (rename_case, "G_psfflux: twice"),
    (misclassify, "coord_dec: UCD 'pos.eq.ra', must be 'pos.eq.dec;meta.main'"),
)


def write(table: Table, folder: Path, kind: str, provenance: Provenance) -> Path:
    """Write a table as it is, with its own words, by the same libraries as the catalogue."""
    path = folder / f"object.{kind}"
    if kind == "parquet":
        fields = [
            pa.field(
                name,
                pa.string() if table[name].dtype.kind == "U" else pa.from_numpy_dtype(table[name].dtype),
                metadata={
                    "unit": str(table[name].unit or ""),
                    "ucd": table[name].meta.get("ucd", ""),
                    "description": table[name].description or "",
                },
            )
            for name in table.colnames
        ]
        pq.write_table(pa.table([np.asarray(table[name]) for name in table.colnames], pa.schema(fields)), path)
        return path
    bare = Table(table, copy=True)
    for name in bare.colnames:
        bare[name].meta.clear()
    if kind == "fits":
        hdu = fits.table_to_hdu(bare)
        for number, name in enumerate(table.colnames, start=1):
            hdu.header[f"TUCD{number}"] = table[name].meta.get("ucd", "")
            hdu.header[f"TCOMM{number}"] = table[name].description or ""
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
        return path
    votable = from_table(bare)
    for field in votable.get_first_table().fields:
        field.ucd = table[field.name].meta.get("ucd")
        field.description = table[field.name].description
        field.datatype = "boolean" if field.datatype == "bit" else field.datatype
    votable.to_xml(str(path))
    return path


def written(folder: Path, provenance: Provenance) -> list[Path]:
    """The catalogue without rows in every format, as it is released."""
    table = empty_table(COLUMNS, 3)
    return [
        write_parquet(table, folder, COLUMNS, tract=7, provenance=provenance),
        write_fits(table, folder / "object.fits", COLUMNS, provenance=provenance),
        write_votable(table, folder / "object.vot", COLUMNS, provenance=provenance),
    ]


def test_what_is_released_is_the_schema(tmp_path: Path, provenance: Provenance) -> None:
    """Each file has the columns of the schema, with types, units, UCDs and descriptions in full."""
    paths = written(tmp_path, provenance)
    for path in paths:
        found = file_columns(path)
        assert [column.name for column in found] == [column.name for column in COLUMNS]
        flux = next(column for column in found if column.name == "vk_psfFluxErr")
        assert flux == FileColumn(
            *("vk_psfFluxErr", "f4", "nJy", "stat.error;phot.flux;em.IR.K"),
            "Statistical error of vk_psfFlux, correlated noise included",
        )
        assert deviations(found, COLUMNS) == []
    assert [row.verdict for row in column_checks(paths, BANDS)] == ["pass"] * 3
    assert column_checks(paths, BANDS)[0][:3] == (
        "7/object.parquet: columns that deviate from the schema",
        f"0 in {len(COLUMNS)}",
        f"0 in {len(COLUMNS)}",
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("change", "said"), PLANTED, ids=[change.__name__ for change, _ in PLANTED])
def test_each_deviation_is_noticed(
    tmp_path: Path, kind: str, change: Callable[[Table], None], said: str, provenance: Provenance
) -> None:
    """A file that differs in one thing fails the check, which names column and thing."""
    table = empty_table(COLUMNS, 3)
    path = write(table, tmp_path, kind, provenance)
    assert column_checks([path], BANDS)[0].verdict == "pass"
    path.unlink()
    change(table)
    path = write(table, tmp_path, kind, provenance)
    found = deviations(file_columns(path), COLUMNS)
    assert any(text.startswith(said) for text in found), found
    assert len(found) <= 2  # a column that is there twice is also not in the schema
    what, measured, _, verdict = column_checks([path], BANDS)[0][:4]
    assert verdict == "fail"
    assert said.split(":")[0] in measured
    assert path.name in what


def test_a_file_of_others_has_no_words(tmp_path: Path) -> None:
    """A Parquet file that does not describe its columns deviates in units and descriptions, and one of a type that
    numpy does not know is named with that type."""
    path = tmp_path / "object.parquet"
    pq.write_table(pa.table({"coord_ra": [1.0], "tract": pa.array([None], pa.date32())}), path)
    columns = [column for column in COLUMNS if column.name in {"coord_ra", "tract"}]
    found = deviations(file_columns(path), columns)
    assert "coord_ra: unit '', must be 'deg'" in found
    assert "tract: type 'date32[day]', must be 'i4'" in found
    with pytest.raises(ValueError, match=r"object\.csv"):
        file_columns(tmp_path / "object.csv")
