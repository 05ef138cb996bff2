"""Mask planes of published coadds, converted to our bits, for any integer mask whose header names its planes."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from astropy.io import fits

from dmu0.published.planes import OpticalError
from obs_vista.cards import card_value
from obs_vista.masks import BIT

THEIR_NAMES = MappingProxyType(
    {"SENSOR_EDGE": "EDGE", "CROSSTALK": "SUSPECT", "UNMASKEDNAN": "NO_DATA"}
    | {"INTERPOLATED": "INTRP", "COSMIC_RAY": "CR", "SATURATED": "SAT", "DETECTION_EDGE": "EDGE", "CELL_EDGE": "EDGE"}
)
"""Planes that have a different name here, of HSC and DP1, and of DP2; others keep their names, unknown ones are left
out. The names of DP2 are those that lsst.images gives the planes of its coadds."""


NAMELESS = "planes-without-names"
"""Stands for all planes of a mask whose header names none, so that the meaning of its bits is unknown."""


def translate_mask(mask: np.ndarray, header: fits.Header) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert a mask whose header names the planes (MP_<name> = number of the bit) to our bits.

    Any set of planes is accepted: a missing plane is never set, an unknown plane is omitted.

    Parameters
    ----------
    mask
        Mask [y, x] of integers of any size, or floating-point numbers with integer values.
    header
        Header of the mask.

    Returns
    -------
    mask, left_out
        Int32 mask with the bits of `BIT`, and the names of the omitted planes; `NAMELESS` if none has a name.

    Raises
    ------
    OpticalError
        If the mask does not contain integers, or a card MP_<name> is not the number of a bit.
    """
    words = _bit_words(mask)
    found, left_out = np.zeros(mask.shape, np.int32), []
    if words.any() and not any(key.startswith("MP_") for key in header):
        left_out.append(NAMELESS)
    for key in header:
        if not key.startswith("MP_"):
            continue
        name = THEIR_NAMES.get(key[3:], key[3:])
        if name not in BIT:
            left_out.append(key[3:])
            continue
        number = card_value(header, key)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 64:
            raise OpticalError(f"{key} is {number!r}; the number of a bit, 0 to 63, is needed.")
        if number < 8 * words.dtype.itemsize:  # a mask of small integers has no room for high planes: never set
            found[(words >> words.dtype.type(number)) & words.dtype.type(1) == 1] |= BIT[name]
    return found, tuple(left_out)


def _bit_words(mask: np.ndarray) -> np.ndarray:
    """A mask as unsigned integers with the same bits, because the sign of an integer is a bit like the others."""
    mask = np.asarray(mask)
    if mask.dtype.kind == "f":
        whole = mask.astype(np.int64, casting="unsafe") if np.isfinite(mask).all() else None
        if whole is None or (whole != mask).any():
            raise OpticalError("The mask has values that are not whole numbers.")
        mask = whole
    if mask.dtype.kind not in "iub":
        raise OpticalError(f"The mask is of type {mask.dtype}, not of integers.")
    native = np.ascontiguousarray(mask, mask.dtype.newbyteorder("="))
    return native.view(f"u{native.dtype.itemsize}")
