"""Calibration of one detector image: sky, noise, PSF, astrometry and photometry."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.detectors.astrometry import Astrometry, fit_astrometry, match
from dmu4.detectors.background import Background, fit_background, mask_objects
from dmu4.detectors.mask import detector_mask, find_cosmic_rays
from dmu4.detectors.noise import NO_DATA_VARIANCE, UNMEASURABLE, Noise, pixel_errors, scale_variance
from dmu4.detectors.reference_stars import References
from dmu4.detectors.zero_point import (
    ApertureCorrections,
    ZeroPoint,
    aperture_corrections,
    fit_zero_point,
    relative_misfit,
)
from dmu4.psf.fit import PsfFit, fit_psf
from dmu4.psf.profile import measure
from dmu4.psf.star_fits import StarFits
from dmu4.psf.stars import Sources, find_sources, select_stars
from obs_vista.masks import BIT


class DetectorError(ValueError):
    """A detector image cannot be calibrated; the message gives the reason."""


@dataclass(frozen=True)
class Settings:
    """Settings of the calibration.

    Attributes
    ----------
    mesh
        Size of a cell of the background mesh in pixels.
    detection_threshold
        Detection threshold in sigma of a pixel.
    min_psf_stars, min_reference_stars
        Smallest number of stars for a spatially varying PSF, and for fitting positions and zero point.
    psf_signal_to_noise
        Smallest signal to noise of PSF stars.
    """

    mesh: int = 64
    detection_threshold: float = 3.0
    min_psf_stars: int = 8
    min_reference_stars: int = 12
    psf_signal_to_noise: float = 25.0


@dataclass(frozen=True)
class DetectorImage:
    """The inputs of the calibration of a detector.

    Attributes
    ----------
    image
        Counts [y, x]; pixels without data are NaN or have zero confidence.
    variance
        Predicted variance of the counts.
    confidence
        Confidence map in per cent, or None.
    wcs
        Transformation of the header from pixels to ICRS.
    seeing
        FWHM in pixels, from the header.
    saturation
        Counts at which pixels saturate, with or without the sky as in the image.
    zero_point
        AB zero point of one count and its error, from the header.
    """

    image: np.ndarray
    variance: np.ndarray
    confidence: np.ndarray | None
    wcs: WCS
    seeing: float
    saturation: float
    zero_point: tuple[float, float]


@dataclass(frozen=True)
class DetectorCalibration:
    """A calibrated detector; pixels are still in counts, `zero_point.scaling` converts them to nJy.

    Attributes
    ----------
    image, variance, mask
        Background-subtracted counts, their variance (scaled to the scatter of empty pixels), and mask bits [y, x].
    background
        The subtracted sky.
    noise
        Noise of empty pixels.
    sources, fits
        Sources, and their PSF fits.
    point_like
        Whether each source has the size of a star.
    psf_stars
        Indices of the sources on which the PSF was fitted or checked.
    psf
        The PSF and its check.
    apertures
        Aperture corrections to total flux.
    astrometry, zero_point
        Transformation to the sky, and AB zero point.
    pixel_scale
        Pixel size in arcsec.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    background: Background
    noise: Noise
    sources: Sources
    fits: StarFits
    point_like: np.ndarray
    psf_stars: np.ndarray
    psf: PsfFit
    apertures: ApertureCorrections
    astrometry: Astrometry
    zero_point: ZeroPoint
    pixel_scale: float

    @property
    def seeing(self) -> float:
        """FWHM of the PSF profile in arcsec (`psf.fwhm`, from the moments, is larger because of the wings)."""
        return self.psf.psf.moffat.fwhm * self.pixel_scale

    @property
    def status(self) -> str:
        """``calibrated``, or ``header_solution`` if positions, zero point or PSF were not measured on stars."""
        return "header_solution" if self.reason else "calibrated"

    @property
    def reason(self) -> str:
        """The reason why the status is not ``calibrated``."""
        parts = [f"{name}: {part.reason}" for name, part in self._fits() if part.reason]
        if self.psf.state != "fitted":
            what = "the header's seeing" if self.psf.state == "header" else "one profile everywhere"
            parts.append(f"PSF: {len(self.psf_stars)} stars, {what}")
        return "; ".join(parts)

    def _fits(self) -> tuple[tuple[str, Astrometry | ZeroPoint], ...]:
        return ("astrometry", self.astrometry), ("zero point", self.zero_point)


