"""The simultaneous fit of all objects of a band, on which all measurements of single objects are based."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmu4.measurement.forced import ForcedFluxes, fit_fluxes, subtract_models
from dmu4.measurement.stamps import Profiles, StampSet, psf_transforms, render
from dmu4.patches.cube import PatchCube, flat_psf, mean_psf, psf_sigma


@dataclass(frozen=True)
class BandFit:
    """The models of N objects in one band, and the residual image.

    Attributes
    ----------
    models
        Models of unit flux.
    forced
        Fluxes and errors of the simultaneous fit.
    flux
        Flux of each model, 0 if it could not be fitted [N].
    residual, variance, good
        Image minus all models, variance, and whether a pixel has data [y, x].
    psf
        PSF stamps [cell, y, x].
    cell
        PSF cell of each object [N].
    sigma
        Gaussian width of the PSF in pixels, averaged over the cells.
    """

    models: StampSet
    forced: ForcedFluxes
    flux: np.ndarray
    residual: np.ndarray
    variance: np.ndarray
    good: np.ndarray
    psf: np.ndarray
    cell: np.ndarray
    sigma: float


def fit_band(cube: PatchCube, band: int, profiles: Profiles, pairs: tuple[np.ndarray, np.ndarray]) -> BandFit:
    """Fit all objects of a band that has data and a PSF.

    Parameters
    ----------
    cube, band
        All bands, minus their residual sky, and the number of this band.
    profiles
        Positions and shapes of the objects.
    pairs
        Overlapping objects, from `dmu4.measurement.forced.find_overlaps`.
    """
    image, variance, good = (cube.plane(name, band) for name in ("image", "variance", "good"))
    psf, cell = flat_psf(cube, band), cube.cell_of(x=profiles.x, y=profiles.y)
    models = render(profiles, psf_transforms(psf, profiles.size), cell)
    forced = fit_fluxes(models, image=image, variance=variance, good=good, pairs=pairs)
    flux = np.nan_to_num(forced.flux)
    residual = subtract_models(image, good, models, flux)
    return BandFit(
        models=models,
        forced=forced,
        flux=flux,
        residual=residual,
        variance=variance,
        good=good,
        psf=psf,
        cell=cell,
        sigma=psf_sigma(mean_psf(cube, band)),
    )
