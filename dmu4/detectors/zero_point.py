"""Photometric calibration of one detector: aperture corrections, and the zero point from reference stars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import sep

from dmu0.robust_statistics import robust_scatter
from obs_vista.photometry import magnitude_of, nanojansky_per_count

APERTURES = (1.0, 1.5, 2.0, 3.0)
"""Radii in arcsec of the apertures for which corrections are stored."""


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
    min_stars: int = 12,
    intrinsic: float = 0.01,
) -> ZeroPoint:
    """The zero point from stars in the reference catalogue.

    Fluxes rather than magnitudes are compared, and stars are selected by their flux on the detector: a limit on the
    signal to noise of the reference, or weights that depend on its noise, would favour upward fluctuations.

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
    min_stars
        Smallest number of stars for a fit.
    intrinsic
        Smallest intrinsic scatter due to colour terms, as a fraction.
    """
    valid = (flux > 0) & np.isfinite(reference) & (reference > 0) & np.isfinite(reference_error) & (reference_error > 0)
    residual = np.full(len(flux), np.nan)
    if valid.sum() < min_stars:
        reason = f"{int(valid.sum())} stars have a reference flux, {min_stars} are needed"
        return ZeroPoint(*header, "header", reason, used=np.zeros(len(flux), bool), residual=residual)
    scale, relative, spread, used = _fit_scale(
        flux, flux_error, reference, reference_error, valid, min_stars=min_stars, intrinsic=intrinsic
    )
    magnitude = magnitude_of(scale)
    residual[valid] = magnitude_of(scale * flux[valid]) - magnitude_of(reference[valid])
    error = 1.0857 * float(np.sqrt(1 / np.sum(1 / relative[used] ** 2))) * max(1.0, spread)
    gradient, gradient_error = _plane(x[used], y[used], residual[used], 1.0857 * relative[used], shape)
    return ZeroPoint(
        magnitude=float(magnitude),
        error=error,
        state="fitted",
        scatter=robust_scatter(residual[used]),
        used=used,
        residual=residual,
        gradient=gradient,
        gradient_error=gradient_error,
    )


class _Scale(NamedTuple):
    """Factor from counts to nJy, with statistics of its fit.

    Attributes
    ----------
    scale
        Flux density of one count in nJy.
    relative
        Expected scatter of each star's factor, as a fraction; NaN for stars that are not valid.
    spread
        Scatter of the factors of the stars used, in units of the expected scatter.
    used
        Whether each star was used.
    """

    scale: float
    relative: np.ndarray
    spread: float
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
    for limit in (10.0, 7.0, 4.0, 0.0):
        chosen = valid & (scale * flux > limit * reference_error)
        if chosen.sum() >= max(min_stars, 20):
            break
    reference_error = _typical_error(flux, reference_error, chosen)
    floor = intrinsic
    used = chosen
    for _ in range(10):
        variance = reference_error**2 + (scale * flux_error) ** 2 + (floor * scale * flux) ** 2
        weight = np.where(used, flux**2 / variance, 0)
        scale = float(np.sum(np.where(used, weight * reference / np.where(used, flux, 1), 0)) / weight.sum())
        deviation = reference / (scale * np.where(valid, flux, np.nan)) - 1
        relative = np.sqrt(variance) / (scale * np.where(valid, flux, np.nan))
        spread = robust_scatter(deviation[used] / relative[used], about=0)
        # colour terms add scatter to the catalogue errors: the floor is increased until residuals agree with errors
        floor = float(np.clip(floor * spread**0.5, intrinsic, 0.1))
        kept = chosen & (np.abs(deviation) < 3.5 * relative * max(1.0, spread))
        if kept.sum() < min_stars or (np.array_equal(kept, used) and abs(spread - 1) < 0.1):
            break
        used = kept
    return _Scale(scale, relative, spread, used)


def _typical_error(flux: np.ndarray, error: np.ndarray, chosen: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """Typical errors of references: the running median of stars of similar flux.

    The quoted error depends on the noisy flux; used as a weight it would bias the mean towards references that
    fluctuated down. An error of more than twice the typical one is kept, since it comes from a different catalogue.
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
