"""Bands: the labels used everywhere, the filters behind them, and Vega-to-AB offsets."""

from __future__ import annotations

from dataclasses import dataclass, field
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

# Effective wavelengths of HSC: Kawanomoto et al. 2018, PASJ 70, 66; u is that of LSST.
OPTICAL_BANDS = MappingProxyType(
    {
        band.name: band
        for band in (
            Band("u", "LSST-U", 367.0),
            Band("g", "HSC-G", 475.4, aliases=("HSC-G",)),
            Band("r", "HSC-R", 617.5, aliases=("HSC-R", "HSC-R2")),
            Band("i", "HSC-I", 771.1, aliases=("HSC-I", "HSC-I2")),
            Band("z", "HSC-Z", 889.8, aliases=("HSC-Z",)),
            Band("y", "HSC-Y", 976.2, aliases=("HSC-Y",)),
        )
    }
)

BAND_ORDER = (*OPTICAL_BANDS, *VISTA_BANDS)
"""All labels, optical first, each from blue to red."""


def get_band(name: str) -> Band:
    """The band of a label.

    Raises
    ------
    KeyError
        If the label is not in `BAND_ORDER`.
    """
    for bands in (OPTICAL_BANDS, VISTA_BANDS):
        if name in bands:
            return bands[name]
    raise KeyError(f"There is no band {name!r}; choose from {', '.join(BAND_ORDER)}.")


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
