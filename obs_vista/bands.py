"""Bands: the labels used everywhere, the filters behind them, and Vega-to-AB offsets."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Band:
    """One band of one camera.

    Attributes
    ----------
    name
        The label used in data ids, columns and file names; labels stay distinct when case is ignored.
    physical_filter
        Filter name in the Butler's ``physical_filter`` dimension.
    wavelength
        Effective wavelength in nm.
    range
        Shortest and longest wavelength at half transmission, nm.
    vega_to_ab
        AB minus Vega magnitude; NaN for bands whose catalogues are already in AB.
    aliases
        Other names of the filter in archives, headers and papers.
    """

    name: str
    physical_filter: str
    wavelength: float
    range: tuple[float, float] = (float("nan"), float("nan"))
    vega_to_ab: float = float("nan")
    aliases: tuple[str, ...] = field(default=())


# Effective wavelengths and ranges: SVO filter profiles of VISTA. Vega to AB: Gonzalez-Fernandez et al. 2018,
# MNRAS 474, 5459, with the zero-point offsets of CASU v1.5 folded in (Z +0.004, Y -0.022, H +0.019, Ks -0.011).
VISTA_BANDS = MappingProxyType(
    {
        band.name: band
        for band in (
            Band("vz", "VIRCAM-Z", 876.2, (815.7, 940.0), 0.506, ("Z",)),
            Band("vy", "VIRCAM-Y", 1018.4, (942.7, 1097.7), 0.578, ("Y",)),
            Band("vj", "VIRCAM-J", 1246.4, (1142.7, 1375.9), 0.916, ("J",)),
            Band("vh", "VIRCAM-H", 1631.0, (1460.4, 1842.2), 1.385, ("H",)),
            Band("vk", "VIRCAM-Ks", 2133.7, (1933.3, 2367.4), 1.816, ("Ks", "K", "KS")),
        )
    }
)

# Effective wavelengths of HSC and ranges, at half transmission: Kawanomoto et al. 2018, PASJ 70, 66. u is that of LSST:
# LSST Science Book 2009, arXiv:0912.0201, table 2.1.
OPTICAL_BANDS = MappingProxyType(
    {
        band.name: band
        for band in (
            Band("u", "LSST-U", 367.0, (320.0, 400.0)),
            Band("g", "HSC-G", 475.4, (400.0, 546.0), aliases=("HSC-G",)),
            Band("r", "HSC-R", 617.5, (543.0, 693.0), aliases=("HSC-R", "HSC-R2")),
            Band("i", "HSC-I", 771.1, (690.0, 843.0), aliases=("HSC-I", "HSC-I2")),
            Band("z", "HSC-Z", 889.8, (847.0, 930.0), aliases=("HSC-Z",)),
            Band("y", "HSC-Y", 976.2, (925.0, 1060.0), aliases=("HSC-Y",)),
        )
    }
)

BAND_ORDER = (*OPTICAL_BANDS, *VISTA_BANDS)
"""All plain labels, optical first, each from blue to red."""

SURVEY_NAME = r"[a-z][a-z0-9]{1,6}"
"""Pattern of the name of an optical survey, which makes labels of its bands: 2 to 7 small letters and digits, so that
no label can be taken for a plain one, and none is longer than `LABEL_LENGTH`."""

LABEL_LENGTH = 8
"""Longest label: columns of text that hold labels are as wide."""

_OWN_LABEL = re.compile(rf"([{''.join(OPTICAL_BANDS)}])({SURVEY_NAME})")


def own_label(band: str, survey: str) -> str:
    """The label of a band that two optical surveys have, for the second of them: ``g`` of ``kids`` is ``gkids``."""
    return band + survey


def plain_band(label: str) -> str:
    """The plain label of the filter behind a label: ``g`` of ``gkids``, and every plain label itself.

    Raises
    ------
    KeyError
        If the label is not that of a band.
    """
    if label in BAND_ORDER:
        return label
    if own := _OWN_LABEL.fullmatch(label):
        return own[1]
    raise KeyError(f"There is no band {label!r}; choose from {', '.join(BAND_ORDER)}.")


def in_band_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels, each once: optical first, each from blue to red, a plain label before those of the same filter.

    Raises
    ------
    KeyError
        If a label is not that of a band.
    """
    return tuple(sorted(set(labels), key=lambda label: (BAND_ORDER.index(plain_band(label)), label)))


def band_number(label: str) -> int:
    """A number of each label, for seeds: the place of a plain label in `BAND_ORDER`, a large number for others."""
    place = BAND_ORDER.index(plain_band(label))
    return place if label in BAND_ORDER else place + (zlib.crc32(label.encode()) % (1 << 15) << 48)


def get_band(name: str) -> Band:
    """The band of a label; one of `own_label` has the wavelength of the plain one, and a filter of its own.

    Raises
    ------
    KeyError
        If the label is not that of a band.
    """
    plain = plain_band(name)
    band = VISTA_BANDS[plain] if plain in VISTA_BANDS else OPTICAL_BANDS[plain]
    if plain == name:
        return band
    survey = name.removeprefix(plain)
    return replace(band, name=name, physical_filter=f"{plain}-{survey}".upper(), aliases=())


def shown_band(label: str) -> str:
    """The name of a band for people: ``Ks`` for ``vk``, ``VISTA Z`` and ``VISTA Y`` beside the optical z and y.

    A band of a second optical survey is shown with its name: ``g (kids)``.

    Raises
    ------
    KeyError
        If the label is not that of a band.
    """
    plain = plain_band(label)
    if plain in VISTA_BANDS:
        name = VISTA_BANDS[plain].aliases[0]
        return f"VISTA {name}" if name.lower() in OPTICAL_BANDS else name
    return plain if plain == label else f"{plain} ({label.removeprefix(plain)})"


def vista_band(upstream: str) -> str:
    """The label of a VISTA filter from the name that a header or an archive gives it, e.g. ``Ks`` -> ``vk``.

    Raises
    ------
    KeyError
        If the name is not that of a broad-band VIRCAM filter.
    """
    wanted = upstream.strip()
    for band in VISTA_BANDS.values():
        if wanted in (band.name, band.physical_filter, *band.aliases):
            return band.name
    raise KeyError(
        f"{upstream!r} is not a VISTA filter; known are {', '.join(b.physical_filter for b in VISTA_BANDS.values())}."
    )
