"""Positions, numbers, dates and flags of catalogues, whatever their units, types and marks of missing values."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Column, MaskedColumn, Table

from dmu0.files.catalogue_files import CatalogueError
from dmu0.files.columns import angles, conversion, epochs, find_column, flags, numbers, positions, rates

RA, DEC = 34.5379166666, -5.0041666666  # 02:18:09.1 -05:00:15


@pytest.mark.parametrize(
    ("ra", "dec", "ra_unit", "dec_unit"),
    [
        (RA, DEC, None, None),
        (RA, DEC, "deg", "deg"),
        (RA, DEC, "Degrees", "degrees"),
        (np.radians(RA), np.radians(DEC), "rad", "rad"),
        (np.radians(RA), np.radians(DEC), "RADIANS", "RADIANS"),
        (RA / 15, DEC, "hourangle", "deg"),
        (RA / 15, DEC, "h", "deg"),
        (RA * 3600, DEC * 3600, "arcsec", "arcsec"),
        ("02:18:09.1", "-05:00:15", None, None),
        ("02 18 09.1", "-05 00 15.0", '"h:m:s"', '"d:m:s"'),
        ("2h18m09.1s", "-5d00m15s", None, "deg"),
        ("02:18:09.1", "\u221205:00:15", "hourangle", "deg"),
        ("34:32:16.5", "-05:00:15", "d:m:s", "d:m:s"),
        (str(RA), str(DEC), None, None),
    ],
)
def test_units_of_positions(ra, dec, ra_unit, dec_unit):
    """Degrees, radians, hours, arcsec and sexagesimal text give the same place."""
    table = Table({"ra": Column([ra], unit=None), "dec": [dec]})
    for name, unit in (("ra", ra_unit), ("dec", dec_unit)):
        table[name].unit = u.Unit(unit, parse_strict="silent") if unit else None
    found = positions(table)
    assert found[0][0] == pytest.approx(RA, abs=1e-7)
    assert found[1][0] == pytest.approx(DEC, abs=1e-7)


def test_small_negative_declinations():
    """-00 30 00 is south of the equator, and a place short of 24 h is short of 360 deg."""
    ra, dec = positions(Table({"ra": ["23:59:59.9", "00:00:00"], "dec": ["-00 30 00", "+00 30 00"]}))
    assert dec.tolist() == [-0.5, 0.5]
    assert ra == pytest.approx([360 - 0.1 / 240, 0])


def test_positions_that_are_none():
    """Missing, infinite and impossible positions are NaN in both coordinates; 360 is 0, and galactic is turned."""
    ra, dec = positions(
        Table(
            {
                "ra": MaskedColumn([360.0, 10, 11, -999, np.inf, 20, -21], mask=[0, 0, 0, 0, 0, 1, 0]),
                "dec": [1.0, 2, 95, 3, 4, 5, -90],
            }
        )
    )
    np.testing.assert_array_equal(ra, [0, 10, np.nan, np.nan, np.nan, np.nan, 339])
    np.testing.assert_array_equal(dec, [1, 2, np.nan, np.nan, np.nan, np.nan, -90])
    # The galactic centre (Reid & Brunthaler 2004, ApJ 616, 872 give the frame's): 17:45:37.224 -28:56:10.23
    ra, dec = positions(Table({"GLON": [0.0], "GLAT": [0.0]}))
    assert ra[0] == pytest.approx(266.40510, abs=2e-4)
    assert dec[0] == pytest.approx(-28.936175, abs=2e-4)


@pytest.mark.parametrize(
    ("columns", "units", "reason"),
    [
        ({"ra": [1.0], "dec": [2.0]}, {"ra": "furlong"}, "'ra' in 'furlong'"),
        ({"ra": [1.0], "dec": [2.0]}, {"dec": "hourangle"}, "'dec' in 'hourangle'"),
        ({"ra": ["02:18:09"], "dec": [2.0]}, {"ra": "deg"}, "is it in hours"),
        ({"ra": ["02:78:09"], "dec": [2.0]}, {}, "'02:78:09'"),
        ({"ra": [1.0, 2.0], "dec": [300.0, 400.0]}, {}, "300 to 400 deg"),
        ({"ra": [1.0], "flux": [2.0]}, {}, "has no positions"),
    ],
)
def test_positions_are_refused(columns, units, reason):
    """What cannot be meant is refused with the column and the value."""
    table = Table(columns)
    for name, unit in units.items():
        table[name].unit = u.Unit(unit, parse_strict="silent")
    with pytest.raises(CatalogueError, match=reason):
        positions(table)


def test_names_of_columns():
    """Names are found in any case, except where case tells the bands of two surveys apart."""
    table = Table({"RAMEAN": [1], "gmag": [2], "SOURCE_ID": [3]})
    assert find_column(table, ("raMean",)) == "RAMEAN"
    assert find_column(table, ("source_id",)) == "SOURCE_ID"
    assert find_column(table, ("Gmag",)) is None
    assert find_column(table, ("Gmag", "gmag")) == "gmag"


def test_numbers_of_every_type():
    """Numbers from text, bytes, masked integers and floats; out of range is missing, and has the default."""
    table = Table(
        {
            "a": ["1.5", "null", " --", "NaN"],
            "b": np.array([b"2", b"", b"3e1", b"-"]),
            "c": MaskedColumn(np.array([1, 2, 3, 4], np.uint64), mask=[0, 1, 0, 0]),
            "d": [1.0, -999.0, 99.0, np.inf],
        }
    )
    np.testing.assert_array_equal(numbers(table, ("a",)), [1.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(numbers(table, ("b",)), [2, np.nan, 30, np.nan])
    np.testing.assert_array_equal(numbers(table, ("c",)), [1, np.nan, 3, 4])
    np.testing.assert_array_equal(numbers(table, ("d",), valid=(0, 50), default=7), [1, 7, 7, 7])
    np.testing.assert_array_equal(numbers(table, ("absent",), default=7), [7] * 4)


def test_dates():
    """Every scale gives the same MJD; blanks and nonsense have the default."""
    for value in (51544.5, 2451545.0, 2000.0, 946728000.0, "2000-01-01 12:00:00", "2000-01-01T12:00:00"):
        assert epochs(Table({"t": [value]}), ("t",), default=1)[0] == pytest.approx(51544.5, abs=1e-6), value
    table = Table({"t": ["1998-10-01", "", "null", "soon", "1998-02-30"]})
    assert epochs(table, ("t",), default=1).tolist() == [51087, 1, 1, 1, 1]
    assert epochs(Table({"t": [-999.0, 0.0, np.nan]}), ("t",), default=1).tolist() == [1, 1, 1]


def test_flags_keep_their_zeros():
    """A flag that was read as a number has its zeros again, also as a float beside missing ones."""
    for column in ([0, 10], ["000", "010"], np.array([0.0, 10.0]), np.array([b"000", b"010"])):
        assert flags(Table({"f": column}), ("f",), width=3).tolist() == ["000", "010"]
    assert flags(Table({"f": [0.0, np.nan]}), ("f",), width=3).tolist() == ["000", ""]
    assert flags(Table({"f": ["0"]}), ("absent",), width=3) is None


def test_small_angles_and_motions():
    """Errors of positions and proper motions are converted by their units; other quantities are refused."""
    table = Table({"e": [0.5] * u.arcsec, "pm": [2.0] * u.arcsec / u.yr, "x": [1.0] * u.Jy})
    assert angles(table, ("e",), to=u.mas, assumed="mas", valid=(0, 1e4), default=1)[0] == pytest.approx(500)
    assert rates(table, ("pm",), to="mas / yr", valid=(0, 1e4))[0] == pytest.approx(2000)
    with pytest.raises(CatalogueError, match="'x' in 'Jy'"):
        angles(table, ("x",), to=u.mas, assumed="mas", valid=(0, 1), default=1)
    with pytest.raises(CatalogueError, match="cannot be converted to mas"):
        rates(table, ("x",), to="mas / yr", valid=(0, 1))
    assert conversion("mas.yr**-1", "mas / yr", what="pm") == 1
    assert conversion("uJy", "nJy", what="flux") == pytest.approx(1000)


def test_columns_that_differ_by_case():
    """The exact name wins; if there is none, two that differ by case only are refused by name."""
    table = Table({"Ra": [1.0], "RA": [2.0], "dec": [3.0]})
    with pytest.raises(CatalogueError, match="has the columns 'Ra' and 'RA': which of them is 'ra'"):
        find_column(table, ("ra",))
    assert find_column(table, ("RA",)) == "RA"
    assert find_column(table, ("DEC",)) == "dec"


@pytest.mark.parametrize("word", ["1_5", "1_5.0", "15,0", "0x1F", "1.5D1", "\u221215"])
def test_words_that_are_no_numbers(word):
    """What only a programming language, or another country, takes for a number is refused by column and value."""
    with pytest.raises(CatalogueError, match=f"has {word!r} in the column 'm'"):
        numbers(Table({"m": ["15.0", word]}), ("m",))


def test_years_as_text():
    """Julian and Besselian years are dates; a column of other text is refused, for it would move the stars."""
    for word, mjd in (("J2015.5", 57205.875), ("j2000", 51544.5), ("B1950.0", 33281.923), ("2015.5", 57205.875)):
        found = epochs(Table({"e": [word, "2016-01-01"]}), ("e",), default=1)
        np.testing.assert_allclose(found, [mjd, 57388.0], atol=1e-3)
    with pytest.raises(CatalogueError, match="has 'epoch 3' in the column 'e', which is no date"):
        epochs(Table({"e": ["epoch 3", ""]}), ("e",), default=1)


def test_numbers_beyond_all_units():
    """Positions and dates of 1e306 in any unit are missing, without a warning of numpy."""
    table = Table({"ra": [10.0, 11, 12], "dec": [0.1, np.nan, 3.1e306], "t": [2015.5, 1e308, -1e308]})
    table["dec"].unit = "rad"
    ra, dec = positions(table)
    np.testing.assert_allclose(dec, [np.degrees(0.1), np.nan, np.nan])
    assert np.isfinite(ra).tolist() == [True, False, False]
    np.testing.assert_allclose(epochs(table, ("t",), default=1), [57205.875, 1, 1])
    table["ra"] = [0.1, 1e307, 0.2] * u.rad
    np.testing.assert_allclose(positions(table)[0], [np.degrees(0.1), np.nan, np.nan])
