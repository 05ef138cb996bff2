"""Catalogue files of every format: told by content, read as they are, refused where they are no answer."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from dmu0.files.catalogue_files import CatalogueError, read_catalogue_file
from dmu0.files.columns import flags, numbers, text, unit_of
from dmu0.files.integrity import check_file
from dmu0.surveys.first_look import NotAnImageError, look_at

VOTABLE = """<?xml version="1.0"?>
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">
{before}<TABLE><FIELD name="ra" datatype="double" unit="deg"/><FIELD name="dec" datatype="double" unit="deg"/>
<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE>{after}</RESOURCE></VOTABLE>
"""
ROWS = "<TR><TD>10.5</TD><TD>-5.25</TD></TR><TR><TD>10.75</TD><TD></TD></TR>"


def write(path: Path, content: str) -> Path:
    """A text file."""
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        "ra,dec,cc_flg,mag\n10.5,-5.25,000,14.5\n10.75,-6.0,0c0,null\n",
        "\ufeffra,dec,cc_flg,mag\r\n10.5,-5.25,000,14.5\r\n10.75,-6.0,0c0,\r\n",
        "# made by hand\n# ra,dec,cc_flg,mag\n10.5,-5.25,000,14.5\n10.75,-6.0,0c0,--\n",
        "# made by hand\nra\tdec\tcc_flg\tmag\n10.5\t-5.25\t000\t14.5\n10.75\t-6.0\t0c0\t\n",
        "#VizieR\nra;dec;cc_flg;mag\ndeg;deg; ;mag\n---;---;---;---\n10.5;-5.25;000;14.5\n10.75;-6.0;0c0; \n",
        "ra dec cc_flg mag\n10.5 -5.25 000 14.5\n10.75 -6.0 0c0 nan\n",
        '"ra","dec","cc_flg","mag"\n"10.5","-5.25","000","14.5"\n"10.75","-6.0","0c0","N/A"\n',
        "|ra     |dec   |cc_flg|mag  |\n|double |double|char  |double|\n|deg    |deg   |      |mag  |\n"
        "|null   |null  |null  |null |\n 10.5    -5.25  000    14.5 \n 10.75   -6.0   0c0    null \n",
    ],
    ids=["csv", "bom", "comment", "tabs", "vizier", "blanks", "quotes", "ipac"],
)
def test_text_tables_hold_the_same(tmp_path, content):
    """However a table is written, its numbers, flags and missing values are the same."""
    table = read_catalogue_file(write(tmp_path / "table.dat", content))
    assert numbers(table, ("ra",)).tolist() == [10.5, 10.75]
    assert numbers(table, ("dec",)).tolist() == [-5.25, -6.0]
    assert flags(table, ("cc_flg",), width=3).tolist() == ["000", "0c0"]
    np.testing.assert_array_equal(numbers(table, ("mag",)), [14.5, np.nan])


def test_units_of_text_tables(tmp_path):
    """VizieR's line of units is read; other formats have none."""
    table = read_catalogue_file(write(tmp_path / "t.tsv", "#\nra\tmag\nrad\tmJy\n----\t----\n0.5\t3\n"))
    assert (unit_of(table, "ra"), unit_of(table, "mag")) == ("rad", "mJy")
    assert unit_of(read_catalogue_file(write(tmp_path / "t.csv", "ra,mag\n0.5,3\n")), "ra") == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("ra,dec\n1,2\n3\n", "Expected 2 columns, got 1"),
        ("ra,dec\n1,2\n3,4,5\n", "Expected 2 columns, got 3"),
        ("ra dec\n1 2\n3\n", "has 1 values in line 3, and 2 columns"),
        ("ra,dec,ra\n1,2,3\n", "has the column 'ra' 2 times"),
        ("1.0,2.0\n3.0,4.0\n", "has no line that names columns"),
        ("\n\n", "has no line that names columns"),
        ("<?xml version='1.0'?><error>down</error>", "is XML, but no VOTable"),
    ],
)
def test_broken_text_is_refused(tmp_path, content, reason):
    """Lines of another length, columns without or with one name, and other files each have their reason."""
    with pytest.raises(CatalogueError, match=reason):
        read_catalogue_file(write(tmp_path / "t.csv", content))


