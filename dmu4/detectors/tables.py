"""Results of the calibration of a detector as tables: the sources, and one row of statistics."""

from __future__ import annotations

from collections.abc import Mapping

import astropy.units as u
import numpy as np
from astropy.table import Table

from dmu4.detectors.calibration import DetectorCalibration, DetectorImage
from dmu4.detectors.reference_stars import References
from obs_vista.cards import optional_number
from obs_vista.masks import BIT


def _table(columns: dict[str, tuple[object, object, str]]) -> Table:
    """A table from name -> (values, unit, description)."""
    table = Table()
    for name, (values, unit, description) in columns.items():
        table[name] = values
        table[name].description = description
        if unit:
            table[name].unit = unit
    return table


def source_table(result: DetectorCalibration, references: References) -> Table:
    """The sources of a detector: positions, fluxes in nJy, shapes, their use in the calibration, and references.

    Parameters
    ----------
    result
        The calibration.
    references
        Reference stars of the calibration.
    """
    sources, fits, count = result.sources, result.fits, len(result.sources)
    scale = result.zero_point.scaling
    x = np.where(np.isfinite(fits.x), fits.x, sources.x)
    y = np.where(np.isfinite(fits.y), fits.y, sources.y)
    sky = result.astrometry.wcs.all_pix2world(np.stack([x, y], axis=1), 0) if count else np.empty((0, 2))
    match = _matches(result, references, count)
    in_psf, held, residuals = np.zeros(count, bool), np.zeros(count, bool), np.full((3, count), np.nan, np.float32)
    in_psf[result.psf_stars], held[result.psf_stars] = result.psf.used, result.psf.reserved
    if len(result.psf_stars):
        residuals[:, result.psf_stars] = result.psf.residuals
    total = result.apertures.psf * scale
    return _table(
        {
            "id": (np.arange(count), None, "number of the source on the detector"),
            "coord_ra": (sky[:, 0], u.deg, "ICRS right ascension, by the refined transformation"),
            "coord_dec": (sky[:, 1], u.deg, "ICRS declination"),
            "x": (x, u.pix, "position, 0 at the centre of the first pixel"),
            "y": (y, u.pix, "position, 0 at the centre of the first pixel"),
            "x_err": (fits.x_error, u.pix, "standard error of x"),
            "y_err": (fits.y_error, u.pix, "standard error of y"),
            "psf_flux": ((fits.flux * total).astype("f4"), u.nJy, "total flux of a point source, by fitting the PSF"),
            "psf_flux_err": ((fits.flux_error * total).astype("f4"), u.nJy, "standard error of psf_flux"),
            "psf_chi2": (fits.chi2.astype("f4"), None, "reduced chi square of the PSF fit"),
            "signal_to_noise": (sources.signal_to_noise.astype("f4"), None, "of the flux in the adaptive Gaussian"),
            "size": (sources.moments.size.astype("f4"), u.pix**2, "adaptive moments: T = Ixx + Iyy"),
            "e1": (sources.moments.e1.astype("f4"), None, "adaptive moments: (Ixx - Iyy) / T"),
            "e2": (sources.moments.e2.astype("f4"), None, "adaptive moments: 2 Ixy / T"),
            "blended": (sources.blended, None, "split from a neighbour, or cut off at the edge"),
            "masked": (sources.masked, None, "the core touches bad, saturated or missing pixels"),
            "point_like": (result.point_like, None, "has the size of the PSF, and is isolated"),
            "psf_used": (in_psf, None, "the PSF was fitted to it"),
            "psf_reserved": (held, None, "held out, to check the PSF"),
            "psf_dt": (residuals[0], None, "dT/T: size of the star over that of the PSF, minus 1"),
            "psf_de1": (residuals[1], None, "e1 of the star minus that of the PSF"),
            "psf_de2": (residuals[2], None, "e2 of the star minus that of the PSF"),
        }
        | match
    )


