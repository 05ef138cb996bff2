"""Which extension of a file is the image, and which are its mask, its variance, its weight or another map."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from astropy.io import fits

from dmu0.published.planes import OpticalError
from obs_vista.cards import card_text, card_value
from obs_vista.image_planes import is_plane, why_no_plane

PLANES = ("IMAGE", "MASK", "VARIANCE")
"""Names of the planes in EXTTYPE or EXTNAME, and their order in files that have neither."""

OTHER_NAMES = MappingProxyType({"SCI": "IMAGE", "MSK": "MASK"})
"""Names of planes in DES's coadds, among others."""

# The names that KiDS (wei, msk), DECam (osw, osd), UltraVISTA, CFHT, CASU and SWarp give to what is beside an image.
WEIGHT = re.compile(r"(weights?|weightmap|wht|wgt|wei|wt|o[os]w|conf|confidence|invvar|ivar|ivm)", re.IGNORECASE)
"""Names of weight maps, in names of files and of extensions."""

VARIANCE = re.compile(r"(var|variances?)", re.IGNORECASE)
"""Names of variance maps."""

OTHER_PLANE = re.compile(
    r"(rms|sig|sigma|noise|stddev|err|errors?|unc|mask|msk|flags?|flg|dq|quality|o[os]d|seg|segim|segmentation|exp|exptime"
    r"|expmap|nexp|depth|coverage|ctx|context|bkg|background|model|residuals?|chi2|chisq)",
    re.IGNORECASE,
)
"""Names of other maps beside an image."""

_BAND = re.compile(r"[ugrizyjhk]|ks", re.IGNORECASE)
_SUBTRACTED = re.compile(r"sub(tracted)?", re.IGNORECASE)


def _words(name: str) -> list[str]:
    return re.split(r"[_\-.\s]+", name)


def _is_a_map(name: str) -> bool:
    """Whether a word of the name of an extension says that it is a map beside an image, as in ``sigma_r``."""
    words = _words(name)
    if any(_SUBTRACTED.fullmatch(word) for word in words):  # an image whose background was subtracted
        return False
    return any(pattern.fullmatch(word) for pattern in (WEIGHT, VARIANCE, OTHER_PLANE) for word in words)


def _kind(name: str) -> str:
    """IMAGE, MASK, VARIANCE or WEIGHT by the name of an extension, or else its name."""
    upper = name.upper()
    if WEIGHT.fullmatch(name):
        return "WEIGHT"
    return "VARIANCE" if VARIANCE.fullmatch(name) else OTHER_NAMES.get(upper, upper)


def named_planes(hdus: fits.HDUList) -> dict[str, fits.ImageHDU]:
    """The extensions IMAGE, MASK, VARIANCE and WEIGHT by EXTTYPE or else EXTNAME, the first of each name."""
    parts: dict[str, fits.ImageHDU] = {}
    for key in ("EXTTYPE", "EXTNAME"):
        for hdu in hdus:
            kind = _kind(card_text(hdu.header, key))
            if kind in (*PLANES, "WEIGHT") and kind not in parts and is_plane(hdu):
                parts[kind] = hdu
    return parts


def image_of(hdus: fits.HDUList, parts: Mapping[str, fits.ImageHDU], *, path: Path) -> fits.ImageHDU:
    """The extension named IMAGE, or else the first that is no map by any word of its name.

    Parameters
    ----------
    hdus
        HDUs of a file.
    parts
        Its named planes (`named_planes`).
    path
        The file, for the message.

    Raises
    ------
    OpticalError
        If there is no image, or there are several of different parts of the sky or, by their names, of different bands.
    """
    planes = [hdu for hdu in hdus if is_plane(hdu) and all(hdu is not part for part in parts.values())]
    names = [card_text(hdu.header, "EXTNAME") for hdu in planes]
    if "IMAGE" in parts:
        others = [hdu for hdu, name in zip(planes, names, strict=True) if _kind(name) == "IMAGE"]
        images = [parts["IMAGE"], *others]
    else:
        images = [hdu for hdu, name in zip(planes, names, strict=True) if not _is_a_map(name)]
    if not images:
        beside = ", ".join([card_text(hdu.header, "EXTNAME") for hdu in parts.values()] + names)
        why = f"by their names its images are no more than maps beside one: {beside}" if beside else why_no_plane(hdus)
        raise OpticalError(f"{path}: {why}.")
    places = {place for hdu in images if None not in (place := _place(hdu.header))}
    if len(places) > 1:
        raise OpticalError(
            f"{path}: it has {len(places)} images of different parts of the sky, of which one could be used: write "
            "each to a file of its own."
        )
    bands = [word for hdu in images if _BAND.fullmatch(word := _words(card_text(hdu.header, "EXTNAME"))[-1])]
    if len(set(bands)) > 1:
        raise OpticalError(
            f"{path}: by their names its images are of the bands {', '.join(bands)}, of which one could be used: write "
            "each to a file of its own."
        )
    return images[0]


def _place(header: fits.Header) -> tuple[object, ...]:
    """The cards that place an image on the sky; with None if it has none."""
    return tuple(card_value(header, keyword) for keyword in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"))
