"""Templates of galaxies: fluxes in the bands of a survey against redshift, and how frequent they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from obs_vista.bands import get_band

SPECTRA = (
    ("El_B2004a", "elliptical"),
    ("Sbc_B2004a", "spiral"),
    ("Scd_B2004a", "spiral"),
    ("Im_B2004a", "irregular"),
    ("SB3_B2004a", "irregular"),
    ("SB2_B2004a", "irregular"),
    ("ssp_25Myr_z008", "irregular"),
    ("ssp_5Myr_z008", "irregular"),
)
"""Files of the package desc-bpz, from red to blue, and their types: Coleman, Wu & Weedman 1980 and Kinney et al. 1996,
recalibrated by Benitez et al. 2004, and two young populations of Coe et al. 2006, AJ 132, 926."""

BETWEEN = 2
"""Number of spectra interpolated between neighbours."""

ATTENUATIONS = (0.0, 0.5, 1.0)
"""Attenuations in V (mag) of all but ellipticals, going as wavelength^-0.7: Charlot & Fall 2000, ApJ 539, 718."""

REDSHIFTS = np.exp(np.arange(np.log(1.01), np.log(4.0), 0.01)) - 1
"""Redshifts that are tried, in equal steps of log(1 + z)."""

# Benitez 2000, ApJ 536, 571, table 1: alpha, z0, km of each type, and the fractions at 20 mag and their decline.
_PRIOR = {"elliptical": (2.465, 0.431, 0.0913), "spiral": (1.806, 0.390, 0.0636), "irregular": (0.906, 0.0626, 0.123)}
_FRACTION = {"elliptical": (0.35, 0.450), "spiral": (0.50, 0.147)}


@dataclass(frozen=True)
class TemplateGrid:
    """Templates in the bands of a survey.

    Attributes
    ----------
    bands
        Labels of the bands.
    wavelength
        Middle of each band, um.
    flux
        Relative fluxes f_nu [template, redshift, band].
    types
        Share of each template in the types elliptical, spiral and irregular [template, type].
    """

    bands: tuple[str, ...]
    wavelength: np.ndarray
    flux: np.ndarray
    types: np.ndarray


def read_spectrum(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths in um and relative f_nu of a spectrum of the package desc-bpz."""
    with (files("desc_bpz") / "data_files" / "SED" / f"{name}.sed").open("rb") as stream:
        wavelength, f_lambda = np.loadtxt(stream).T
    return wavelength / 1e4, f_lambda * wavelength**2


def band_fluxes(wavelength: np.ndarray, f_nu: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    """Mean f_nu of a redshifted spectrum over each band, which is taken for a box [redshift, band].

    Parameters
    ----------
    wavelength, f_nu
        The spectrum at rest: um, and relative flux.
    bands
        Labels of the bands.
    """
    means = np.empty((len(REDSHIFTS), len(bands)))
    for number, band in enumerate(bands):
        observed = np.linspace(*get_band(band).range, 41) / 1000
        means[:, number] = np.interp(observed / (1 + REDSHIFTS[:, None]), wavelength, f_nu).mean(axis=1)
    return means


def template_grid(bands: Sequence[str]) -> TemplateGrid:
    """Fluxes of all templates, interpolated between types and attenuated, in the bands of a survey."""
    middle = np.array([np.mean(get_band(band).range) / 1000 for band in bands])
    pure = np.array([band_fluxes(*read_spectrum(name), bands) for name, _ in SPECTRA])
    pure /= pure.mean(axis=(1, 2), keepdims=True)
    of_type = np.array([[kind == one for one in _PRIOR] for _, kind in SPECTRA], float)
    of_type /= of_type.sum(axis=0)
    fluxes, types = [], []
    for place in np.linspace(0, len(SPECTRA) - 1, (BETWEEN + 1) * (len(SPECTRA) - 1) + 1):
        low = min(int(place), len(SPECTRA) - 2)
        blend = np.array([low + 1 - place, place - low])
        for attenuation in ATTENUATIONS if place >= 1 else ATTENUATIONS[:1]:
            dust = attenuation * (middle / (1 + REDSHIFTS[:, None]) / 0.55) ** -0.7
            fluxes.append(np.tensordot(blend, pure[low : low + 2], 1) * 10 ** (-0.4 * dust))
            types.append(blend @ of_type[low : low + 2])
    share = np.array(types)
    return TemplateGrid(tuple(bands), middle, np.array(fluxes), share / share.sum(axis=0))


def prior(magnitude: np.ndarray) -> np.ndarray:
    """Prior probability of type and redshift for magnitudes near 0.8 um (AB), Benitez 2000 [N, type, redshift].

    Parameters
    ----------
    magnitude
        Magnitudes [N]; those brighter than 20, where the prior was not measured, count as 20.
    """
    above = np.clip(np.asarray(magnitude, float), 20, 32) - 20
    shares = {kind: first * np.exp(-decline * above) for kind, (first, decline) in _FRACTION.items()}
    shares["irregular"] = 1 - shares["elliptical"] - shares["spiral"]
    found = []
    for kind, (alpha, start, slope) in _PRIOR.items():
        typical = start + slope * above
        shape = REDSHIFTS**alpha * np.exp(-((REDSHIFTS / typical[:, None]) ** alpha))
        found.append(shares[kind][:, None] * shape / shape.sum(axis=1, keepdims=True))
    return np.stack(found, axis=1)