def _matches(result: DetectorCalibration, references: References, count: int) -> dict[str, tuple[object, object, str]]:
    """Columns about the reference of each source."""
    astrometry, zero = result.astrometry, result.zero_point
    star, reference = astrometry.star, astrometry.reference
    identifier = np.full(count, -1, np.int64)
    numbers = {name: np.full(count, np.nan, np.float32) for name in ("flux", "error", "e0", "n0", "e1", "n1", "dm")}
    in_astrometry, in_zero = np.zeros(count, bool), np.zeros(count, bool)
    if len(star):
        identifier[star] = references.id[reference]
        numbers["flux"][star], numbers["error"][star] = references.flux[reference], references.flux_error[reference]
        numbers["e0"][star], numbers["n0"][star] = astrometry.before.T
        numbers["e1"][star], numbers["n1"][star] = astrometry.after.T
        numbers["dm"][star] = zero.residual
        in_astrometry[star], in_zero[star] = astrometry.used & (astrometry.state == "refined"), zero.used
    return {
        "ref_id": (identifier, None, "the reference star; -1 for none"),
        "ref_flux": (numbers["flux"], u.nJy, "its flux in the band"),
        "ref_flux_err": (numbers["error"], u.nJy, "standard error of ref_flux"),
        "east_before": (numbers["e0"], u.mas, "offset from the reference, by the header's transformation, east"),
        "north_before": (numbers["n0"], u.mas, "the same, north"),
        "east": (numbers["e1"], u.mas, "offset from the reference, by the refined transformation, east"),
        "north": (numbers["n1"], u.mas, "the same, north"),
        "dmag": (numbers["dm"], u.mag, "magnitude minus that of the reference"),
        "astrometry_used": (in_astrometry, None, "in the fit of the transformation"),
        "photometry_used": (in_zero, None, "in the fit of the zero point"),
    }


def summary_table(
    result: DetectorCalibration, given: DetectorImage, header: Mapping, key: Mapping[str, object]
) -> Table:
    """One row with the statistics of a detector.

    Parameters
    ----------
    result, given
        The calibration, and its inputs.
    header
        Header cards of the stack.
    key
        Values of visit, detector, band and mjd.
    """
    columns = {
        "visit": (int(key["visit"]), None, "number of the visit"),
        "detector": (int(key["detector"]), None, "number of the detector"),
        "band": (str(key["band"]), None, "label of the band"),
        "mjd": (float(key["mjd"]), u.d, "MJD (TAI) of the middle of the visit"),
        "status": (result.status, None, "calibrated, or header_solution"),
        "reason": (result.reason, None, "why the solution is that of the header; empty otherwise"),
    }
    columns |= _place(result, given) | _image_statistics(result, header) | _psf_statistics(result, given)
    columns |= _astrometry_statistics(result) | _photometry_statistics(result, given)
    return _table({name: ([value], unit, text) for name, (value, unit, text) in columns.items()})


def _place(result: DetectorCalibration, given: DetectorImage) -> dict[str, tuple[object, object, str]]:
    ny, nx = given.image.shape
    corners = [[-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5], [(nx - 1) / 2, (ny - 1) / 2]]
    sky = result.astrometry.wcs.all_pix2world(corners, 0)
    columns = {
        "nx": (nx, u.pix, "width"),
        "ny": (ny, u.pix, "height"),
        "ra": (float(sky[4, 0]), u.deg, "ICRS right ascension of the centre"),
        "dec": (float(sky[4, 1]), u.deg, "ICRS declination of the centre"),
    }
    for k in range(4):
        columns[f"ra{k}"] = (float(sky[k, 0]), u.deg, f"right ascension of corner {k}")
        columns[f"dec{k}"] = (float(sky[k, 1]), u.deg, f"declination of corner {k}")
    return columns


def _image_statistics(result: DetectorCalibration, header: Mapping) -> dict[str, tuple[object, object, str]]:
    noise, background, mask = result.noise, result.background, result.mask

    def fraction(name: str) -> float:
        return float(((mask & BIT[name]) != 0).mean())

    return {
        "sky_level": (background.level, u.adu, "median of the background"),
        "sky_level_err": (background.level_error, u.adu, "its standard error"),
        "sky_gradient": (background.gradient, u.adu, "largest minus smallest background"),
        "sky_noise": (noise.sigma, u.adu, "median error of an empty pixel after scaling"),
        "sky_noise_header": (optional_number(header, "SKYNOISE"), u.adu, "SKYNOISE of the header"),
        "noise_ratio": (noise.ratio, None, "measured over predicted scatter of empty pixels, before scaling"),
        "noise_ratio_after": (noise.ratio_after, None, "the same after scaling, from different pixels"),
        "no_data_fraction": (fraction("NO_DATA"), None, "fraction of pixels without data"),
        "bad_fraction": (fraction("BAD"), None, "fraction of pixels of low confidence"),
        "saturated_fraction": (fraction("SAT"), None, "fraction of saturated pixels"),
        "cosmic_rays": (int(((mask & BIT["CR"]) != 0).sum()), None, "number of pixels identified as cosmic rays"),
        "n_sources": (len(result.sources), None, "number of sources"),
        "n_stars": (int(result.point_like.sum()), None, "number of point-like, isolated sources"),
    }