def calibrate(given: DetectorImage, references: References, settings: Settings) -> DetectorCalibration:
    """Calibrate one detector.

    Raises
    ------
    DetectorError
        If there are too few pixels with data, or their noise cannot be measured.
    """
    image, variance, mask = _usable(given)
    fwhm = given.seeing if np.isfinite(given.seeing) and given.seeing > 0.8 else 2.5
    try:
        background = fit_background(image, mask, fwhm=fwhm, mesh=settings.mesh)
        image = np.where((mask & BIT["NO_DATA"]) != 0, 0, image - background.image()).astype(np.float32)
        noise, variance = scale_variance(image, variance, mask, fwhm=fwhm, sky_noise=background.noise)
    except ValueError as error:
        raise DetectorError(str(error)) from error
    sigma = np.sqrt(variance)
    mask[find_cosmic_rays(image, sigma, fwhm=fwhm) & ((mask & UNMEASURABLE) == 0)] |= BIT["CR"]
    good = (mask & UNMEASURABLE) == 0
    mask[mask_objects(image, good, noise=noise.sigma, fwhm=fwhm, threshold=4.0)] |= BIT["DETECTED"]

    sources = find_sources(image, sigma, mask, fwhm=fwhm, threshold=settings.detection_threshold)
    stars = np.flatnonzero(_psf_stars(sources, given.wcs, references, fwhm, settings))
    errors = pixel_errors(image, variance, mask, background.objects)
    psf = fit_psf(
        image,
        errors,
        x=sources.x[stars],
        y=sources.y[stars],
        signal_to_noise=sources.signal_to_noise[stars],
        fwhm=fwhm if len(stars) < settings.min_psf_stars else _size_to_fwhm(sources, stars),
        min_stars=settings.min_psf_stars,
    )
    fits = measure(image, errors, psf.psf, x=sources.x, y=sources.y, fwhm=psf.fwhm)
    pixel_scale = float(np.mean(proj_plane_pixel_scales(given.wcs)) * 3600)
    apertures = aperture_corrections(
        image,
        sigma,
        x=fits.x[stars],
        y=fits.y[stars],
        psf_flux=fits.flux[stars],
        signal_to_noise=sources.signal_to_noise[stars],
        wing=psf.psf.wing,
        pixel_scale=pixel_scale,
        fwhm=psf.fwhm,
    )
    point_like = find_point_like(sources, fits, psf)
    astrometry, zero_point = _tie_to_references(
        given, references, sources, fits, point_like, apertures, pixel_scale, settings
    )
    return DetectorCalibration(
        image, variance, mask, background, noise, sources, fits, point_like, stars, psf, apertures, astrometry,
        zero_point, pixel_scale,
    )  # fmt: skip


def _usable(given: DetectorImage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, variance and initial mask; pixels without data are 0, with a variance that gives them no weight."""
    mask = detector_mask(given.image, given.confidence, saturation=given.saturation)
    bad_variance = ~(given.variance > 0) | ~np.isfinite(given.variance) | (given.variance >= NO_DATA_VARIANCE)
    mask[bad_variance] |= BIT["NO_DATA"]
    missing = (mask & BIT["NO_DATA"]) != 0
    image = np.where(missing, 0, given.image).astype(np.float32)
    variance = np.where(missing, NO_DATA_VARIANCE, given.variance).astype(np.float32)
    if missing.mean() > 0.95:
        raise DetectorError(f"only {int((~missing).sum())} of {missing.size} pixels have data")
    return image, variance, mask


def find_point_like(sources: Sources, fits: StarFits, psf: PsfFit) -> np.ndarray:
    """Sources that have the size of the PSF within their noise, no mask bits, and hardly any light of neighbours."""
    expected = 2 * (psf.fwhm / SIGMA_TO_FWHM) ** 2
    noise = np.hypot(0.06, 2.5 / np.maximum(sources.signal_to_noise, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.abs(np.log(sources.moments.size / expected)) < 3 * noise
    good = np.isfinite(fits.x_error) & (fits.flux > 0) & ~sources.masked & (sources.neighbour < 0.05)
    return near & good & (sources.signal_to_noise > 10)


def _psf_stars(sources: Sources, wcs: WCS, references: References, fwhm: float, settings: Settings) -> np.ndarray:
    is_reference = np.zeros(len(sources), bool)
    point = np.flatnonzero(references.point_like)
    if len(point):
        positions = replace(
            references.positions,
            ra=references.positions.ra[point],
            dec=references.positions.dec[point],
            error=references.positions.error[point],
        )
        found, _, _ = match(wcs, x=sources.x, y=sources.y, brightness=sources.flux, references=positions)
        is_reference[found] = True
    return select_stars(sources, fwhm=fwhm, min_signal_to_noise=settings.psf_signal_to_noise, is_reference=is_reference)


def _size_to_fwhm(sources: Sources, stars: np.ndarray) -> float:
    """FWHM in pixels from the median size of the stars."""
    return float(SIGMA_TO_FWHM * np.sqrt(np.median(sources.moments.size[stars]) / 2))


def _tie_to_references(
    given: DetectorImage,
    references: References,
    sources: Sources,
    fits: StarFits,
    point_like: np.ndarray,
    apertures: ApertureCorrections,
    pixel_scale: float,
    settings: Settings,
) -> tuple[Astrometry, ZeroPoint]:
    """Positions and zero point from the stars in the reference catalogue."""
    stars, point = np.flatnonzero(point_like), np.flatnonzero(references.point_like)
    shape = given.image.shape
    positions = replace(
        references.positions,
        ra=references.positions.ra[point],
        dec=references.positions.dec[point],
        error=references.positions.error[point],
    )
    # interpolation and the PSF model leave a hundredth of a pixel, however bright the star
    error = np.hypot(0.5 * (fits.x_error[stars] + fits.y_error[stars]), 0.01)
    astrometry = fit_astrometry(
        given.wcs,
        x=fits.x[stars],
        y=fits.y[stars],
        error=error,
        brightness=fits.flux[stars],
        references=positions,
        shape=shape,
        pixel_scale=pixel_scale,
        min_stars=settings.min_reference_stars,
    )
    astrometry = replace(astrometry, star=stars[astrometry.star], reference=point[astrometry.reference])
    star, reference = astrometry.star, astrometry.reference
    zero_point = fit_zero_point(
        flux=fits.flux[star] * apertures.psf,
        flux_error=fits.flux_error[star] * apertures.psf,
        reference=references.flux[reference],
        reference_error=references.flux_error[reference],
        x=fits.x[star],
        y=fits.y[star],
        shape=shape,
        header=given.zero_point,
        misfit=relative_misfit(fits.chi2[star], fits.flux[star], fits.flux_error[star]),
        min_stars=settings.min_reference_stars,
    )
    return astrometry, zero_point
