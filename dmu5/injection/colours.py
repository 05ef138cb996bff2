"""Colours of templates without the noise of their faint bands, which would scatter sources from band to band."""

from __future__ import annotations

import numpy as np

MIN_SNR = 10.0
"""Signal to noise of a template in a band below which its colour there is that of a similar, brighter template."""

MIN_DONORS = 30
"""Number of templates among which a similar one is drawn, even if not all of them are bright enough."""

MAX_DONORS = 1000
"""Largest number of templates among which a similar one is drawn."""

SCATTER = 0.05
"""Relative difference of the fluxes of two templates that count as similar, besides the errors."""


def clean_colours(ratio: np.ndarray, error: np.ndarray, group: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Replace noisy flux ratios of templates by those of templates of the same kind that are bright in these bands.

    A noisy colour makes a source that is as bright in that band as others of its magnitude there, but fainter in all
    other bands: the completeness at that magnitude would be underestimated. The template whose ratios are taken is
    drawn with the probability that its ratios, in all bands, give the measured ones, exp(-chi^2 / 2).

    Parameters
    ----------
    ratio, error
        Ratios [template, band] of fluxes to that of one band, and their errors; NaN where missing.
    group
        Kind of each template, a number: ratios are taken from templates of the same kind.
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
        noisy = (snr[mine] < MIN_SNR) & (snr[mine] >= MIN_SNR).any(axis=0)
        for pattern in np.unique(noisy, axis=0):
            if not pattern.any():
                continue
            donors = _donors(mine, snr[np.ix_(mine, pattern)].min(axis=1), rng)
            for one in mine[(noisy == pattern).all(axis=1)] if len(donors) else ():
                difference = (value[one] - value[donors]) ** 2
                terms = difference / (sigma[one] ** 2 + (SCATTER * value[donors]) ** 2 + 1e-30)
                chi2 = np.where(known[donors], terms, 1.0).sum(axis=1)
                chance = np.exp(-0.5 * (chi2 - chi2.min()))
                clean[one, pattern] = value[rng.choice(donors, p=chance / chance.sum())][pattern]
    return clean


def _donors(candidates: np.ndarray, quality: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The candidates of sufficient signal to noise, or the best of them; a random selection of very many."""
    good = candidates[quality >= MIN_SNR]
    if len(good) > MAX_DONORS:
        return rng.choice(good, MAX_DONORS, replace=False)
    if len(good) >= MIN_DONORS:
        return good
    best = np.argsort(-quality, kind="stable")[:MIN_DONORS]
    return candidates[best[quality[best] > 0]]