def test_votable(tmp_path):
    """The answer of an archive is read, with blanks masked."""
    content = VOTABLE.format(before='<INFO name="QUERY_STATUS" value="OK"/>', rows=ROWS, after="")
    table = read_catalogue_file(write(tmp_path / "t.vot", content))
    np.testing.assert_array_equal(numbers(table, ("dec",)), [-5.25, np.nan])
    assert unit_of(table, "ra") == "deg"


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [("OVERFLOW", "cut short by the archive"), ("ERROR", "is an error of the archive"), ("ABORTED", "is an error")],
)
def test_votable_that_is_no_answer(tmp_path, where, status, reason):
    """A status of error or overflow refuses a file on disk as it refuses a download, wherever the status stands."""
    info = f'<INFO name="QUERY_STATUS" value="{status}">2 rows of many</INFO>'
    content = VOTABLE.format(**{"before": "", "after": "", where: info}, rows=ROWS)
    path = write(tmp_path / "t.vot", content)
    found = check_file(path, "gaia")
    assert reason in found
    assert status in found
    assert "2 rows of many" in found


def test_votable_error_without_a_table(tmp_path):
    """An error document has no table; its message is the reason."""
    info = '<INFO name="QUERY_STATUS" value="ERROR">no such column</INFO>'
    content = f'<VOTABLE version="1.3"><RESOURCE type="results">{info}</RESOURCE></VOTABLE>'
    assert "no such column" in check_file(write(tmp_path / "t.xml", content), "ps1")


def test_old_frames_are_refused(tmp_path):
    """Positions that a VOTable gives in FK4 are arcminutes away: refused by name."""
    content = VOTABLE.format(before='<COOSYS ID="old" system="eq_FK4"/>', rows=ROWS, after="")
    content = content.replace('<FIELD name="ra"', '<FIELD name="ra" ref="old"')
    assert "eq_FK4" in check_file(write(tmp_path / "t.vot", content), "gaia")


