"""Bands by what headers and file names call their filters."""

from __future__ import annotations

import re
from pathlib import Path

from dmu0.surveys.first_look import FirstLook, vista_filter
from obs_vista.bands import vista_band
from obs_vista.cards import card_value

FILTER_CARDS = ("FILTER", "FILTNAM", "FILTER1", "ESO INS FILT1 NAME", "ESO OCS FILT NAME", "BAND", "FILTERS")
"""Cards that name the filter of a mosaic, in the order they are looked at."""

# HSC-I2, i_SDSS, OCAM_i_SDSS, i.MP9703, "i DECam SDSS c0003 7835.0 1470.0": the band is the first lone letter.
_OPTICAL = re.compile(r"(?:^|[^A-Za-z])([ugrizy])(?:2|')?(?:$|[^A-Za-z0-9])", re.IGNORECASE)
_SPLIT = re.compile(r"[^A-Za-z0-9]+")


def band_of_filter(name: str, *, vista: bool = False) -> str | None:
    """The label of a filter's name; None if it is none that is known.

    Upper and lower case tell VISTA's Z and Y from optical z and y where nothing else does; J, H and K are infrared.

    Parameters
    ----------
    name
        As a header or a file has it.
    vista
        Whether the camera is known to be VISTA's.
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
    """The band of an image, by its cards, else by the words of its file name.

    Returns
    -------
    band, source
        None if neither says it; what it was told by, for a comment in the survey file.
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
    """The band that a file name has among its words, the last one that is a band; None if there is none."""
    stem = re.sub(r"\.(fits?|fz|gz)\b", "", path.name)
    for word in reversed(re.split(r"[_.,\s]+", stem)):
        band = band_of_filter(word, vista=vista)
        if band is not None:
            return band
    return None
