"""Fits of a disc and a bulge of different sizes to bright sources, in several bands at once, in Fourier space."""

from __future__ import annotations

import numba
import numpy as np

from dmu4.measurement.forced import SUM_IN_ANY_ORDER
from dmu4.measurement.profile_fits import (
    MAX_ELLIPTICITY,
    MAX_STEPS,
    PRIOR_ELLIPTICITY,
    PRIOR_SIZE,
    Spectra,
    covariance_of,
)
from dmu4.measurement.profiles import BULGE_SLOPE, BULGE_TABLE, DISC_SLOPE, DISC_TABLE, look_up, phase_argument
from dmu4.measurement.small_systems import damped_step, invert_symmetric, keep

PRIOR_RATIO = (0.5, 0.7)
"""Half-light radius of the bulge over that of the disc, and the scatter of its logarithm, of the log-normal prior."""

PARAMETERS = 5
"""Logarithms of a b of disc and bulge, two ellipticities that both have, and the fraction of the bulge."""


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _sums(
    theta: np.ndarray,
    cross: np.ndarray,
    power: np.ndarray,
    side: int,
    reach: int,
    u: np.ndarray,
    r: np.ndarray,
    w: np.ndarray,
) -> tuple[float, float]:
    """The sums A and B, U [5], R [5] and W [5, 5] of `dmu4.measurement.profile_fits`, for the mixture."""
    f = theta[4]
    disc, of_disc = covariance_of(np.array([theta[0], theta[2], theta[3]]))
    bulge, of_bulge = covariance_of(np.array([theta[1], theta[2], theta[3]]))
    unit = 2 * np.pi**2 / side**2
    a, b, at = 0.0, 0.0, 0
    u[:], r[:], w[:] = 0, 0, 0
    t = np.empty(PARAMETERS)
    for row in range(2 * reach + 1):
        ky = (row - reach) / side
        m_yy = unit * (row - reach) ** 2
        for column in range(reach + 1):
            m_xx, m_xy, kx = unit * column**2, 2 * unit * column * (row - reach), column / side
            q_disc, q_bulge = phase_argument(disc, kx, ky), phase_argument(bulge, kx, ky)
            d, e = look_up(DISC_TABLE, q_disc), look_up(BULGE_TABLE, q_bulge)
            of_d, of_e = (1 - f) * look_up(DISC_SLOPE, q_disc), f * look_up(BULGE_SLOPE, q_bulge)
            t[0], t[1], t[4] = of_d * q_disc, of_e * q_bulge, e - d
            for k in (1, 2):
                along_disc = of_disc[0, k] * m_xx + of_disc[1, k] * m_yy + of_disc[2, k] * m_xy
                along_bulge = of_bulge[0, k] * m_xx + of_bulge[1, k] * m_yy + of_bulge[2, k] * m_xy
                t[1 + k] = of_d * along_disc + of_e * along_bulge
            total, twice = (1 - f) * d + f * e, 1.0 if column == 0 else 2.0
            g, h = twice * cross[at], twice * power[at]
            at += 1
            a += h * total * total
            b += g * total
            for i in range(PARAMETERS):
                u[i] += h * total * t[i]
                r[i] += g * t[i]
                for j in range(i + 1):
                    w[i, j] += h * t[i] * t[j]
    for i in range(PARAMETERS):
        for j in range(i):
            w[j, i] = w[i, j]
    return a, b


