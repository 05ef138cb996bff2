"""Pixels that are not proportional to flux: asinh scales are converted, magnitudes and logarithms are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from obs_vista.cards import CardError, card_number, card_value

_MAGNITUDE = 2.5 * np.log10(np.e)
_NOT_LINEAR = re.compile(r"\bmag(nitudes?)?\b|\bmag/|\bdex\b|\blog|asinh|luptitude", re.IGNORECASE)


def linear_pixels(pixels: np.ndarray, header: Mapping) -> np.ndarray:
    """Pixels on a linear scale; linear pixels are returned unchanged.

    Stacks of Pan-STARRS1 contain v = 2.5 log10(e) asinh((f - BOFFSET) / (2 BSOFTEN)) for counts f, both in images and
    in variance maps (Waters et al. 2020, ApJS 251, 4, section 3.9). The inverse is
    f = BOFFSET + 2 BSOFTEN sinh(v / (2.5 log10(e))).

    Parameters
    ----------
    pixels
        Pixels of any shape.
    header
        Header of their image.

    Raises
    ------
    CardError
        If the unit in BUNIT is magnitudes or a logarithm, or one of BSOFTEN and BOFFSET is missing or invalid.
    """
    unit = card_value(header, "BUNIT")
    if unit is not None and _NOT_LINEAR.search(str(unit)):
        raise CardError(f"BUNIT is {unit!r}; pixels proportional to flux are needed.")
    if card_value(header, "BSOFTEN") is None and card_value(header, "BOFFSET") is None:
        return pixels
    softening, offset = card_number(header, "BSOFTEN"), card_number(header, "BOFFSET")
    if not softening > 0:
        raise CardError(f"BSOFTEN is {softening!r}; a positive softening of an asinh scale is needed.")
    with np.errstate(over="ignore", invalid="ignore"):
        return offset + 2 * softening * np.sinh(np.asarray(pixels, np.float64) / _MAGNITUDE)


def refuse_nonlinear(header: Mapping) -> None:
    """Refuse an image whose pixels are not linear, where `linear_pixels` is not used.

    Raises
    ------
    CardError
        If the pixels are not linear.
    """
    linear_pixels(np.zeros(0), header)
    softening = card_value(header, "BSOFTEN")
    if softening is not None:
        raise CardError(f"BSOFTEN is {softening!r}: the pixels are on an asinh scale, not linear.")
