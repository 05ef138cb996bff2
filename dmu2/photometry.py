"""Total fluxes of point sources from small apertures, with aperture corrections measured on the image itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numba import njit

from dmu0.robust_statistics import MEDIAN_ERROR, robust_scatter
from dmu0.sky.matching import match


@dataclass(frozen=True)
class ApertureCorrection:
    """The ratio of the total flux of a star to that in a small aperture.

    Attributes
    ----------
    factor
        Median ratio of the total flux to the flux in the aperture; NaN if no star could be used.
    error
        Standard error of the factor.
    stars
        Number of stars used.
    """

    factor: float
    error: float
    stars: int


@dataclass(frozen=True)
class StarFluxes:
    """Fluxes of stars in counts.

    Attributes
    ----------
    flux, error
        Total flux and standard error, NaN where the star is off the image or on bad pixels.
    correction
        Aperture correction, which is included in the fluxes.
    """

    flux: np.ndarray
    error: np.ndarray
    correction: ApertureCorrection


MIN_CORRECTION_STARS = 3
"""Smallest number of bright stars on an image for its fluxes to be used."""


def without_neighbours(ra: np.ndarray, dec: np.ndarray, *, distance: float) -> np.ndarray:
    """Whether each source has no other source of the list within a distance in arcsec."""
    return match(ra, dec, ra, dec, radius=distance).candidates == 1


def star_fluxes(
    image: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    fwhm: float,
    saturation: float,
    alone: np.ndarray,
    gain: float | None = None,
    noise: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    radius: float = 1.0,
    total_radius: float = 4.0,
) -> StarFluxes:
    """Aperture photometry of stars at known positions.

    The sky is subtracted with a mesh, the residual sky of each star with an annulus. The flux in a small aperture,
    which has the best signal to noise, is scaled to that in a large one with the median ratio of bright isolated stars.

    Parameters
    ----------
    image
        Counts [y, x], with or without the sky.
    x, y
        Positions in pixels.
    fwhm
        Full width at half maximum of stars in pixels.
    saturation
        Counts, including the sky, above which a star is not used.
    alone
        Whether each star has no neighbours, so that the aperture correction can be measured on it.
    gain
        Electrons per count of this image, for the photon noise of the star; None if ``noise`` includes it.
    noise
        Standard deviation of each pixel [y, x]; None: the measured noise of the sky.
    mask
        Whether each pixel is bad [y, x].
    radius, total_radius
        Radii of the small and the large aperture in units of the FWHM.
    """
    data, bad, sky = _sky_mesh(image, mask, fwhm=fwhm)
    clean = data - sky.back()
    deviation = float(sky.globalrms) if noise is None else np.where(bad, 0, noise).astype(np.float32)
    inside = _inside(x, y, data.shape, total_radius * fwhm)
    at_x, at_y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
    annulus = ((total_radius + 0.5) * fwhm, (total_radius + 2.5) * fwhm)
    local = annulus_medians(clean, bad, at_x, at_y, annulus[0], annulus[1])
    options = {"err": deviation, "mask": bad, "gain": gain, "subpix": 7}
    flux, error, flag = sep.sum_circle(clean, at_x, at_y, radius * fwhm, **options)
    total, total_error, total_flag = sep.sum_circle(clean, at_x, at_y, total_radius * fwhm, **options)
    flux = flux - local * np.pi * (radius * fwhm) ** 2
    total = total - local * np.pi * (total_radius * fwhm) ** 2
    peak = _peaks(data, at_x, at_y)
    good = inside & (flag & ~sep.OBJ_TRUNC == 0) & (flux > 0) & (peak < saturation)
    bright = good & alone & (total_flag == 0) & (total > 30 * total_error)
    correction = _correction(flux[bright], total[bright], total_error[bright])
    factor = np.where(good & (correction.stars >= MIN_CORRECTION_STARS), correction.factor, np.nan)
    return StarFluxes(flux * factor, error * factor, correction)


def _sky_mesh(
    image: np.ndarray, mask: np.ndarray | None, *, fwhm: float
) -> tuple[np.ndarray, np.ndarray, sep.Background]:
    """Pixels (zero if bad), whether each is bad, and the sky mesh of 15 FWHM, which preserves the wings of stars."""
    data = np.ascontiguousarray(image, np.float32)
    bad = ~np.isfinite(data) if mask is None else mask | ~np.isfinite(data)
    data = np.where(bad, np.float32(0), data)
    mesh = int(np.clip(15 * fwhm, 32, 128))
    return data, bad, sep.Background(data, mask=bad, bw=mesh, bh=mesh)


def stellar_fwhm(image: np.ndarray, *, x: np.ndarray, y: np.ndarray, guess: float, mask: np.ndarray) -> float:
    """Full width at half maximum (px) of stars: twice the median radius that contains half of their light.

    For a Gaussian the two are equal; because of the wings of real stars the result is slightly too large, which is
    harmless for an aperture. The guess is returned if no star is bright enough.
    """
    data = np.ascontiguousarray(np.where(mask | ~np.isfinite(image), 0, image), np.float32)
    sky = sep.Background(data, mask=mask)
    inside = _inside(x, y, data.shape, 8 * guess)
    x, y = x[inside], y[inside]
    flux, error, flag = sep.sum_circle(data - sky.back(), x, y, 4 * guess, err=sky.globalrms, mask=mask)
    good = (flag == 0) & (flux > 50 * error)
    if good.sum() < MIN_CORRECTION_STARS:
        return guess
    radius, flag = sep.flux_radius(
        data - sky.back(), x[good], y[good], np.full(good.sum(), 4 * guess), 0.5, normflux=flux[good], mask=mask
    )
    return float(2 * np.median(radius[flag == 0])) if (flag == 0).any() else guess


def _inside(x: np.ndarray, y: np.ndarray, shape: tuple[int, int], margin: float) -> np.ndarray:
    """Whether positions are at least a margin (px) from the edges."""
    return (x > margin) & (y > margin) & (x < shape[1] - 1 - margin) & (y < shape[0] - 1 - margin)


@njit(cache=True, nogil=True)
def annulus_medians(image, bad, x, y, inner, outer):  # pragma: no cover - compiled
    """Median of the good pixels of the annulus around each position, zero if it has fewer than ten.

    Parameters
    ----------
    image, bad
        Counts, and whether a pixel is bad [y, x].
    x, y
        Positions in pixels.
    inner, outer
        Radii of the annulus in pixels.
    """
    ny, nx = image.shape
    medians = np.zeros(x.size)
    values = np.empty(int(np.ceil(4 * (outer + 1) ** 2)))
    for k in range(x.size):
        number = 0
        for j in range(max(int(y[k] - outer), 0), min(int(y[k] + outer) + 2, ny)):
            for i in range(max(int(x[k] - outer), 0), min(int(x[k] + outer) + 2, nx)):
                squared = (i - x[k]) ** 2 + (j - y[k]) ** 2
                if inner**2 <= squared <= outer**2 and not bad[j, i]:
                    values[number] = image[j, i]
                    number += 1
        if number >= 10:
            medians[k] = np.median(values[:number])
    return medians


def _peaks(data: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The brightest of the 3 x 3 pixels around each position."""
    row = np.clip(np.round(y).astype(int), 1, data.shape[0] - 2)
    column = np.clip(np.round(x).astype(int), 1, data.shape[1] - 2)
    return np.max([data[row + j, column + i] for j in (-1, 0, 1) for i in (-1, 0, 1)], axis=0)


def _correction(flux: np.ndarray, total: np.ndarray, total_error: np.ndarray) -> ApertureCorrection:
    """Median ratio of the two apertures over the brightest stars."""
    if len(flux) == 0:
        return ApertureCorrection(np.nan, np.nan, 0)
    # The thirty brightest have the smallest noise; more would only add blends.
    best = np.argsort(total_error / total)[:30]
    ratio = total[best] / flux[best]
    middle = float(np.median(ratio))
    spread = robust_scatter(ratio, about=middle)
    return ApertureCorrection(middle, MEDIAN_ERROR * spread / np.sqrt(len(best)), len(best))
