"""CASU's FITS headers: inheritance, and the detector of each extension."""

from __future__ import annotations

import re
from copy import copy

from astropy.io import fits

from obs_vista.cards import WCS_KEYWORD, CardError, card_value, refuse_contradictions, whole_number
from obs_vista.image_planes import is_plane
from obs_vista.wcs_cards import given_equinox, given_frame

POINTING_FRAME = "PNTFRAME"
"""Card of a merged header with the frame of RA and DEC (FK5, ICRS, FK5 J2012.7), which may differ from the pixels'."""

UNKNOWN_FRAME = "unknown"
"""Value of `POINTING_FRAME` if the frame is none of ICRS, FK5 and FK4."""

# What describes the layout of one HDU, and is not inherited from the primary.
_STRUCTURAL = {"SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "EXTNAME", "EXTVER"}
_STRUCTURAL |= {"CHECKSUM", "DATASUM", "COMMENT", "HISTORY", ""}
_FRAME = ("RADESYS", "RADECSYS")
_CHIP_NAME = re.compile(r"DET1\.CHIP(\d+)")


def merged_header(primary: fits.Header | None, extension: fits.Header) -> fits.Header:
    """The header of one detector: cards of the primary header, overridden by those of the extension that have a value.

    CASU writes the telescope, the time and the observation block in the primary header, and the detector, the
    calibration and the astrometry in the extensions. RA and DEC of the primary header may be FK5 although the extension
    is ICRS: the card `POINTING_FRAME` gives their frame. Comments and history are those of the extension. A projection
    is never mixed from both: if the extension has one, cards of another one in the primary header are left out.

    Parameters
    ----------
    primary
        Header of the primary HDU; None if the file was reduced to one extension.
    extension
        Header of the detector's image.

    Raises
    ------
    CardError
        If a keyword that the pipeline uses occurs twice in one of the two, with different values.
    """
    inherited = fits.Header() if primary is None else primary
    for header in (inherited, extension):
        refuse_contradictions(header)
    merged = extension.copy()
    has_projection = card_value(extension, "CTYPE1") is not None
    for card in inherited.cards:
        if card.keyword in _STRUCTURAL or card.keyword.startswith("NAXIS"):
            continue
        if has_projection and WCS_KEYWORD.fullmatch(card.keyword):
            continue
        if card.keyword not in extension:
            merged.append(copy(card), end=True)
        elif card_value(extension, card.keyword) is None:
            merged.remove(card.keyword, remove_all=True)
            merged.append(copy(card), end=True)
    pointing = inherited if "RA" in inherited and "RA" not in extension else merged
    if given_frame(extension) is not None:
        for keyword in _FRAME:
            if keyword not in extension:
                merged.remove(keyword, ignore_missing=True)
        if given_frame(extension) == "ICRS" and "EQUINOX" not in extension:
            merged.remove("EQUINOX", ignore_missing=True)
    merged[POINTING_FRAME] = (_pointing_frame(pointing), "frame of RA and DEC")
    return merged


def _pointing_frame(header: fits.Header) -> str:
    """The frame of RA and DEC in a header, with the equinox where it is not 2000; no image needs it, so any will do."""
    frame = given_frame(header)
    try:
        equinox = given_equinox(header)
    except CardError:
        return UNKNOWN_FRAME
    if frame is None:
        frame = "ICRS" if equinox is None else "FK5" if equinox >= 1984 else "FK4"
    if frame not in ("ICRS", "FK5", "FK4"):
        return UNKNOWN_FRAME
    if frame == "ICRS" or equinox in (None, {"FK5": 2000.0, "FK4": 1950.0}[frame]):
        return frame
    return f"{frame} {'J' if frame == 'FK5' else 'B'}{equinox:g}"


def detector_number(header: fits.Header) -> int | None:
    """The detector number of an extension, from ``ESO DET CHIP NO`` or EXTNAME; None if the header has neither."""
    if "ESO DET CHIP NO" in header:
        return whole_number(header, "ESO DET CHIP NO", low=1, high=16)
    named = _CHIP_NAME.fullmatch(str(card_value(header, "EXTNAME")).strip())
    return int(named[1]) if named else None


def detector_extensions(hdus: fits.HDUList) -> dict[int, int]:
    """The extension of each detector in a file: detector number -> HDU index.

    Extensions may be any subset of the detectors in any order. If no extension identifies its detector, sixteen
    images are assumed to be the sixteen detectors in order.

    Raises
    ------
    ValueError
        If two extensions belong to the same detector, or no detector can be identified.
    """
    images = [number for number, hdu in enumerate(hdus) if is_plane(hdu)]
    found: dict[int, int] = {}
    for number in images:
        detector = detector_number(hdus[number].header)
        if detector is None:
            continue
        if detector in found:
            raise ValueError(f"HDUs {found[detector]} and {number} are both detector {detector}.")
        found[detector] = number
    if not found and len(images) == 16:
        found = dict(enumerate(images, start=1))
    if not found:
        raise ValueError("No image extension says which detector it is (ESO DET CHIP NO).")
    return found
