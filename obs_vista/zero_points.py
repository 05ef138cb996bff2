"""The photometric zero point in the header of a CASU stack: one rule for every stage.

CASU calibrates stacks in the Vega system for the default extinction at airmass 1, so that a source of total flux f
(counts) has the magnitude

    m = MAGZPT - 2.5 log10(f / EXPTIME) - EXTINCT (X - 1),      X = (airmass at start + airmass at end) / 2

(VISTA Science Archive, http://vsa.roe.ac.uk/flatFiles.html, "Converting catalogue fluxes to magnitudes"; aperture
corrections APCORn, which are also explained there, convert aperture fluxes to total fluxes). Counts are those of one
DIT, and EXPTIME is its length ("Corrected to ndit = 1"), regardless of NDIT and NICOMB. Every VISTA header has
EXTINCT = 0.05 in every band: the coefficient of CASU's default extinction, which is used if the card is missing.

If an archive has rescaled the pixels to an AB zero point, MAGZPT is simply the AB magnitude of one count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from obs_vista.bands import get_band
from obs_vista.cards import CardError, card_number
from obs_vista.linearity import refuse_nonlinear
from obs_vista.photometry import nanojansky_per_count

DEFAULT_EXTINCTION = 0.05
"""Value of EXTINCT (mag per airmass) used if the card is missing: that of every VISTA header by CASU."""

DEFAULT_ERROR = 0.05
"""Value of MAGZRR (mag) used if the card is missing, or a placeholder: not positive, or above `LARGEST_ERROR`."""

LARGEST_ERROR = 2.0
"""Largest possible value of MAGZRR, mag."""

EXTINCTION_RANGE = (0.0, 1.0)
"""Possible values of EXTINCT, mag per airmass."""

ZERO_POINT_RANGE = (10.0, 40.0)
"""Possible values of MAGZPT; values outside are placeholders such as 0, -1 and 99."""

AIRMASS_RANGE = (0.99, 10.0)
"""Possible values of the airmass, with a margin for rounding."""


@dataclass(frozen=True)
class HeaderZeroPoint:
    """The zero point of a detector image according to its header.

    Attributes
    ----------
    magnitude
        AB magnitude of a total flux of one count, in the units of the pixels.
    error
        Standard error of the magnitude in mag, MAGZRR.
    extinction_term
        Extinction beyond one airmass, EXTINCT (X - 1), in mag; included in `magnitude`.
    """

    magnitude: float
    error: float
    extinction_term: float

    @property
    def nanojansky(self) -> float:
        """Flux density in nJy of one count."""
        return nanojansky_per_count(self.magnitude)


@dataclass(frozen=True)
class PhotometricCards:
    """The cards from which the zero point of a header is computed.

    Attributes
    ----------
    magzpt, error
        Zero point MAGZPT and its error MAGZRR, mag.
    exposure_time
        Exposure time EXPTIME in s, which is one DIT.
    extinction
        Extinction coefficient EXTINCT, mag per airmass.
    airmass
        Mean of the airmasses at start and end.
    """

    magzpt: float
    error: float
    exposure_time: float
    extinction: float
    airmass: float


def photometric_cards(header: Mapping, *, magnitudes: str = "Vega") -> PhotometricCards:
    """Read the cards from which the zero point is computed.

    MAGZPT is required, and EXPTIME or, in its place, ESO DET DIT. If MAGZRR is missing it is `DEFAULT_ERROR`, and
    EXTINCT is `DEFAULT_EXTINCTION`. If only one of the two airmasses is given, it is used; if none is, the airmass is
    1, which causes an error of at most 0.035 mag within the airmass limit of 1.7 of VISTA surveys.

    Parameters
    ----------
    header
        Merged header of the detector (`obs_vista.headers.merged_header`), or a dictionary of its values.
    magnitudes
        System of MAGZPT, ``Vega`` or ``AB``; for AB the exposure time is not used and may be missing (NaN).

    Raises
    ------
    CardError
        If a required card is missing, a card is not a number or is out of range, or EXPTIME is not one DIT.
    """
    refuse_nonlinear(header)
    magzpt = card_number(header, "MAGZPT")
    low, high = ZERO_POINT_RANGE
    if not low < magzpt < high:
        raise CardError(f"MAGZPT is {magzpt!r}; a zero point between {low:g} and {high:g} mag is needed.")
    error = card_number(header, "MAGZRR", default=DEFAULT_ERROR)
    error = error if 0 < error <= LARGEST_ERROR else DEFAULT_ERROR
    if magnitudes == "AB":
        return PhotometricCards(magzpt, error, float("nan"), float("nan"), float("nan"))
    if magnitudes != "Vega":
        raise ValueError(f"The system of MAGZPT is {magnitudes!r}; it must be Vega or AB.")
    exposure_time = _exposure_time(header)
    ends = [card_number(header, f"ESO TEL AIRM {end}", default=np.nan) for end in ("START", "END")]
    airmass = 1.0 if np.isnan(ends).all() else float(np.nanmean(ends))
    low, high = AIRMASS_RANGE
    if not low <= airmass <= high:
        raise CardError(f"ESO TEL AIRM START and END give the airmass {airmass:g}; {low:g} to {high:g} is possible.")
    extinction = card_number(header, "EXTINCT", default=DEFAULT_EXTINCTION)
    low, high = EXTINCTION_RANGE
    if not low <= extinction <= high:
        raise CardError(f"EXTINCT is {extinction:g}; {low:g} to {high:g} mag per airmass is possible.")
    return PhotometricCards(
        magzpt=magzpt,
        error=error,
        exposure_time=exposure_time,
        extinction=extinction,
        airmass=airmass,
    )


def _exposure_time(header: Mapping) -> float:
    """Length of one DIT in s, from EXPTIME and ESO DET DIT, which must agree where both are given.

    EXPTIME of a raw image is DIT x NDIT. It is in the primary header of a stack too, where it counts if that of the
    detector is missing; a zero point from it would be off by 1.9 mag in H.

    Raises
    ------
    CardError
        If neither is given, EXPTIME is not positive, or they differ by more than 1%.
    """
    dit = card_number(header, "ESO DET DIT", default=np.nan)
    exposure_time = card_number(header, "EXPTIME", default=dit)
    if not exposure_time > 0:
        given = "missing, as is ESO DET DIT" if np.isnan(exposure_time) else repr(exposure_time)
        raise CardError(f"EXPTIME is {given}; a positive exposure time is needed.")
    if dit > 0 and abs(exposure_time - dit) > 0.01 * dit:
        raise CardError(
            f"EXPTIME is {exposure_time:g}, but ESO DET DIT is {dit:g}, and counts are those of one DIT: correct the "
            "wrong one."
        )
    return exposure_time


def ab_zero_point(
    *,
    magzpt: ArrayLike,
    exposure_time: ArrayLike,
    extinction: ArrayLike,
    airmass: ArrayLike,
    vega_to_ab: ArrayLike,
    magnitudes: str,
) -> np.ndarray:
    """AB magnitude of one count from the values of the cards, for a single image or arrays of many.

    Parameters
    ----------
    magzpt, exposure_time, extinction, airmass
        Values of `PhotometricCards`.
    vega_to_ab
        AB minus Vega magnitude of the band.
    magnitudes
        System of MAGZPT, ``Vega`` or ``AB``.
    """
    if magnitudes == "AB":
        return np.asarray(magzpt, float)
    beyond = np.asarray(extinction, float) * (np.asarray(airmass, float) - 1)
    return np.asarray(magzpt, float) + 2.5 * np.log10(np.asarray(exposure_time, float)) - beyond + vega_to_ab


def header_zero_point(header: Mapping, *, band: str, magnitudes: str = "Vega") -> HeaderZeroPoint:
    """The zero point of a detector image according to its header.

    Parameters
    ----------
    header
        Merged header of the detector (`obs_vista.headers.merged_header`), or a dictionary of its values.
    band
        Label of the band.
    magnitudes
        System of MAGZPT, ``Vega`` or ``AB``.

    Raises
    ------
    CardError
        If a required card is missing, or a card is not a number or is out of range.
    """
    cards = photometric_cards(header, magnitudes=magnitudes)
    magnitude = ab_zero_point(
        magzpt=cards.magzpt,
        exposure_time=cards.exposure_time,
        extinction=cards.extinction,
        airmass=cards.airmass,
        vega_to_ab=get_band(band).vega_to_ab,
        magnitudes=magnitudes,
    )
    term = 0.0 if magnitudes == "AB" else cards.extinction * (cards.airmass - 1)
    return HeaderZeroPoint(float(magnitude), cards.error, term)
