"""Values of FITS cards, with one rule for precedence, missing values and invalid values.

1. A card of the extension overrides that of the primary header; a card without a value is ignored.
2. A keyword that occurs twice in one header with different values is refused if the pipeline depends on it
   (`refuse_contradictions`): the FITS standard (4.0, section 4.4) forbids this, and readers differ in which they use.
3. A card that is absent, has no value, or is blank is missing.
4. A card that exists but is not a finite number is an error where a number is expected, even if the number is
   optional: text, NaN, infinity, and values that are not valid FITS, such as ``10,0``.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from copy import copy

import numpy as np
from astropy.io import fits

Value = str | int | float | bool

UNREADABLE = "(not readable)"
"""Stands for a value with characters that FITS does not have."""

WCS_KEYWORD = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)\d|(CD|PC)\d_\d|PC00\d00\d|P[VS]\d_\d+|PROJP\d+|LONPOLE|LATPOLE|WCSAXES"
    r"|[AB]P?_(ORDER|\d_\d)|WAT\d_\d+"
)
"""Cards of the transformation from pixels to the sky: those that may not be given twice, or be inherited in part.

What a transformation is made of, wcslib decides (`obs_vista.world_coordinates.icrs_wcs`), not this pattern.
"""

_DEPENDED_ON = re.compile(
    WCS_KEYWORD.pattern + r"|RADESYS|RADECSYS|EQUINOX|MAGZPT|MAGZRR|EXTINCT|EXPTIME|SKYLEVEL|SKYNOISE|SEEING|NICOMB"
    r"|FILTER|MJD-OBS|FLUXMAG0|MAGZERO|ESO DET (CHIP NO|EXP NO|DIT|NDIT)|ESO TEL AIRM (START|END)|ESO INS FILT1 NAME"
)


class CardError(ValueError):
    """A required card is missing, contradicts another or is invalid; the message gives the keyword and the value."""


def card_value(header: Mapping, keyword: str) -> Value | None:
    """The value of a card; None if it is missing. A value that is not valid FITS is returned as text.

    Parameters
    ----------
    header
        FITS header, or a dictionary of its values.
    keyword
        Keyword, without HIERARCH.
    """
    try:
        value = header.get(keyword)
    except fits.VerifyError:
        return _text_of(header.cards[keyword])
    if value is None or isinstance(value, fits.card.Undefined) or (isinstance(value, str) and not value.strip()):
        return None
    return value


def card_text(header: Mapping, keyword: str) -> str:
    """The value of a card as text without blanks around it; empty if it is missing, as for names of extensions."""
    value = card_value(header, keyword)
    return "" if value is None else str(value).strip()


def _text_of(card: fits.Card) -> str:
    """What stands in a card that cannot be parsed."""
    repaired = copy(card)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        try:
            repaired.verify("silentfix")
        except ValueError:  # control characters, which no card can have
            return UNREADABLE
        return str(repaired.value).strip()


def card_values(header: fits.Header) -> dict[str, Value]:
    """The cards of a header that have a value, without comments and history; the first one of a repeated keyword."""
    values: dict[str, Value] = {}
    for card in header.cards:
        if card.keyword in ("COMMENT", "HISTORY", "") or card.keyword in values:
            continue
        try:
            value = card.value
        except fits.VerifyError:
            value = _text_of(card)
        if not isinstance(value, fits.card.Undefined) and value is not None:
            values[card.keyword] = value
    return values


def is_finite_number(value: object) -> bool:
    """Whether a value is a finite real number; integers of any size are, that numpy does not know, but for a few."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # more than the largest floating-point number
        return False


def card_number(header: Mapping, keyword: str, *, default: float | None = None) -> float:
    """The value of a card as a finite number.

    Parameters
    ----------
    header
        FITS header, or a dictionary of its values.
    keyword
        Keyword, without HIERARCH.
    default
        Value to return if the card is missing; None if the card is required.

    Raises
    ------
    CardError
        If a required card is missing, or the value is not a finite number.
    """
    value = card_value(header, keyword)
    if value is None:
        if default is None:
            raise CardError(f"{keyword} is missing or has no value; a number is needed.")
        return default
    if not is_finite_number(value):
        raise CardError(f"{keyword} is {value!r}; a finite number is needed.")
    return float(value)


def optional_number(header: Mapping, keyword: str) -> float:
    """The value of a card as a finite number; NaN if the card is missing or no number, which costs nothing but itself.

    Parameters
    ----------
    header
        FITS header, or a dictionary of its values.
    keyword
        Keyword, without HIERARCH.
    """
    try:
        return card_number(header, keyword, default=np.nan)
    except CardError:
        return float("nan")


def whole_number(header: Mapping, keyword: str, *, low: int, high: int, default: int | None = None) -> int:
    """The value of a card as a whole number within limits.

    Parameters
    ----------
    header
        FITS header, or a dictionary of its values.
    keyword
        Keyword, without HIERARCH.
    low, high
        Smallest and largest value.
    default
        Value if the card is missing; None if the card is required.

    Raises
    ------
    CardError
        If a required card is missing, or the value is not a whole number within the limits.
    """
    value = card_number(header, keyword, default=None if default is None else float(default))
    if default is not None and card_value(header, keyword) is None:
        return default
    if not low <= value <= high or value != int(value):
        raise CardError(f"{keyword} is {value:g}; a whole number from {low} to {high} is needed.")
    return int(value)


def refuse_contradictions(header: fits.Header) -> None:
    """Refuse a header in which a keyword that the pipeline uses occurs twice with different values.

    Raises
    ------
    CardError
        If there is such a keyword; the message gives both values.
    """
    keywords = list(header.keys())
    if len(set(keywords)) == len(keywords):
        return
    for keyword, count in Counter(keywords).items():
        if count == 1 or not _DEPENDED_ON.fullmatch(keyword):
            continue
        values = [_single_value(card) for card in header.cards if card.keyword == keyword]
        if any(value != values[0] for value in values):
            raise CardError(f"{keyword} is given {count} times, as {' and '.join(map(repr, values))}: keep one card.")


def _single_value(card: fits.Card) -> Value | None:
    return card_value(fits.Header([card]), card.keyword)