@numba.njit(nogil=True, cache=True)
def _evaluate(
    theta: np.ndarray,
    prior: np.ndarray,
    slots: np.ndarray,
    spectra: Spectra,
    gradient: np.ndarray,
    curvature: np.ndarray,
    of_flux: np.ndarray,
) -> float:
    """Half the improvement of chi^2, minus the priors; see `dmu4.measurement.profile_fits`."""
    cross, cross_at, power, power_at, side, reach, variance = spectra
    u, r, w, total = np.empty(PARAMETERS), np.empty(PARAMETERS), np.empty((PARAMETERS, PARAMETERS)), 0.0
    gradient[:], curvature[:] = 0, 0
    for number, slot in enumerate(slots):
        n = (2 * reach[slot] + 1) * (reach[slot] + 1)
        g, h = cross[cross_at[slot] : cross_at[slot] + n], power[power_at[slot] : power_at[slot] + n]
        a, b = _sums(theta, g, h, side[slot], reach[slot], u, r, w)
        if number == 0:
            for i in range(PARAMETERS):
                of_flux[i] = -u[i] / a
        flux = b / a
        if not flux > 0:
            continue
        noise = variance[slot] * side[slot] ** 2
        total += 0.5 * b * flux / noise
        for i in range(PARAMETERS):
            gradient[i] += flux / noise * (r[i] - flux * u[i])
            for j in range(PARAMETERS):
                curvature[i, j] += flux**2 / noise * (w[i, j] - u[i] * u[j] / a)
    for k in range(4):
        # The size of the bulge has a prior relative to that of the disc.
        away = (theta[1] - theta[0] if k == 1 else theta[k]) - prior[0, k]
        weight = 1 / prior[1, k] ** 2
        total -= 0.5 * weight * away**2
        gradient[k] -= weight * away
        curvature[k, k] += weight
        if k == 1:
            gradient[0] += weight * away
            curvature[0, 0] += weight
            curvature[0, 1] -= weight
            curvature[1, 0] -= weight
    # A fraction that leaves the fit unchanged has the scatter of one that is anywhere between 0 and 1.
    curvature[4, 4] += 12.0
    return total


@numba.njit(nogil=True, cache=True)
def _bound(theta: np.ndarray, tried: np.ndarray, limits: tuple[float, float]) -> None:
    """Keep a step within bounds, in place."""
    for k in (0, 1):
        tried[k] = min(max(tried[k], limits[0], theta[k] - 1.5), limits[1], theta[k] + 1.5)
    length = np.hypot(tried[2], tried[3])
    if length > MAX_ELLIPTICITY:
        tried[2], tried[3] = tried[2] * MAX_ELLIPTICITY / length, tried[3] * MAX_ELLIPTICITY / length
    tried[4] = min(max(tried[4], 0.0), 1.0)


@numba.njit(nogil=True, cache=True)
def fit_jointly(
    slots: np.ndarray,
    first: np.ndarray,
    spectra: Spectra,
    start: np.ndarray,
    scale: float,
    out: np.ndarray,
    covariance: np.ndarray,
) -> None:
    """Fit disc and bulge together to each of M sources by Levenberg-Marquardt steps.

    Parameters
    ----------
    slots, first, spectra
        As for `dmu4.measurement.profile_fits.fit_profiles`.
    start
        Parameters to begin with [M, `PARAMETERS`].
    scale
        Size of a pixel in arcsec, for the prior.
    out
        Receives [M, 2 x `PARAMETERS` + 1]: the parameters, the derivatives of the logarithm of the flux in the first
        band with respect to them, and half the improvement of chi^2 less the priors.
    covariance
        Receives the covariance of the parameters [M, `PARAMETERS`, `PARAMETERS`].
    """
    prior = np.array(
        [
            [2 * np.log(PRIOR_SIZE[0] / scale), 2 * np.log(PRIOR_RATIO[0]), 0.0, 0.0],
            [2 * PRIOR_SIZE[1], 2 * PRIOR_RATIO[1], PRIOR_ELLIPTICITY, PRIOR_ELLIPTICITY],
        ]
    )
    n = PARAMETERS
    gradient, curvature, of_flux, tried = np.empty(n), np.empty((n, n)), np.empty(n), np.empty(n)
    new_gradient, new_curvature, new_of_flux = np.empty(n), np.empty((n, n)), np.empty(n)
    for i in range(len(start)):
        mine, theta, damping = slots[first[i] : first[i + 1]], start[i].copy(), 1e-2
        limits = (2 * np.log(0.05), 2 * np.log(spectra[4][mine[0]] / 8))
        best = _evaluate(theta, prior, mine, spectra, gradient, curvature, of_flux)
        for _ in range(MAX_STEPS):
            damped_step(gradient, curvature, damping, tried)
            for k in range(n):
                tried[k] += theta[k]
            _bound(theta, tried, limits)
            found = _evaluate(tried, prior, mine, spectra, new_gradient, new_curvature, new_of_flux)
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
        out[i, :n], out[i, n : 2 * n], out[i, 2 * n] = theta, of_flux, best
        invert_symmetric(curvature, covariance[i])
