"""Position, shape and morphology of every object, measured in its best band with its neighbours subtracted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dmu4.measurement.adaptive_moments import disc_covariance, measure_shapes
from dmu4.measurement.band_fit import BandFit, fit_band
from dmu4.measurement.band_fluxes import saturated_at
from dmu4.measurement.companions import Companions, find_companions, near_bright, residual_significance
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.kron import kron_radii
from dmu4.measurement.motion import (
    FLOOR,
    FOLLOWED,
    MIN_SIGNAL_TO_NOISE,
    SURVEYS,
    Motion,
    Shifts,
    combine_shifts,
    link_moved,
    measure_shifts,
    put_links,
    survey_of,
    update_motion,
)
from dmu4.measurement.object_models import ObjectShapes, first_guess, joined, survey_models
from dmu4.measurement.point_sources import classify, point_fluxes
from dmu4.measurement.profiles import Profiles, stamp_size
from dmu4.measurement.reference_band import unsaturated_bands
from dmu4.measurement.spectra import SourceSpectra, source_spectra
from dmu4.measurement.structure import Structure, bands_to_use, fit_structure
from dmu4.patches.cube import PatchCube, mean_psf

MIN_SEEN = 0.7
"""Smallest fraction of the light of an object on good pixels of a band for a fit of its structure there."""

VISIBLE = 2.0
"""Signal to noise in a band below which the last iteration leaves an object out there, unless it is its best band:
nothing is measured on it, and what it adds to its neighbours is no more than noise."""


@dataclass(frozen=True)
class ShapeSettings:
    """Settings for positions and shapes.

    Attributes
    ----------
    passes
        Number of iterations of modelling all sources, subtracting neighbours, and measuring; with one, discs and bulges
        are not fitted.
    min_signal_to_noise
        Smallest signal to noise for a shape; fainter objects have a position but the shape of the PSF.
    extended_limit
        Squared intrinsic width relative to that of the PSF above which an object is extended.
    max_shift
        Largest shift of a centre from its peak in each iteration, arcsec.
    max_motion
        Largest motion in arcsec between the optical and the VISTA images; 0: motions are not measured.
    companions
        Whether companions of stars are searched for after the first of several iterations.
    """

    passes: int = 2
    min_signal_to_noise: float = 7.0
    extended_limit: float = 0.1
    max_shift: float = 0.4
    max_motion: float = 5.0
    companions: bool = True


@dataclass(frozen=True)
class MeasuredObjects:
    """The objects of a patch: their shapes and motions.

    Attributes
    ----------
    shapes
        Quantities measured once per object.
    motion
        Offsets between the surveys.
    home
        Survey of the best band of each object, see `dmu4.measurement.motion.survey_of`.
    kept
        Numbers of the peaks that became the first of these objects.
    companions
        Companions of stars, which are the last of these objects.
    reference
        Number of the band in which each object was measured.
    absorbed
        Pairs (pair, 2) of peaks that are one star; the second, in the VISTA bands, is not a separate object.
    structure
        Discs and bulges fitted to the objects.
    """

    shapes: ObjectShapes
    motion: Motion
    home: np.ndarray
    kept: np.ndarray
    absorbed: np.ndarray
    structure: Structure
    companions: Companions
    reference: np.ndarray


def measure_objects(
    cube: PatchCube,
    *,
    x: np.ndarray,
    y: np.ndarray,
    reference: np.ndarray,
    inflations: Sequence[ErrorInflation],
    settings: ShapeSettings,
    threads: int = 1,
) -> MeasuredObjects:
    """Positions, shapes, morphologies and motions of all objects.

    Parameters
    ----------
    cube
        All bands, minus their residual sky.
    x, y, reference
        Array positions of the peaks, and the number of the best band of each.
    inflations
        Error inflation of each band due to correlated noise.
    settings, threads
        Settings, and number of bands processed in parallel.
    """
    reference = unsaturated_bands(cube, x=x, y=y, reference=reference)
    shapes = first_guess(cube, x=x, y=y, reference=reference)
    kept, absorbed, companions = np.arange(len(x)), np.zeros((0, 2), np.int64), Companions.none(len(cube.bands))
    start, motion = shapes.covariance, Motion.none(len(x))
    surveys, used = np.array([survey_of(band) for band in cube.bands]), np.zeros((0, 0), np.int64)
    visible = np.ones((len(x), len(cube.bands)), bool)
    for number in range(settings.passes):
        task = _Round(cube, shapes, motion, surveys[reference], start, inflations, settings)
        first = number == 0
        if not first and number == settings.passes - 1:
            task.used, task.visible = used, visible
        if first and settings.passes > 1 and settings.companions:
            task.near = near_bright(cube, x=x, y=y, reference=reference)
        results = _measure_round(task, reference, threads)
        shapes = _merge(shapes, reference, results)
        fluxes = _fluxes(results, cube, len(shapes.x))
        companions = _companions(task, shapes, fluxes, results) if first else companions
        used, visible = bands_to_use(*fluxes, reference), _visible(*fluxes, reference)
        if settings.max_motion:
            motion = _follow(task, shapes, results)
        if settings.max_motion and first:
            pairs = _linked(task, shapes, results)
            stay = np.setdiff1d(np.arange(len(shapes.x)), pairs[:, 1])
            motion = put_links(motion, pairs, x=shapes.x, y=shapes.y)
            kept, absorbed = kept[stay], pairs
            shapes, motion = shapes[stay], motion[stay]
            start, reference, used, visible = start[stay], reference[stay], used[stay], visible[stay]
        if len(companions.x) and first:
            more = first_guess(cube, x=companions.x, y=companions.y, reference=companions.reference)
            shapes, motion = joined(shapes, more), joined(motion, Motion.none(len(more.x)))
            start, reference = np.concatenate([start, more.covariance]), np.append(reference, companions.reference)
            used, visible = (np.concatenate(both) for both in zip((used, visible), _bands_of(companions), strict=True))
        # What moved had its flux elsewhere in this iteration.
        visible[motion.used] = True
    structure = _structure(task, results, shapes, threads) if len(task.used) else Structure.none(len(shapes.x))
    return MeasuredObjects(shapes, motion, surveys[reference], kept, absorbed, structure, companions, reference)


def _companions(
    task: _Round, shapes: ObjectShapes, fluxes: tuple[np.ndarray, np.ndarray], results: dict[int, _BandResult]
) -> Companions:
    """Companions of the point sources, from the images minus all models of an iteration, if they were kept."""
    if task.near is None:
        return Companions.none(len(task.cube.bands))
    flux, error = fluxes
    ratio = np.divide(flux, error, out=np.zeros(flux.shape), where=error > 0)
    remains = {band: one.remains for band, one in results.items() if one.remains is not None}
    # They are of no use to the next iteration, which needs the memory.
    results |= {band: one._replace(remains=None) for band, one in results.items()}
    return find_companions(
        task.cube,
        remains,
        task.near,
        x=shapes.x,
        y=shapes.y,
        star=shapes.extendedness == 0,
        height=np.sqrt(np.sum(np.square(np.maximum(np.nan_to_num(ratio), 0)), axis=1)),
        inflations=task.inflations,
    )


def _bands_of(companions: Companions) -> tuple[np.ndarray, np.ndarray]:
    """Bands in which the structure of companions is fitted, and in which they matter, before they have any flux."""
    heights = companions.height, np.ones(companions.height.shape), companions.reference
    return bands_to_use(*heights), _visible(*heights)


def _structure(task: _Round, results: dict[int, _BandResult], shapes: ObjectShapes, threads: int) -> Structure:
    """Discs and bulges of the objects, from their spectra in the last iteration."""
    return fit_structure(
        {band: one.spectra for band, one in results.items() if one.spectra is not None},
        task.used,
        start=shapes.disc,
        inflation=[one.psf for one in task.inflations],
        pixel_scale=task.cube.pixel_scale,
        threads=threads,
    )


def _fluxes(results: dict[int, _BandResult], cube: PatchCube, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors [object, band] of an iteration, NaN in bands that were not measured."""
    values = np.full((2, n, len(cube.bands)), np.nan)
    for band, one in results.items():
        values[0, :, band], values[1, :, band] = one.flux, one.error
    return values[0], values[1]


