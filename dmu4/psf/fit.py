"""The point-spread function of one detector: a Piff pixel grid whose nodes vary smoothly over the detector.

The grid has two components. A Moffat profile, fitted to all stars together, describes the wings, where no single star
has enough signal. Cubic splines within two FWHM of the centre describe the deviations from the profile; their
amplitudes are polynomials of the position, whose order depends on the number of stars, and a weak prior pulls them to
zero where they are not constrained. The result is a `piff` object: any software that reads Piff can draw it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from dmu0.robust_statistics import MEDIAN_ERROR, SIGMA_TO_FWHM, robust_scatter
from dmu4.psf.amplitudes import normal_equations, solve_amplitudes
from dmu4.psf.model import GridPsf, Moffat, moffat_grid
from dmu4.psf.moments import adaptive_moments
from dmu4.psf.profile import PixelErrors, adjust_wings, fit_moffat, measure, star_pixels

FEWEST = 3
"""Smallest number of stars for a fit."""

SPLINES_PER_FWHM = 2.5
"""Number of splines per FWHM: the resolution that stars sampled with VISTA's pixels can constrain."""


class ShapeResiduals(NamedTuple):
    """Adaptive moments of stars minus those of the model at the same positions, one value per star; NaN if unknown.

    Attributes
    ----------
    size
        Relative size residual dT/T: size of the star divided by that of the model, minus 1.
    e1, e2
        Differences of the ellipticities.
    """

    size: np.ndarray
    e1: np.ndarray
    e2: np.ndarray


def _unknown(count: int) -> ShapeResiduals:
    return ShapeResiduals(*np.full((3, count), np.nan))


@dataclass(frozen=True)
class PsfFit:
    """A fitted PSF, and how well it describes stars that were not used in the fit.

    Attributes
    ----------
    psf
        The model.
    state
        ``fitted``, ``moffat`` (few stars: a constant profile) or ``header`` (too few stars: a profile with the seeing
        of the header).
    used, reserved
        Whether each star was used in the fit, or reserved for the check.
    fwhm
        Full width at half maximum of the model at the centre of the detector, in pixels.
    size_residual, size_residual_error
        Median dT/T of reserved stars (star minus model), and its error; NaN if there are none.
    e1_residual, e2_residual
        Median ellipticity residuals of reserved stars.
    residuals
        Residuals of all stars, used or reserved.
    """

    psf: GridPsf
    state: str
    used: np.ndarray
    reserved: np.ndarray
    fwhm: float
    size_residual: float = np.nan
    size_residual_error: float = np.nan
    e1_residual: float = np.nan
    e2_residual: float = np.nan
    residuals: ShapeResiduals = field(default_factory=lambda: _unknown(0))


