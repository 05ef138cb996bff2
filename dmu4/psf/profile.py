"""The profile of the stars of a detector: a Moffat profile with wings measured on the brightest stars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from dmu0.robust_statistics import robust_scatter
from dmu4.psf.model import WING_KNOTS, GridPsf, Moffat, moffat_grid
from dmu4.psf.star_fits import StarFits, StarPixels, fit_stars

ERROR_FLOOR = 0.01
"""Smallest error of a pixel as a fraction of the star's light, so that a few bright stars do not dominate the fit."""


FAINTEST_NEIGHBOUR = 1e-3
"""Flux relative to a star from which on the light of another star is subtracted around it. In dense fields others
brighten the sky that is taken for a star's own; its wings, and all fluxes, would come out too faint by 0.7%."""


WING_STEP = 0.1
"""Change of the ratio of wings to model from one radius to the next, one sigma of the prior."""


@dataclass(frozen=True)
class PixelErrors:
    """The components of the pixel errors.

    Attributes
    ----------
    sky
        Variance of the empty sky [y, x]; infinite for pixels to be ignored.
    slope
        Variance per unit of the source's light (1/gain for one exposure); 0 if unknown.
    """

    sky: np.ndarray
    slope: float


def measure(
    image: np.ndarray,
    errors: PixelErrors,
    psf: GridPsf,
    *,
    x: np.ndarray,
    y: np.ndarray,
    fwhm: float,
    error_floor: float = ERROR_FLOOR,
) -> StarFits:
    """PSF flux and position of each source.

    Fluxes refer to a PSF whose pixels sum to 1, the normalisation of LSST images; the interpolant deviates by 1e-3.

    Parameters
    ----------
    image, errors
        Background-subtracted pixels [y, x] and their errors.
    psf
        The PSF.
    x, y
        Starting positions in pixels.
    fwhm
        Seeing in pixels; pixels within 1.8 times this are fitted, and positions move by at most half of it.
    error_floor
        See `StarPixels`.
    """
    fits = fit_stars(
        star_pixels(image, errors, error_floor=error_floor),
        psf.nodes,
        psf.basis(x=x, y=y),
        x=x,
        y=y,
        radius=max(4, round(1.8 * fwhm)),
        iterations=5,
        max_shift=max(1.0, 0.5 * fwhm),
    )
    return fits._replace(flux=fits.flux * psf.pixel_sum, flux_error=fits.flux_error * psf.pixel_sum)


def star_pixels(image: np.ndarray, errors: PixelErrors, *, error_floor: float = ERROR_FLOOR) -> StarPixels:
    """An image and its errors in the form used by the kernels."""
    planes = (np.ascontiguousarray(plane, np.float32) for plane in (image, errors.sky))
    return StarPixels(*planes, float(errors.slope), float(error_floor))


def fit_moffat(image: np.ndarray, errors: PixelErrors, *, x: np.ndarray, y: np.ndarray, fwhm: float) -> Moffat:
    """The best-fitting profile of the stars: a Moffat profile with correction factors for its wings.

    Only the thirty brightest stars are used, because they constrain the wings. Each has its own flux, position and
    local sky. All radii are multiples of the seeing; a second iteration uses the seeing found in the first, so that the
    profile does not depend on the initial guess.
    """
    profile = Moffat(fwhm)
    for _ in range(2):
        rough = moffat_grid(Moffat(profile.fwhm), image.shape)
        fitted = measure(image, errors, rough, x=x, y=y, fwhm=profile.fwhm)
        pixels = _star_pixels(image, errors, fitted, rough)
        if pixels is None:
            return profile
        profile = _fit_profile(pixels, fwhm=profile.fwhm)
    return profile


class _StarPixels(NamedTuple):
    """Pixels of stars: offsets from the star, value over its flux, one over the error of that, and the model."""

    dx: np.ndarray
    dy: np.ndarray
    value: np.ndarray
    weight: np.ndarray
    model: np.ndarray


def _fit_profile(pixels: _StarPixels, *, fwhm: float) -> Moffat:
    """A Moffat profile for the core of the stars, then correction factors for its wings."""
    core = np.hypot(pixels.dx, pixels.dy) <= max(5, 2.5 * fwhm)
    dx, dy, value, weight, _ = (column[core] for column in pixels)

    def residual(p: np.ndarray) -> np.ndarray:
        return (value - p[4] * Moffat(p[0], p[1], p[2], p[3]).at(dx=dx, dy=dy)) * weight

    bounds = ([0.5 * fwhm, 1.8, -0.4, -0.4, 0.5], [2.5 * fwhm, 9.0, 0.4, 0.4, 2.0])
    solution = least_squares(residual, [fwhm, 3.0, 0, 0, 1.0], bounds=bounds, loss="soft_l1", f_scale=3.0, max_nfev=25)
    *shape, amplitude = (float(value) for value in solution.x)
    moffat = Moffat(*shape)
    model = amplitude * moffat.at(dx=pixels.dx, dy=pixels.dy)
    return replace(moffat, wings=_wing_factors(moffat, pixels._replace(model=model)))


