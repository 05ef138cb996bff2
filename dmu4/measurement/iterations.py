"""One iteration of the measurement of objects: all are modelled in each band, then each is measured in its best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from dmu4.measurement.adaptive_moments import disc_covariance, measure_shapes
from dmu4.measurement.band_fit import BandFit, fit_band
from dmu4.measurement.companions import residual_significance
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.kron import kron_radii
from dmu4.measurement.motion import MIN_SIGNAL_TO_NOISE, Motion, Shifts, measure_shifts, survey_of
from dmu4.measurement.object_models import ObjectShapes, SurveyModels, first_guess, joined, survey_models
from dmu4.measurement.point_sources import classify, point_fluxes
from dmu4.measurement.profiles import Profiles, stamp_size
from dmu4.measurement.spectra import SourceSpectra, source_spectra
from dmu4.measurement.structure import BANDS_USED, Structure
from dmu4.measurement.wings import psf_sides
from dmu4.patches.cube import PatchCube, mean_psf
from dmu4.patches.look_up import beside_saturated

MAX_EXCESS = 10.0
"""Largest squared width, in units of that of the PSF, of a disc whose moments are unknown."""

MIN_SEEN = 0.7
"""Smallest fraction of the light of an object on good pixels of a band for a fit of its structure there."""


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
        Whether companions of stars and galaxies are searched for after the first of several iterations.
    """

    passes: int = 2
    min_signal_to_noise: float = 7.0
    extended_limit: float = 0.1
    max_shift: float = 0.4
    max_motion: float = 5.0
    companions: bool = True


@dataclass(frozen=True)
class ObjectState:
    """What is known of N objects before an iteration.

    Attributes
    ----------
    shapes, motion, structure
        Positions and shapes, motions between the surveys, and discs and bulges where they have been fitted.
    start
        Moments of the PSF of each object [N, 3].
    reference
        Number of the best band of each.
    used
        Numbers of the bands in which the structure of each is fitted [N, `BANDS_USED`], -1: none.
    visible
        Whether each matters in a band [N, band]; in the others it is not modelled.
    clear
        Whether each is beyond reach of other saturated stars [N]; what these leave would look like a motion.
    psf_side
        Side in pixels of the part of the PSF that the model of each needs in each band [N, band].
    """

    shapes: ObjectShapes
    motion: Motion
    structure: Structure
    start: np.ndarray
    reference: np.ndarray
    used: np.ndarray
    visible: np.ndarray
    clear: np.ndarray
    psf_side: np.ndarray

    def __len__(self) -> int:
        return len(self.reference)

    def __getitem__(self, members: np.ndarray) -> ObjectState:
        """Some of the objects, by number."""
        return ObjectState(*(getattr(self, one.name)[members] for one in fields(self)))

    def followed_by(self, other: ObjectState) -> ObjectState:
        """These objects, then others."""
        arrays = ("start", "reference", "used", "visible", "clear", "psf_side")
        return ObjectState(
            shapes=joined(self.shapes, other.shapes),
            motion=joined(self.motion, other.motion),
            structure=joined(self.structure, other.structure),
            **{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in arrays},
        )


def first_state(
    cube: PatchCube, *, x: np.ndarray, y: np.ndarray, reference: np.ndarray, settings: ShapeSettings
) -> ObjectState:
    """Point sources at peaks, given the number of the best band of each."""
    n, shapes, bands = len(x), first_guess(cube, x=x, y=y, reference=reference), range(len(cube.bands))
    return ObjectState(
        shapes=shapes,
        motion=Motion.none(n),
        structure=Structure.none(n),
        start=shapes.covariance,
        reference=np.asarray(reference),
        used=np.full((n, BANDS_USED), -1),
        visible=np.ones((n, len(bands)), bool),
        clear=~beside_saturated(cube, x=x, y=y, reach=settings.max_motion / cube.pixel_scale),
        psf_side=np.column_stack([psf_sides(cube, band, x=x, y=y) for band in bands]),
    )


class BandResult(NamedTuple):
    """Results of one iteration in one band.

    Attributes
    ----------
    shapes
        Shapes of the objects for which it is the best band.
    members, shifts
        Numbers of bright objects, and their shifts.
    flux, error
        Fluxes of all objects in the simultaneous fit, NaN where there are none.
    spectra
        Spectra of the objects whose structure is to be fitted; None if none is.
    """

    shapes: ObjectShapes
    members: np.ndarray
    shifts: Shifts
    flux: np.ndarray
    error: np.ndarray
    spectra: SourceSpectra | None


