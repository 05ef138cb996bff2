"""Values of cards: missing, senseless, repeated."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from obs_vista.cards import (
    CardError,
    card_number,
    card_value,
    card_values,
    optional_number,
    refuse_contradictions,
    whole_number,
)
from obs_vista.headers import merged_header
from obs_vista.world_coordinates import icrs_wcs


def header(*cards: str) -> fits.Header:
    """A header of cards as they stand in a file."""
    return fits.Header([fits.Card.fromstring(card.ljust(80)) for card in cards])


@pytest.mark.parametrize(
    "card", ["MAGZPT  =", "MAGZPT  =                      / mag", "MAGZPT  = '   '", "OTHER   = 1.0"]
)
def test_missing(card: str) -> None:
    """A card that is absent, without a value or blank is missing: an error where it is needed, else the default."""
    assert card_value(header(card), "MAGZPT") is None
    assert card_number(header(card), "MAGZPT", default=3.0) == 3.0
    with pytest.raises(CardError, match="MAGZPT is missing"):
        card_number(header(card), "MAGZPT")


@pytest.mark.parametrize("value", ["NaN", "10,0", "INF", "-nan", "'23.8'", "T", "'N/A'"])
def test_no_number(value: str) -> None:
    """What is there and not a finite number is refused by keyword and value, with or without a default."""
    one = header(f"MAGZPT  = {value:>20} / mag", f"HIERARCH ESO TEL AIRM START = {value}")
    for keyword in ("MAGZPT", "ESO TEL AIRM START"):
        for source in (one, card_values(one)):
            with pytest.raises(CardError, match=rf"{keyword} is ") as caught:
                card_number(source, keyword, default=1.0)
            assert value.strip("'") in str(caught.value) or value == "T"


def test_numbers() -> None:
    """Integers, exponents and numbers of numpy are numbers."""
    one = header("MAGZPT  =                   23", "EXPTIME =              1.0E+01")
    assert (card_number(one, "MAGZPT"), card_number(one, "EXPTIME")) == (23.0, 10.0)
    assert card_number({"MAGZPT": np.float32(23.5)}, "MAGZPT") == 23.5


def test_values_of_a_header_with_senseless_cards() -> None:
    """One senseless card does not spoil the others; empty ones, comments and repetitions are left out."""
    one = header("A       = NaN", "B       = 2", "B       = 3", "C       =", "COMMENT x", "HISTORY y")
    assert card_values(one) == {"A": "NaN", "B": 2}


def test_a_keyword_with_two_values() -> None:
    """Two values of a keyword that matters are refused by name, twice the same value is not, nor are other keywords."""
    contradiction = header("MAGZPT  = 23.867", "OTHER   = 1", "MAGZPT  = 22.867")
    with pytest.raises(CardError, match=r"MAGZPT is given 2 times, as 23\.867 and 22\.867"):
        refuse_contradictions(contradiction)
    for primary, extension in ((contradiction, header("A       = 1")), (None, contradiction)):
        with pytest.raises(CardError, match="MAGZPT"):
            merged_header(primary, extension)
    merged = merged_header(header("DARK    = 1", "DARK    = 2"), header("MAGZPT  = 23.0", "MAGZPT  = 23.0"))
    assert merged["MAGZPT"] == 23.0
    with pytest.raises(CardError, match="CRVAL1"):
        icrs_wcs(header("CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'", "CRVAL1  = 34.5", "CRVAL1  = 35.5"))


def test_a_card_without_value_does_not_overrule() -> None:
    """The extension wins over the primary where it has a value."""
    merged = merged_header(header("EXPTIME = 60.0", "NICOMB  = 3"), header("EXPTIME =", "NICOMB  = 7"))
    assert (merged["EXPTIME"], merged["NICOMB"]) == (60.0, 7)
    assert list(merged).count("EXPTIME") == 1


def test_control_characters_are_a_value_that_is_named():
    """A value that no card can have is an error of its card where it is needed, and no error elsewhere."""
    bad = header("MAGZPT  = '\x01'", "FILTER  = 'H'")
    assert card_value(bad, "MAGZPT") == "(not readable)"
    assert card_values(bad)["FILTER"] == "H"
    with pytest.raises(CardError, match=r"MAGZPT is .\(not readable\)"):
        card_number(bad, "MAGZPT")


@pytest.mark.parametrize(
    ("value", "words"), [("2.5", "2.5"), ("0", "0"), ("17", "17"), ("'4'", "4"), ("1E300", "1e.300")]
)
def test_whole_numbers_have_limits(value, words):
    """Fractions, text and numbers out of range are named with their limits; a missing one is the default."""
    with pytest.raises(CardError, match=rf"CHIP is .*{words}"):
        whole_number(header(f"CHIP    = {value:>20s}"), "CHIP", low=1, high=16)
    assert whole_number(header("CHIP    =                   16"), "CHIP", low=1, high=16) == 16
    assert whole_number(header(), "CHIP", low=1, high=16, default=-1) == -1
    assert np.isnan(optional_number(header(f"CHIP    = {'10,0':>20s}"), "CHIP"))
