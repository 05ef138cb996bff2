"""Colours of stars and galaxies of a survey, and what the fluxes of an object say about its kind.

Both kinds are sets of spectra that the survey itself shows: stars lie on a curve in the space of all colours, which is
measured on bright compact objects as medians along one colour; galaxies are like the galaxies that are seen well
(`_prototypes`). The probability density of the fluxes of an object is that of each spectrum of free brightness, with a
scatter; how frequent each spectrum is at a magnitude is fitted by expectation maximization. A missing band drops out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from obs_vista.photometry import POGSON

STAR_NODES, GALAXY_NODES = 32, 240
"""Largest number of spectra of stars along the curve, and of galaxies."""

FEWEST = 25
"""Smallest number of stars and of galaxies with well-measured colours; with fewer, colours say nothing."""

CURVE_WIDTH = 0.12
"""Standard deviation in mag of the weights in the local fits of the curve."""

SCATTERS = np.array([0.01, 0.02, 0.03, 0.045, 0.07, 0.1, 0.15, 0.2, 0.3])
"""Scatter about a spectrum in mag: the one with the highest likelihood is taken."""

RARE = 0.02
"""Fraction of stars with the colours of galaxies, and vice versa: quasars, binaries, blends, wrong fluxes."""

MAGNITUDE_STEP = 1.0
"""Distance of the magnitudes at which the frequency of the spectra is fitted."""

ENOUGH = 4000
"""Number of objects that is enough for the frequencies; of more, every nth is used."""

ITERATIONS = 20


@dataclass(frozen=True)
class Spectra:
    """Spectra of one kind of objects.

    Attributes
    ----------
    flux
        Relative fluxes [spectrum, band].
    scatter
        Scatter of the fluxes of objects about their spectrum, relative.
    """

    flux: np.ndarray
    scatter: float

    def log_densities(self, flux: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Log of the density of fluxes for each spectrum of free brightness [N, spectrum], up to a common constant.

        Parameters
        ----------
        flux, error
            Fluxes and errors [N, band]; bands without a finite flux and positive error drop out.
        """
        known = np.isfinite(flux) & np.isfinite(error) & (error > 0) & self.flux.any(axis=0)
        value = np.where(known, flux, 0.0)
        variance = np.where(known, np.square(error) + np.square(self.scatter * np.maximum(value, 0)), 1.0)
        weight = np.where(known, 1 / variance, 0.0)
        cross, power = (weight * value) @ self.flux.T, weight @ np.square(self.flux).T
        amplitude = np.maximum(cross, 0) / np.sqrt(np.maximum(power, 1e-300))
        chi2 = np.sum(weight * np.square(value), axis=1)[:, None] - np.square(amplitude)
        # All brightnesses of a spectrum are equally likely in mag; the integral over them is that of a Gaussian.
        return -0.5 * (chi2 + np.log(variance).sum(axis=1)[:, None]) - np.log(np.maximum(amplitude, 1))