@dataclass(frozen=True)
class Iteration:
    """What is common to all bands of one iteration.

    Attributes
    ----------
    cube
        All bands, minus their residual sky.
    state
        What is known of the objects.
    home
        Survey of the best band of each, see `dmu4.measurement.motion.survey_of`.
    models
        Models of all objects in each survey.
    inflations, settings
        Error inflation of each band due to correlated noise, and settings.
    structure
        Whether the spectra of the objects are wanted in the bands in which they are used.
    """

    cube: PatchCube
    state: ObjectState
    home: np.ndarray
    models: Sequence[SurveyModels]
    inflations: Sequence[ErrorInflation]
    settings: ShapeSettings
    structure: bool

    def of(self, members: np.ndarray) -> Iteration:
        """The same iteration for some of the objects, by number."""
        models = [one.subset(members) for one in self.models]
        return replace(self, state=self.state[members], home=self.home[members], models=models)


def begin(
    cube: PatchCube,
    state: ObjectState,
    inflations: Sequence[ErrorInflation],
    settings: ShapeSettings,
    *,
    structure: bool = False,
) -> Iteration:
    """An iteration whose models follow from what is known; the parameters are attributes of `Iteration`."""
    home = np.array([survey_of(band) for band in cube.bands])[state.reference]
    models = survey_models(state.shapes, state.motion, home, state.psf_side, state.structure)
    return Iteration(cube, state, home, models, inflations, settings, structure)


def measure_bands(task: Iteration, threads: int) -> dict[int, BandResult]:
    """One iteration in all bands that are the best of any object, or in all bands if motions are measured.

    Parameters
    ----------
    task
        The iteration.
    threads
        Number of bands measured at once.

    Returns
    -------
    dict
        Number of a band -> its results.
    """
    cube, reference = task.cube, task.state.reference
    wanted, seen = np.unique(reference), _with_data(cube)
    follow = task.settings.max_motion > 0 and len({survey_of(band) for band in cube.bands}) > 1
    bands = [band for band in range(len(cube.bands)) if band in wanted or (follow and seen[band])]
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(lambda band: _measure_visible(task, band, np.flatnonzero(reference == band)), bands)
        return dict(zip(bands, results, strict=True))


def _with_data(cube: PatchCube) -> np.ndarray:
    """Whether each band has data and a PSF [band]."""
    return cube.good.any(axis=(0, 1)) & [psf.stamps.any() for psf in cube.psfs]


def what_remains(task: Iteration, pixels: np.ndarray, threads: int) -> dict[int, np.ndarray]:
    """Signal to noise of point sources in the images minus all models, at some pixels.

    Parameters
    ----------
    task
        What is known, and the models that follow from it.
    pixels
        Flat numbers of the pixels.
    threads
        Number of bands at once.

    Returns
    -------
    dict
        Number of a band with data -> values of `dmu4.measurement.companions.residual_significance`.
    """

    def one(band: int) -> np.ndarray:
        part = task.of(np.flatnonzero(task.state.visible[:, band]))
        models = part.models[survey_of(task.cube.bands[band])].reaching(part.state.psf_side[:, band])
        fit = fit_band(task.cube, band, *models)
        return residual_significance(fit, mean_psf(task.cube, band), task.inflations[band].psf, pixels)

    bands = np.flatnonzero(_with_data(task.cube)).tolist()
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(bands, pool.map(one, bands), strict=True))


def spectra_of(task: Iteration, members: np.ndarray, threads: int) -> dict[int, SourceSpectra]:
    """Spectra of some objects in their best bands, with the models of their neighbours subtracted.

    Parameters
    ----------
    task
        What is known, and the models that follow from it.
    members
        Numbers of the objects.
    threads
        Number of bands measured at once.

    Returns
    -------
    dict
        Number of a band -> spectra of the objects for which it is the best one.
    """
    state = task.state

    def one(band: int) -> SourceSpectra:
        mine, survey = members[state.reference[members] == band], survey_of(task.cube.bands[band])
        whole = task.models[survey].reaching(state.psf_side[:, band])
        first, second = whole.pairs
        beside = np.concatenate([second[np.isin(first, mine)], first[np.isin(second, mine)]])
        present = np.union1d(mine, beside)
        part = task.of(present)
        profiles, pairs = whole.subset(present)
        fit, here = fit_band(task.cube, band, profiles, pairs), np.searchsorted(present, mine)
        spectra = _spectra(part, band, fit, here[np.nan_to_num(fit.forced.covered[here]) > MIN_SEEN], profiles)
        return replace(spectra, members=present[spectra.members])

    bands = np.unique(state.reference[members]).tolist()
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(bands, pool.map(one, bands), strict=True))


