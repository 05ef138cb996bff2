"""Moving objects: offsets between their positions in the bands of two surveys taken years apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import chi2

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.profiles import Profiles
from dmu4.measurement.stamps import parts, render
from dmu4.measurement.template_sums import TemplateSums, template_sums
from obs_vista.bands import VISTA_BANDS

SURVEYS = ("optical", "vista")
"""The bands of each survey, which are assumed to have one epoch."""

MIN_SIGNAL_TO_NOISE = 8.0
"""Smallest signal-to-noise ratio of an object in a band that is used for its position."""

FLOOR = 0.003
"""Accuracy of the relative positions of the surveys, in arcsec along each axis, where it is known of none."""

FOLLOWED = 1.0
"""Largest shift in arcsec that one iteration of the fit can measure; beyond, a star is outside its model."""

DISAGREE = 1e-3
"""Chance below which the positions of an object in the bands of a survey are taken to differ by more than their errors:
what a bright neighbour leaves moves it differently in each."""

SIGNIFICANT = 25.0
"""Chi-square of an offset, with two degrees of freedom, above which it is significant: the chance is 4e-6."""


def survey_of(band: str) -> int:
    """Index in `SURVEYS` of the survey of a band."""
    return int(band in VISTA_BANDS)


def offset_floor(bands: Sequence[str], errors: Sequence[float]) -> float:
    """Error in arcsec along one axis of all offsets between the surveys, due to the astrometry of their images.

    The bands of a survey are calibrated with the same reference stars, so that their errors do not average out; those
    of the two surveys are independent. A survey that does not say its errors adds nothing.

    Parameters
    ----------
    bands
        Labels of the bands.
    errors
        Error of the positions in each band in arcsec, NaN if unknown, see `dmu4.patches.cube.CalibrationErrors`.
    """
    known = [(survey_of(band), error) for band, error in zip(bands, errors, strict=True) if np.isfinite(error)]
    mean = [float(np.mean([error for survey, error in known if survey == one])) for one in {one for one, _ in known}]
    return float(np.hypot.reduce(mean)) if mean else FLOOR


class Shifts(NamedTuple):
    """Shifts of M objects in one band from their assumed positions in pixels; NaN if not measured.

    Attributes
    ----------
    x, y
        Shifts [M].
    x_error, y_error
        Errors of the shifts for uncorrelated noise [M].
    """

    x: np.ndarray
    y: np.ndarray
    x_error: np.ndarray
    y_error: np.ndarray


@dataclass(frozen=True)
class Motion:
    """Offsets of N objects between the surveys: position in the VISTA bands minus that in the optical bands.

    Attributes
    ----------
    x, y
        Offsets in pixels [N]; NaN if the position in one survey is unknown.
    x_error, y_error
        Errors of the offsets, including `offset_floor` [N].
    used
        Whether the offset is a motion, so that the bands of the other survey than that of the best band are measured
        at the shifted position [N].
    lost
        Whether an object moved and could not be followed [N].
    """

    x: np.ndarray
    y: np.ndarray
    x_error: np.ndarray
    y_error: np.ndarray
    used: np.ndarray
    lost: np.ndarray

    @classmethod
    def none(cls, n: int) -> Motion:
        """Unknown motions of ``n`` objects."""
        nan, no = np.full(n, np.nan), np.zeros(n, bool)
        return cls(nan, nan, nan, nan, no, no)

    def __getitem__(self, members: np.ndarray) -> Motion:
        """A subset of the objects, selected by number or by a boolean array."""
        return Motion(*(getattr(self, name)[members] for name in self.__dataclass_fields__))

    def shift(self, *, home: np.ndarray, survey: int) -> tuple[np.ndarray, np.ndarray]:
        """Shift (x, y) in pixels from the positions in the surveys ``home`` of the objects to those in ``survey``."""
        sign = np.where(self.used & (home != survey), 1.0 if survey else -1.0, 0.0)
        x, y = (np.where(sign != 0, sign * np.nan_to_num(offset), 0.0) for offset in (self.x, self.y))
        return x, y


def _solve_shifts(sums: TemplateSums) -> np.ndarray:
    """The fields of `Shifts` in order [4, member] from fits of a point source and its gradients along x and y; NaN if
    not determined."""
    normal, noise, right = sums
    found = np.full((4, len(normal)), np.nan)
    known = np.linalg.det(normal) > 1e-9 * np.prod(np.diagonal(normal, axis1=1, axis2=2), axis=1)
    inverse = np.linalg.inv(normal[known])
    fitted = np.einsum("nij,nj->ni", inverse, right[known])
    spread = np.einsum("nij,njk,nkl->nil", inverse, noise[known], inverse)
    bright = np.where(fitted[:, 0] > 0, fitted[:, 0], np.nan)
    for axis in range(2):
        found[axis, known] = -fitted[:, 1 + axis] / bright
        found[2 + axis, known] = np.sqrt(np.maximum(spread[:, 1 + axis, 1 + axis], 0)) / bright
    return found


def measure_shifts(profiles: Profiles, fit: BandFit, members: np.ndarray) -> Shifts:
    """Shift of some objects from their assumed positions in one band.

    A source at a distance d from its assumed position is, to first order, the PSF P minus d times its gradient; the
    ratio of the fitted amplitudes gives d. For a Gaussian PSF this is exact at any distance, because the overlaps of
    the source with P and with its gradient decrease in the same way.

    Parameters
    ----------
    profiles
        Assumed positions and stamp sizes of all objects.
    fit
        Models of all objects of the band at these positions, and the image minus these models.
    members
        Numbers of the objects to measure, whose models are point sources.
    """
    members = np.asarray(members, np.int64)
    found, gradients = np.full((4, len(members)), np.nan), fit.kernels.gradients()
    for part in parts(len(members)):
        some = members[part]
        slopes = [render(profiles.subset(some), kernels, fit.cell[some]) for kernels in gradients]
        found[:, part] = _solve_shifts(template_sums(fit, some, (fit.models.subset(some), *slopes)))
    return Shifts(*found)


def combine_shifts(shifts: Sequence[tuple[np.ndarray, Shifts]], n: int) -> Shifts:
    """The weighted mean of the shifts of N objects in the bands of one survey.

    Where the bands disagree the error is multiplied by the root of chi^2 per degree of freedom, as by the Particle Data
    Group (Rosenfeld 1975, Annu. Rev. Nucl. Sci. 25, 555).

    Parameters
    ----------
    shifts
        For each band the numbers of its objects and their shifts, with errors that include correlated noise.
    n
        Number of all objects.
    """
    sums, squares, bands = np.zeros((4, n)), np.zeros((2, n)), np.zeros((2, n))
    for members, band in shifts:
        for axis, (value, error) in enumerate(((band.x, band.x_error), (band.y, band.y_error))):
            with np.errstate(divide="ignore"):
                weight = np.where(np.isfinite(value) & (error > 0), 1 / np.square(error), 0.0)
            np.add.at(sums[axis], members, np.nan_to_num(weight * value))
            np.add.at(sums[2 + axis], members, np.nan_to_num(weight))
            np.add.at(squares[axis], members, np.nan_to_num(weight * value**2))
            np.add.at(bands[axis], members, weight > 0)
    known = sums[2:] > 0
    mean = np.divide(sums[:2], sums[2:], out=np.full((2, n), np.nan), where=known)
    error = np.sqrt(np.divide(1.0, sums[2:], out=np.full((2, n), np.nan), where=known))
    freedom = np.maximum(bands - 1, 1)
    scatter = np.where(bands > 1, squares - sums[2:] * np.nan_to_num(mean) ** 2, 0.0)
    error *= np.where(chi2.sf(scatter, freedom) < DISAGREE, np.sqrt(np.maximum(scatter / freedom, 1)), 1.0)
    return Shifts(mean[0], mean[1], error[0], error[1])


def update_motion(
    motion: Motion,
    surveys: Mapping[int, Shifts],
    *,
    home: np.ndarray,
    point: np.ndarray,
    floor: float,
    reach: float,
) -> Motion:
    """Offsets between the surveys, from the assumed positions of objects and the measured shifts.

    Parameters
    ----------
    motion
        Motion from which the assumed positions were computed.
    surveys
        Survey -> shifts from the assumed positions [N].
    home
        Survey of the best band of each object [N].
    point
        Whether an object is a point source [N]; others are not moved, because noise and colour gradients of galaxies
        would shift them.
    floor, reach
        `offset_floor`, and the largest shift that one fit can follow, in pixels.
    """
    shifted = motion.shift(home=home, survey=1), motion.shift(home=home, survey=0)
    values, errors, residual = [], [], []
    for axis in range(2):
        assumed = shifted[0][axis] - shifted[1][axis]
        offset = assumed + surveys[1][axis] - surveys[0][axis]
        values.append(np.where(point, offset, np.nan))
        errors.append(np.sqrt(surveys[1][2 + axis] ** 2 + surveys[0][2 + axis] ** 2 + floor**2))
        residual.append(np.maximum(np.abs(surveys[1][axis]), np.abs(surveys[0][axis])))
    significance = np.nan_to_num(sum(np.square(value / error) for value, error in zip(values, errors, strict=True)))
    far = np.nan_to_num(np.hypot(*residual), nan=np.inf) > reach
    moved = significance > SIGNIFICANT
    kept = motion.used & ~np.isfinite(values[0])
    return Motion(
        x=np.where(kept, motion.x, values[0]),
        y=np.where(kept, motion.y, values[1]),
        x_error=np.where(np.isfinite(values[0]), errors[0], np.nan),
        y_error=np.where(np.isfinite(values[1]), errors[1], np.nan),
        used=(moved & ~far) | kept,
        lost=moved & far,
    )


def link_moved(
    flux: np.ndarray,
    error: np.ndarray,
    surveys: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    home: np.ndarray,
    point: np.ndarray,
    reach: float,
) -> np.ndarray:
    """Pairs of objects that are one star, which moved so far that each survey has its own peak.

    One object of a pair is detected only in optical bands, the other only in VISTA bands. No star has such a break in
    its spectrum: the reddest optical flux of the first is at least 2.5 times the upper limit in the VISTA bands, and
    the VISTA flux of the second is between 0.4 and 100 times the optical flux.

    Parameters
    ----------
    flux, error
        Forced fluxes and their errors [N, band]; NaN if unknown.
    surveys
        Survey of each band [band].
    x, y, home, point
        Positions, surveys of the best bands, and whether an object is not extended [N].
    reach
        Largest distance of a pair in pixels.

    Returns
    -------
    pairs
        Numbers (pair, 2) of the optical and the VISTA object; each object is in at most one pair, the closest one.
    """
    optical, vista = (np.flatnonzero(surveys == number) for number in (0, 1))
    none = np.zeros((0, 2), np.int64)
    if not len(optical) or not len(vista) or len(flux) < 2:
        return none
    ratio = np.nan_to_num(flux / error)
    bright = (ratio[:, optical].max(axis=1) >= 10, ratio[:, vista].max(axis=1) >= 10)
    first, second = (np.flatnonzero((home == number) & point & bright[number]) for number in (0, 1))
    if not len(first) or not len(second):
        return none
    near = cKDTree(np.column_stack([x[second], y[second]])).query_ball_point(
        np.column_stack([x[first], y[first]]), reach
    )
    candidates = []
    for a, found in zip(first.tolist(), near, strict=True):
        for b in second[found].tolist():
            if _is_one_star(flux[[a, b]], error[[a, b]], optical, vista):
                candidates.append((float(np.hypot(x[a] - x[b], y[a] - y[b])), a, b))
    taken, pairs = set(), []
    for _, a, b in sorted(candidates):
        if a not in taken and b not in taken:
            taken |= {a, b}
            pairs.append((a, b))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _is_one_star(flux: np.ndarray, error: np.ndarray, optical: np.ndarray, vista: np.ndarray) -> bool:
    """Whether the fluxes [2, band] of an optical and a VISTA object belong to one star."""
    seen = np.isfinite(flux) & (error > 0)
    in_both = [bands[seen[:, bands].all(axis=0)] for bands in (optical, vista)]
    if not all(len(bands) for bands in in_both):
        return False
    # What an object has in the other survey is no more than noise, or than what an inexact PSF leaves of the other.
    for own, other, bands in ((0, 1, in_both[1]), (1, 0, in_both[0])):
        if (flux[own, bands] > np.maximum(0.05 * flux[other, bands], 5 * error[own, bands])).any():
            return False
    reddest, bluest = flux[0, in_both[0][-1]], in_both[1][0]
    room = flux[0, bluest] + 5 * error[0, bluest]
    brightest = flux[1, in_both[1]].max()
    return bool(room < 0.4 * reddest and 0.4 * reddest < brightest < 100 * reddest)


def put_links(motion: Motion, pairs: np.ndarray, *, x: np.ndarray, y: np.ndarray) -> Motion:
    """The motions, with the distances of the peaks for stars that have two.

    Parameters
    ----------
    motion
        Motions of N objects.
    pairs
        Pairs (pair, 2) of objects from `link_moved`, the optical one first.
    x, y
        Array positions [N].
    """
    values = {name: getattr(motion, name).copy() for name in Motion.__dataclass_fields__}
    optical, vista = pairs.T
    values["x"][optical], values["y"][optical] = x[vista] - x[optical], y[vista] - y[optical]
    values["used"][optical], values["lost"][optical] = True, False
    return Motion(**values)