def _visible(flux: np.ndarray, error: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether an object matters in a band [object, band], from fluxes and errors; see `VISIBLE`."""
    seen = np.divide(flux, error, out=np.zeros(flux.shape), where=error > 0) >= VISIBLE
    seen[np.arange(len(reference)), reference] = True
    return seen


class _BandResult(NamedTuple):
    """Results of one iteration in one band: shapes of its own objects, shifts of bright ones, fluxes of all, spectra,
    and what remains near bright objects (see `dmu4.measurement.companions.residual_significance`)."""

    shapes: ObjectShapes
    members: np.ndarray
    shifts: Shifts
    flux: np.ndarray
    error: np.ndarray
    spectra: SourceSpectra | None
    remains: np.ndarray | None


class _Round:
    """The data common to all bands of one iteration."""

    def __init__(
        self,
        cube: PatchCube,
        shapes: ObjectShapes,
        motion: Motion,
        home: np.ndarray,
        start: np.ndarray,
        inflations: Sequence[ErrorInflation],
        settings: ShapeSettings,
    ) -> None:
        self.cube, self.shapes, self.motion, self.home = cube, shapes, motion, home
        self.start, self.inflations, self.settings = start, inflations, settings
        self.models = survey_models(cube, shapes, motion, home)
        # Pixels at which companions are searched for; None if they are not.
        self.near: np.ndarray | None = None
        # Bands in which the structure of each object is fitted [object, band]; none before the last iteration.
        self.used = np.zeros((0, 0), np.int64)
        # Whether each object is modelled in each band [object, band].
        self.visible = np.ones((len(shapes.x), len(cube.bands)), bool)

    def of(self, members: np.ndarray) -> _Round:
        """The same iteration for some of the objects, by number."""
        part = copy(self)
        part.shapes, part.motion, part.home = self.shapes[members], self.motion[members], self.home[members]
        part.start, part.visible = self.start[members], self.visible[members]
        part.used = self.used[members] if len(self.used) else self.used
        part.models = [models.subset(members) for models in self.models]
        return part


def _measure_round(task: _Round, reference: np.ndarray, threads: int) -> dict[int, _BandResult]:
    """One iteration in all bands that are the best of any object, or in all bands if motions are measured."""
    cube, wanted = task.cube, np.unique(reference)
    seen = cube.good.any(axis=(0, 1)) & cube.psf.any(axis=(1, 2, 3, 4))
    follow = task.settings.max_motion > 0 and len({survey_of(band) for band in cube.bands}) > 1
    bands = [band for band in range(len(cube.bands)) if band in wanted or (follow and seen[band])]
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(lambda band: _measure_visible(task, band, np.flatnonzero(reference == band)), bands)
        return dict(zip(bands, results, strict=True))


def _merge(shapes: ObjectShapes, reference: np.ndarray, results: dict[int, _BandResult]) -> ObjectShapes:
    """The quantities of each object from its best band."""
    merged = {name: getattr(shapes, name).copy() for name in ObjectShapes.__dataclass_fields__}
    for band, result in results.items():
        for name, values in merged.items():
            values[reference == band] = getattr(result.shapes, name)
    return ObjectShapes(**merged)


def _follow(task: _Round, shapes: ObjectShapes, results: dict[int, _BandResult]) -> Motion:
    """The motions after an iteration."""
    n, scale = len(shapes.x), task.cube.pixel_scale
    shifts = {
        survey: combine_shifts(
            [(one.members, one.shifts) for band, one in results.items() if survey_of(task.cube.bands[band]) == survey],
            n,
        )
        for survey in range(len(SURVEYS))
    }
    point = shapes.extendedness == 0
    limits = {"floor": FLOOR / scale, "reach": FOLLOWED / scale}
    return update_motion(task.motion, shifts, home=task.home, point=point, **limits)


def _linked(task: _Round, shapes: ObjectShapes, results: dict[int, _BandResult]) -> np.ndarray:
    """Pairs of objects that are one star, from the fluxes of an iteration."""
    bands = sorted(results)
    flux, error = (np.column_stack([getattr(results[band], name) for band in bands]) for name in ("flux", "error"))
    return link_moved(
        flux,
        error,
        np.array([survey_of(task.cube.bands[band]) for band in bands]),
        x=shapes.x,
        y=shapes.y,
        home=task.home,
        point=shapes.extendedness != 1,
        reach=task.settings.max_motion / task.cube.pixel_scale,
    )


def _measure_visible(task: _Round, band: int, members: np.ndarray) -> _BandResult:
    """The result of `_measure_in` for the objects that matter in a band; the others have no flux."""
    present = np.flatnonzero(task.visible[:, band])
    if len(present) == len(task.visible):
        return _measure_in(task, band, members)
    found = _measure_in(task.of(present), band, np.searchsorted(present, members))
    fluxes = np.full((2, len(task.visible)), np.nan)
    fluxes[:, present] = found.flux, found.error
    spectra = None if found.spectra is None else replace(found.spectra, members=present[found.spectra.members])
    return found._replace(members=present[found.members], flux=fluxes[0], error=fluxes[1], spectra=spectra)


def _measure_in(task: _Round, band: int, members: np.ndarray) -> _BandResult:
    """One iteration in one band: shapes of the objects for which it is the best band, shifts and fluxes of all."""
    shapes, settings, start = task.shapes, task.settings, task.start
    factor, place = task.inflations[band].psf, {"members": members, "x": shapes.x, "y": shapes.y}
    profiles, pairs = task.models[survey_of(task.cube.bands[band])]
    fit = fit_band(task.cube, band, profiles, pairs)
    point = point_fluxes(profiles, fit, members)
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
    measured = ObjectShapes(
        x=moments.x,
        y=moments.y,
        x_error=factor * moments.x_error,
        y_error=factor * moments.y_error,
        xy_covariance=factor**2 * moments.xy_covariance,
        covariance=covariance,
        failed=moments.failed,
        extendedness=extended,
        disc=np.where(has_disc[:, None], disc_covariance(covariance, start[members]), 0),
        kron=kron_radii(fit.models, fit.flux, residual=fit.residual, **place, covariance=of_all),
    )
    bright, shifts = _shifts_in(task, band, fit, profiles, task.inflations[band])
    spectra = _spectra_in(task, fit, profiles, band)
    remains = None
    if task.near is not None:
        remains = residual_significance(fit, mean_psf(task.cube, band), factor, task.near)
    return _BandResult(measured, bright, shifts, fit.forced.flux, factor * fit.forced.error, spectra, remains)


def _spectra_in(task: _Round, fit: BandFit, profiles: Profiles, band: int) -> SourceSpectra | None:
    """Spectra of the objects whose structure is fitted in a band, on stamps with six half-light radii to each side."""
    if not len(task.used):
        return None
    members = np.flatnonzero((task.used == band).any(axis=1) & (np.nan_to_num(fit.forced.covered) > MIN_SEEN))
    disc = profiles.covariance[members]
    side = stamp_size(12 * np.sqrt(np.maximum(disc[:, 0], disc[:, 1])), task.cube.psf.shape[-1])
    return source_spectra(profiles, fit, members, side)


def _shifts_in(
    task: _Round, band: int, fit: BandFit, profiles: Profiles, inflation: ErrorInflation
) -> tuple[np.ndarray, Shifts]:
    """Numbers of the objects that are bright in a band, not saturated there and not known to be extended, and their
    shifts there. A saturated star has no shape that a shift could be measured from, nor have the peaks at its edge."""
    if not task.settings.max_motion:
        nothing = np.zeros(0)
        return np.zeros(0, np.int64), Shifts(nothing, nothing, nothing, nothing)
    bright = np.nan_to_num(fit.forced.flux / (inflation.psf * fit.forced.error)) > MIN_SIGNAL_TO_NOISE
    members = np.flatnonzero(bright & (task.shapes.extendedness != 1))
    members = members[~saturated_at(task.cube, band, x=profiles.x[members], y=profiles.y[members])]
    shifts = measure_shifts(profiles, fit, members)
    return members, shifts._replace(x_error=inflation.shift * shifts.x_error, y_error=inflation.shift * shifts.y_error)