def _spectra(task: Iteration, band: int, fit: BandFit, members: np.ndarray, profiles: Profiles) -> SourceSpectra:
    """Spectra of some objects of a band, on stamps with six half-light radii of their discs to each side."""
    disc = profiles.covariance[members]
    side = stamp_size(12 * np.sqrt(np.maximum(disc[:, 0], disc[:, 1])), task.state.psf_side[members, band])
    return source_spectra(profiles, fit, members, side)


def fluxes_of(results: Mapping[int, BandResult], n: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes and errors [object, band] of an iteration, NaN in bands that were not measured."""
    values = np.full((2, n, bands), np.nan)
    for band, one in results.items():
        values[0, :, band], values[1, :, band] = one.flux, one.error
    return values[0], values[1]


def _measure_visible(task: Iteration, band: int, members: np.ndarray) -> BandResult:
    """The result of `_measure_in` for the objects that matter in a band; the others have no flux."""
    n, present = len(task.state), np.flatnonzero(task.state.visible[:, band])
    if len(present) == n:
        return _measure_in(task, band, members)
    found = _measure_in(task.of(present), band, np.searchsorted(present, members))
    fluxes = np.full((2, n), np.nan)
    fluxes[:, present] = found.flux, found.error
    spectra = None if found.spectra is None else replace(found.spectra, members=present[found.spectra.members])
    return found._replace(members=present[found.members], flux=fluxes[0], error=fluxes[1], spectra=spectra)


def _measure_in(task: Iteration, band: int, members: np.ndarray) -> BandResult:
    """One iteration in one band: shapes of the objects for which it is the best band, shifts and fluxes of all."""
    shapes, settings, start = task.state.shapes, task.settings, task.state.start
    factor, place = task.inflations[band].psf, {"members": members, "x": shapes.x, "y": shapes.y}
    profiles, pairs = task.models[survey_of(task.cube.bands[band])].reaching(task.state.psf_side[:, band])
    fit = fit_band(task.cube, band, profiles, pairs)
    point = point_fluxes(profiles, fit, members)
    significance = point.flux / (factor * point.error)
    extended = classify(point.excess, factor * point.excess_error, significance, limit=settings.extended_limit)
    adapt = np.zeros(len(shapes.x), bool)
    adapt[members] = significance >= settings.min_signal_to_noise
    max_shift = settings.max_shift / task.cube.pixel_scale
    # Shapes need more of the light than the models, which are points before the first shapes are known.
    window = int(stamp_size(np.zeros(1), task.cube.psf_size)[0])
    moments = measure_shapes(
        fit.models,
        fit.flux,
        residual=fit.residual,
        variance=fit.variance,
        **place,
        start=start,
        adapt=adapt,
        max_shift=max_shift,
        window=window,
    )
    covariance = np.where(moments.failed[:, None], start[members], moments.covariance)
    # Where the light of a neighbour keeps the moments from converging, the disc is as wide as the point source is not.
    rough = start[members] * (1 + np.clip(np.nan_to_num(point.excess), 0, MAX_EXCESS))[:, None]
    wide = np.where(moments.failed[:, None], rough, covariance)
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
        disc=np.where((extended == 1)[:, None], disc_covariance(wide, start[members]), 0),
        kron=kron_radii(fit.models, fit.flux, residual=fit.residual, **place, covariance=of_all, window=window),
    )
    bright, shifts = _shifts_in(task, band, fit, profiles)
    spectra = None
    if task.structure:
        used = (task.state.used == band).any(axis=1) & (np.nan_to_num(fit.forced.covered) > MIN_SEEN)
        spectra = _spectra(task, band, fit, np.flatnonzero(used), profiles)
    return BandResult(measured, bright, shifts, fit.forced.flux, factor * fit.forced.error, spectra)


def _shifts_in(task: Iteration, band: int, fit: BandFit, profiles: Profiles) -> tuple[np.ndarray, Shifts]:
    """Numbers of the objects that are bright in a band, neither saturated there nor beside a saturated star, and not
    known to be extended, and their shifts there. A saturated star has no shape that a shift could be measured from."""
    if not task.settings.max_motion:
        nothing = np.zeros(0)
        return np.zeros(0, np.int64), Shifts(nothing, nothing, nothing, nothing)
    inflation = task.inflations[band]
    bright = np.nan_to_num(fit.forced.flux / (inflation.psf * fit.forced.error)) > MIN_SIGNAL_TO_NOISE
    members = np.flatnonzero(bright & (task.state.shapes.extendedness != 1) & task.state.clear & ~fit.saturated)
    shifts = measure_shifts(profiles, fit, members)
    return members, shifts._replace(x_error=inflation.shift * shifts.x_error, y_error=inflation.shift * shifts.y_error)
