"""Photometric calibration of one detector: aperture corrections, and the zero point from reference stars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import sep

from dmu0.robust_statistics import robust_scatter
from dmu4.detectors.excess_variance import excess_variance
from obs_vista.photometry import POGSON, magnitude_of, nanojansky_per_count

APERTURES = (1.0, 1.5, 2.0, 3.0)
"""Radii in arcsec of the apertures for which corrections are stored."""

MISFIT_MAX = 0.01
"""Difference from the PSF, as a fraction of the flux, below which a star is always used for the zero point."""

SIGNAL_TO_NOISE = (7.0, 4.0, 0.0)
"""Smallest typical signal to noise of reference fluxes; the next is used if one leaves too few stars.

2MASS calls a band detected above 5 (Skrutskie et al. 2006, AJ 131, 1163), below which noise takes hardly a star of 7.
"""

_SCATTER_MAX = 0.1
# Largest scatter of stars beyond their quoted errors, as a fraction: more would be outliers.


@dataclass(frozen=True)
class ApertureCorrections:
    """Factors that convert fluxes to total fluxes of stars.

    Attributes
    ----------
    psf, psf_error
        Correction of PSF fluxes for the light outside the PSF stamp, and its error.
    apertures
        Radius in arcsec -> (correction, error) for circular apertures.
    growth
        Ratio of the flux in a wide aperture to the PSF flux, measured on bright stars, and its error; a check of the
        wings of the PSF.
    """

    psf: float
    psf_error: float
    apertures: dict[float, tuple[float, float]]
    growth: tuple[float, float]


@dataclass(frozen=True)
class ZeroPoint:
    """The AB magnitude of a total flux of one count on a detector.

    Attributes
    ----------
    magnitude, error
        Zero point and its standard error.
    state
        ``fitted``, or ``header`` if there were too few stars.
    reason
        Reason for using the zero point of the header; empty otherwise.
    scatter
        Robust scatter of the stars used, mag.
    used
        Whether each star was used in the fit.
    residual
        Star minus reference in mag, one value per star; NaN if a flux is not positive.
    gradient, gradient_error
        Change of the zero point across the detector in x and in y, mag, and the error of each.
    """

    magnitude: float
    error: float
    state: str
    reason: str = ""
    scatter: float = np.nan
    used: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    residual: np.ndarray = field(default_factory=lambda: np.empty(0))
    gradient: tuple[float, float] = (np.nan, np.nan)
    gradient_error: float = np.nan

    @property
    def scaling(self) -> float:
        """Flux density of one count in nJy."""
        return nanojansky_per_count(self.magnitude)


def aperture_corrections(
    image: np.ndarray,
    sigma: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    psf_flux: np.ndarray,
    signal_to_noise: np.ndarray,
    wing: float,
    pixel_scale: float,
    fwhm: float,
) -> ApertureCorrections:
    """Corrections to total flux, from the growth of bright, isolated stars.

    The PSF is normalised on its stamp; the light outside is known from its profile, whose wings were measured on stars.
    The fluxes of bright stars in a wide aperture, with a local sky, give the same information with more noise and with
    the light of faint neighbours; they are stored as a check.

    Parameters
    ----------
    image, sigma
        Background-subtracted pixels [y, x] and their errors.
    x, y, psf_flux, signal_to_noise
        Positions, PSF fluxes and signal to noise of the PSF stars.
    wing
        Fraction of the light of the profile outside the PSF stamp.
    pixel_scale
        Pixel size in arcsec.
    fwhm
        Seeing in pixels.
    """
    psf, psf_error = 1 / (1 - wing), 0.002
    order = np.argsort(-signal_to_noise)[:40]
    order = order[signal_to_noise[order] > 50]
    if len(order) < 5:
        return ApertureCorrections(psf, 2 * psf_error, {}, (np.nan, np.nan))
    x, y, psf_flux = x[order], y[order], psf_flux[order]
    data = np.ascontiguousarray(image, np.float32)
    error = np.ascontiguousarray(sigma, np.float32)
    annulus = (5.0 * fwhm, 7.0 * fwhm)
    flux, flux_error, _ = sep.sum_circle(data, x, y, 4.0 * fwhm, err=error, subpix=5, bkgann=annulus)
    growth = _average(flux / psf_flux, flux_error / psf_flux)
    apertures = {}
    for radius in APERTURES:
        inside, inside_error, _ = sep.sum_circle(data, x, y, radius / pixel_scale, err=error, subpix=5)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio, ratio_error = psf * psf_flux / inside, psf * psf_flux * inside_error / inside**2
        apertures[radius] = _average(ratio, ratio_error)
    return ApertureCorrections(psf, psf_error, apertures, growth)


def fit_zero_point(
    *,
    flux: np.ndarray,
    flux_error: np.ndarray,
    reference: np.ndarray,
    reference_error: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    shape: tuple[int, int],
    header: tuple[float, float],
    misfit: np.ndarray | None = None,
    min_stars: int = 12,
    intrinsic: float = 0.01,
) -> ZeroPoint:
    """The zero point from stars in the reference catalogue.

    Fluxes rather than magnitudes are compared, and stars are selected by their flux on the detector and the typical
    error of references of that flux: limits and weights that depend on the noise of single references would bias them.
    The error is that of the weighted mean for the quoted errors and the scatter that they do not explain.

    Parameters
    ----------
    flux, flux_error
        Total fluxes and their errors in counts.
    reference, reference_error
        Reference fluxes and their errors in nJy, in the system of the survey.
    x, y, shape
        Positions of the stars in pixels, and size (ny, nx) of the image, for the gradient.
    header
        Zero point of the header and its error, used if there are too few stars.
    misfit
        Difference between each star and the PSF, see `relative_misfit`; stars that differ much are not used.
    min_stars
        Smallest number of stars for a fit.
    intrinsic
        Smallest scatter of stars beyond their quoted errors, as a fraction, which few stars could not show.
    """
    valid = (flux > 0) & np.isfinite(reference) & (reference > 0) & np.isfinite(reference_error) & (reference_error > 0)
    if misfit is not None:
        valid &= resembles_psf(misfit)
    residual = np.full(len(flux), np.nan)
    if valid.sum() < min_stars:
        reason = f"{int(valid.sum())} stars have a reference flux, {min_stars} are needed"
        return ZeroPoint(*header, "header", reason, used=np.zeros(len(flux), bool), residual=residual)
    scale, relative, excess, used = _fit_scale(
        flux, flux_error, reference, reference_error, valid, min_stars=min_stars, intrinsic=intrinsic
    )
    magnitude = magnitude_of(scale)
    residual[valid] = magnitude_of(scale * flux[valid]) - magnitude_of(reference[valid])
    gradient, gradient_error = _plane(x[used], y[used], residual[used], POGSON * relative[used], shape)
    return ZeroPoint(
        magnitude=float(magnitude),
        error=POGSON * _error_of_mean(relative[used], excess),
        state="fitted",
        scatter=robust_scatter(residual[used]),
        used=used,
        residual=residual,
        gradient=gradient,
        gradient_error=gradient_error,
    )


def relative_misfit(chi2: np.ndarray, flux: np.ndarray, flux_error: np.ndarray) -> np.ndarray:
    """Difference between each source and the fitted PSF beyond the noise, as a fraction of its flux.

    Parameters
    ----------
    chi2
        Reduced chi squares of the fits; NaN counts as a perfect fit.
    flux, flux_error
        Fluxes and their errors, in the same unit.
    """
    beyond = np.sqrt(np.maximum(np.nan_to_num(chi2, nan=1.0) - 1, 0))
    return beyond * flux_error / np.where(flux > 0, flux, np.nan)


def resembles_psf(misfit: np.ndarray) -> np.ndarray:
    """Whether the `relative_misfit` of each star is at most `MISFIT_MAX`, or five times the median, if that is more.

    The PSF fluxes of others, close pairs and stars with defects, are wrong by per cents, which the errors of most
    references would hide; they are too bright, and would bias the mean.
    """
    typical = float(np.nanmedian(misfit)) if np.isfinite(misfit).any() else 0.0
    return misfit <= max(MISFIT_MAX, 5 * typical)


class _Scale(NamedTuple):
    """Factor from counts to nJy, with statistics of its fit.

    Attributes
    ----------
    scale
        Flux density of one count in nJy.
    relative
        Expected scatter of each star's factor, as a fraction; NaN for stars that are not valid.
    excess
        The part of its variance that the known errors do not explain.
    used
        Whether each star was used.
    """

    scale: float
    relative: np.ndarray
    excess: float
    used: np.ndarray


def _fit_scale(
    flux: np.ndarray,
    flux_error: np.ndarray,
    reference: np.ndarray,
    reference_error: np.ndarray,
    valid: np.ndarray,
    *,
    min_stars: int,
    intrinsic: float,
) -> _Scale:
    """Weighted mean of reference over flux of the brighter valid stars, without outliers; see `fit_zero_point`."""
    scale = float(np.median(reference[valid] / flux[valid]))
    # a limit on the quoted error, which follows the noisy flux, would select references that fluctuated down
    reference_error = typical_error(flux, reference_error, valid)
    for limit in SIGNAL_TO_NOISE:
        chosen = valid & (scale * flux > limit * reference_error)
        if chosen.sum() >= max(min_stars, 20):
            break
    flux = np.where(valid, flux, np.nan)
    used, excess = chosen, intrinsic**2
    for _ in range(10):
        known = (reference_error**2 + (scale * flux_error) ** 2) / (scale * flux) ** 2
        factor, variance = reference / (scale * flux), known + excess
        mean = float(np.average(factor[used], weights=1 / variance[used]))
        scale *= mean
        # outliers must not hide in the excess, which is therefore that of the stars without them
        deviation = (factor / mean - 1) / np.sqrt(variance)
        kept = chosen & (np.abs(deviation) < 3.5 * max(1.0, robust_scatter(deviation[used], about=0)))
        if kept.sum() < min_stars or (np.array_equal(kept, used) and abs(mean - 1) < 1e-5):
            break
        # colour terms add scatter to the catalogue errors
        used, excess = kept, excess_variance(factor[kept], known[kept], low=intrinsic**2, high=_SCATTER_MAX**2)
    return _Scale(scale, np.sqrt(variance), excess, used)


def _error_of_mean(sigma: np.ndarray, excess: float) -> float:
    """Standard error of the weighted mean of values of known standard deviations, parts of which were estimated.

    The share of the variance that comes from the estimated ``excess`` makes the mean follow Student's distribution,
    whose variance is nu / (nu - 2), with nu + 1 the effective number of values.
    """
    weight = sigma**-2
    freedom = max(np.sum(weight) ** 2 / np.sum(weight**2) - 1, 3.0)
    share = np.average(excess / sigma**2, weights=weight)
    return float(np.sqrt((1 + share * 2 / (freedom - 2)) / np.sum(weight)))


def typical_error(flux: np.ndarray, error: np.ndarray, chosen: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """Typical errors of references: the running median of stars of similar flux.

    The quoted error depends on the noisy flux; used as a weight it would bias the mean towards references that
    fluctuated down. An error of more than twice the typical one is kept, since it comes from a different catalogue.

    Parameters
    ----------
    flux
        Measured fluxes of the stars.
    error
        Quoted errors of their references.
    chosen
        The stars to be changed, and from which typical errors are taken.
    neighbours
        Number of stars on either side.
    """
    typical = error.copy()
    order = np.flatnonzero(chosen)[np.argsort(flux[chosen])]
    for k, number in enumerate(order):
        median = np.median(error[order[max(0, k - neighbours) : k + neighbours + 1]])
        typical[number] = max(median, error[number] if error[number] > 2 * median else 0.0)
    return typical


def _plane(
    x: np.ndarray, y: np.ndarray, residual: np.ndarray, error: np.ndarray, shape: tuple[int, int]
) -> tuple[tuple[float, float], float]:
    """Slopes of a plane fitted to residuals, across the whole detector, and their error."""
    if len(x) < 10:
        return (np.nan, np.nan), np.nan
    weight = 1 / error
    design = (
        np.stack([np.ones_like(x), (x + 0.5) / shape[1] - 0.5, (y + 0.5) / shape[0] - 0.5], axis=1) * weight[:, None]
    )
    solution = np.linalg.lstsq(design, residual * weight, rcond=None)[0]
    covariance = np.linalg.pinv(design.T @ design)
    return (float(solution[1]), float(solution[2])), float(np.sqrt(0.5 * (covariance[1, 1] + covariance[2, 2])))


def _average(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Weighted mean of the values within 3 sigma of their median, and its error from their scatter."""
    good = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if good.sum() < 3:
        return float("nan"), float("nan")
    values, errors = values[good], np.hypot(errors[good], 0.003)
    kept = np.abs(values - np.median(values)) < 3 * np.maximum(errors, robust_scatter(values))
    weight = errors[kept] ** -2
    mean = np.sum(weight * values[kept]) / weight.sum()
    spread = np.sqrt(np.sum(weight * (values[kept] - mean) ** 2) / max(1, kept.sum() - 1))
    return float(mean), float(max(1.0, spread) / np.sqrt(weight.sum()))