def fit_psf(
    image: np.ndarray,
    errors: PixelErrors,
    *,
    x: np.ndarray,
    y: np.ndarray,
    signal_to_noise: np.ndarray,
    fwhm: float,
    min_stars: int = 8,
    reserve: float = 0.2,
    iterations: int = 3,
) -> PsfFit:
    """Fit the PSF to stars, and check it on reserved stars.

    Parameters
    ----------
    image, errors
        Background-subtracted pixels [y, x] and their errors.
    x, y, signal_to_noise
        Positions and signal to noise of the selected stars.
    fwhm
        Seeing in pixels, from the header or from the stars.
    min_stars
        Smallest number of stars for a spatially varying PSF. With fewer it is a Moffat profile fitted to them; with
        fewer than three it is a profile with the given seeing.
    reserve
        Fraction of the stars reserved for the check: by default every fifth in order of brightness, including the
        brightest.
    iterations
        Number of iterations over grid, positions and fluxes, and outlier rejection.
    """
    count = len(x)
    none, unknown = np.zeros(count, bool), _unknown(count)
    if count < FEWEST:  # two sources of equal size may well be galaxies
        return PsfFit(moffat_grid(Moffat(fwhm), image.shape), "header", none, none, fwhm, residuals=unknown)
    reserved = none.copy()
    if count >= 2 * min_stars:
        every = max(2, round(1 / reserve))
        reserved[np.argsort(-signal_to_noise)[every // 2 :: every]] = True
    used = ~reserved
    moffat = fit_moffat(image, errors, x=x[used], y=y[used], fwhm=fwhm)
    if count < min_stars and not 0.75 < moffat.fwhm / fwhm < 1.33:  # these are not stars: use the header
        return PsfFit(moffat_grid(Moffat(fwhm), image.shape), "header", none, none, fwhm, residuals=unknown)
    psf = moffat_grid(moffat, image.shape)
    state = "moffat"
    if used.sum() >= min_stars:
        psf, used = _fit_grid(image, errors, psf, x=x, y=y, used=used, iterations=2)
        # The wings were compared with a Moffat profile whose core is wrong by a few per cent; that of the grid is not.
        psf = moffat_grid(adjust_wings(image, errors, psf, x=x[used], y=y[used]), image.shape)
        psf, used = _fit_grid(image, errors, psf, x=x, y=y, used=used, iterations=iterations)
        state = "fitted"
    return _check(image, errors, PsfFit(psf, state, used, reserved, moffat.fwhm), x=x, y=y, snr=signal_to_noise)


def polynomial_order(stars: int) -> int:
    """Order of the spatial variation of the PSF: constant below 20 stars, linear below 120, otherwise quadratic."""
    return 0 if stars < 20 else 1 if stars < 120 else 2


def _fit_grid(
    image: np.ndarray,
    errors: PixelErrors,
    start: GridPsf,
    *,
    x: np.ndarray,
    y: np.ndarray,
    used: np.ndarray,
    iterations: int,
) -> tuple[GridPsf, np.ndarray]:
    """Alternate between fitting the grid and the stars' fluxes and positions; outliers are rejected."""
    fwhm = start.moffat.fwhm
    order = polynomial_order(int(used.sum()))
    terms = (order + 1) * (order + 2) // 2
    unit = np.array([1.0] + [0.0] * (terms - 1))  # the Moffat profile is the same everywhere
    psf = replace(start, coefficients=start.coefficients * unit, order=order)
    splines, number, radius = spline_basis(start)
    profile = start.moffat.at(dx=radius, dy=0)
    spread = (0.05 * profile + 0.002 * profile.max()) * start.scale**2
    prior = np.outer(spread**-2, np.where(unit > 0, 1.0, 4.0))
    amplitude = np.zeros((len(radius), terms))
    pixels, stars = star_pixels(image, errors), measure(image, errors, psf, x=x, y=y, fwhm=fwhm)
    for _ in range(iterations):
        used = used & np.isfinite(stars.x_error) & (stars.flux > 0)
        used = _without_outliers(stars.chi2, stars.flux, used)
        index = np.flatnonzero(used)
        basis, chosen = psf.basis(x=x[index], y=y[index]), stars.of(index)
        stamp = int(np.ceil(2.0 * fwhm)) + 2
        positions = (basis, chosen.flux, chosen.x, chosen.y, stamp)
        matrix, vector = normal_equations(pixels, psf.nodes, *positions, splines, number)
        amplitude = amplitude + solve_amplitudes(matrix, vector, basis, prior, amplitude)
        lattice = np.zeros((*number.shape, terms))
        lattice[number >= 0] = amplitude
        updated = np.einsum("ab,cd,bdt->act", splines, splines, lattice, optimize=True) + start.coefficients * unit
        # The nodes must sum to 1 everywhere: the excess is subtracted in proportion to the profile.
        excess = updated.sum(axis=(0, 1)) - unit
        updated -= start.coefficients * excess
        psf = replace(psf, coefficients=updated)
        stars = measure(image, errors, psf, x=stars.x, y=stars.y, fwhm=fwhm)
    return psf, used


def spline_basis(psf: GridPsf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Basis functions of the core of a PSF: cubic B-splines on a square lattice.

    Returns
    -------
    splines
        One-dimensional splines at the nodes of the grid [node, lattice].
    number
        Number of the spline that is the product of two one-dimensional ones [lattice y, lattice x]; -1 for none.
    radius
        Distance of each spline from the centre, in pixels.
    """
    step = psf.moffat.fwhm / SPLINES_PER_FWHM
    reach = int(np.ceil(2.0 * SPLINES_PER_FWHM))
    lattice = step * np.arange(-reach, reach + 1)
    node = psf.scale * (np.arange(psf.size) - psf.size // 2)
    t = np.abs(node[:, None] - lattice) / step
    splines = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0))
    radius = np.hypot(*np.meshgrid(lattice, lattice))
    inside = radius <= 2.0 * psf.moffat.fwhm
    number = np.where(inside, np.cumsum(inside).reshape(inside.shape) - 1, -1)
    return splines, number, radius[inside]


def _without_outliers(chi: np.ndarray, flux: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Stars whose chi square is not far above that of stars of similar flux (bright stars show errors of the model)."""
    if used.sum() < 10:
        return used
    order = np.flatnonzero(used)[np.argsort(flux[used])]
    width = max(5, len(order) // 6)
    expected = np.array([np.median(chi[order[max(0, k - width) : k + width + 1]]) for k in range(len(order))])
    spread = robust_scatter(chi[order] / expected, about=1)
    kept = used.copy()
    kept[order[chi[order] / expected > 1 + max(0.5, 5 * spread)]] = False
    return kept if kept.sum() >= 0.7 * used.sum() else used


def _check(
    image: np.ndarray, errors: PixelErrors, fit: PsfFit, *, x: np.ndarray, y: np.ndarray, snr: np.ndarray
) -> PsfFit:
    """Compare adaptive moments of stars with those of the model drawn at the same positions."""
    fwhm = fit.fwhm
    radius = max(6, round(3 * fwhm))
    sigma = fwhm / SIGMA_TO_FWHM
    middle = adaptive_moments(
        fit.psf.star(x=fit.psf.centre[0], y=fit.psf.centre[1], radius=radius),
        x=np.array([radius + fit.psf.centre[0] - round(fit.psf.centre[0])]),
        y=np.array([radius + fit.psf.centre[1] - round(fit.psf.centre[1])]),
        sigma=sigma,
        radius=radius,
    )
    fwhm_model = SIGMA_TO_FWHM * float(np.sqrt(middle.size[0] / 2))
    stars = measure(image, errors, fit.psf, x=x, y=y, fwhm=fwhm)
    observed = adaptive_moments(image, x=stars.x, y=stars.y, sigma=sigma, radius=radius)
    residuals = _unknown(len(x))
    for k in range(len(x)):
        cx, cy = stars.x[k], stars.y[k]
        if not np.isfinite(cx):
            continue
        stamp = fit.psf.star(x=cx, y=cy, radius=radius)
        start_x, start_y = np.array([radius + cx - round(cx)]), np.array([radius + cy - round(cy)])
        model = adaptive_moments(stamp, x=start_x, y=start_y, sigma=sigma, radius=radius)
        residuals.size[k] = observed.size[k] / model.size[0] - 1
        residuals.e1[k] = observed.e1[k] - model.e1[0]
        residuals.e2[k] = observed.e2[k] - model.e2[0]
    held = fit.reserved & np.isfinite(residuals.size)
    bright = held & (snr > 80)
    held = bright if bright.sum() >= 5 else held
    result = replace(fit, fwhm=fwhm_model, residuals=residuals)
    if held.sum() < 3:
        return result
    size, e1, e2 = (float(np.median(values[held])) for values in residuals)
    return replace(
        result,
        size_residual=size,
        size_residual_error=float(MEDIAN_ERROR * robust_scatter(residuals.size[held]) / np.sqrt(held.sum())),
        e1_residual=e1,
        e2_residual=e2,
    )