def adjust_wings(image: np.ndarray, errors: PixelErrors, psf: GridPsf, *, x: np.ndarray, y: np.ndarray) -> Moffat:
    """The profile of a fitted grid, with wings measured on stars relative to the core of the grid."""
    fitted = measure(image, errors, psf, x=x, y=y, fwhm=psf.moffat.fwhm)
    pixels = _star_pixels(image, errors, fitted, psf)
    if pixels is None:
        return psf.moffat
    factors = np.multiply(psf.moffat.wings or 1.0, _wing_factors(psf.moffat, pixels))
    return replace(psf.moffat, wings=tuple(float(factor) for factor in factors))


def _star_pixels(
    image: np.ndarray, errors: PixelErrors, fitted: StarFits, psf: GridPsf, count: int = 30
) -> _StarPixels | None:
    """Pixels of the brightest stars, out to 5 FWHM, less the light of the other stars.

    The local sky of each star is measured at 7 to 10 FWHM, where it has hardly any light; nearer, the wings contribute.
    """
    fwhm = psf.moffat.fwhm
    radius = max(12, round(10 * fwhm))
    offset = np.arange(-radius, radius + 1)
    parts = []
    for k in np.argsort(-np.nan_to_num(fitted.flux))[:count]:
        flux, cx, cy = fitted.flux[k] / psf.pixel_sum, fitted.x[k], fitted.y[k]
        if not flux > 0:
            continue
        xi, yi = round(cx) + offset, round(cy) + offset
        xi, yi = xi[(xi >= 0) & (xi < image.shape[1])], yi[(yi >= 0) & (yi < image.shape[0])]
        cut = slice(yi[0], yi[-1] + 1), slice(xi[0], xi[-1] + 1)
        others = _light_of_others(fitted, psf.moffat, k, columns=xi, rows=yi)
        value, sky = (image[cut] - others / psf.pixel_sum) / flux, errors.sky[cut] / flux**2
        dx, dy = np.meshgrid(xi - cx, yi - cy)
        distance = np.hypot(dx, dy)
        good = np.isfinite(sky)
        around = good & (distance > 7 * fwhm)
        own = psf.moffat.at(dx=dx[around], dy=dy[around]) / psf.pixel_sum
        local_sky = _clipped_mean(value[around] - own) if around.sum() > 50 else 0.0
        good &= distance <= 5 * fwhm
        model = psf.draw(x=cx, y=cy, left=xi[0], bottom=yi[0], shape=value.shape)
        error = np.sqrt(sky + errors.slope / flux * np.maximum(model, 0) + (0.02 * model) ** 2)
        parts.append((dx[good], dy[good], value[good] - local_sky, 1 / error[good], model[good]))
    if not parts:
        return None
    return _StarPixels(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _light_of_others(
    stars: StarFits, moffat: Moffat, star: int, *, columns: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Light [y, x] of the stars around a star that are brighter than `FAINTEST_NEIGHBOUR`."""
    distance = np.hypot(stars.x - stars.x[star], stars.y - stars.y[star])
    near = (distance < 17 * moffat.fwhm) & (stars.flux > FAINTEST_NEIGHBOUR * stars.flux[star])
    near[star] = False
    light = np.zeros((len(rows), len(columns)))
    for x, y, flux in zip(stars.x[near], stars.y[near], stars.flux[near], strict=True):
        light += flux * moffat.at(dx=columns - x, dy=(rows - y)[:, None])
    return light


def _clipped_mean(values: np.ndarray) -> float:
    """Mean of the values within 2.5 sigma: the sky is averaged in the same way as the rings of the wings."""
    middle = float(np.median(values))
    spread = robust_scatter(values, about=middle)
    for _ in range(4):
        middle = float(values[np.abs(values - middle) <= 2.5 * spread].mean())
    return middle


def _wing_factors(moffat: Moffat, pixels: _StarPixels) -> tuple[float, ...]:
    """Ratio of the wings of stars to those of their model at `WING_KNOTS`.

    The ratio is a mean over each ring, clipped to exclude neighbours; a prior pulls uncertain values to that of the
    ring within: where the wings are lost in the noise they go on like those that are not.
    """
    radius = np.sqrt(np.maximum(moffat.radius2(dx=pixels.dx, dy=pixels.dy), 0)) / moffat.fwhm
    factors = [1.0]
    for knot in WING_KNOTS[1:]:
        ring = np.abs(radius - knot) < 0.25
        d, m, w = pixels.value[ring], pixels.model[ring], pixels.weight[ring]
        factor, kept = 1.0, np.ones(len(d), bool)
        for _ in range(6):
            information = np.sum((w * m)[kept] ** 2) + 1 / WING_STEP**2
            factor = (np.sum((w**2 * m * d)[kept]) + factors[-1] / WING_STEP**2) / information
            kept = np.abs((d - factor * m) * w) < 2.5
        factors.append(float(np.clip(factor, 0.0, 10.0)))
    return tuple(factors)