def test_parquet_of_every_type(tmp_path):
    """Nulls are masked in all types, categories and dates become text, lists are left out, units are kept."""
    columns = {
        "id": pa.array([1, None, 2**63 + 5], pa.uint64()),
        "ra": pa.array([1.5, 2.5, None], pa.float32()),
        "name": pa.array(["a", None, "c"]),
        "flag": pa.array(["x", "y", "x"]).dictionary_encode(),
        "day": pa.array([0, 1, None], pa.date32()),
        "good": pa.array([True, None, False]),
        "list": pa.array([[1.0], [2.0], [3.0]]),
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_catalogue_file(tmp_path / "t.parquet")
    assert set(table.colnames) == set(columns) - {"list"}
    assert table["id"].mask.tolist() == [False, True, False]
    assert int(table["id"][2]) == 2**63 + 5
    np.testing.assert_array_equal(numbers(table, ("ra",)), [1.5, 2.5, np.nan])
    assert text(table, "flag").tolist() == ["x", "y", "x"]
    assert text(table, "day").tolist() == ["1970-01-01", "1970-01-02", ""]
    Table({"ra": MaskedColumn([1.0], unit="hourangle")}).write(tmp_path / "u.parquet")
    assert unit_of(read_catalogue_file(tmp_path / "u.parquet"), "ra") == "hourangle"


def test_fits_of_every_type(tmp_path):
    """The first table is read though another follows it; vectors are left out, odd units kept as they are spelled."""
    table = Table(
        {"ra": [1.0, 2.0], "cube": np.zeros((2, 3)), "text": ["a", "b"], "id": MaskedColumn([7, 8], mask=[1, 0])}
    )
    first, second = fits.table_to_hdu(table), fits.table_to_hdu(Table({"other": [1]}))
    first.header["TUNIT1"] = "Furlongs"
    fits.HDUList([fits.PrimaryHDU(), first, second]).writeto(tmp_path / "t.fits")
    found = read_catalogue_file(tmp_path / "t.fits")
    assert found.colnames == ["ra", "text", "id"]
    assert unit_of(found, "ra") == "Furlongs"
    assert found["id"].mask.tolist() == [True, False]
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
    with pytest.raises(CatalogueError, match="holds no table"):
        read_catalogue_file(tmp_path / "image.fits")


def test_the_check_is_what_the_reader_needs(tmp_path):
    """A table without positions, or with none on the sky, does not pass the check of inputs."""
    assert "has no positions" in check_file(write(tmp_path / "a.csv", "x,mag\n1,2\n"), "ps1")
    assert "are not on the sky" in check_file(write(tmp_path / "b.csv", "ra,dec\n1,200\n2,300\n"), "ps1")
    assert "no row with a number" in check_file(write(tmp_path / "c.csv", "ra,dec\n1,\n,2\n"), "ps1")
    assert "'tbd'" in check_file(write(tmp_path / "d.csv", "ra,dec\n1,2\ntbd,3\n"), "ps1")
    assert check_file(write(tmp_path / "e.csv", "ra,dec\n1,2\n"), "ps1") == ""


@pytest.mark.parametrize(
    ("stored", "scale", "zero", "null", "expected"),
    [
        ([1000, 0, 15], 0.001, 14.0, 0, [15.0, np.nan, 14.015]),
        ([15000, 14, -32768], 0.001, 0.0, 15, [15.0, 0.014, -32.768]),
        ([15000, 14, -32768], 0.001, 0.0, -32768, [15.0, 0.014, np.nan]),
        ([5, 7, -32768], 1.0, 32768.0, -32768, [32773.0, 32775.0, np.nan]),
        ([15, 0, 16], 1.0, 0.0, 0, [15.0, np.nan, 16.0]),
    ],
)
def test_null_of_scaled_columns(tmp_path, stored, scale, zero, null, expected):
    """TNULL is a stored value (FITS standard 4.0, section 7.3.2), whatever it is after scaling."""
    columns = [fits.Column("ra", "D", array=[1.0, 2, 3]), fits.Column("mag", "I", array=np.array(stored, np.int16))]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header.update({"TSCAL2": scale, "TZERO2": zero, "TNULL2": null})
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "t.fits")
    table = read_catalogue_file(tmp_path / "t.fits")
    np.testing.assert_allclose(numbers(table, ("mag",)), expected, rtol=1e-6)


def test_vectors_of_one_are_numbers(tmp_path):
    """TDIM (1) in FITS and arraysize 1 in a VOTable are one number in each row."""
    columns = [fits.Column("ra", "1D", array=np.array([[10.5], [10.75]]), dim="(1)"), fits.Column("x", "2E")]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(tmp_path / "t.fits")
    text = VOTABLE.format(before="", rows=ROWS, after="").replace('name="ra"', 'name="ra" arraysize="1"')
    for path in (tmp_path / "t.fits", write(tmp_path / "t.vot", text)):
        table = read_catalogue_file(path)
        assert numbers(table, ("ra",)).tolist() == [10.5, 10.75]
        assert "x" not in table.colnames


@pytest.mark.parametrize("kind", ["twomass", "optical_coadd"])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_called_so(tmp_path, kind, pack):
    """What to do with a file that was packed as a whole is said, for tables and images."""
    path = tmp_path / "t.csv.gz"
    path.write_bytes(pack(b"ra,dec\n1,2\n"))
    assert "compressed as a whole: unpack it" in check_file(path, kind)
    with pytest.raises(NotAnImageError, match="compressed as a whole: unpack it"):
        look_at(path)
    with pytest.raises(CatalogueError, match="compressed as a whole: unpack it"):
        read_catalogue_file(path)
