"""Rendering of point sources and galaxies on a pixel grid as sums of elliptical Gaussians with exact fluxes."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dmu0.galaxy_profiles import BULGE_FRACTION, BULGE_VARIANCE, DISK_FRACTION, DISK_VARIANCE

# Moffat profile of beta = 3.5 and FWHM 1 as three Gaussians: least squares in surface brightness out to 4 FWHM,
# within 0.2 % of the peak. Fractions of the flux, and sigma over FWHM.
PSF_FRACTION = np.array([0.23948456, 0.57921710, 0.18129834])
PSF_SIGMA = np.array([0.33555347, 0.52951495, 0.96590267])


@njit(nogil=True, cache=True)
def add_gaussian(image, x, y, flux, cxx, cxy, cyy, floor):
    """Add one elliptical Gaussian where it exceeds ``floor``.

    Parameters
    ----------
    image
        Image [y, x], changed in place.
    x, y
        Centre in px.
    flux
        Total flux in the unit of the image.
    cxx, cxy, cyy
        Covariance in px^2.
    floor
        Lowest surface brightness that is drawn, in the unit of the image.
    """
    det = cxx * cyy - cxy * cxy
    peak = flux / (2.0 * math.pi * math.sqrt(det))
    if not peak > floor:
        return
    reach = math.sqrt(min(2.0 * math.log(peak / floor), 36.0))
    ny, nx = image.shape
    x_first = max(0, math.ceil(x - reach * math.sqrt(cxx)))
    x_last = min(nx - 1, math.floor(x + reach * math.sqrt(cxx)))
    y_first = max(0, math.ceil(y - reach * math.sqrt(cyy)))
    y_last = min(ny - 1, math.floor(y + reach * math.sqrt(cyy)))
    if x_first > x_last:
        return
    # Along a row the exponent is quadratic, so that each value follows from the last by two multiplications.
    step_ratio = math.exp(-cyy / det)
    for j in range(y_first, y_last + 1):
        dx, dy = x_first - x, j - y
        value = peak * math.exp(-0.5 * (cyy * dx * dx - 2.0 * cxy * dx * dy + cxx * dy * dy) / det)
        ratio = math.exp((-cyy * (dx + 0.5) + cxy * dy) / det)
        for i in range(x_first, x_last + 1):
            image[j, i] += value
            value *= ratio
            ratio *= step_ratio


@njit(nogil=True, cache=True)
def render(image, x, y, flux, bulge_fraction, disk, bulge, psf, floor):
    """Draw sources on an image.

    Parameters
    ----------
    image
        Image [y, x] as float64, changed in place.
    x, y
        Positions in px.
    flux
        Total fluxes in the unit of the image.
    bulge_fraction
        Fraction of the flux in the bulge; negative for a point source.
    disk, bulge
        Covariances (xx, xy, yy) of a Gaussian whose sigma is the half-light radius, px^2, one row per source.
    psf
        Covariances (xx, xy, yy) of a Gaussian whose sigma is the FWHM of the PSF, px^2, one row per source.
    floor
        Lowest surface brightness of a component that is drawn.
    """
    for s in range(len(x)):
        for p in range(len(PSF_FRACTION)):
            scale = PSF_SIGMA[p] ** 2
            pxx, pxy, pyy = scale * psf[s, 0], scale * psf[s, 1], scale * psf[s, 2]
            part = flux[s] * PSF_FRACTION[p]
            if bulge_fraction[s] < 0.0:
                add_gaussian(image, x[s], y[s], part, pxx, pxy, pyy, floor)
                continue
            for k in range(len(DISK_FRACTION)):
                v = DISK_VARIANCE[k]
                amount = part * (1.0 - bulge_fraction[s]) * DISK_FRACTION[k]
                cxx, cxy, cyy = pxx + v * disk[s, 0], pxy + v * disk[s, 1], pyy + v * disk[s, 2]
                add_gaussian(image, x[s], y[s], amount, cxx, cxy, cyy, floor)
            for k in range(len(BULGE_FRACTION)):
                v = BULGE_VARIANCE[k]
                amount = part * bulge_fraction[s] * BULGE_FRACTION[k]
                cxx, cxy, cyy = pxx + v * bulge[s, 0], pxy + v * bulge[s, 1], pyy + v * bulge[s, 2]
                add_gaussian(image, x[s], y[s], amount, cxx, cxy, cyy, floor)


def profile_covariance(
    radius: np.ndarray, axis_ratio: np.ndarray, angle: np.ndarray, sky_to_pixel: np.ndarray
) -> np.ndarray:
    """Covariances (xx, xy, yy) in px^2 of Gaussians whose sigma is the radius along the major axis.

    Parameters
    ----------
    radius
        Radius along the major axis in arcsec.
    axis_ratio
        Ratio of minor to major axis.
    angle
        Position angle of the major axis in deg east of north.
    sky_to_pixel
        2 x 2 matrix from (east, north) in arcsec to (x, y) in px.
    """
    major, minor = radius**2, (radius * axis_ratio) ** 2
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    sky = np.empty((len(radius), 2, 2))
    sky[:, 0, 0] = major * sin**2 + minor * cos**2
    sky[:, 1, 1] = major * cos**2 + minor * sin**2
    sky[:, 0, 1] = sky[:, 1, 0] = (major - minor) * sin * cos
    pixel = sky_to_pixel @ sky @ sky_to_pixel.T
    return np.stack([pixel[:, 0, 0], pixel[:, 0, 1], pixel[:, 1, 1]], axis=1)


def enclosed_fraction(radius: np.ndarray | float, fwhm: float) -> np.ndarray:
    """Fraction of the flux of a round PSF within a radius in the same unit as its FWHM."""
    radius = np.asarray(radius, float)[..., np.newaxis]
    return (PSF_FRACTION * -np.expm1(-0.5 * (radius / (PSF_SIGMA * fwhm)) ** 2)).sum(-1)


def noise_area(fwhm_px: float) -> float:
    """Equivalent noise area of the PSF in px: the variance of an optimal flux over that of a pixel."""
    variance = (PSF_SIGMA * fwhm_px) ** 2
    pairs = np.outer(PSF_FRACTION, PSF_FRACTION) / (2 * np.pi * np.add.outer(variance, variance))
    return float(1 / pairs.sum())
