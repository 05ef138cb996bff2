"""All objects of a band modelled at once: what every measurement of single objects starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmu4.measurement.forced import ForcedFluxes, fit_fluxes, subtract_models
from dmu4.measurement.stamps import Profiles, StampSet, psf_transforms, render
from dmu4.patches.cube import PatchCube, flat_psf, mean_psf, psf_sigma


@dataclass(frozen=True)
class BandFit:
    """The models of N objects in one band, and what they leave of its image.

    Attributes
    ----------
    models
        Models of unit flux.
    forced
        Fluxes and errors of the simultaneous fit.
    flux
        Flux of each model, 0 where it could not be fitted [N].
    residual, variance, good
        Image less all models, variance, and whether a pixel has data [y, x].
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
    """Model all objects of a band that has data and a PSF.

    Parameters
    ----------
    cube, band
        All bands, less their residual sky, and the number of this one.
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
