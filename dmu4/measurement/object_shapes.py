"""Position, shape and morphology of every object, measured in its best band with its neighbours subtracted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dmu4.measurement.companions import Companions, Hosts, find_companions, near_hosts
from dmu4.measurement.error_scale import ErrorInflation
from dmu4.measurement.iterations import (
    BandResult,
    Iteration,
    ObjectState,
    ShapeSettings,
    begin,
    first_state,
    fluxes_of,
    measure_bands,
    spectra_of,
    what_remains,
)
from dmu4.measurement.motion import (
    FOLLOWED,
    SURVEYS,
    Motion,
    combine_shifts,
    link_moved,
    offset_floor,
    put_links,
    survey_of,
    update_motion,
)
from dmu4.measurement.object_models import ObjectShapes, model_profiles
from dmu4.measurement.reference_band import unsaturated_bands
from dmu4.measurement.spectra import SourceSpectra
from dmu4.measurement.structure import BANDS_USED, Structure, bands_to_use, fit_structure
from dmu4.measurement.wings import psf_sides
from dmu4.patches.cube import PatchCube

REFINED = 2
"""Number of times that the structure of bright galaxies is fitted after the first iteration: each time minus what is
then known of their neighbours, which are as bright in clusters."""

BRIGHT_GALAXY = 50.0
"""Signal to noise of bright galaxies: what a single disc leaves of them may be as bright as their neighbours."""

VISIBLE = 2.0
"""Signal to noise in a band below which the last iteration leaves an object out there, unless it is its best band:
nothing is measured on it, and what it adds to its neighbours is no more than noise."""


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
        Companions of these objects, by the numbers of their peaks; they are the last of these objects.
    reference
        Number of the band in which each object was measured.
    absorbed
        Pairs (pair, 2) of peaks that are one star; the second, in the VISTA bands, is not a separate object.
    structure
        Discs and bulges fitted to the objects.
    psf_side
        Side in pixels of the part of the PSF that the model of each needs in each band [N, band].
    """

    shapes: ObjectShapes
    motion: Motion
    home: np.ndarray
    kept: np.ndarray
    absorbed: np.ndarray
    structure: Structure
    companions: Companions
    reference: np.ndarray
    psf_side: np.ndarray

    def also_in(self, cube: PatchCube) -> MeasuredObjects:
        """The objects of the first bands of a cube with what is needed in all of its bands."""
        place, known = {"x": self.shapes.x, "y": self.shapes.y}, self.psf_side.shape[1]
        more = [psf_sides(cube, band, **place) for band in range(known, len(cube.bands))]
        # Companions were not searched for in the other bands.
        nothing = np.zeros((len(self.companions.x), len(more)))
        companions = self.companions._replace(height=np.hstack([self.companions.height, nothing]))
        return replace(self, psf_side=np.column_stack([self.psf_side, *more]), companions=companions)


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
    state = first_state(cube, x=x, y=y, reference=reference, settings=settings)
    kept, absorbed, companions = np.arange(len(x)), np.zeros((0, 2), np.int64), Companions.none(len(cube.bands))
    for number in range(settings.passes):
        first, last = number == 0, 0 < number == settings.passes - 1
        task = begin(cube, state, inflations, settings, structure=last)
        results = measure_bands(task, threads)
        state = _updated(task, results)
        if last:
            spectra = {band: one.spectra for band, one in results.items() if one.spectra is not None}
            state = replace(state, structure=_structure(task, spectra, task.state.used, state, threads))
        elif first and settings.passes > 1:
            state = _with_bright(task, state, results, threads)
        if settings.max_motion and first:
            absorbed = _linked(task, state.shapes, results)
            kept = np.setdiff1d(kept, absorbed[:, 1])
            motion = put_links(state.motion, absorbed, x=state.shapes.x, y=state.shapes.y)
            state = replace(state, motion=motion)[kept]
        # What moved had its flux elsewhere in this iteration.
        state.visible[state.motion.used] = True
        if first and settings.passes > 1 and settings.companions:
            companions = _companions(task, state, _height(task, results)[kept], threads)
            state = state.followed_by(_state_of(cube, companions, settings))
            companions = companions._replace(host=kept[companions.host])
    home = np.array([survey_of(band) for band in cube.bands])[state.reference]
    known = {name: getattr(state, name) for name in ("shapes", "motion", "structure", "reference", "psf_side")}
    return MeasuredObjects(**known, home=home, kept=kept, absorbed=absorbed, companions=companions)


