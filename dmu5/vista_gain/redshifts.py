"""Photometric redshifts by fitting templates (Benitez 2000, ApJ 536, 571), and their accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from astropy.table import Table

from dmu0.robust_statistics import robust_scatter
from dmu0.truth import is_star, isolated, match_to_truth
from dmu5.magnitudes import flux_error, signal_to_noise
from dmu5.vista_gain.templates import REDSHIFTS, TemplateGrid, prior, template_grid
from obs_vista.bands import VISTA_BANDS, get_band, plain_band
from obs_vista.photometry import magnitude_of

FLUX = "gaap1p0Flux"
"""The flux whose colours are fitted: the same part of a galaxy in all bands."""

OUTLIER = 0.15
"""Error in z over 1 + z beyond which a redshift is an outlier."""

# Relative error of the templates against wavelength at rest (um), after Brammer et al. 2008, ApJ 686, 1503: they are
# most accurate in the optical, where they were made.
_ERROR_AT, _ERROR = np.log([0.15, 0.30, 0.40, 0.90, 1.20, 3.0]), np.array([0.20, 0.08, 0.05, 0.05, 0.15, 0.15])

BLEND = 1.5
"""Distance in arcsec within which sources of similar flux are a blend."""

BLOCK = 2000
"""Number of galaxies that are fitted at once."""


def fit_redshifts(flux: np.ndarray, error: np.ndarray, magnitude: np.ndarray, grid: TemplateGrid) -> np.ndarray:
    """Median of the posterior probability of the redshift of galaxies [N].

    Parameters
    ----------
    flux, error
        Fluxes and errors [N, band]; bands without a finite flux drop out.
    magnitude
        Magnitudes near 0.8 um for the prior [N].
    grid
        Templates in the same bands.
    """
    parts = [
        _fit(flux[k : k + BLOCK], error[k : k + BLOCK], magnitude[k : k + BLOCK], grid)
        for k in range(0, len(flux), BLOCK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _fit(flux: np.ndarray, error: np.ndarray, magnitude: np.ndarray, grid: TemplateGrid) -> np.ndarray:
    known = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    value = np.where(known, flux, 0.0)
    likelihood = np.empty((len(flux), len(grid.flux), len(REDSHIFTS)), np.float32)
    for number, z in enumerate(REDSHIFTS):
        of_template = np.interp(np.log(grid.wavelength / (1 + z)), _ERROR_AT, _ERROR)
        variance = np.where(known, np.square(error) + np.square(of_template * value), 1.0)
        weight = np.where(known, 1 / variance, 0.0)
        model = grid.flux[:, number]
        cross, power = (weight * value) @ model.T, weight @ np.square(model).T
        # The brightness of each template is that of the best fit.
        chi2 = (weight * value**2).sum(axis=1)[:, None] - np.square(np.maximum(cross, 0)) / np.maximum(power, 1e-300)
        likelihood[:, :, number] = -0.5 * (chi2 + np.log(variance).sum(axis=1)[:, None])
    likelihood = np.exp(likelihood - likelihood.max(axis=(1, 2), keepdims=True))
    posterior = np.zeros((len(flux), len(REDSHIFTS)))
    expected = prior(magnitude)
    for kind in range(grid.types.shape[1]):
        posterior += expected[:, kind] * np.tensordot(likelihood, grid.types[:, kind], (1, 0))
    summed = np.cumsum(posterior + 1e-30, axis=1)
    return REDSHIFTS[np.argmax(summed > 0.5 * summed[:, -1:], axis=1)]


def optical(bands: Sequence[str]) -> list[str]:
    """The bands that are not VISTA's."""
    return [band for band in bands if plain_band(band) not in VISTA_BANDS]


def prior_band(bands: Sequence[str]) -> str:
    """The optical band nearest to 0.8 um, in which the prior was measured."""
    return min(optical(bands), key=lambda band: abs(get_band(band).wavelength - 800))


