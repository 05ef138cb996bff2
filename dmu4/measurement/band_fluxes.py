"""All fluxes of one band, at positions and with shapes that are the same in every band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmu4.measurement.band_fit import BandFit, fit_band
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.forced import ForcedFluxes
from dmu4.measurement.gaap import model_in_gaap, sum_gaap
from dmu4.measurement.galaxy_fluxes import model_chi2, model_fluxes, neighbour_fraction
from dmu4.measurement.model_light import sum_in_circles, sum_stamps
from dmu4.measurement.point_sources import PointFluxes, classify, point_fluxes
from dmu4.measurement.profiles import Profiles
from dmu4.measurement.structure import Structure
from dmu4.measurement.wings import circle_weights, gaussian_weights, wing_light
from dmu4.patches.cube import FLAG_BIT, PatchCube
from dmu4.patches.look_up import pixel_at
from obs_vista.photometry import magnitude_of

MIN_FILLED = 0.5
"""Smallest fraction of an aperture on good pixels; with less the flux is NaN."""

SAFE_FILLED = 0.9
"""Fraction of an aperture on good pixels below which the flux is flagged."""

SKY_BOX = 32
"""Side in pixels of the boxes in which the variance between sources is measured."""


@dataclass(frozen=True)
class Flux:
    """Fluxes of one type of N objects.

    Attributes
    ----------
    value, error
        Flux and its error in nJy, NaN if missing. The error includes the correlation of the noise.
    flag
        Whether the flux is missing, or is based on too few or on saturated pixels.
    """

    value: np.ndarray
    error: np.ndarray
    flag: np.ndarray


@dataclass(frozen=True)
class CentralPixels:
    """Properties of the pixels at and near the centres of N objects in a band.

    Attributes
    ----------
    saturated
        Whether a saturated pixel lies within two pixels of the centre.
    inexact_psf
        Whether the PSF at the centre is not exact; where only the PSFs of cells are known, whether the pixel at the
        centre is INEXACT_PSF.
    depth5
        AB magnitude of a 5-sigma point source; NaN without data.
    input_count
        Number of images at the position.
    """

    saturated: np.ndarray
    inexact_psf: np.ndarray
    depth5: np.ndarray
    input_count: np.ndarray


@dataclass(frozen=True)
class BandFluxes:
    """Measurements of N objects in one band, before the sums in apertures, which are made for all bands together.

    Attributes
    ----------
    psf, cmodel
        Point-source and disc-and-bulge fluxes.
    gaap
        Fluxes in the Gaussian apertures.
    model
        Flux of the model of each object, 0 if it could not be fitted.
    in_circles, in_kron
        Light of the models of unit flux inside the circles [N, circle] and the Kron ellipse [N, 1].
    circle_fraction
        The same of the circles with the wings of the PSF that the models lack [N, circle].
    extendedness
        Morphology: 0 for a point source, 1 for an extended source, NaN if undetermined.
    excess, excess_error
        Squared width before the seeing and its error in arcsec^2, NaN if unknown.
    neighbours, chi2
        Fraction of the light that belongs to neighbours, and chi^2 per pixel of the models, see
        `dmu4.measurement.galaxy_fluxes`.
    centre
        Properties of the pixels at the centres.
    """

    psf: Flux
    cmodel: Flux
    gaap: tuple[Flux, ...]
    model: np.ndarray
    in_circles: np.ndarray
    in_kron: np.ndarray
    circle_fraction: np.ndarray
    extendedness: np.ndarray
    excess: np.ndarray
    excess_error: np.ndarray
    neighbours: np.ndarray
    chi2: np.ndarray
    centre: CentralPixels


def make_flux(value: np.ndarray, error: np.ndarray, filled: np.ndarray, bad: np.ndarray) -> Flux:
    """Fluxes with flags: NaN if too little of the aperture has data, flagged if part of it has none, or if bad."""
    known = (filled >= MIN_FILLED) & np.isfinite(value) & np.isfinite(error) & (error > 0)
    return Flux(
        value=np.where(known, value, np.nan),
        error=np.where(known, error, np.nan),
        flag=~known | (filled < SAFE_FILLED) | bad,
    )


def sky_variance(variance: np.ndarray, good: np.ndarray, *, box: int = SKY_BOX) -> np.ndarray:
    """Variance between sources in boxes [row, column]: the lower quartile of the good pixels, NaN without any."""
    ny, nx = variance.shape
    rows, columns = -(-ny // box), -(-nx // box)
    # Every other row and column is enough for a quartile.
    half, some = box // 2, np.where(good[::2, ::2], variance[::2, ::2], np.nan)
    padded = np.full((rows * half, columns * half), np.nan, np.float32)
    padded[: some.shape[0], : some.shape[1]] = some
    boxes = padded.reshape(rows, half, columns, half).swapaxes(1, 2).reshape(rows, columns, -1)
    # Sorting puts NaN last, so that the quartile of the good pixels follows from their number.
    ordered, count = np.sort(boxes, axis=-1), np.isfinite(boxes).sum(axis=-1)
    return np.take_along_axis(ordered, (count // 4)[..., None], axis=-1)[..., 0]


def central_pixels(cube: PatchCube, band: int, fit: BandFit, profiles: Profiles, *, inflation: float) -> CentralPixels:
    """Look up masks, depth and number of images at the positions of the objects.

    Parameters
    ----------
    cube, band
        All bands, and the number of this band.
    fit
        Variance and PSF of the band.
    profiles
        Positions of the objects.
    inflation
        Error inflation of point-source fluxes.
    """
    ix, iy = pixel_at(cube, x=profiles.x, y=profiles.y)
    flags = cube.plane("flags", band)
    psf_power = np.sum(np.square(fit.psf, dtype=float), axis=(1, 2))[fit.cell]
    sigma = inflation * np.sqrt(sky_variance(fit.variance, fit.good)[iy // SKY_BOX, ix // SKY_BOX] / psf_power)
    seen = fit.good[iy, ix] & np.isfinite(sigma) & (sigma > 0)
    return CentralPixels(
        saturated=fit.saturated,
        inexact_psf=flags[iy, ix] & FLAG_BIT["INEXACT_PSF"] != 0 if fit.inexact is None else fit.inexact,
        depth5=magnitude_of(np.where(seen, 5 * sigma, np.nan)),
        input_count=cube.plane("input_count", band)[iy, ix].astype(np.int32),
    )


def blending_cost(forced: ForcedFluxes) -> np.ndarray:
    """Ratio of the error of each flux to its error for known neighbours, whatever its model; 1 if there is no error."""
    alone = forced.isolated_error
    return np.divide(forced.error, alone, out=np.ones(len(alone)), where=alone > 0)


def measure_band(
    cube: PatchCube,
    band: int,
    *,
    profiles: Profiles,
    structure: Structure,
    radii: np.ndarray,
    kron: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    inflation: ErrorInflation,
    gaap_sigma: np.ndarray,
    extended_limit: float,
) -> tuple[BandFluxes, np.ndarray]:
    """Point-source and Gaussian-aperture fluxes of all objects in one band, and the data for the other apertures.

    Parameters
    ----------
    cube, band
        All bands, minus their residual sky, and the number of this band.
    profiles
        Profiles of the models.
    structure
        Discs and bulges fitted to the objects.
    radii, kron
        Radii of the circles in pixels, increasing, and Kron ellipses [N, 1, 3] of `dmu4.measurement.apertures`.
    pairs
        Overlapping objects, from `dmu4.measurement.forced.find_overlaps`.
    inflation
        Error inflation due to the correlation of the noise.
    gaap_sigma
        Sigmas of the Gaussian apertures in pixels.
    extended_limit
        Limit for extended sources, see `dmu4.measurement.iterations.ShapeSettings`.

    Returns
    -------
    fluxes, residual
        Measurements of the band, and its image minus all models [y, x].
    """
    if not cube.good[..., band].any() or not cube.psfs[band].stamps.any():
        return _nothing(len(profiles), len(radii), len(gaap_sigma)), np.zeros(cube.shape, np.float32)
    fit = fit_band(cube, band, profiles, pairs)
    centre = central_pixels(cube, band, fit, profiles, inflation=inflation.psf)
    point = point_fluxes(profiles, fit, np.arange(len(profiles)))
    errors = inflation.psf * point.error * blending_cost(fit.forced)
    covered = _covered(fit, centre.saturated)
    cmodel = model_fluxes(profiles, fit, structure, inflation, point=point.flux, point_error=errors)
    fluxes = BandFluxes(
        psf=make_flux(point.flux, errors, covered, centre.saturated),
        cmodel=make_flux(*cmodel, covered, centre.saturated | structure.rejected),
        gaap=_gaap(profiles, fit, gaap_sigma, inflation, bad=centre.saturated),
        model=fit.flux,
        **_in_circles(profiles, fit, radii),
        in_kron=sum_stamps(fit.models, x=profiles.x, y=profiles.y, conics=kron),
        **_sizes(point, errors, inflation, psf=fit.sigma * cube.pixel_scale, limit=extended_limit),
        neighbours=neighbour_fraction(fit),
        chi2=model_chi2(fit),
        centre=centre,
    )
    return fluxes, fit.residual


def _in_circles(profiles: Profiles, fit: BandFit, radii: np.ndarray) -> dict[str, np.ndarray]:
    """Light of the models in circles, without and with the wings that they lack."""
    inside = sum_in_circles(fit.models, x=profiles.x, y=profiles.y, radii=radii)
    wings = wing_light(fit.psf, fit.cell, profiles.size, circle_weights(fit.psf, radii))
    return {"in_circles": inside, "circle_fraction": inside + wings}


def _covered(fit: BandFit, saturated: np.ndarray) -> np.ndarray:
    """Fraction of each object on usable pixels, 0 without a flux; a saturated star, whose flux is that of its wings, is
    flagged for that, and counts as covered."""
    return np.where(saturated, 1, fit.forced.covered) * np.isfinite(fit.forced.flux)


def _sizes(
    point: PointFluxes, error: np.ndarray, inflation: ErrorInflation, *, psf: float, limit: float
) -> dict[str, np.ndarray]:
    """Morphology and squared widths; ``psf`` is the Gaussian width of the PSF in arcsec, ``error`` that of the flux."""
    width_error = inflation.psf * point.excess_error
    return {
        "extendedness": classify(point.excess, width_error, point.flux / error, limit=limit),
        "excess": psf**2 * point.excess,
        "excess_error": psf**2 * width_error,
    }


def _gaap(
    profiles: Profiles, fit: BandFit, sigmas: np.ndarray, inflation: ErrorInflation, *, bad: np.ndarray
) -> tuple[Flux, ...]:
    """Fluxes in Gaussian apertures of the objects with their neighbours subtracted."""
    place = {"x": profiles.x, "y": profiles.y, "psf": fit.psf, "cell": fit.cell}
    fluxes = []
    wings = wing_light(fit.psf, fit.cell, profiles.size, gaussian_weights(fit.psf, sigmas, psf_sigma=fit.sigma))
    for number, (sigma, scale) in enumerate(zip(sigmas, inflation.gaap, strict=True)):
        sums = sum_gaap(fit.residual, fit.variance, fit.good, **place, sigma=sigma)
        # The wings that a model lacks are in the residual image.
        value = sums.flux + fit.flux * (model_in_gaap(profiles, sigma) - wings[:, number])
        fluxes.append(make_flux(value, scale * sums.error, sums.filled, bad))
    return tuple(fluxes)


def _nothing(n: int, circles: int, gaussians: int) -> BandFluxes:
    """The measurements of a band without any data."""
    nan, yes = np.full(n, np.nan), np.ones(n, bool)
    empty = Flux(value=nan, error=nan, flag=yes)
    return BandFluxes(
        psf=empty,
        cmodel=empty,
        gaap=(empty,) * gaussians,
        model=np.zeros(n),
        in_circles=np.zeros((n, circles)),
        in_kron=np.zeros((n, 1)),
        circle_fraction=np.zeros((n, circles)),
        extendedness=nan,
        excess=nan,
        excess_error=nan,
        neighbours=nan,
        chi2=nan,
        centre=CentralPixels(saturated=~yes, inexact_psf=~yes, depth5=nan, input_count=np.zeros(n, np.int32)),
    )
