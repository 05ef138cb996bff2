"""Colours of the synthetic sources: a stellar locus, and galaxy spectra integrated over the bands."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from obs_vista.bands import VISTA_BANDS, get_band

SAMPLE_BANDS = ("u", "g", "r", "i", "z", "y", "vz", "vy", "vj", "vh", "vk")
"""The bands of the synthetic sky."""

BAND_RANGE = MappingProxyType({name: get_band(name).range for name in SAMPLE_BANDS})
"""Shortest and longest wavelength of each band, nm."""

# The dwarf sequence against g-i (AB). Optical colours follow Covey et al. 2007, AJ 134, 2398, rounded; J-Ks is that
# of stars on real KiDS and VIKING images, -0.53, -0.29, -0.12, -0.04 at g-i = 0.35, 1.0, 1.5, 2.6; H-Ks is Vega.
LOCUS = MappingProxyType(
    {
        "g-i": np.array([-0.1, 0.35, 0.7, 1.0, 1.5, 2.0, 2.6, 3.2]),
        "r-i": np.array([-0.06, 0.08, 0.18, 0.28, 0.46, 0.72, 1.15, 1.70]),
        "i-z": np.array([-0.06, 0.02, 0.07, 0.13, 0.22, 0.38, 0.62, 0.92]),
        "J-Ks": np.array([-0.70, -0.53, -0.40, -0.29, -0.12, -0.07, -0.04, -0.02]),
        "H-Ks": np.array([0.03, 0.06, 0.09, 0.11, 0.15, 0.19, 0.23, 0.28]),
        "u-g": np.array([0.85, 0.95, 1.25, 1.60, 2.15, 2.45, 2.55, 2.70]),
    }
)

# 2MASS to VISTA: Gonzalez-Fernandez et al. 2018, MNRAS 474, 5459: VISTA = base + slope (J-Ks), all Vega.
TWOMASS_TO_VISTA = MappingProxyType(
    {"vz": ("J", 0.86), "vy": ("J", 0.46), "vj": ("J", -0.031), "vh": ("H", 0.015), "vk": ("Ks", -0.006)}
)

# HSC = PS1 + c0 + c1 c + c2 c^2 with the PS1 colour c: the colour terms of the HSC pipeline.
PS1_TO_HSC = MappingProxyType(
    {
        "g": ("g", "r", 0.005728, 0.061749, -0.001125),
        "r": ("r", "i", -0.000144, 0.001369, -0.008380),
        "i": ("i", "z", 0.000643, -0.130078, -0.006855),
        "z": ("z", "y", -0.005362, -0.221551, -0.308279),
        "y": ("y", "z", -0.002055, 0.209680, 0.227296),
    }
)

# Two spectra in f_nu (arbitrary unit) against wavelength (um): an old population with its 4000 A break and the bump
# at 1.6 um, and a young one with its Lyman and Balmer breaks.
_WAVELENGTH = np.array([0.0912, 0.1216, 0.15, 0.25, 0.36, 0.396, 0.404, 0.55, 0.77, 1.0, 1.25, 1.6, 2.15, 3.0, 5.0])
_OLD = np.array([1e-4, 3e-3, 0.01, 0.03, 0.12, 0.16, 0.30, 0.62, 0.95, 1.15, 1.35, 1.55, 1.30, 0.75, 0.35])
_YOUNG = np.array([0.05, 0.60, 0.90, 1.00, 1.00, 1.05, 1.25, 1.25, 1.20, 1.10, 1.02, 0.98, 0.70, 0.40, 0.20])


def star_magnitudes(
    g_i: np.ndarray, i: np.ndarray, rng: np.random.Generator, *, scatter: float
) -> dict[str, np.ndarray]:
    """AB magnitudes of stars in all bands.

    VISTA Z and Y are computed from J and Ks with the published 2MASS transformations, and connected to the optical
    locus at VISTA Z, which lies between HSC i and z in wavelength.

    Parameters
    ----------
    g_i
        Colour g-i (AB).
    i
        Magnitude in i (AB).
    rng
        Random number generator.
    scatter
        Standard deviation of stars about the locus in each colour in mag.
    """
    colour = {
        name: np.interp(g_i, LOCUS["g-i"], values) + rng.normal(0, scatter, len(g_i))
        for name, values in LOCUS.items()
        if name != "g-i"
    }
    offset = {band.name: band.vega_to_ab for band in VISTA_BANDS.values()}
    # VISTA J-Ks in Vega magnitudes, then that of 2MASS: the difference of the two transformations.
    vista_jk = colour["J-Ks"] - offset["vj"] + offset["vk"]
    jk = vista_jk / (1 + TWOMASS_TO_VISTA["vj"][1] - TWOMASS_TO_VISTA["vk"][1])
    z = i - colour["i-z"]
    weight = (889.8 - VISTA_BANDS["vz"].wavelength) / (889.8 - 771.1)
    vz = z + weight * colour["i-z"]
    j_twomass = vz - offset["vz"] - TWOMASS_TO_VISTA["vz"][1] * jk
    vy = j_twomass + TWOMASS_TO_VISTA["vy"][1] * jk + offset["vy"]
    vj = j_twomass + TWOMASS_TO_VISTA["vj"][1] * jk + offset["vj"]
    vk = j_twomass - jk + TWOMASS_TO_VISTA["vk"][1] * jk + offset["vk"]
    vh = vk - offset["vk"] + colour["H-Ks"] + offset["vh"]
    y = z + (vy - z) * (976.2 - 889.8) / (VISTA_BANDS["vy"].wavelength - 889.8)
    return {"u": i + g_i + colour["u-g"], "g": i + g_i, "r": i + colour["r-i"], "i": i, "z": z, "y": y} | {
        "vz": vz, "vy": vy, "vj": vj, "vh": vh, "vk": vk,
    }  # fmt: skip


def galaxy_magnitudes(
    redshift: np.ndarray, young: np.ndarray, attenuation: np.ndarray, i: np.ndarray
) -> dict[str, np.ndarray]:
    """AB magnitudes of galaxies in all bands.

    Parameters
    ----------
    redshift
        Redshift.
    young
        Fraction of the light at 0.6 um from the young population.
    attenuation
        Dust attenuation at 0.55 um in mag, proportional to wavelength to the power -0.9.
    i
        Magnitude in i (AB).
    """
    flux = {}
    for band in SAMPLE_BANDS:
        observed = np.linspace(*BAND_RANGE[band], 13)[np.newaxis] / 1000
        rest = np.log(observed / (1 + redshift[:, np.newaxis]))
        old_flux = np.exp(np.interp(rest, np.log(_WAVELENGTH), np.log(_OLD / 0.7)))
        young_flux = np.exp(np.interp(rest, np.log(_WAVELENGTH), np.log(_YOUNG / 1.25)))
        mix = (1 - young[:, np.newaxis]) * old_flux + young[:, np.newaxis] * young_flux
        dust = attenuation[:, np.newaxis] * (0.55 / np.exp(rest)) ** 0.9
        flux[band] = (mix * 10 ** (-0.4 * dust)).mean(axis=1)
    return {band: i - 2.5 * np.log10(flux[band] / flux["i"]) for band in SAMPLE_BANDS}


def twomass_magnitudes(vj: np.ndarray, vh: np.ndarray, vk: np.ndarray) -> dict[str, np.ndarray]:
    """2MASS J, H, Ks (Vega) for given VISTA magnitudes (AB), from the inverted published transformations."""
    j, h, k = (mag - VISTA_BANDS[band].vega_to_ab for band, mag in (("vj", vj), ("vh", vh), ("vk", vk)))
    slope = {band: TWOMASS_TO_VISTA[band][1] for band in ("vj", "vh", "vk")}
    jk = (j - k) / (1 + slope["vj"] - slope["vk"])
    return {"J": j - slope["vj"] * jk, "H": h - slope["vh"] * jk, "Ks": k - slope["vk"] * jk}


def ps1_magnitudes(hsc: dict[str, np.ndarray], *, rounds: int = 30) -> dict[str, np.ndarray]:
    """PS1 magnitudes (AB) for which the HSC colour terms give the HSC magnitudes, by iteration.

    Colours are limited to the range -1 to 1.5 of the colour terms, because their parabolas cannot be extrapolated.
    """
    ps1 = {band: np.array(hsc[band], float) for band in PS1_TO_HSC}
    for _ in range(rounds):
        shift = {}
        for band, (first, second, c0, c1, c2) in PS1_TO_HSC.items():
            colour = np.clip(ps1[first] - ps1[second], -1.0, 1.5)
            shift[band] = c0 + c1 * colour + c2 * colour**2
        # Half steps: the terms of z and y feed each other.
        ps1 = {band: 0.5 * (ps1[band] + hsc[band] - shift[band]) for band in PS1_TO_HSC}
    return ps1
