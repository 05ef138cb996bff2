"""Position, shape and morphology of every object, measured in its best band with its neighbours subtracted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dmu4.measurement.adaptive_moments import disc_covariance, measure_shapes, psf_moments
from dmu4.measurement.band_fit import fit_band
from dmu4.measurement.forced import find_overlaps
from dmu4.measurement.kron import KRON_FACTOR, kron_radii
from dmu4.measurement.point_sources import classify, point_fluxes
from dmu4.measurement.stamps import Profiles, make_profiles
from dmu4.patches.cube import PatchCube, flat_psf


@dataclass(frozen=True)
class ShapeSettings:
    """Settings for positions and shapes.

    Attributes
    ----------
    passes
        Number of iterations of modelling all sources, subtracting neighbours, and measuring.
    min_signal_to_noise
        Smallest signal to noise for a shape; fainter objects have a position but the shape of the PSF.
    extended_limit
        Squared intrinsic width relative to that of the PSF above which an object is extended.
    max_shift
        Largest shift of a centre from its peak in each iteration, arcsec.
    """

    passes: int = 2
    min_signal_to_noise: float = 7.0
    extended_limit: float = 0.1
    max_shift: float = 0.4


@dataclass(frozen=True)
class ObjectShapes:
    """Quantities that are measured once for each of N objects.

    Attributes
    ----------
    x, y
        Array positions.
    x_error, y_error
        Errors of the positions in pixels.
    covariance
        Adaptive moments [N, 3] in pixels^2 (xx, yy, xy), PSF not removed.
    failed
        Whether the moments did not converge, or the object is too faint: they are then those of the PSF.
    extendedness
        Morphology: 0 for a point source, 1 for an extended object, NaN if undetermined.
    disc
        Disc model [N, 3] of the extended objects, zero for the others; see `dmu4.measurement.stamps.Profiles`.
    kron
        Kron radius in sigma of the moments.
    """

    x: np.ndarray
    y: np.ndarray
    x_error: np.ndarray
    y_error: np.ndarray
    covariance: np.ndarray
    failed: np.ndarray
    extendedness: np.ndarray
    disc: np.ndarray
    kron: np.ndarray


def first_guess(cube: PatchCube, *, x: np.ndarray, y: np.ndarray, reference: np.ndarray) -> ObjectShapes:
    """Starting values: every object is a point source at its peak, with the moments of the PSF."""
    n = len(x)
    covariance = np.full((n, 3), np.nan)
    cell = cube.cell_of(x=x, y=y)
    for band in range(len(cube.bands)):
        mine = reference == band
        if mine.any():
            covariance[mine] = psf_moments(flat_psf(cube, band))[cell[mine]]
    return ObjectShapes(
        x=np.asarray(x, float),
        y=np.asarray(y, float),
        x_error=np.full(n, np.nan),
        y_error=np.full(n, np.nan),
        covariance=covariance,
        failed=np.ones(n, bool),
        extendedness=np.full(n, np.nan),
        disc=np.zeros((n, 3)),
        kron=np.full(n, KRON_FACTOR * np.sqrt(np.pi / 2)),
    )


def model_profiles(cube: PatchCube, shapes: ObjectShapes) -> Profiles:
    """Profiles of the models of the objects: points, and discs for extended ones."""
    return make_profiles(x=shapes.x, y=shapes.y, covariance=shapes.disc, psf_size=cube.psf.shape[-1])


def measure_objects(
    cube: PatchCube,
    *,
    x: np.ndarray,
    y: np.ndarray,
    reference: np.ndarray,
    inflation: np.ndarray,
    settings: ShapeSettings,
    threads: int = 1,
) -> ObjectShapes:
    """Positions, shapes and morphologies of all objects.

    Parameters
    ----------
    cube
        All bands, minus their residual sky.
    x, y
        Array positions of the peaks.
    reference
        Number of the best band of each object.
    inflation
        Error inflation of point-source fluxes [band]; see `dmu4.measurement.error_scale`.
    settings, threads
        Settings, and number of bands processed in parallel.
    """
    shapes = first_guess(cube, x=x, y=y, reference=reference)
    start = shapes.covariance
    bands = [band for band in range(len(cube.bands)) if np.any(reference == band)]
    for _ in range(settings.passes):
        profiles = model_profiles(cube, shapes)
        task = _Round(cube, shapes, profiles, find_overlaps(profiles), start, inflation, settings)

        def one(band: int, task: _Round = task) -> ObjectShapes:
            return _measure_in(task, band, np.flatnonzero(reference == band))

        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(one, bands))
        merged = {name: getattr(shapes, name).copy() for name in ObjectShapes.__dataclass_fields__}
        for band, result in zip(bands, results, strict=True):
            for name, values in merged.items():
                values[reference == band] = getattr(result, name)
        shapes = ObjectShapes(**merged)
    return shapes


@dataclass(frozen=True)
class _Round:
    """The data common to all bands of one iteration."""

    cube: PatchCube
    shapes: ObjectShapes
    profiles: Profiles
    pairs: tuple[np.ndarray, np.ndarray]
    start: np.ndarray
    inflation: np.ndarray
    settings: ShapeSettings


def _measure_in(task: _Round, band: int, members: np.ndarray) -> ObjectShapes:
    """One iteration in one band, for the objects whose best band it is."""
    shapes, settings, start = task.shapes, task.settings, task.start
    factor, place = task.inflation[band], {"members": members, "x": shapes.x, "y": shapes.y}
    fit = fit_band(task.cube, band, task.profiles, task.pairs)
    point = point_fluxes(task.profiles, fit, members)
    significance = point.flux / (factor * point.error)
    extended = classify(point.excess, factor * point.excess_error, significance, limit=settings.extended_limit)
    adapt = np.zeros(len(shapes.x), bool)
    adapt[members] = significance >= settings.min_signal_to_noise
    max_shift = settings.max_shift / task.cube.pixel_scale
    planes = {"residual": fit.residual, "variance": fit.variance}
    moments = measure_shapes(fit.models, fit.flux, **planes, **place, start=start, adapt=adapt, max_shift=max_shift)
    covariance = np.where(moments.failed[:, None], start[members], moments.covariance)
    has_disc = (extended == 1) & ~moments.failed
    of_all = shapes.covariance.copy()
    of_all[members] = covariance
    return ObjectShapes(
        x=moments.x,
        y=moments.y,
        x_error=factor * moments.x_error,
        y_error=factor * moments.y_error,
        covariance=covariance,
        failed=moments.failed,
        extendedness=extended,
        disc=np.where(has_disc[:, None], disc_covariance(covariance, start[members]), 0),
        kron=kron_radii(fit.models, fit.flux, residual=fit.residual, **place, covariance=of_all),
    )
