"""Positions and profiles of sources: point sources, and exponential discs with de Vaucouleurs bulges."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numba
import numpy as np

from dmu0.galaxy_profiles import BULGE_FRACTION, BULGE_VARIANCE

# Five Gaussians for an exponential disc of unit flux and unit half-light radius: weights and variances. Our own
# least-squares fit, weighted by the light in each annulus; the light within any radius is right to 0.4%.
DISC_WEIGHTS = np.array([0.002163, 0.026893, 0.160070, 0.456410, 0.354464])
DISC_VARIANCES = np.array([0.0059750, 0.0436698, 0.1907419, 0.6523841, 1.9600594])

BULGE_REACH = 7.0
"""Half a stamp in half-light radii of a bulge, which then holds 98% of its light."""

_TURN = 4.0
"""Argument of the transform of a profile at which half of its table is used up."""


def _table(weights: np.ndarray, variances: np.ndarray, *, length: int = 4096) -> np.ndarray:
    """The transform of a profile, sum of w exp(-q v), at equal steps of q / (q + `_TURN`) from 0 to 1, float32."""
    step = np.linspace(0, 1, length + 1)[:-1]
    argument = _TURN * step / (1 - step)
    return np.append(np.exp(-argument[:, None] * variances) @ weights, 0).astype(np.float32)


DISC_TABLE = _table(DISC_WEIGHTS, DISC_VARIANCES)
BULGE_TABLE = _table(BULGE_FRACTION, BULGE_VARIANCE)
# Derivatives of the transforms with respect to the argument.
DISC_SLOPE = _table(-DISC_WEIGHTS * DISC_VARIANCES, DISC_VARIANCES)
BULGE_SLOPE = _table(-BULGE_FRACTION * BULGE_VARIANCE, BULGE_VARIANCE)


@numba.njit(nogil=True, cache=True, inline="always")
def look_up(table: np.ndarray, argument: float) -> np.float32:
    """Value of one of the tables of this module, interpolated linearly, at an argument q >= 0."""
    last = len(table) - 1
    place = last * max(argument, 0.0) / (argument + _TURN)
    entry = min(int(place), last - 1)
    return table[entry] + np.float32(place - entry) * (table[entry + 1] - table[entry])


@numba.njit(nogil=True, cache=True, inline="always")
def phase_argument(covariance: np.ndarray, kx: float, ky: float) -> float:
    """The argument 2 pi^2 k C k of the transform of a profile of covariance C (xx, yy, xy), k in cycles per pixel."""
    return 2 * np.pi**2 * (covariance[0] * kx * kx + covariance[1] * ky * ky + 2 * covariance[2] * kx * ky)


@dataclass(frozen=True)
class Profiles:
    """Positions and shapes of N sources, the same for every band.

    Attributes
    ----------
    x, y
        Array positions of the centres.
    covariance
        Covariance [N, 3] (xx, yy, xy) of a disc whose half-light ellipse is the one-sigma ellipse, in pixels^2; zero
        for a point source.
    size
        Side of the stamp of each source, even.
    bulge
        The same of a de Vaucouleurs bulge; its radius is that of the profile without end, as in SDSS [N, 3].
    bulge_fraction
        Fraction of the flux in the bulge [N].
    """

    x: np.ndarray
    y: np.ndarray
    covariance: np.ndarray
    size: np.ndarray
    bulge: np.ndarray
    bulge_fraction: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @property
    def is_point(self) -> np.ndarray:
        """Whether each source is a point source [N]."""
        return ~self.covariance.any(axis=1) & (self.bulge_fraction == 0)

    def as_points(self) -> Profiles:
        """Point sources at the same positions, with stamps of the same size."""
        return points(x=self.x, y=self.y, size=self.size)

    def subset(self, members: np.ndarray) -> Profiles:
        """Some of the sources, selected by number."""
        return Profiles(*(getattr(self, one.name)[members] for one in fields(self)))

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Array position (x, y) of the first pixel of each stamp; the pixel of the centre has the index size / 2."""
        half = self.size // 2
        return np.rint(self.x).astype(np.int64) - half, np.rint(self.y).astype(np.int64) - half


def points(*, x: np.ndarray, y: np.ndarray, size: np.ndarray) -> Profiles:
    """Point sources with stamps of given sides."""
    n = len(x)
    return Profiles(
        x=np.asarray(x), y=np.asarray(y), covariance=np.zeros((n, 3)), size=size, bulge=np.zeros((n, 3)),
        bulge_fraction=np.zeros(n),
    )  # fmt: skip


def make_profiles(
    *,
    x: np.ndarray,
    y: np.ndarray,
    covariance: np.ndarray | None,
    psf_size: int | np.ndarray,
    bulge: np.ndarray | None = None,
    bulge_fraction: np.ndarray | None = None,
) -> Profiles:
    """Choose the size of the stamp of each source: that of the PSF, or larger for galaxies that extend beyond it.

    Parameters
    ----------
    x, y
        Array positions.
    covariance
        Covariance of the discs, as in `Profiles`; None: all are point sources.
    psf_size
        Side of the part of the PSF that matters, of all sources or of each [N].
    bulge, bulge_fraction
        Covariances of the bulges, and their fractions of the flux, as in `Profiles`; None: there are none.
    """
    disc = np.zeros((len(x), 3)) if covariance is None else covariance
    fraction = np.zeros(len(x)) if bulge is None or bulge_fraction is None else bulge_fraction
    bulges = np.zeros((len(x), 3)) if bulge is None else bulge
    place = {"x": np.asarray(x), "y": np.asarray(y)}
    size = np.zeros(len(disc), np.int64)
    return resized(Profiles(**place, covariance=disc, size=size, bulge=bulges, bulge_fraction=fraction), psf_size)


def resized(profiles: Profiles, psf_size: int | np.ndarray) -> Profiles:
    """The same sources with stamps for a part of the PSF of this side, of all sources or of each [N]."""
    disc, bulge, fraction = profiles.covariance, profiles.bulge, profiles.bulge_fraction
    # Four half-light radii to each side contain 99% of the light of a disc.
    extent = 8 * np.sqrt(np.maximum(disc[:, 0], disc[:, 1]) * (fraction < 1))
    of_bulge = 2 * BULGE_REACH * np.sqrt(np.maximum(bulge[:, 0], bulge[:, 1]) * (fraction > 0))
    return replace(profiles, size=stamp_size(np.maximum(extent, of_bulge), psf_size))


def stamp_size(extent: np.ndarray, psf_size: int | np.ndarray) -> np.ndarray:
    """Sides of stamps, multiples of 16, for sources of some extent in pixels before the seeing."""
    # The pixel of the centre is the first of the second half: an odd PSF needs one pixel more.
    blocks = np.ceil((np.hypot(psf_size, extent) + 1) / 16).astype(int)
    smallest = np.ceil((np.asarray(psf_size) + 1) / 16).astype(int)
    return 16 * np.clip(blocks, smallest, 8 * smallest)
