"""CASU's FITS headers: inheritance, the detector of each extension, and positions in ICRS."""

from __future__ import annotations

import re
from copy import copy

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from obs_vista.cards import WCS_KEYWORD, card_value, refuse_contradictions

POINTING_FRAME = "PNTFRAME"
"""Card of a merged header that gives the frame (FK5, ICRS) of RA and DEC, which may differ from that of the pixels."""

# What describes the layout of one HDU, and is not inherited from the primary.
_STRUCTURAL = {"SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "EXTNAME", "EXTVER"}
_STRUCTURAL |= {"CHECKSUM", "DATASUM", "COMMENT", "HISTORY", ""}
_FRAME = ("RADESYS", "RADECSYS")
_CHIP_NAME = re.compile(r"DET1\.CHIP(\d+)")


def merged_header(primary: fits.Header | None, extension: fits.Header) -> fits.Header:
    """The header of one detector: cards of the primary header, overridden by those of the extension that have a value.

    CASU writes the telescope, the time and the observation block in the primary header, and the detector, the
    calibration and the astrometry in the extensions. RA and DEC of the primary header may be FK5 although the extension
    is ICRS: the card `POINTING_FRAME` gives their frame. Comments and history are those of the extension.

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
    for card in inherited.cards:
        if card.keyword in _STRUCTURAL or card.keyword.startswith("NAXIS"):
            continue
        if card.keyword not in extension:
            merged.append(copy(card), end=True)
        elif card_value(extension, card.keyword) is None:
            merged.remove(card.keyword, remove_all=True)
            merged.append(copy(card), end=True)
    pointing = inherited if "RA" in inherited and "RA" not in extension else merged
    if _given_frame(extension) is not None:
        for keyword in _FRAME:
            if keyword not in extension:
                merged.remove(keyword, ignore_missing=True)
        if _given_frame(extension) == "ICRS" and "EQUINOX" not in extension:
            merged.remove("EQUINOX", ignore_missing=True)
    merged[POINTING_FRAME] = (celestial_frame(pointing), "frame of RA and DEC")
    return merged


def _given_frame(header: fits.Header) -> str | None:
    """The frame that a header names, or None; the standard's RADESYS before the older RADECSYS."""
    for keyword in _FRAME:
        value = str(header.get(keyword, "")).strip().upper()
        if value:
            return value
    return None


def celestial_frame(header: fits.Header) -> str:
    """The frame of the positions in a header, ``ICRS`` or ``FK5``.

    If no card names it, an equinox of 1984 or later means FK5, and no equinox ICRS (FITS standard 4.0, section 8.3).

    Raises
    ------
    ValueError
        If it is any other frame (FK4, GAPPT), or FK5 with an equinox other than 2000.
    """
    frame = _given_frame(header) or ("FK5" if "EQUINOX" in header else "ICRS")
    if frame not in ("ICRS", "FK5"):
        raise ValueError(f"RADESYS is {frame!r}; only ICRS and FK5 are supported.")
    if frame == "FK5" and float(header.get("EQUINOX", 2000.0)) != 2000.0:
        raise ValueError(f"EQUINOX is {header['EQUINOX']}; FK5 positions must be of equinox 2000.")
    return frame


def icrs_wcs(header: fits.Header) -> WCS:
    """The transformation from pixels to ICRS described by a header.

    Only the cards of the transformation are read, so that RADECSYS, the old PROJPn and the dates of VISTA headers raise
    no warnings. A transformation to FK5 is converted to one to ICRS; otherwise positions would be wrong by 21 mas.

    Raises
    ------
    ValueError
        If there is no celestial transformation, its frame is neither ICRS nor FK5, or one of its cards occurs twice.
    """
    if isinstance(header, fits.Header):
        refuse_contradictions(header)
    cards = fits.Header()
    for keyword in header:
        if WCS_KEYWORD.fullmatch(keyword):
            cards[keyword] = header[keyword]
    if not str(cards.get("CTYPE1", "")).strip() or not str(cards.get("CTYPE2", "")).strip():
        raise ValueError("The header has no CTYPE1 and CTYPE2: no positions can be computed.")
    if str(cards["CTYPE2"]).endswith("ZPN") and not any(keyword.startswith("PV2_") for keyword in cards):
        # Before PVi_m was standard, the coefficients of the projection were in PROJPm.
        for keyword in header:
            if re.fullmatch(r"PROJP\d", keyword):
                cards[f"PV2_{keyword[-1]}"] = header[keyword]
    wcs = WCS(cards)
    if not wcs.has_celestial:
        raise ValueError(f"CTYPE1 = {cards['CTYPE1']!r} and CTYPE2 = {cards['CTYPE2']!r} are no celestial axes.")
    if celestial_frame(header) == "FK5":
        _rotate_fk5_to_icrs(wcs)
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.equinox = np.nan
    nx, ny = (header.get(f"ZNAXIS{axis}", header.get(f"NAXIS{axis}")) for axis in (1, 2))
    if nx and ny:
        wcs.pixel_shape = int(nx), int(ny)
    wcs.wcs.set()
    return wcs


def _rotate_fk5_to_icrs(wcs: WCS) -> None:
    """Turn a zenithal WCS in FK5 J2000 into ICRS, in place.

    The two frames differ by a rotation of the sphere, which moves the projection's pole (CRVAL) and turns north there
    by an angle; with CRVAL at the pole this is exact.
    """
    pole = SkyCoord(*wcs.wcs.crval, unit="deg", frame="fk5")
    north = pole.directional_offset_by(0 * u.deg, 1 * u.arcmin)
    turn = pole.icrs.position_angle(north.icrs).rad
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wcs.wcs.crval = [pole.icrs.ra.deg, pole.icrs.dec.deg]
    if wcs.wcs.has_cd():
        wcs.wcs.cd = rotation @ wcs.wcs.cd
        return
    scale = np.diag(wcs.wcs.cdelt)
    wcs.wcs.pc = np.linalg.inv(scale) @ rotation @ scale @ wcs.wcs.get_pc()


def detector_number(header: fits.Header) -> int | None:
    """The detector number of an extension, from ``ESO DET CHIP NO`` or EXTNAME; None if the header has neither."""
    if "ESO DET CHIP NO" in header:
        return int(header["ESO DET CHIP NO"])
    named = _CHIP_NAME.fullmatch(str(header.get("EXTNAME", "")).strip())
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
    images = [number for number, hdu in enumerate(hdus) if hdu.is_image and hdu.header.get("NAXIS") == 2]
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
