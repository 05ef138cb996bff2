"""Fits of one elliptical profile to a source in several bands at once, in Fourier space."""

from __future__ import annotations

import numba
import numpy as np

from dmu4.measurement.forced import SUM_IN_ANY_ORDER
from dmu4.measurement.profiles import look_up, phase_argument
from dmu4.measurement.small_systems import damped_step, invert_symmetric, keep

Spectra = tuple[np.ndarray, ...]
"""Fields of `dmu4.measurement.spectra.SourceSpectra` of several bands, see `fit_profiles`."""

MAX_STEPS = 20
"""Largest number of steps of a fit."""

MAX_ELLIPTICITY = 0.98
"""Largest (a^2 - b^2) / (a^2 + b^2), an axis ratio of 0.1."""

PRIOR_SIZE = (0.4, 0.9)
"""Half-light radius in arcsec, and the scatter of its logarithm, of the log-normal prior: faint galaxies to i = 26 have
0.2 to 1 arcsec (van der Wel et al. 2014, ApJ 788, 28)."""

PRIOR_ELLIPTICITY = 0.45
"""Scatter of each component of the ellipticity (a^2 - b^2) / (a^2 + b^2) in the prior."""


@numba.njit(nogil=True, cache=True)
def covariance_of(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance (xx, yy, xy) of (log of a b, two ellipticities), and its derivatives [xx yy xy, parameter]."""
    e1, e2 = theta[1], theta[2]
    rest = 1 - e1 * e1 - e2 * e2
    scale = np.exp(theta[0]) / np.sqrt(rest)
    shape, slopes = np.empty(3), np.empty((3, 3))
    shape[0], shape[1], shape[2] = scale * (1 + e1), scale * (1 - e1), scale * e2
    for m in range(3):
        slopes[m, 0] = shape[m]
        slopes[m, 1] = shape[m] * e1 / rest
        slopes[m, 2] = shape[m] * e2 / rest
    slopes[0, 1] += scale
    slopes[1, 1] -= scale
    slopes[2, 2] += scale
    return shape, slopes


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _sums(
    covariance: np.ndarray,
    cross: np.ndarray,
    power: np.ndarray,
    side: int,
    reach: int,
    table: np.ndarray,
    slope: np.ndarray,
    out: np.ndarray,
) -> None:
    """Sums over frequencies, all halves counted: A, B, U [3], R [3], W [6] of `step_of`, into ``out``."""
    unit = 2 * np.pi**2 / side**2
    for k in range(14):
        out[k] = 0.0
    at = 0
    for row in range(2 * reach + 1):
        ky = (row - reach) / side
        m_yy = unit * (row - reach) ** 2
        for column in range(reach + 1):
            q = phase_argument(covariance, column / side, ky)
            t, s = look_up(table, q), look_up(slope, q)
            twice = 1.0 if column == 0 else 2.0
            g, h = twice * cross[at], twice * power[at]
            at += 1
            m_xx, m_xy = unit * column**2, 2 * unit * column * (row - reach)
            out[0] += h * t * t
            out[1] += g * t
            hts, gs, hss = h * t * s, g * s, h * s * s
            out[2] += hts * m_xx
            out[3] += hts * m_yy
            out[4] += hts * m_xy
            out[5] += gs * m_xx
            out[6] += gs * m_yy
            out[7] += gs * m_xy
            out[8] += hss * m_xx * m_xx
            out[9] += hss * m_xx * m_yy
            out[10] += hss * m_xx * m_xy
            out[11] += hss * m_yy * m_yy
            out[12] += hss * m_yy * m_xy
            out[13] += hss * m_xy * m_xy


@numba.njit(nogil=True, cache=True)
def _change_parameters(sums: np.ndarray, slopes: np.ndarray, u: np.ndarray, r: np.ndarray, w: np.ndarray) -> None:
    """U [3], R [3] and W [3, 3] for the parameters, from the sums for xx, yy and xy, in place."""
    for i in range(3):
        u[i], r[i] = 0.0, 0.0
        for m in range(3):
            u[i] += slopes[m, i] * sums[2 + m]
            r[i] += slopes[m, i] * sums[5 + m]
        for j in range(3):
            w[i, j] = 0.0
            for m in range(3):
                for n in range(3):
                    # The sums 8 to 13 are the upper half of a symmetric matrix: rows begin at 8, 11 and 13.
                    first, second = min(m, n), max(m, n)
                    entry = 8 + first * 3 - first * (first - 1) // 2 + second - first
                    w[i, j] += slopes[m, i] * sums[entry] * slopes[n, j]


@numba.njit(nogil=True, cache=True)
def _evaluate(
    theta: np.ndarray,
    prior: np.ndarray,
    slots: np.ndarray,
    spectra: Spectra,
    table: np.ndarray,
    slope: np.ndarray,
    gradient: np.ndarray,
    curvature: np.ndarray,
    of_flux: np.ndarray,
) -> float:
    """Half the improvement of chi^2 by the profile with the best flux in each band, minus the prior.

    With the transform T of the profile, its derivative T' with respect to q, and q_i with respect to a parameter:
    A = sum of |P|^2 T^2, B = sum of Re(D P*) T, the flux is F = B / A, and chi^2 falls by B^2 / (A V). Derivatives
    with respect to the parameters, marginalised over the flux, follow from U_i = sum of |P|^2 T T' q_i, R_i = sum of
    Re(D P*) T' q_i and W_ij = sum of |P|^2 T'^2 q_i q_j.

    ``of_flux`` gets the derivatives of the logarithm of the flux in the first band, for a given image.
    """
    covariance, slopes = covariance_of(theta)
    sums, u, r, w, total = np.empty(14), np.empty(3), np.empty(3), np.empty((3, 3)), 0.0
    for i in range(3):
        gradient[i] = 0.0
        for j in range(3):
            curvature[i, j] = 0.0
    cross, cross_at, power, power_at, side, reach, variance = spectra
    for number, slot in enumerate(slots):
        n = (2 * reach[slot] + 1) * (reach[slot] + 1)
        g, h = cross[cross_at[slot] : cross_at[slot] + n], power[power_at[slot] : power_at[slot] + n]
        _sums(covariance, g, h, side[slot], reach[slot], table, slope, sums)
        _change_parameters(sums, slopes, u, r, w)
        if number == 0:
            for i in range(3):
                of_flux[i] = -u[i] / sums[0]
        flux = sums[1] / sums[0]
        if not flux > 0:
            continue
        noise = variance[slot] * side[slot] ** 2
        total += 0.5 * sums[1] * flux / noise
        for i in range(3):
            gradient[i] += flux / noise * (r[i] - flux * u[i])
            for j in range(3):
                curvature[i, j] += flux**2 / noise * (w[i, j] - u[i] * u[j] / sums[0])
    for k in range(3):
        total -= 0.5 * ((theta[k] - prior[0, k]) / prior[1, k]) ** 2
        gradient[k] -= (theta[k] - prior[0, k]) / prior[1, k] ** 2
        curvature[k, k] += 1 / prior[1, k] ** 2
    return total


@numba.njit(nogil=True, cache=True)
def _climb(
    theta: np.ndarray,
    prior: np.ndarray,
    slots: np.ndarray,
    spectra: Spectra,
    table: np.ndarray,
    slope: np.ndarray,
    limits: tuple[float, float],
    gradient: np.ndarray,
    curvature: np.ndarray,
    of_flux: np.ndarray,
) -> float:
    """Levenberg-Marquardt steps from ``theta``, changed in place, until chi^2 falls by less than 1e-3."""
    best = _evaluate(theta, prior, slots, spectra, table, slope, gradient, curvature, of_flux)
    damping, tried = 1e-2, np.empty(3)
    new_gradient, new_curvature, new_of_flux = np.empty(3), np.empty((3, 3)), np.empty(3)
    for _ in range(MAX_STEPS):
        damped_step(gradient, curvature, damping, tried)
        for k in range(3):
            tried[k] += theta[k]
        tried[0] = min(max(tried[0], limits[0], theta[0] - 1.5), limits[1], theta[0] + 1.5)
        length = np.hypot(tried[1], tried[2])
        if length > MAX_ELLIPTICITY:
            tried[1], tried[2] = tried[1] * MAX_ELLIPTICITY / length, tried[2] * MAX_ELLIPTICITY / length
        found = _evaluate(tried, prior, slots, spectra, table, slope, new_gradient, new_curvature, new_of_flux)
        gain = found - best
        if gain >= 0:
            keep((tried, new_gradient, new_of_flux), (theta, gradient, of_flux), new_curvature, curvature)
            best, damping = found, 0.3 * damping
            if gain < 5e-4:
                break
        else:
            damping *= 10
            if damping > 1e6:
                break
    return best


@numba.njit(nogil=True, cache=True)
def fit_profiles(
    slots: np.ndarray,
    first: np.ndarray,
    spectra: Spectra,
    start: np.ndarray,
    scale: float,
    table: np.ndarray,
    slope: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fit one profile to each of M sources.

    Parameters
    ----------
    slots, first
        Numbers of the spectra of all sources, flat, and where those of each source begin [M + 1]; the first of a source
        is that of its best band.
    spectra
        Fields of `dmu4.measurement.spectra.SourceSpectra`, of several bands after one another: cross, cross_at, power,
        power_at, side, reach, variance.
    start
        Parameters to begin with [M, 3], see `covariance_of`.
    scale
        Size of a pixel in arcsec, for the prior.
    table, slope
        Transform of the profile and its derivative, see `dmu4.measurement.profiles`.
    out
        Receives [M, 13]: the parameters, half the improvement of chi^2 less the prior, the variances of the parameters
        and their covariances (01, 02, 12), and the derivatives of the logarithm of the flux with respect to them.
    """
    prior = np.array(
        [[2 * np.log(PRIOR_SIZE[0] / scale), 0, 0], [2 * PRIOR_SIZE[1], PRIOR_ELLIPTICITY, PRIOR_ELLIPTICITY]]
    )
    gradient, curvature, inverse, of_flux = np.empty(3), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    theta = np.empty(3)
    for i in range(len(start)):
        mine = slots[first[i] : first[i + 1]]
        if not len(mine):
            for k in range(13):
                out[i, k] = np.nan
            continue
        for k in range(3):
            theta[k] = start[i, k]
        limits = (2 * np.log(0.05), 2 * np.log(spectra[4][mine[0]] / 8))
        args = (gradient, curvature, of_flux)
        out[i, 3] = _climb(theta, prior, mine, spectra, table, slope, limits, *args)
        invert_symmetric(curvature, inverse)
        for k in range(3):
            out[i, k], out[i, 4 + k], out[i, 10 + k] = theta[k], inverse[k, k], of_flux[k]
        out[i, 7], out[i, 8], out[i, 9] = inverse[0, 1], inverse[0, 2], inverse[1, 2]


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _products(
    disc: np.ndarray,
    bulge: np.ndarray,
    cross: np.ndarray,
    power: np.ndarray,
    side: int,
    reach: int,
    disc_table: np.ndarray,
    bulge_table: np.ndarray,
    out: np.ndarray,
) -> None:
    """Sums over frequencies: products with the image of disc, bulge and point, and of pairs of them."""
    out[:] = 0
    at = 0
    for row in range(2 * reach + 1):
        ky = (row - reach) / side
        for column in range(reach + 1):
            d = look_up(disc_table, phase_argument(disc, column / side, ky))
            b = look_up(bulge_table, phase_argument(bulge, column / side, ky))
            twice = 1.0 if column == 0 else 2.0
            g, h = twice * cross[at], twice * power[at]
            at += 1
            out[0] += g * d
            out[1] += g * b
            out[2] += g
            out[3] += h * d * d
            out[4] += h * d * b
            out[5] += h * b * b
            out[6] += h


@numba.njit(nogil=True, cache=True)
def mix_profiles(
    slots: np.ndarray,
    first: np.ndarray,
    spectra: Spectra,
    disc: np.ndarray,
    bulge: np.ndarray,
    disc_table: np.ndarray,
    bulge_table: np.ndarray,
    steps: int,
    out: np.ndarray,
) -> None:
    """Mix a disc and a bulge of each of M sources, of the same fractions in all bands, so that chi^2 is smallest.

    Parameters
    ----------
    slots, first, spectra
        As for `fit_profiles`.
    disc, bulge
        Covariances [M, 3].
    disc_table, bulge_table
        Transforms of the profiles.
    steps
        Number of fractions between 0 and 1 that are tried, before a parabola through the best three.
    out
        Receives [M, 4]: the fraction of the bulge, the improvements of chi^2 by the mixture and by a point source, and
        the relative error of the flux due to that of the fraction.
    """
    sums = np.empty((64, 8))
    gains = np.empty(steps + 1)
    for i in range(len(disc)):
        mine = slots[first[i] : first[i + 1]]
        if not len(mine):
            out[i] = np.nan
            continue
        cross, cross_at, power, power_at, side, reach, variance = spectra
        for k, slot in enumerate(mine):
            n = (2 * reach[slot] + 1) * (reach[slot] + 1)
            g, h = cross[cross_at[slot] : cross_at[slot] + n], power[power_at[slot] : power_at[slot] + n]
            _products(disc[i], bulge[i], g, h, side[slot], reach[slot], disc_table, bulge_table, sums[k, :7])
            sums[k, 7] = variance[slot] * side[slot] ** 2
        point = 0.0
        for k in range(len(mine)):
            point += max(sums[k, 2], 0.0) ** 2 / sums[k, 6] / sums[k, 7]
        for step in range(steps + 1):
            gains[step] = _gain(sums[: len(mine)], step / steps)
        best = int(np.argmax(gains))
        fraction, middle = best / steps, min(max(best, 1), steps - 1)
        bend = gains[middle - 1] - 2 * gains[middle] + gains[middle + 1]
        if 0 < best < steps and bend < 0:
            fraction += 0.5 * (gains[best - 1] - gains[best + 1]) / bend / steps
        # No fraction is less certain than if all were equally likely.
        variance_of_f = min(2 / max(-bend * steps**2, 1e-12), 1 / 12)
        a, f = sums[0], fraction
        area = (1 - f) ** 2 * a[3] + 2 * f * (1 - f) * a[4] + f**2 * a[5]
        change = 2 * (f * a[5] - (1 - f) * a[3] + (1 - 2 * f) * a[4]) / area
        change -= (a[1] - a[0]) / ((1 - f) * a[0] + f * a[1])
        out[i, 0], out[i, 1], out[i, 2] = fraction, _gain(sums[: len(mine)], fraction), point
        out[i, 3] = abs(change) * np.sqrt(variance_of_f)


@numba.njit(nogil=True, cache=True)
def _gain(sums: np.ndarray, f: float) -> float:
    """Improvement of chi^2 by a mixture with the fraction f in the bulge, from the sums of each band."""
    total = 0.0
    for a in sums:
        projected = (1 - f) * a[0] + f * a[1]
        power = (1 - f) ** 2 * a[3] + 2 * f * (1 - f) * a[4] + f**2 * a[5]
        total += max(projected, 0.0) ** 2 / power / a[7]
    return total