def _psf_statistics(result: DetectorCalibration, given: DetectorImage) -> dict[str, tuple[object, object, str]]:
    psf, stars = result.psf, result.psf_stars
    e1, e2 = (
        np.median(values[stars]) if len(stars) else np.nan
        for values in (result.sources.moments.e1, result.sources.moments.e2)
    )
    error = psf.size_residual_error
    return {
        "psf_state": (psf.state, None, "fitted, moffat (few stars) or header (none)"),
        "n_psf_used": (int(psf.used.sum()), None, "number of stars used to fit the PSF"),
        "n_psf_reserved": (int(psf.reserved.sum()), None, "number of stars reserved for the check"),
        "seeing": (result.seeing, u.arcsec, "FWHM of the PSF profile"),
        "seeing_err": (0.5 * result.seeing * (error if np.isfinite(error) else 0.05), u.arcsec, "its standard error"),
        "seeing_header": (given.seeing * result.pixel_scale, u.arcsec, "SEEING of the header"),
        "ellipticity": (float(np.hypot(e1, e2)), None, "median ellipticity of PSF stars"),
        "e1": (float(e1), None, "median e1 of PSF stars"),
        "e2": (float(e2), None, "median e2 of PSF stars"),
        "psf_size_residual": (psf.size_residual, None, "median dT/T of reserved stars"),
        "psf_size_residual_err": (psf.size_residual_error, None, "its standard error"),
        "psf_e1_residual": (psf.e1_residual, None, "median e1 residual of reserved stars"),
        "psf_e2_residual": (psf.e2_residual, None, "median e2 residual of reserved stars"),
        "psf_growth": (result.apertures.growth[0], None, "flux of stars within 4 FWHM over PSF flux"),
        "psf_growth_err": (result.apertures.growth[1], None, "its standard error"),
        "aperture_correction": (result.apertures.psf, None, "total over PSF flux"),
        "aperture_correction_err": (result.apertures.psf_error, None, "its standard error"),
    }


def _astrometry_statistics(result: DetectorCalibration) -> dict[str, tuple[object, object, str]]:
    fit = result.astrometry
    before = fit.before[fit.used] if len(fit.before) and fit.used.any() else np.full((1, 2), np.nan)
    after = fit.after[fit.used] if len(fit.after) and fit.used.any() else np.full((1, 2), np.nan)
    return {
        "astrometry_state": (fit.state, None, "refined, or header"),
        "n_astrometry": (int(fit.used.sum()), None, "reference stars matched and used"),
        "astrometric_scatter": (fit.scatter / 1000, u.arcsec, "robust scatter of one axis about the references"),
        "astrometric_error": (fit.error / 1000, u.arcsec, "standard error of the mean position"),
        "east_before": (float(np.median(before[:, 0])), u.mas, "median offset by the header's transformation, east"),
        "north_before": (float(np.median(before[:, 1])), u.mas, "the same, north"),
        "east": (float(np.median(after[:, 0])), u.mas, "median offset by the refined transformation, east"),
        "north": (float(np.median(after[:, 1])), u.mas, "the same, north"),
        "distortion": (fit.quadratic[0], u.mas, "rms of a quadratic fitted to the residuals"),
        "distortion_noise": (fit.quadratic[1], u.mas, "expected value of the rms from noise alone"),
    }


def _photometry_statistics(result: DetectorCalibration, given: DetectorImage) -> dict[str, tuple[object, object, str]]:
    zero = result.zero_point
    return {
        "zero_point_state": (zero.state, None, "fitted, or header"),
        "n_photometry": (int(zero.used.sum()), None, "reference stars used"),
        "zero_point": (zero.magnitude, u.mag, "AB magnitude of one count"),
        "zero_point_err": (zero.error, u.mag, "its standard error"),
        "zero_point_scatter": (zero.scatter, u.mag, "robust scatter of the stars"),
        "zero_point_header": (given.zero_point[0], u.mag, "AB zero point of the header"),
        "zero_point_gradient_x": (zero.gradient[0], u.mag, "change of the zero point over the detector, in x"),
        "zero_point_gradient_y": (zero.gradient[1], u.mag, "the same, in y"),
        "zero_point_gradient_err": (zero.gradient_error, u.mag, "standard error of either"),
    }