@dataclass(frozen=True)
class Colours:
    """Spectra of stars and galaxies, and their frequencies by magnitude.

    Attributes
    ----------
    stars, galaxies
        The spectra.
    magnitudes
        Magnitudes in increasing order.
    star_share, galaxy_share
        Frequency of each spectrum at these magnitudes [magnitude, spectrum]; the sum over spectra is one.
    """

    stars: Spectra
    galaxies: Spectra
    magnitudes: np.ndarray
    star_share: np.ndarray
    galaxy_share: np.ndarray

    def log_ratio(self, flux: np.ndarray, error: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
        """Log of the ratio of the densities of the fluxes for a star and a galaxy [N]; 0 with fewer than two bands.

        Parameters
        ----------
        flux, error
            Fluxes and errors [N, band].
        magnitude
            Magnitudes [N].
        """
        near = _near(magnitude, self.magnitudes)
        star = _log_mean(self.stars.log_densities(flux, error), near @ self.star_share)
        galaxy = _log_mean(self.galaxies.log_densities(flux, error), near @ self.galaxy_share)
        several = np.sum(np.isfinite(flux) & (error > 0), axis=1) > 1
        return np.where(several, rarely_other(star - galaxy, RARE), 0.0)


def rarely_other(log_ratio: np.ndarray, rare: float, of_second: float | None = None) -> np.ndarray:
    """Log of a ratio of densities if a fraction of each of two kinds has the distribution of the other.

    Parameters
    ----------
    log_ratio
        Log of the ratio of the density of the first kind to that of the second.
    rare, of_second
        Fraction of the first kind, and of the second one; None: the same.
    """
    second = rare if of_second is None else of_second
    own = np.logaddexp(np.log1p(-rare) + log_ratio, np.log(rare))
    return own - np.logaddexp(np.log1p(-second), np.log(second) + log_ratio)


def _near(magnitude: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Weights [N, node] of linear interpolation between magnitudes."""
    distance = np.abs(np.clip(magnitude, nodes[0], nodes[-1])[:, None] - nodes) / MAGNITUDE_STEP
    return np.clip(1 - distance, 0, 1)


def _log_mean(log_density: np.ndarray, weight: np.ndarray) -> np.ndarray:
    top = log_density.max(axis=1)
    return top + np.log(np.sum(weight * np.exp(log_density - top[:, None]), axis=1) + 1e-300)


def stellar_curve(flux: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Spectra along the curve of stars in the space of their colours [spectrum, band].

    The curve runs along the colour of the two bands whose range is largest compared to its errors; the fluxes of all
    bands relative to the first of the two are local linear fits in the magnitudes, with outliers clipped.

    Parameters
    ----------
    flux, error
        Fluxes and errors of bright stars [N, band].

    Returns
    -------
    numpy.ndarray
        NaN in bands that too few of the stars have; no rows if no two bands are left.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude, noise = -2.5 * np.log10(np.where(flux > 0, flux, np.nan)), POGSON * error / flux
    magnitude = np.where(noise < 0.1, magnitude, np.nan)
    first, second = _widest(magnitude)
    if first == second:
        return np.zeros((0, flux.shape[1]))
    along = magnitude[:, first] - magnitude[:, second]
    known = np.isfinite(along)
    low, high = np.percentile(along[known], [1, 99])
    nodes = np.linspace(low, high, STAR_NODES)
    curve = np.full((STAR_NODES, flux.shape[1]), np.nan)
    for band in range(flux.shape[1]):
        colour = magnitude[:, band] - magnitude[:, first]
        good = known & np.isfinite(colour)
        if good.sum() >= FEWEST:
            curve[:, band] = 10 ** (-0.4 * _local_fit(nodes, along[good], colour[good]))
    return curve


def _widest(magnitude: np.ndarray) -> tuple[int, int]:
    """The two bands whose colour has the largest range; the same number twice if too few stars have two bands."""
    best, pair = 0.0, (0, 0)
    for first in range(magnitude.shape[1]):
        for second in range(first + 1, magnitude.shape[1]):
            colour = magnitude[:, first] - magnitude[:, second]
            colour = colour[np.isfinite(colour)]
            # Colours of half of the stars at least: a band of a corner of the survey is no coordinate.
            if len(colour) < max(FEWEST, 0.5 * len(magnitude)):
                continue
            extent = float(np.subtract(*np.percentile(colour, [90, 10])))
            if extent > best:
                best, pair = extent, (first, second)
    return pair


def _local_fit(nodes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Locally linear fits of y at the nodes; points far off the first fit are clipped in the second."""
    keep = np.ones(len(x), bool)
    for _ in range(3):
        # At the ends, where stars are few, the weights reach as far as the nearest dozen.
        far = np.sort(np.abs(nodes[:, None] - x[keep]), axis=1)[:, min(11, keep.sum() - 1)]
        width = np.maximum(CURVE_WIDTH, far)[:, None]
        d = x[keep] - nodes[:, None]
        w = np.exp(-0.5 * np.square(d / width))
        s0, s1, s2 = w.sum(axis=1), (w * d).sum(axis=1), (w * d * d).sum(axis=1)
        t0, t1 = (w * y[keep]).sum(axis=1), (w * d * y[keep]).sum(axis=1)
        fit = (s2 * t0 - s1 * t1) / np.maximum(s0 * s2 - s1 * s1, 1e-12)
        residual = y - np.interp(x, nodes, fit)
        limit = 4 * max(1.4826 * np.median(np.abs(residual)), 0.01)
        keep = np.abs(residual) < limit
    return fit


def _prototypes(flux: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Spectra of galaxies [spectrum, band]; bands in which one is missing or faint are those of similar ones."""
    good = np.isfinite(flux) & (error > 0) & (flux > 3 * error)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(good, np.log(np.where(good, flux, 1.0)), np.nan)
    filled = fill_from_similar(logs)
    return np.exp(filled - np.nanmax(filled, axis=1, keepdims=True))


def fill_from_similar(logs: np.ndarray) -> np.ndarray:
    """Spectra whose missing bands are the medians of those of the five most similar spectra.

    Parameters
    ----------
    logs
        Logs of the fluxes [spectrum, band]; NaN is missing, and stays so in bands that no similar spectrum has.
    """
    good, filled = np.isfinite(logs), logs.copy()
    for row in np.flatnonzero(~good.all(axis=1)):
        both = good & good[row]
        difference = np.where(both, logs - logs[row], 0.0)
        count = np.maximum(both.sum(axis=1), 1)
        shift = difference.sum(axis=1) / count
        distance = np.where(both, np.square(difference - shift[:, None]), 0.0).sum(axis=1) / count
        distance[(both.sum(axis=1) < 2) | (np.arange(len(good)) == row)] = np.inf
        for band in np.flatnonzero(~good[row]):
            like = np.flatnonzero(good[:, band] & np.isfinite(distance))
            like = like[np.argsort(distance[like])[:5]]
            filled[row, band] = np.median((logs[:, band] - shift)[like]) if len(like) else np.nan
    return filled


def fit_colours(
    flux: np.ndarray, error: np.ndarray, magnitude: np.ndarray, point: np.ndarray, *, bright: np.ndarray
) -> Colours | None:
    """Measure the colours of stars and galaxies on the survey itself.

    Parameters
    ----------
    flux, error
        Fluxes and errors [N, band] of the objects of a survey, one row each.
    magnitude
        Magnitudes [N].
    point
        Probability that each object is a point source, from its size [N].
    bright
        Whether the colours of each object are well measured [N].

    Returns
    -------
    Colours or None
        None if the survey has too few bright stars or galaxies, or fewer than two bands.
    """
    star, galaxy = bright & (point > 0.95), bright & (point < 0.02)
    if min(star.sum(), galaxy.sum()) < FEWEST or flux.shape[1] < 2:
        return None
    stars, galaxies = np.flatnonzero(star), np.flatnonzero(galaxy)
    galaxies = galaxies[np.argsort(magnitude[galaxies])]
    shown = galaxies[np.unique(np.linspace(0, len(galaxies) - 1, GALAXY_NODES).astype(int))]
    curve, spectra = stellar_curve(flux[stars], error[stars]), _prototypes(flux[shown], error[shown])
    if not len(curve):
        return None
    # A band that one of the kinds lacks compares nothing.
    lacking = np.isnan(curve).any(axis=0) | np.isnan(spectra).any(axis=0)
    if np.sum(~lacking) < 2:
        return None
    curve, spectra = (np.where(lacking, 0.0, one) for one in (curve, spectra))
    flux = np.where(lacking, np.nan, flux)
    return _with_shares(
        _with_scatter(curve, flux, error, stars),
        _with_scatter(spectra, flux, error, np.setdiff1d(galaxies, shown)),
        *_every_nth(flux, error, magnitude, point),
    )


def _every_nth(*columns: np.ndarray) -> list[np.ndarray]:
    step = max(len(columns[0]) // ENOUGH, 1)
    return [column[::step] for column in columns]


def _with_scatter(spectra: np.ndarray, flux: np.ndarray, error: np.ndarray, members: np.ndarray) -> Spectra:
    """The spectra with the scatter that makes the fluxes of objects of their kind most likely."""
    members = members[:: max(len(members) // 500, 1)]
    if len(members) < FEWEST:
        return Spectra(spectra, 0.1)
    uniform = np.full((len(members), len(spectra)), 1 / len(spectra))
    tried = [Spectra(spectra, float(one)) for one in SCATTERS / POGSON]
    likelihoods = []
    for one in tried:
        density = _log_mean(one.log_densities(flux[members], error[members]), uniform)
        # Of each object not less than that of a rare one: a few wrong ones do not decide.
        likelihoods.append(np.sum(np.sort(density)[len(density) // 20 :]))
    return tried[int(np.argmax(likelihoods))]


def _with_shares(
    stars: Spectra, galaxies: Spectra, flux: np.ndarray, error: np.ndarray, magnitude: np.ndarray, point: np.ndarray
) -> Colours:
    """Frequencies of all spectra at each magnitude, for given probabilities of point sources from sizes."""
    low, high = np.floor(np.percentile(magnitude, 0.5)), np.ceil(np.percentile(magnitude, 99.5))
    nodes = np.arange(low, high + MAGNITUDE_STEP, MAGNITUDE_STEP)
    near = _near(magnitude, nodes)
    densities = [one.log_densities(flux, error) for one in (stars, galaxies)]
    top = np.maximum(*(one.max(axis=1) for one in densities))
    star, galaxy = (np.exp(one - top[:, None]) for one in densities)
    shares = [np.full((len(nodes), one.shape[1]), 1 / one.shape[1]) for one in densities]
    for _ in range(ITERATIONS):
        of_star, of_galaxy = (
            point[:, None] * star * (near @ shares[0]),
            (1 - point)[:, None] * galaxy * (near @ shares[1]),
        )
        total = of_star.sum(axis=1) + of_galaxy.sum(axis=1) + 1e-300
        shares = [_shares(near, one / total[:, None]) for one in (of_star, of_galaxy)]
    return Colours(stars, galaxies, nodes, *shares)


def _shares(near: np.ndarray, membership: np.ndarray) -> np.ndarray:
    """Frequencies at each magnitude; those of all magnitudes count as ten objects there, equal ones as one."""
    count = near.T @ membership
    overall = membership.sum(axis=0) + 1 / membership.shape[1]
    count = count + 10 * overall / overall.sum() + 1 / membership.shape[1]
    return count / count.sum(axis=1, keepdims=True)
