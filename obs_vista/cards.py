"""Values of FITS cards under one rule: which card counts, what is missing, and what cannot be used.

1. An extension's card overrules the primary's; one without a value is no card, and the primary's counts.
2. A keyword given twice in one header with different values is refused where the pipeline depends on it
   (`refuse_contradictions`): the FITS standard (4.0, section 4.4) forbids it, and readers differ in which they take.
3. A card that is absent, without a value, or blank text is missing.
4. A card that is there but is not a finite number is an error where a number is wanted, whether it is needed or not:
   text, NaN, infinity, and values that FITS does not know such as ``10,0``.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from copy import copy

import numpy as np
from astropy.io import fits

Value = str | int | float | bool

WCS_KEYWORD = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[12]|(CD|PC)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE|[AB]P?_(ORDER|\d_\d)"
)
"""Cards of the transformation from pixels to the sky."""

_DEPENDED_ON = re.compile(
    WCS_KEYWORD.pattern + r"|RADESYS|RADECSYS|EQUINOX|MAGZPT|MAGZRR|EXTINCT|EXPTIME|SKYLEVEL|SKYNOISE|SEEING|NICOMB"
    r"|FILTER|MJD-OBS|FLUXMAG0|MAGZERO|ESO DET (CHIP NO|EXP NO|DIT|NDIT)|ESO TEL AIRM (START|END)|ESO INS FILT1 NAME"
)


class CardError(ValueError):
    """A card that is needed is missing, contradicts another or makes no sense; the message names keyword and value."""


def card_value(header: Mapping, keyword: str) -> Value | None:
    """The value of a card; None if it is missing. One that FITS does not know comes as the text that is there.

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


def _text_of(card: fits.Card) -> str:
    """What stands in a card that cannot be parsed."""
    repaired = copy(card)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        repaired.verify("silentfix")
        return str(repaired.value).strip()


def card_values(header: fits.Header) -> dict[str, Value]:
    """The cards of a header that have a value, without comments and history; the first where a keyword is repeated."""
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


def card_number(header: Mapping, keyword: str, *, default: float | None = None) -> float:
    """The value of a card as a finite number.

    Parameters
    ----------
    header
        FITS header, or a dictionary of its values.
    keyword
        Keyword, without HIERARCH.
    default
        Value to take where the card is missing; None if it is needed.

    Raises
    ------
    CardError
        If a needed card is missing, or the value is not a finite number.
    """
    value = card_value(header, keyword)
    if value is None:
        if default is None:
            raise CardError(f"{keyword} is missing or has no value; a number is needed.")
        return default
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise CardError(f"{keyword} is {value!r}; a finite number is needed.")
    return float(value)


def refuse_contradictions(header: fits.Header) -> None:
    """Refuse a header that gives a keyword which the pipeline depends on twice, with different values.

    Raises
    ------
    CardError
        If there is such a keyword; the message names both values.
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
