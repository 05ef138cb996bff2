"""Colours of templates without the noise of their faint bands, which would scatter sources from band to band."""

from __future__ import annotations

import numpy as np

MIN_SNR = 10.0
"""Signal to noise of a template in a band below which its colour there is that of a similar, brighter template."""

MIN_DONORS = 30
"""Number of templates among which a similar one is drawn, even if not all of them are bright enough."""

MAX_DONORS = 1000
"""Largest number of templates among which a similar one is drawn."""

MAX_DRIFT = 4.0
"""Largest factor between the mean ratios of two magnitudes."""

SCATTER = 0.05
"""Relative difference of the fluxes of two templates that count as similar, besides the errors."""


def clean_colours(
    ratio: np.ndarray, error: np.ndarray, group: np.ndarray, magnitude: np.ndarray, *, rng: np.random.Generator
) -> np.ndarray:
    """Replace noisy flux ratios of templates by those of templates of the same kind that are bright in these bands.

    A noisy colour makes a source that is as bright in that band as others of its magnitude there, but fainter in all
    other bands: the completeness at that magnitude would be underestimated. The template whose ratios are taken is
    drawn with the probability that its ratios, in all bands, give the measured ones, exp(-chi^2 / 2).

    Faint galaxies are redder in the near infrared than bright ones: before they are compared, the ratios of brighter
    templates are moved along the mean ratio of their kind as a function of magnitude, in which noise cancels.

    Parameters
    ----------
    ratio, error
        Ratios [template, band] of fluxes to that of one band, and their errors; NaN where missing.
    group
        Kind of each template, a number: ratios are taken from templates of the same kind.
    magnitude
        Magnitude of each template in the band of the denominator.
    rng
        Random number generator.

    Returns
    -------
    numpy.ndarray
        Ratios [template, band], not negative, of bands that are bright enough as they were. Where no template of a
        kind is bright enough they are as measured, zero if they are negative or missing.
    """
    known = np.isfinite(ratio) & (error > 0)
    value, sigma = np.where(known, ratio, 0.0), np.where(known, error, np.inf)
    snr, clean = value / sigma, np.clip(value, 0, None)
    for kind in np.unique(group):
        mine = np.flatnonzero(group == kind)
        means = _mean_ratios(value[mine], sigma[mine], magnitude[mine])
        noisy = (snr[mine] < MIN_SNR) & (snr[mine] >= MIN_SNR).any(axis=0)
        for pattern in np.unique(noisy, axis=0):
            if not pattern.any():
                continue
            donors = _donors(mine, snr[np.ix_(mine, pattern)].min(axis=1), rng)
            if not len(donors):
                continue
            # Not the mean at their magnitudes: those that are bright in a band are redder.
            theirs = value[donors].sum(axis=0) / np.maximum(known[donors].sum(axis=0), 1)
            for number in np.flatnonzero((noisy == pattern).all(axis=1)):
                one = mine[number]
                drift = np.divide(means[number], theirs, out=np.ones(len(theirs)), where=theirs > 0)
                like = value[donors] * np.clip(drift, 1 / MAX_DRIFT, MAX_DRIFT)
                terms = (value[one] - like) ** 2 / (sigma[one] ** 2 + (SCATTER * like) ** 2 + 1e-30)
                chi2 = np.where(known[donors], terms, 1.0).sum(axis=1)
                chance = np.exp(-0.5 * (chi2 - chi2.min()))
                clean[one, pattern] = like[rng.choice(len(donors), p=chance / chance.sum())][pattern]
    return clean


def _mean_ratios(value: np.ndarray, sigma: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Mean ratio [template, band] at the magnitude of each template: a parabola, at least a fifth of the whole mean."""
    offset = magnitude - np.mean(magnitude)
    powers = np.column_stack([np.ones(len(offset)), offset, offset**2])
    means = np.ones(value.shape)
    for band, (ratios, errors) in enumerate(zip(value.T, sigma.T, strict=True)):
        known = np.isfinite(errors)
        if np.count_nonzero(known) < MIN_DONORS:
            continue
        # Weights that depend on errors but not on the ratios themselves leave the mean unbiased.
        root = 1 / np.sqrt(errors[known] ** 2 + np.median(ratios[known]) ** 2 + 1e-30)
        fitted = powers @ np.linalg.lstsq(powers[known] * root[:, None], ratios[known] * root, rcond=1e-9)[0]
        mean = np.average(ratios[known], weights=root**2)
        if mean > 0:
            means[:, band] = np.maximum(fitted, 0.2 * mean)
    return means


def _donors(candidates: np.ndarray, quality: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The candidates of sufficient signal to noise, or the best of them; a random selection of very many."""
    good = candidates[quality >= MIN_SNR]
    if len(good) > MAX_DONORS:
        return rng.choice(good, MAX_DONORS, replace=False)
    if len(good) >= MIN_DONORS:
        return good
    best = np.argsort(-quality, kind="stable")[:MIN_DONORS]
    return candidates[best[quality[best] > 0]]