def galaxies(catalogue: Table, bands: Sequence[str], *, snr_min: float = 10.0) -> Table:
    """Primary objects that are galaxies rather than stars and are bright enough in the band nearest to 0.8 um."""
    star = np.asarray(catalogue["starProbability"], float)
    bright = np.nan_to_num(signal_to_noise(catalogue, f"{prior_band(bands)}_{FLUX}")) > snr_min
    return catalogue[np.asarray(catalogue["detect_isPrimary"], bool) & (star < 0.5) & bright]


def redshifts(objects: Table, bands: Sequence[str]) -> np.ndarray:
    """Photometric redshifts of galaxies of a catalogue from some bands [N].

    Parameters
    ----------
    objects
        Galaxies, with GAaP fluxes; bright in the band of the prior.
    bands
        Bands to use.
    """
    flux, error = np.full((len(objects), len(bands)), np.nan), np.full((len(objects), len(bands)), np.nan)
    for number, band in enumerate(bands):
        good = ~np.asarray(objects[f"{band}_{FLUX}_flag"], bool)
        flux[good, number] = np.asarray(objects[f"{band}_{FLUX}"], float)[good]
        error[good, number] = flux_error(objects, f"{band}_{FLUX}")[good]
    return fit_redshifts(flux, error, prior_magnitude(objects, bands), template_grid(bands))


def prior_magnitude(objects: Table, bands: Sequence[str]) -> np.ndarray:
    """Magnitudes for the prior, in the aperture of the colours, which light of neighbours hardly enters [N]."""
    flux = np.asarray(objects[f"{prior_band(bands)}_{FLUX}"], float)
    return magnitude_of(np.maximum(flux, 1.0))


def true_redshifts(objects: Table, truth: Table, band: str) -> np.ndarray:
    """True redshift of each object of a simulated sky [N].

    NaN for stars, for objects without a true source, and for blends: true sources with another of half their flux
    within `BLEND` have no one redshift.

    Parameters
    ----------
    objects
        Objects.
    truth
        True sources.
    band
        Band in which fluxes are compared.
    """
    pairs = match_to_truth(truth, objects["coord_ra"], objects["coord_dec"])
    single = ~is_star(truth) & isolated(truth, band, fraction=0.5, radius=BLEND)
    redshift = np.where(single, np.asarray(truth["redshift"], float), np.nan)
    found = np.full(len(objects), np.nan)
    found[pairs.second] = redshift[pairs.first]
    return found


def accuracy(measured: np.ndarray, true: np.ndarray) -> tuple[int, float, float, float]:
    """Number of redshifts, sigma_NMAD, fraction of outliers, and median bias, of (z - z_true) / (1 + z_true).

    sigma_NMAD is 1.4826 times the median absolute deviation from the median.

    Parameters
    ----------
    measured, true
        Redshifts [N]; those that are NaN are left out.
    """
    known = np.isfinite(measured) & np.isfinite(true)
    difference = (measured[known] - true[known]) / (1 + true[known])
    if len(difference) < 3:
        return len(difference), np.nan, np.nan, np.nan
    outliers = float(np.mean(np.abs(difference) > OUTLIER))
    return len(difference), float(robust_scatter(difference)), outliers, float(np.median(difference))


def accuracy_table(
    measured: Mapping[str, np.ndarray], true: np.ndarray, by: Mapping[str, tuple[np.ndarray, Sequence[float]]]
) -> Table:
    """Accuracy of several sets of redshifts in ranges of several quantities, one row each.

    Parameters
    ----------
    measured
        Name of the bands -> redshifts [N].
    true
        True redshifts [N].
    by
        Name of a quantity -> its values [N], and the edges of the ranges.
    """
    rows = []
    for name, (values, edges) in by.items():
        for low, high in pairwise(edges):
            inside = (values >= low) & (values < high)
            rows += [(name, low, high, which, *accuracy(z[inside], true[inside])) for which, z in measured.items()]
    names = ("by", "from", "to", "bands", "galaxies", "nmad", "outliers", "bias")
    table = Table(rows=rows or None, names=names, dtype=(str, float, float, str, int, float, float, float))
    for name in names[5:]:
        table[name].info.format = ".3f"
    return table
