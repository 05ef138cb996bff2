"""The shapes of objects, and the models that follow from them in the bands of each survey."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from dmu4.measurement.adaptive_moments import psf_moments
from dmu4.measurement.forced import find_overlaps, still_overlapping
from dmu4.measurement.kron import KRON_FACTOR
from dmu4.measurement.motion import SURVEYS, Motion
from dmu4.measurement.profiles import Profiles, make_profiles, resized
from dmu4.measurement.structure import Structure
from dmu4.patches.cube import PatchCube


@dataclass(frozen=True)
class ObjectShapes:
    """Quantities that are measured once for each of N objects.

    Attributes
    ----------
    x, y
        Array positions.
    x_error, y_error
        Errors of the positions in pixels.
    xy_covariance
        Covariance of x and y in pixels^2.
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
    xy_covariance: np.ndarray
    covariance: np.ndarray
    failed: np.ndarray
    extendedness: np.ndarray
    disc: np.ndarray
    kron: np.ndarray

    def __getitem__(self, members: np.ndarray) -> ObjectShapes:
        """Some of the objects, by number or by a boolean array."""
        return ObjectShapes(*(getattr(self, name)[members] for name in self.__dataclass_fields__))


Rows = TypeVar("Rows", ObjectShapes, Motion, Structure)


def joined(first: Rows, second: Rows) -> Rows:
    """The objects of two tables of one kind, one after another."""
    names = first.__dataclass_fields__
    return type(first)(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


def model_profiles(shapes: ObjectShapes, psf_side: np.ndarray, structure: Structure | None = None) -> Profiles:
    """Profiles of the models of the objects: points, and discs, with bulges once they are fitted, for extended ones.

    Their stamps are for a part of the PSF of a given side of each object [N].
    """
    place = {"x": shapes.x, "y": shapes.y, "psf_size": psf_side}
    if structure is None:
        return make_profiles(**place, covariance=shapes.disc)
    is_disc = shapes.disc.any(axis=1)
    known = (is_disc & structure.fitted)[:, None]
    disc, bulge = np.where(known, structure.disc, shapes.disc), np.where(known, structure.bulge, 0)
    return make_profiles(
        **place, covariance=disc, bulge=bulge, bulge_fraction=np.where(known[:, 0], structure.bulge_fraction, 0)
    )


def first_guess(cube: PatchCube, *, x: np.ndarray, y: np.ndarray, reference: np.ndarray) -> ObjectShapes:
    """Starting values: every object is a point source at its peak, with the moments of the PSF."""
    n = len(x)
    covariance = np.full((n, 3), np.nan)
    for band in range(len(cube.bands)):
        mine = reference == band
        if mine.any():
            psf = cube.psfs[band]
            covariance[mine] = psf_moments(psf.stamps)[psf.at(x=x[mine], y=y[mine])]
    return ObjectShapes(
        x=np.asarray(x, float),
        y=np.asarray(y, float),
        x_error=np.full(n, np.nan),
        y_error=np.full(n, np.nan),
        xy_covariance=np.full(n, np.nan),
        covariance=covariance,
        failed=np.ones(n, bool),
        extendedness=np.full(n, np.nan),
        disc=np.zeros((n, 3)),
        kron=np.full(n, KRON_FACTOR * np.sqrt(np.pi / 2)),
    )


class SurveyModels(NamedTuple):
    """Models of all objects at their positions in the bands of one survey, and the overlapping pairs."""

    profiles: Profiles
    pairs: tuple[np.ndarray, np.ndarray]

    def subset(self, members: np.ndarray) -> SurveyModels:
        """The models of some of the objects, by increasing number."""
        number = np.full(len(self.profiles), -1, np.int32)
        number[members] = np.arange(len(members), dtype=np.int32)
        first, second = (number[one] for one in self.pairs)
        both = (first >= 0) & (second >= 0)
        return SurveyModels(self.profiles.subset(members), (first[both], second[both]))

    def reaching(self, psf_side: np.ndarray) -> SurveyModels:
        """The models with stamps for smaller parts of the PSF [N], see `dmu4.measurement.wings`."""
        profiles = resized(self.profiles, psf_side)
        return SurveyModels(profiles, still_overlapping(profiles, self.pairs))


def survey_models(
    shapes: ObjectShapes,
    motion: Motion,
    home: np.ndarray,
    psf_side: np.ndarray,
    structure: Structure | None = None,
) -> list[SurveyModels]:
    """The models [survey], which are the same for all surveys if nothing moves.

    Parameters
    ----------
    shapes, motion, structure
        What is known of the objects.
    home
        Survey of the best band of each [N].
    psf_side
        Side in pixels of the part of the PSF that the model of each needs in each band [N, band]. The stamps are large
        enough for all bands; those of one band follow from `SurveyModels.reaching`.
    """
    profiles = model_profiles(shapes, psf_side.max(axis=1, initial=1), structure)
    still = SurveyModels(profiles, find_overlaps(profiles))
    models = []
    for survey in range(len(SURVEYS)):
        dx, dy = motion.shift(home=home, survey=survey)
        if dx.any() or dy.any():
            moved = replace(profiles, x=profiles.x + dx, y=profiles.y + dy)
            models.append(SurveyModels(moved, find_overlaps(moved)))
        else:
            models.append(still)
    return models