def _updated(task: Iteration, results: dict[int, BandResult]) -> ObjectState:
    """What is known after an iteration, but for the structure."""
    state = task.state
    shapes = _merge(state.shapes, state.reference, results)
    fluxes = fluxes_of(results, len(state), len(task.cube.bands))
    motion = _follow(task, shapes, results) if task.settings.max_motion else state.motion
    used, visible = bands_to_use(*fluxes, state.reference), _visible(*fluxes, state.reference)
    return replace(state, shapes=shapes, motion=motion, used=used, visible=visible)


def _height(task: Iteration, results: dict[int, BandResult]) -> np.ndarray:
    """Signal to noise of each object in all bands of an iteration together."""
    flux, error = fluxes_of(results, len(task.state), len(task.cube.bands))
    ratio = np.divide(flux, error, out=np.zeros(flux.shape), where=error > 0)
    return np.sqrt(np.sum(np.square(np.maximum(np.nan_to_num(ratio), 0)), axis=1))


def _companions(task: Iteration, state: ObjectState, height: np.ndarray, threads: int) -> Companions:
    """Companions of the objects, from the images minus all models after an iteration."""
    shapes = state.shapes
    profiles = model_profiles(shapes, state.psf_side.max(axis=1, initial=1), state.structure)
    xx, yy, xy = profiles.covariance.T
    # The larger eigenvalue of the ellipse with half of the light; a needle may be longer than its disc.
    radius = np.sqrt(0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy))
    radius[state.structure.rejected] = np.inf
    objects = Hosts(shapes.x, shapes.y, shapes.extendedness, radius, height)
    pixels = near_hosts(task.cube, objects)
    remains = what_remains(begin(task.cube, state, task.inflations, task.settings), pixels, threads)
    return find_companions(task.cube, remains, pixels, objects, task.inflations)


def _state_of(cube: PatchCube, companions: Companions, settings: ShapeSettings) -> ObjectState:
    """What is known of companions before they have any flux: they matter in the bands of their peaks."""
    state = first_state(cube, x=companions.x, y=companions.y, reference=companions.reference, settings=settings)
    heights = companions.height, np.ones(companions.height.shape), companions.reference
    return replace(state, used=bands_to_use(*heights), visible=_visible(*heights))


def _with_bright(task: Iteration, state: ObjectState, results: dict[int, BandResult], threads: int) -> ObjectState:
    """What is known after an iteration, with the structure of bright galaxies, from their best bands."""
    n = len(state)
    flux, error = (of_bands[np.arange(n), state.reference] for of_bands in fluxes_of(results, n, len(task.cube.bands)))
    bright = np.flatnonzero(state.shapes.disc.any(axis=1) & (np.nan_to_num(flux) > BRIGHT_GALAXY * error))
    for _ in range(REFINED if len(bright) else 0):
        again = begin(task.cube, state, task.inflations, task.settings)
        spectra, used = spectra_of(again, bright, threads), np.full((n, BANDS_USED), -1)
        for band, one in spectra.items():
            used[one.members, 0] = band
        state = replace(state, structure=_structure(again, spectra, used, state, threads))
    return state


def _structure(
    task: Iteration, spectra: dict[int, SourceSpectra], used: np.ndarray, state: ObjectState, threads: int
) -> Structure:
    """Discs and bulges of the objects from their spectra in the bands that each uses."""
    return fit_structure(
        spectra,
        used,
        start=state.shapes.disc,
        inflation=[one.psf for one in task.inflations],
        pixel_scale=task.cube.pixel_scale,
        threads=threads,
    )


def _visible(flux: np.ndarray, error: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether an object matters in a band [object, band], from fluxes and errors; see `VISIBLE`."""
    seen = np.divide(flux, error, out=np.zeros(flux.shape), where=error > 0) >= VISIBLE
    seen[np.arange(len(reference)), reference] = True
    return seen


def _merge(shapes: ObjectShapes, reference: np.ndarray, results: dict[int, BandResult]) -> ObjectShapes:
    """The quantities of each object from its best band."""
    merged = {name: getattr(shapes, name).copy() for name in ObjectShapes.__dataclass_fields__}
    for band, result in results.items():
        for name, values in merged.items():
            values[reference == band] = getattr(result.shapes, name)
    return ObjectShapes(**merged)


def _follow(task: Iteration, shapes: ObjectShapes, results: dict[int, BandResult]) -> Motion:
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
    floor = offset_floor(task.cube.bands, [one.position for one in task.cube.calibration])
    limits = {"floor": floor / scale, "reach": FOLLOWED / scale}
    return update_motion(task.state.motion, shifts, home=task.home, point=point, **limits)


def _linked(task: Iteration, shapes: ObjectShapes, results: dict[int, BandResult]) -> np.ndarray:
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
        point=(shapes.extendedness != 1) & task.state.clear,
        reach=task.settings.max_motion / task.cube.pixel_scale,
    )
