"""Bands identified from the names of filters in headers and file names."""

from __future__ import annotations

import re
from pathlib import Path

from dmu0.surveys.first_look import FirstLook, vista_filter
from obs_vista.bands import vista_band
from obs_vista.cards import card_value

FILTER_CARDS = ("FILTER", "FILTNAM", "FILTER1", "ESO INS FILT1 NAME", "ESO OCS FILT NAME", "BAND", "FILTERS")
"""Cards that may name the filter of a mosaic, in order of preference."""

# HSC-I2, i_SDSS, OCAM_i_SDSS, i.MP9703, "i DECam SDSS c0003 7835.0 1470.0": the band is the first lone letter.
_OPTICAL = re.compile(r"(?:^|[^A-Za-z])([ugrizy])(?:2|')?(?:$|[^A-Za-z0-9])", re.IGNORECASE)
_SPLIT = re.compile(r"[^A-Za-z0-9]+")


def band_of_filter(name: str, *, vista: bool = False) -> str | None:
    """The band label for the name of a filter; None if it is unknown.

    Case distinguishes VISTA's Z and Y from optical z and y if nothing else does; J, H and K are near-infrared.

    Parameters
    ----------
    name
        Name of the filter in a header or file name.
    vista
        Whether the camera is known to be VIRCAM.
    """
    text = name.strip()
    try:
        return vista_band(text)
    except KeyError:
        pass
    for word in _SPLIT.split(text):
        try:
            infrared = vista_band(word)
        except KeyError:
            continue
        if vista or infrared in ("vj", "vh", "vk"):
            return infrared
    if vista:
        return None
    match = _OPTICAL.search(text)
    return match[1].lower() if match else None


def band_of(look: FirstLook) -> tuple[str | None, str]:
    """The band of an image, from its header or else from its file name.

    Returns
    -------
    band, source
        Label of the band, None if unknown, and the source of the information, for a comment in the survey file.
    """
    camera = " ".join(str(card_value(look.header, key) or "") for key in ("INSTRUME", "TELESCOP")).upper()
    vista = bool(look.detectors) or "VIRCAM" in camera or "VISTA" in camera
    if vista and (physical := vista_filter(look)) is not None:
        return vista_band(physical), "header"
    for card in FILTER_CARDS:
        value = card_value(look.header, card)
        if value is not None and (band := band_of_filter(str(value), vista=vista)) is not None:
            return band, f"{card} = {value}"
    return band_of_name(look.path, vista=vista), f"the name {look.path.name}"


def band_of_name(path: Path, *, vista: bool = False) -> str | None:
    """The last band among the words of a file name; None if there is none."""
    stem = re.sub(r"\.(fits?|fz|gz)\b", "", path.name)
    for word in reversed(re.split(r"[_.,\s]+", stem)):
        band = band_of_filter(word, vista=vista)
        if band is not None:
            return band
    return None
