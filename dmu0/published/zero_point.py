"""The zero point of a published coadd, in the same order of precedence for all stages and types of file.

1. ``zero_points`` in the survey file: its author has inspected the files, and this is the only way to correct a wrong
   or missing card.
2. FLUXMAG0, the counts of a source of magnitude 0, written by HSC and LSST.
3. MAGZERO, the AB magnitude of one count.
4. BUNIT, where it is a unit of flux density, as nJy in the coadds of LSST, or nanomaggies, as of SDSS and the Legacy
   Surveys.
5. PHOTZP, the magnitude of one count in the system that PHOTSYS names, AB or (of images of VISTA) VEGA, by ESO's
   Science Data Products Standard (ESO-044286).
6. Of images of VISTA, MAGZPT with what belongs to it, as for stacks (`obs_vista.zero_points`): tiles of CASU have it.

Cards are taken from the header of the image, else from the primary header. An invalid card (zero, negative, text, not
finite, a zero point outside `POSSIBLE`) is refused, not ignored; so are two of FLUXMAG0, MAGZERO, BUNIT and PHOTZP that
disagree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.io import fits

from dmu0.published.planes import OpticalError
from obs_vista.bands import get_band
from obs_vista.cards import CardError, card_number, card_value, refuse_contradictions
from obs_vista.headers import merged_header
from obs_vista.photometry import magnitude_of, zero_point_of
from obs_vista.zero_points import header_zero_point

MAX_DISAGREEMENT = 0.01
"""Largest difference in mag between FLUXMAG0 and MAGZERO of one file: MAGZERO is often rounded."""

PHOTZP_DISAGREEMENT = 0.1
"""The same of PHOTZP and another card in mag: a conversion from Vega differs by some hundredths between authors."""

POSSIBLE = (-10.0, 50.0)
"""Exclusive range of zero points, mag: images in units of Jy to those with 1e6 counts per nJy; placeholders such as -99
and 99 are outside."""

# SDSS and the Legacy Surveys: 1 maggy is the flux of magnitude 0, taken as AB.
_MAGGIES = re.compile(r"(?P<prefix>nano|micro|milli|n|u|m|)(maggy|maggies|mgy)s?", re.IGNORECASE)
_MAGGY_PREFIX = {"nano": 22.5, "n": 22.5, "micro": 15.0, "u": 15.0, "milli": 7.5, "m": 7.5, "": 0.0}


class CasuScale(NamedTuple):
    """What MAGZPT of a published image of VISTA is, and PHOTZP if it is a Vega magnitude.

    Attributes
    ----------
    band
        Label of the band.
    magnitudes
        System of MAGZPT, ``Vega`` or ``AB``.
    """

    band: str
    magnitudes: str


def published_zero_point(
    image: fits.Header,
    primary: fits.Header,
    *,
    path: Path,
    survey: float | None = None,
    casu: CasuScale | None = None,
) -> float:
    """AB magnitude of one count of a published coadd.

    Parameters
    ----------
    image, primary
        Header of the image, and that of the primary HDU of its file, which may be the same.
    path
        The file, for messages.
    survey
        Zero point of the band in the survey file; None if it has none.
    casu
        What MAGZPT is, where the image is of VISTA; None: that card means nothing.

    Raises
    ------
    OpticalError
        If there is no usable zero point; the message names the file, the card and its value.
    """
    if survey is not None:
        if not np.isfinite(survey):
            raise OpticalError(f"{path}: its zero point in the survey file is {survey!r}; a number is needed.")
        return float(survey)
    try:
        flux_mag0, magzero = (_positive(image, primary, keyword) for keyword in ("FLUXMAG0", "MAGZERO"))
        found = _of_counts(flux_mag0, magzero)
        if found is None:
            return _without_counts(image, primary, casu)
        _refuse_other_unit(image, *found)
        _refuse_other_photzp(image, primary, *found, casu)
    except ValueError as error:
        raise OpticalError(f"{path}: {error} Or give zero_points in the survey file.") from error
    return found[1]


def _without_counts(image: fits.Header, primary: fits.Header, casu: CasuScale | None) -> float:
    """The zero point of an image without FLUXMAG0 and MAGZERO.

    Raises
    ------
    CardError
        If there is none, or two disagree.
    """
    if (unit := _unit_zero_point(image)) is not None:
        _refuse_other_photzp(image, primary, "BUNIT", unit, casu)
        return unit
    if (eso := _eso_zero_point(image, primary, casu)) is not None:
        return eso
    merged = merged_header(None if primary is image else primary, image)
    if casu is not None and card_value(merged, "MAGZPT") is not None:
        return header_zero_point(merged, band=casu.band, magnitudes=casu.magnitudes).magnitude
    raise CardError(
        f"its zero point is unknown: no FLUXMAG0 and no MAGZERO{' and no MAGZPT' if casu else ''} in its headers, nor "
        "PHOTZP with PHOTSYS."
    )


def _of_counts(flux_mag0: float | None, magzero: float | None) -> tuple[str, float] | None:
    """The card that counts, FLUXMAG0 or else MAGZERO, and its zero point; None if there is neither."""
    if magzero is not None:
        _possible("MAGZERO", magzero, magzero)
    if flux_mag0 is None:
        return None if magzero is None else ("MAGZERO", magzero)
    zero_point = _possible("FLUXMAG0", flux_mag0, zero_point_of(flux_mag0))
    if magzero is not None and abs(zero_point - magzero) > MAX_DISAGREEMENT:
        raise CardError(f"FLUXMAG0 is {flux_mag0:g}, zero point {zero_point:.3f}, but MAGZERO is {magzero:g}.")
    return "FLUXMAG0", zero_point


def _refuse_other_unit(image: fits.Header, keyword: str, zero_point: float) -> None:
    """Refuse an image whose BUNIT is a unit of flux density with another zero point than that of a card."""
    unit = _unit_zero_point(image)
    if unit is not None and abs(zero_point - unit) > MAX_DISAGREEMENT:
        raise CardError(
            f"{keyword} gives the zero point {zero_point:.3f}, but BUNIT = {card_value(image, 'BUNIT')!r} gives "
            f"{unit:.3f}."
        )


def _refuse_other_photzp(
    image: fits.Header, primary: fits.Header, keyword: str, zero_point: float, casu: CasuScale | None
) -> None:
    """Refuse an image whose PHOTZP, if its system is known, gives another zero point than another card."""
    try:
        photzp = _eso_zero_point(image, primary, casu)
    except CardError:  # what cannot be used contradicts nothing
        return
    if photzp is not None and abs(photzp - zero_point) > PHOTZP_DISAGREEMENT:
        raise CardError(f"{keyword} gives the zero point {zero_point:.3f}, but PHOTZP with PHOTSYS {photzp:.3f} AB.")


def _possible(keyword: str, value: float, zero_point: float) -> float:
    """A zero point that images can have."""
    low, high = POSSIBLE
    if not low < zero_point < high:
        raise CardError(f"{keyword} is {value!r}; a zero point between {low:g} and {high:g} mag is needed.")
    return zero_point


def _unit_zero_point(image: fits.Header) -> float | None:
    """AB magnitude of one unit of BUNIT; None if that is no flux density, or one per solid angle."""
    text = card_value(image, "BUNIT")
    if not isinstance(text, str):
        return None
    if (maggies := _MAGGIES.fullmatch(text.strip())) is not None:
        return _MAGGY_PREFIX[maggies["prefix"].lower()]
    try:
        return float(magnitude_of((1 * u.Unit(text.strip())).to_value(u.nJy)))
    except (ValueError, TypeError, u.UnitConversionError):
        return None


def _eso_zero_point(image: fits.Header, primary: fits.Header, casu: CasuScale | None) -> float | None:
    """AB magnitude of one count by PHOTZP and PHOTSYS; None if one of them is missing.

    Raises
    ------
    CardError
        If PHOTZP is no zero point, or its system cannot be converted to AB.
    """
    merged = image if primary is image else merged_header(primary, image)
    value = card_number(merged, "PHOTZP", default=np.nan)
    system = str(card_value(merged, "PHOTSYS") or "").strip().upper()
    if np.isnan(value) or not system:
        return None
    _possible("PHOTZP", value, value)
    if system.startswith("AB"):
        return value
    if system.startswith("VEGA") and casu is not None:
        return value + get_band(casu.band).vega_to_ab
    raise CardError(f"PHOTZP is {value:g} in the system PHOTSYS = {system!r}, for which no conversion to AB is known.")


def _positive(image: fits.Header, primary: fits.Header, keyword: str) -> float | None:
    """A card that must be positive, from the image or else the primary header; None if neither has it."""
    for header in (image, primary):
        refuse_contradictions(header)
        value = card_number(header, keyword, default=np.nan)
        if not np.isnan(value):
            if not value > 0:
                raise CardError(f"{keyword} is {value!r}; a positive number is needed.")
            return value
    return None
