"""The simultaneous fit of all objects of a band, on which all measurements of single objects are based."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmu4.measurement.forced import ForcedFluxes, fit_fluxes, subtract_models
from dmu4.measurement.profiles import Profiles
from dmu4.measurement.psf_steps import follow_pixels
from dmu4.measurement.stamps import Kernels, StampSet, render
from dmu4.patches.cube import PatchCube, mean_psf, psf_sigma
from dmu4.patches.look_up import is_saturated, saturated_at

MIN_COVERED, MIN_WINGS = 0.1, 0.01
"""Smallest fraction of the light of an object on usable pixels; the bright wings of a saturated star need less."""


@dataclass(frozen=True)
class BandFit:
    """The models of N objects in one band, and the residual image.

    An object is fitted and subtracted with the PSF of each of its pixels, and then measured as if the PSF at its
    centre were that of all: on the residual plus its ``models``.

    Attributes
    ----------
    models
        Models of unit flux, with the PSF at the centre of each object.
    forced
        Fluxes and errors of the simultaneous fit.
    flux
        Flux of each model, 0 if it could not be fitted [N].
    residual, variance, good
        Image minus all models, variance, and whether a pixel has data [y, x]. In saturated pixels the models stand for
        the image: what remains is zero there.
    usable
        The pixels with data that are not saturated and whose PSF is known [y, x].
    psf
        PSF stamps [PSF, y, x].
    kernels
        The same PSFs, with which models are convolved.
    cell
        Number of the PSF at each object [N].
    inexact
        Whether that PSF is inexact [N]; None if only the PSFs of cells are known.
    saturated
        Whether a saturated pixel lies within two pixels of the centre of each object [N].
    sigma
        Gaussian width of the PSF in pixels, averaged over the cells.
    """

    models: StampSet
    forced: ForcedFluxes
    flux: np.ndarray
    residual: np.ndarray
    variance: np.ndarray
    good: np.ndarray
    usable: np.ndarray
    psf: np.ndarray
    kernels: Kernels
    cell: np.ndarray
    inexact: np.ndarray | None
    saturated: np.ndarray
    sigma: float


def fit_band(cube: PatchCube, band: int, profiles: Profiles, pairs: tuple[np.ndarray, np.ndarray]) -> BandFit:
    """Fit all objects of a band that has data and a PSF.

    Saturated pixels take no part: the flux of a saturated star is that of its wings, so that what is left around it
    does not enter the fluxes and shapes of its neighbours.

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
    psf, centres = cube.psfs[band], {"x": profiles.x, "y": profiles.y}
    core, saturated, cell = is_saturated(cube, band), saturated_at(cube, band, **centres), psf.at(**centres)
    usable = psf.usable(good) & ~core
    enough = np.where(saturated, MIN_WINGS, MIN_COVERED)
    kernels = Kernels(psf.stamps)
    models = render(profiles, kernels, cell)
    exact = follow_pixels(models, profiles, psf)
    forced = fit_fluxes(exact, image=image, variance=variance, good=usable, pairs=pairs, min_covered=enough)
    flux = np.nan_to_num(forced.flux)
    residual = subtract_models(image, good & ~core, exact, flux)
    return BandFit(
        models=models,
        forced=forced,
        flux=flux,
        residual=residual,
        variance=variance,
        good=good,
        usable=usable,
        psf=psf.stamps,
        kernels=kernels,
        cell=cell,
        inexact=psf.inexact_at(**centres),
        saturated=saturated,
        sigma=psf_sigma(mean_psf(cube, band)),
    )
