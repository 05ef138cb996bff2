"""Selection of header cards for wcslib: all that may belong to a projection, without remnants and contradictions.

wcslib decides which cards define a projection; only cards with another meaning in the FITS standard are excluded here.
Headers often contain the remains of a second description, from another program or in an older form. It is dropped if it
contains no information (a unit matrix), agrees with the first, or is to be ignored according to the standard; if it
differs, this is an error, because it is unknown which of the two is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from astropy.io import fits

from obs_vista.cards import CardError, Value, card_value, card_values, is_finite_number

NO_PROJECTION = re.compile(
    # layout and scaling of the data, text, checksums
    r"SIMPLE|XTENSION|BITPIX|Z?NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|EXTNAME|EXTVER|EXTLEVEL|INHERIT|BSCALE|BZERO|BLANK"
    r"|BUNIT|BTYPE|DATAM(IN|AX)|CHECKSUM|DATASUM|COMMENT|HISTORY|CONTINUE|END|Z(IMAGE|BITPIX|CMPTYPE|TILE\d|NAME\d|VAL\d"
    r"|SCALE|ZERO|BLANK|QUANTIZ|DITHER0|SIMPLE|EXTEND|TENSION|PCOUNT|GCOUNT|HECKSUM|DATASUM)"
    r"|TFIELDS|THEAP|T(FORM|TYPE|UNIT|SCAL|ZERO|NULL|DISP|DIM|BCOL)\d+|OBJECT|OBSERVER|TELESCOP|INSTRUME|ORIGIN|AUTHOR"
    # time, observer, spectra, errors and names of axes, other descriptions of the same image (A to Z)
    r"|DATE.*|MJD.*|JD.*|TIME.*|T(STOP|START|REF).*|TREF(POS|DIR)|XPOSURE|TELAPSE|OBSGEO.*|OBSORBIT|REST(FRQ|FREQ|WAV)"
    r"|SPECSYS|SSYS(OBS|SRC)|VELOSYS|VELREF|VELANGL|ZSOURCE|C(RDER|SYER|NAME|ZPHS|PERI)\d+|WCSNAME.*|.*\d[A-Z]"
    r"|(LONPOLE|LATPOLE|RADESYS|EQUINOX|WCSAXES)[A-Z]"
    # photometry and quality, as CASU, HSC and others write them
    r"|EXPTIME|NICOMB|FILTER|SEEING|ELLIPTIC|MAGZPT|MAGZRR|MAGZERO|FLUXMAG0|EXTINCT|SKYLEVEL|SKYNOISE|SATURATE|GAIN"
    r"|(DARK|FLAT|GAIN|LIN|NDIT|PER|PHOT)COR|CIR_.*|NUM(BRMS|STDS|ZPT)|STDCRMS|WCSPASS|(RA|DEC)ZP\d+|SKYSUB|DESTRIPE"
    r"|STRPRMS|DRIBBLE|PROV\d+|NIGHT(ZPT|ZRR|NUM)|ORIGFILE|OBSTATUS|ESOGRADE|AIRMASS|RA|DEC|LTV\d|MP_.*"
)
"""Keywords that are not part of a projection. wcslib itself decides about those that are missing here."""

SIP_CARD = re.compile(r"[AB]P?_(ORDER|\d_\d)")
"""Keywords of the SIP polynomials, which are read by astropy and must not be passed to wcslib."""

_FRAME = ("RADESYS", "RADECSYS")
_EQUINOX = re.compile(r"\s*([BJ]?)\s*(\d{4}(?:\.\d*)?)\s*", re.IGNORECASE)
_AGREEMENT = 1e-6
"""Largest relative difference between two forms of the matrix, which are written with a limited number of digits."""


@lru_cache(maxsize=4096)
def may_project(keyword: str) -> bool:
    """Whether a card may belong to a projection, according to its keyword."""
    return 0 < len(keyword) <= 8 and " " not in keyword and not NO_PROJECTION.fullmatch(keyword)


def projection_cards(header: Mapping) -> dict[str, Value]:
    """The cards of a header that may belong to a projection, unchanged.

    Parameters
    ----------
    header
        FITS header, or a dictionary of its values.
    """
    values = card_values(header) if isinstance(header, fits.Header) else header
    cards: dict[str, Value] = {}
    for keyword, value in values.items():
        if may_project(keyword):
            plain = value.item() if isinstance(value, np.generic) else value
            if isinstance(plain, str | int | float) and str(plain).strip():
                cards[keyword] = plain
    return cards


def given_frame(header: Mapping) -> str | None:
    """The frame named in a header, or None; RADESYS of the standard precedes the older RADECSYS."""
    for keyword in _FRAME:
        value = card_value(header, keyword)
        if value is not None:
            return str(value).strip().upper()
    return None


def given_equinox(header: Mapping) -> float | None:
    """The equinox named in a header, in years; None if there is none.

    EQUINOX may have a B or a J before the year. The older EPOCH is used only if it is 1950 or 2000: other years are
    dates of observations.

    Raises
    ------
    CardError
        If EQUINOX is not a year.
    """
    value = card_value(header, "EQUINOX")
    if value is None:
        epoch = _EQUINOX.fullmatch(str(card_value(header, "EPOCH")))
        return float(epoch[2]) if epoch and float(epoch[2]) in (1950, 2000) else None
    found = _EQUINOX.fullmatch(str(value))
    if found is None or isinstance(value, bool):
        raise CardError(f"EQUINOX is {value!r}; a year such as 2000.0 is needed.")
    return float(found[2])


def settled(values: Mapping[str, Value]) -> dict[str, Value]:
    """The cards of a single projection: one form of the frame, one matrix, no parameters of another projection.

    Parameters
    ----------
    values
        Cards from `projection_cards`.

    Raises
    ------
    CardError
        If there is no projection, or if the cards describe two.
    """
    cards = dict(values)
    if any(keyword not in cards for keyword in ("CTYPE1", "CTYPE2")):
        raise CardError("The header has no CTYPE1 and CTYPE2: no positions can be computed.")
    for keyword, value in cards.items():
        if re.fullmatch(r"C(TYPE|UNIT)\d", keyword) and not isinstance(value, str):
            raise CardError(f"{keyword} is {value!r}; a text is needed.")
    for keyword in ("CRVAL1", "CRVAL2"):
        if keyword not in cards:
            raise CardError(f"{keyword} is missing or has no value: no positions can be computed.")
    frame, equinox = given_frame(cards), None
    if frame != "ICRS":
        equinox = given_equinox(cards)
    for keyword in (*_FRAME, "EQUINOX", "EPOCH"):
        cards.pop(keyword, None)
    if frame is not None:
        cards["RADESYS"] = frame
    if equinox is not None:
        cards["EQUINOX"] = equinox
    _settle_matrix(cards)
    _settle_parameters(cards)
    return cards


def _matrix(cards: Mapping[str, Value], form: str) -> np.ndarray | None:
    """The matrix of two axes in one of its forms, CD1_1, PC1_1 or PC001001; None if there are no elements."""
    elements = {(i, j): form.format(i=i, j=j) for i in (1, 2) for j in (1, 2)}
    if not any(name in cards for name in elements.values()):
        return None
    given = np.zeros((2, 2)) if form.startswith("CD") else np.eye(2)
    for (i, j), name in elements.items():
        if name in cards:
            given[i - 1, j - 1] = _finite(cards, name)
    return given


def _finite(cards: Mapping[str, Value], name: str) -> float:
    value = cards[name]
    if not is_finite_number(value):
        raise CardError(f"{name} is {value!r}; a finite number is needed.")
    return float(value)


def _settle_matrix(cards: dict[str, Value]) -> None:
    """Keep only one of CD, PC with CDELT, PC00i00j with CDELT, and CROTA with CDELT."""
    cd, pc, old = (_matrix(cards, form) for form in ("CD{i}_{j}", "PC{i}_{j}", "PC{i:03d}{j:03d}"))
    if pc is not None and old is not None:
        if not _same(pc, old) and not _same(old, np.eye(2)):
            raise CardError(f"PC1_1 ... are {pc.tolist()}, but PC001001 ... are {old.tolist()}: remove one of the two.")
        _drop(cards, "PC00{i}00{j}")
    pc = old if pc is None else pc
    step = np.diag([_finite(cards, name) if name in cards else 1.0 for name in ("CDELT1", "CDELT2")])
    if pc is not None and _same(pc, np.eye(2)) and (cd is not None or _rotated(cards)):
        pc = None
        _drop(cards, "PC{i}_{j}")
        _drop(cards, "PC00{i}00{j}")
    if cd is not None and pc is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            product = step @ pc
        if not _same(product, cd):
            raise CardError(
                f"CD1_1 ... are {cd.tolist()}, but PC and CDELT give {product.tolist()}: remove one of the two."
            )
        _drop(cards, "PC{i}_{j}")
        _drop(cards, "PC00{i}00{j}")
    if pc is not None and cd is None and _rotated(cards):
        raise CardError(f"Both PC and CROTA turn the image, by {pc.tolist()} and {_rotations(cards)}: remove one.")
    if cd is not None:  # CDELT and CROTA are then for old readers, and to be ignored (Greisen & Calabretta 2002)
        for keyword in ("CDELT1", "CDELT2", "CROTA1", "CROTA2"):
            cards.pop(keyword, None)


def _rotations(cards: Mapping[str, Value]) -> list[float]:
    return [_finite(cards, name) for name in ("CROTA1", "CROTA2") if name in cards]


def _rotated(cards: Mapping[str, Value]) -> bool:
    return any(_rotations(cards))


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    return bool(np.isfinite(one).all() and np.abs(one - two).max() <= _AGREEMENT * np.abs(two).max())


def _drop(cards: dict[str, Value], form: str) -> None:
    for i in (1, 2):
        for j in (1, 2):
            cards.pop(form.format(i=i, j=j), None)


def _settle_parameters(cards: dict[str, Value]) -> None:
    """Keep the parameters of the projection (PVi_m, PROJPm) and distortion (SIP), and drop those of another one."""
    types = [str(cards[keyword]).strip().upper() for keyword in ("CTYPE1", "CTYPE2")]
    if all(kind.endswith("-TNX") for kind in types):
        _settle_tnx(cards, types)
    on_axis = [[keyword for keyword in cards if re.fullmatch(rf"PV{axis}_\d+", keyword)] for axis in (1, 2)]
    if any(on_axis):  # before PVi_m was standard, the coefficients of ZPN were in PROJPm
        for keyword in [keyword for keyword in cards if re.fullmatch(r"PROJP\d+", keyword)]:
            del cards[keyword]
    if all(kind.endswith("-TAN") for kind in types) and any(on_axis):
        if all(on_axis):  # SCAMP before 2012: TAN has no parameters on both axes
            for axis, kind in enumerate(types, start=1):
                cards[f"CTYPE{axis}"] = kind.removesuffix("-TAN") + "-TPV"
        else:
            latitude = 1 if types[0].startswith(("DEC", "GLAT", "ELAT")) else 2
            for keyword in on_axis[latitude - 1]:
                del cards[keyword]
    sip = [keyword for keyword in cards if SIP_CARD.fullmatch(keyword)]
    for keyword in sip:
        value = _finite(cards, keyword)
        if keyword.endswith("ORDER") and not (0 <= value <= 9 and value == int(value)):
            raise CardError(f"{keyword} is {cards[keyword]!r}; the order of a polynomial, 0 to 9, is needed.")
    if sip and not any(kind.endswith("-SIP") for kind in types):
        distorting = [name for name in sip if re.fullmatch(r"[AB]_\d_\d", name) and cards[name] != 0]
        if distorting:
            raise CardError(
                f"CTYPE1 is {types[0]!r}, but {distorting[0]} and others describe a distortion: put -SIP behind the "
                "types if it is to be applied, or remove these cards if the image was resampled since."
            )
        for keyword in sip:
            del cards[keyword]


def _settle_tnx(cards: dict[str, Value], types: list[str]) -> None:
    """Make a TAN projection of one of IRAF's type TNX without coefficients; with some it cannot be read.

    Their text goes over several cards: where IRAF cut it beside a blank, wcslib would make one number of two.
    """
    texts = [keyword for keyword in cards if re.fullmatch(r"WAT\d_\d{3}", keyword)]
    if any(re.search(r"(lng|lat)cor", str(cards[keyword])) for keyword in texts):
        raise CardError(
            f"CTYPE1 is {types[0]!r}: the coefficients of IRAF in WAT1_001 and so on cannot be read; write the "
            "projection as TPV or TAN-SIP."
        )
    for keyword in texts:
        del cards[keyword]
    for axis in (0, 1):
        types[axis] = types[axis].removesuffix("TNX") + "TAN"
        cards[f"CTYPE{axis + 1}"] = types[axis]


def as_text(cards: Mapping[str, Value]) -> str:
    """Cards as the text of a FITS header, 80 characters each, for wcslib."""
    lines = []
    for keyword, value in cards.items():
        if isinstance(value, bool):
            text = f"{'T' if value else 'F':>20s}"
        elif isinstance(value, str) or not is_finite_number(value):
            printable = "".join(c if " " <= c <= "~" else "?" for c in str(value)).replace("'", "''")
            text = f"'{printable[:66]:<8s}'"
        else:
            text = f"{repr(value).upper():>20s}"
        lines.append(f"{keyword:<8s}= {text}"[:80].ljust(80))
    return "".join(lines)
