"""All fluxes of one band at positions and shapes that are the same for every band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dmu4.measurement.apertures import sum_stamps
from dmu4.measurement.error_scale import NoiseFactors
from dmu4.measurement.forced import fit_fluxes, own_overlap, project, subtract_models
from dmu4.measurement.gaap import gaap_weights
from dmu4.measurement.point_sources import classify, point_fluxes
from dmu4.measurement.stamps import Profiles, psf_transforms, render
from dmu4.patches.cube import PatchCube, flat_psf, mean_psf, psf_sigma
from obs_vista.masks import BIT

MIN_FILLED = 0.5
"""A flux with less of its aperture on good pixels is not given."""

SAFE_FILLED = 0.9
"""A flux with less of its aperture on good pixels is given with its flag set."""


@dataclass(frozen=True)
class Flux:
    """One kind of flux of N objects.

    Parameters
    ----------
    value, error
        nJy; NaN where there is no flux. The error contains the correlation of the noise.
    flag
        The flux is missing, or rests on too few or on saturated pixels.
    """

    value: np.ndarray
    error: np.ndarray
    flag: np.ndarray


@dataclass(frozen=True)
class BandFluxes:
    """What one band says about N objects, before the sums over circles and ellipses, which all bands share.

    Parameters
    ----------
    psf, gaap
        Point-source and Gaussian-aperture fluxes.
    model
        Flux of each object's model, 0 where it could not be fitted.
    in_circles, in_kron
        Light of the model, of unit flux, inside the circles [N, circle] and the Kron ellipse [N, 1].
    extendedness
        0, 1 or NaN.
    saturated
        A saturated pixel lies within two pixels of the centre.
    inexact_psf
        The pixel at the centre is INEXACT_PSF.
    depth5
        AB magnitude of a 5-sigma point source.
    input_count
        Images at the position.
    """

    psf: Flux
    gaap: Flux
    model: np.ndarray
    in_circles: np.ndarray
    in_kron: np.ndarray
    extendedness: np.ndarray
    saturated: np.ndarray
    inexact_psf: np.ndarray
    depth5: np.ndarray
    input_count: np.ndarray


def make_flux(value: np.ndarray, error: np.ndarray, filled: np.ndarray, bad: np.ndarray) -> Flux:
    """A flux with its flag: NaN where too little of it was seen, flagged where not quite all was, or it is bad."""
    known = (filled >= MIN_FILLED) & np.isfinite(value) & np.isfinite(error) & (error > 0)
    return Flux(
        value=np.where(known, value, np.nan),
        error=np.where(known, error, np.nan),
        flag=~known | (filled < SAFE_FILLED) | bad,
    )


def sky_variance(variance: np.ndarray, good: np.ndarray, *, box: int = 32) -> np.ndarray:
    """Variance between the sources [y, x]: the lower quartile of the good pixels of each box, NaN in a box of none."""
    ny, nx = variance.shape
    rows, columns = -(-ny // box), -(-nx // box)
    padded = np.full((rows * box, columns * box), np.nan, np.float32)
    padded[:ny, :nx] = np.where(good, variance, np.nan)
    # Every other row and column is enough for a quartile.
    padded, half = padded[::2, ::2], box // 2
    boxes = padded.reshape(rows, half, columns, half).swapaxes(1, 2).reshape(rows, columns, -1)
    # Sorting puts NaN last, so that the quartile of the good pixels can be picked by their number.
    ordered, count = np.sort(boxes, axis=-1), np.isfinite(boxes).sum(axis=-1)
    quartile = np.take_along_axis(ordered, (count // 4)[..., None], axis=-1)[..., 0]
    return np.repeat(np.repeat(quartile, box, axis=0), box, axis=1)[:ny, :nx]


def _depth(planes: dict, psf_power: np.ndarray, factor: float, ix: np.ndarray, iy: np.ndarray) -> np.ndarray:
    """AB magnitude of 5 sigma of a point source, from the variance between the sources."""
    sigma = factor * np.sqrt(sky_variance(planes["variance"], planes["good"])[iy, ix] / psf_power)
    seen = planes["good"][iy, ix] & np.isfinite(sigma) & (sigma > 0)
    return np.where(seen, 31.4 - 2.5 * np.log10(5 * np.where(seen, sigma, 1)), np.nan)


def measure_band(
    cube: PatchCube,
    band: int,
    *,
    profiles: Profiles,
    conics: np.ndarray,
    kron: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    factors: NoiseFactors,
    gaap_sigma: float,
    extended_limit: float,
) -> tuple[BandFluxes, np.ndarray]:
    """Point-source and Gaussian-aperture fluxes of all objects in one band, and what the other apertures need.

    Parameters
    ----------
    cube, band
        All bands, less their residual sky, and the number of this one.
    profiles
        Models of the objects.
    conics, kron
        Circles [N, circle, 3] and Kron ellipses [N, 1, 3] as for `dmu4.measurement.apertures.sum_apertures`.
    pairs
        Overlapping objects, from `dmu4.measurement.forced.find_overlaps`.
    factors
        Of the correlated noise.
    gaap_sigma
        Gaussian aperture in pixels.
    extended_limit
        See `dmu4.measurement.object_shapes.ShapeSettings`.

    Returns
    -------
    fluxes, residual
        What the band says, and its image less all models [y, x].
    """
    image, variance, good = (cube.plane(name, band) for name in ("image", "variance", "good"))
    psf, cell = flat_psf(cube, band), cube.cell_of(x=profiles.x, y=profiles.y)
    if not good.any() or not psf.any():
        return _nothing(len(profiles), conics.shape[1]), np.zeros_like(image)
    models = render(profiles, psf_transforms(psf, profiles.size), cell)
    fitted = fit_fluxes(models, image=image, variance=variance, good=good, pairs=pairs)
    flux = np.nan_to_num(fitted.flux)
    planes = {"residual": subtract_models(image, good, models, flux), "variance": variance, "good": good}
    sigma = psf_sigma(mean_psf(cube, band))
    everyone = np.arange(len(profiles))
    point = point_fluxes(profiles, models, flux, everyone, **planes, psf=psf, cell=cell, sigma=sigma)
    # Unknown neighbours cost the point-source flux what they cost the model's.
    blending = np.divide(fitted.error, fitted.isolated_error, out=np.ones(len(flux)), where=fitted.isolated_error > 0)
    ix, iy = (
        np.clip(np.rint(v).astype(int), 0, n - 1) for v, n in ((profiles.x, cube.shape[1]), (profiles.y, cube.shape[0]))
    )
    mask = cube.plane("mask", band)
    saturated = _near(mask & np.uint16(BIT["SAT"]) != 0)[iy, ix]
    psf_power = np.sum(np.square(psf, dtype=float), axis=(1, 2))[cell]
    covered = np.where(np.isfinite(fitted.flux), fitted.covered, 0)
    errors = factors.psf * point[:, 1] * blending
    fluxes = BandFluxes(
        psf=make_flux(point[:, 0], errors, covered, saturated),
        gaap=_gaap(
            profiles, models, flux, planes, psf=psf, cell=cell, sigma=gaap_sigma, factor=factors.gaap, bad=saturated
        ),
        model=flux,
        in_circles=sum_stamps(models, x=profiles.x, y=profiles.y, conics=conics),
        in_kron=sum_stamps(models, x=profiles.x, y=profiles.y, conics=kron),
        extendedness=classify(point[:, 2], factors.psf * point[:, 3], point[:, 0] / errors, limit=extended_limit),
        saturated=saturated,
        inexact_psf=mask[iy, ix] & np.uint16(BIT["INEXACT_PSF"]) != 0,
        depth5=_depth(planes, psf_power, factors.psf, ix, iy),
        input_count=cube.plane("input_count", band)[iy, ix],
    )
    return fluxes, planes["residual"]


def _near(flagged: np.ndarray) -> np.ndarray:
    return ndimage.maximum_filter(flagged, size=5) if flagged.any() else flagged


def _gaap(profiles, models, flux, planes, *, psf, cell, sigma, factor, bad) -> Flux:
    """Gaussian-aperture fluxes of the objects with their neighbours subtracted."""
    weights, possible = gaap_weights(x=profiles.x, y=profiles.y, psf=psf, cell=cell, sigma=sigma)
    sums = project(weights, **planes)
    own = flux * own_overlap(weights, models)
    filled = np.where(possible, sums[:, 3] / sums[:, 4], 0)
    return make_flux(sums[:, 1] + own, factor * np.sqrt(sums[:, 2]), filled, bad)


def _nothing(n: int, circles: int) -> BandFluxes:
    """The answer of a band without any data."""
    nan, yes = np.full(n, np.nan), np.ones(n, bool)
    empty = Flux(value=nan, error=nan, flag=yes)
    return BandFluxes(
        psf=empty,
        gaap=empty,
        model=np.zeros(n),
        in_circles=np.zeros((n, circles)),
        in_kron=np.zeros((n, 1)),
        extendedness=nan,
        saturated=~yes,
        inexact_psf=~yes,
        depth5=nan,
        input_count=np.zeros(n, np.int32),
    )
