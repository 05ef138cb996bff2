"""The structure of galaxies: a disc and a bulge fitted to the best bands of each object at once, as in CModel.

As in SDSS (Abazajian et al. 2004, AJ 128, 502) and LSST (Bosch et al. 2018, PASJ 70, S5), an exponential and a de
Vaucouleurs profile are fitted one after the other, then mixed with their shapes fixed; those of bright objects are
then fitted together, each with its size. Here the shapes and the mixture
are the same in all bands, so that colours compare the same light; the fluxes of each band follow in the simultaneous
fit of all objects, with the PSF of each pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np

from dmu0.galaxy_profiles import BULGE_FRACTION, BULGE_VARIANCE
from dmu4.measurement.joint_fits import PARAMETERS, fit_jointly
from dmu4.measurement.profile_fits import MAX_ELLIPTICITY, fit_profiles, mix_profiles
from dmu4.measurement.profiles import (
    BULGE_SLOPE,
    BULGE_TABLE,
    DISC_SLOPE,
    DISC_TABLE,
    DISC_VARIANCES,
    DISC_WEIGHTS,
)
from dmu4.measurement.spectra import SourceSpectra

BANDS_USED = 3
"""Number of bands, those of highest signal to noise, in which the structure of an object is fitted."""

JOINT_SIGNAL_TO_NOISE = 20.0
"""Signal to noise above which disc and bulge are fitted together: what separate fits miss is then seen."""

MIN_SIGNAL_TO_NOISE = 5.0
"""Smallest signal to noise of a point source in a band to be used."""

NEEDLE_RATIO, NEEDLE_LENGTH = 0.105, 1.0
"""Axis ratio below which, and half-light radius in arcsec above which a model is not that of a galaxy: its ellipticity
is at the limit. It follows the light of others, for example of a halo or of an undetected neighbour."""

STEPS = 20
"""Number of steps of the fraction of the bulge between 0 and 1 that are tried."""


@dataclass(frozen=True)
class Structure:
    """Models of N objects; NaN, and models without extent, where nothing could be fitted.

    Attributes
    ----------
    disc, bulge
        Covariances [N, 3] in pixels^2, see `dmu4.measurement.profiles.Profiles`.
    bulge_fraction
        Fraction of the flux in the bulge.
    flux_error
        Relative error of the fluxes, the same in all bands, due to the errors of the shape and the fraction.
    radius, radius_error
        Semi-major axis of the ellipse with half of the light of the model, in pixels.
    axis_ratio, axis_ratio_error
        Minor over major axis of this ellipse.
    angle, angle_error
        Angle of its major axis from the x axis towards the y axis, in radians.
    chi2_over_point
        Improvement of chi^2 in the bands that were used over that by a point source.
    rejected
        Whether a fit was dropped, see `without_needles`.
    """

    disc: np.ndarray
    bulge: np.ndarray
    bulge_fraction: np.ndarray
    flux_error: np.ndarray
    radius: np.ndarray
    radius_error: np.ndarray
    axis_ratio: np.ndarray
    axis_ratio_error: np.ndarray
    angle: np.ndarray
    angle_error: np.ndarray
    chi2_over_point: np.ndarray
    rejected: np.ndarray

    def __getitem__(self, members: np.ndarray) -> Structure:
        """Some of the objects, by number or by a boolean array."""
        return Structure(*(getattr(self, one.name)[members] for one in fields(self)))

    @property
    def fitted(self) -> np.ndarray:
        """Whether each object was fitted [N]."""
        return np.isfinite(self.chi2_over_point)

    @classmethod
    def none(cls, n: int) -> Structure:
        """Nothing fitted for N objects."""
        nan, no = np.full(n, np.nan), np.zeros(n, bool)
        flat = np.zeros((n, 3))
        return cls(flat, flat, np.zeros(n), nan, nan, nan, nan, nan, nan, nan, nan, no)


def bands_to_use(flux: np.ndarray, error: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Numbers of the bands in which each object is fitted [N, `BANDS_USED`], best first, -1 where there are fewer.

    Parameters
    ----------
    flux, error
        Fluxes and errors of all bands [N, band], NaN where there are none.
    reference
        Number of the band in which the object was measured [N]; it is the first where it is bright enough.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        significance = np.nan_to_num(flux / error, nan=-np.inf, posinf=-np.inf)
    rows = np.arange(len(reference))
    enough = significance >= MIN_SIGNAL_TO_NOISE
    ranked = np.where(enough, significance, -np.inf)
    ranked[rows[enough[rows, reference]], reference[enough[rows, reference]]] = np.inf
    order = np.argsort(-ranked, axis=1, kind="stable")[:, :BANDS_USED]
    chosen = np.where(ranked[rows[:, None], order] > -np.inf, order, -1)
    missing = max(BANDS_USED - chosen.shape[1], 0)
    return np.pad(chosen, ((0, 0), (0, missing)), constant_values=-1)


def fit_structure(
    spectra: dict[int, SourceSpectra],
    used: np.ndarray,
    *,
    start: np.ndarray,
    inflation: Sequence[float],
    pixel_scale: float,
    threads: int = 1,
) -> Structure:
    """Fit a disc, a bulge and their mixture to each of N objects.

    Parameters
    ----------
    spectra
        Number of a band -> spectra of the objects that use it.
    used
        Numbers of the bands of each object [N, band], best first; -1: none.
    start
        Discs to begin with [N, 3], zero if unknown.
    inflation
        Factor by which the correlation of the noise increases errors in each band.
    pixel_scale
        Size of a pixel in arcsec.
    threads
        Number of parts of the objects that are fitted at once.
    """
    slots, first, joined = _join(spectra, used, inflation)
    begin = _parameters(start)
    parts = np.array_split(np.arange(len(used)), max(threads, 1))

    def fitted(part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mine = first[part[0] : part[-1] + 2]
        discs, bulges, mixed = np.empty((len(part), 13)), np.empty((len(part), 13)), np.empty((len(part), 4))
        fit_profiles(slots, mine, joined, begin[part], pixel_scale, DISC_TABLE, DISC_SLOPE, discs)
        # The bulge that looks like a disc has about its radius; from there its fit takes the fewest steps.
        fit_profiles(slots, mine, joined, discs[:, :3], pixel_scale, BULGE_TABLE, BULGE_SLOPE, bulges)
        shapes = (_covariances(discs), _covariances(bulges))
        mix_profiles(slots, mine, joined, *shapes, DISC_TABLE, BULGE_TABLE, STEPS, mixed)
        bright = np.flatnonzero(mixed[:, 1] > JOINT_SIGNAL_TO_NOISE**2)
        if len(bright):
            _refit(bright, slots, mine, joined, pixel_scale, discs, bulges, mixed)
        return discs, bulges, mixed

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        found = list(pool.map(fitted, (part for part in parts if len(part))))
    if not found:
        return Structure.none(0)
    structure = _compose(*(np.concatenate(one) for one in zip(*found, strict=True)))
    return without_needles(structure, pixel_scale=pixel_scale)


def without_needles(structure: Structure, *, pixel_scale: float) -> Structure:
    """The structure with nothing fitted where the model is longer and thinner than any galaxy, see `NEEDLE_RATIO`."""
    with np.errstate(invalid="ignore"):
        needle = (structure.axis_ratio < NEEDLE_RATIO) & (structure.radius * pixel_scale > NEEDLE_LENGTH)
    none = Structure.none(len(needle))
    parts = ((getattr(structure, one.name), getattr(none, one.name)) for one in fields(Structure))
    left = Structure(*(np.where(needle[:, None] if own.ndim > 1 else needle, other, own) for own, other in parts))
    return replace(left, rejected=needle)


def _refit(
    bright: np.ndarray,
    slots: np.ndarray,
    first: np.ndarray,
    spectra: tuple[np.ndarray, ...],
    pixel_scale: float,
    discs: np.ndarray,
    bulges: np.ndarray,
    mixed: np.ndarray,
) -> None:
    """Fit disc and bulge of bright objects together; their rows of the other results are replaced, in place."""
    chosen = np.concatenate([slots[first[i] : first[i + 1]] for i in bright])
    begin = np.concatenate([[0], np.cumsum(first[bright + 1] - first[bright])])
    n, fraction = PARAMETERS, mixed[bright, 0]
    main = np.where((fraction > 0.5)[:, None], bulges[bright], discs[bright])
    start = np.column_stack([discs[bright, 0], bulges[bright, 0], main[:, 1:3], np.clip(fraction, 0.02, 0.98)])
    found, covariance = np.empty((len(bright), 2 * n + 1)), np.empty((len(bright), n, n))
    fit_jointly(chosen, begin, spectra, start, pixel_scale, found, covariance)
    for rows, size in ((discs, 0), (bulges, 1)):
        order = [size, 2, 3]
        rows[bright, :3] = found[:, order]
        rows[bright, 4:7] = covariance[:, order, order]
        for entry, (i, j) in zip((7, 8, 9), ((0, 1), (0, 2), (1, 2)), strict=True):
            rows[bright, entry] = covariance[:, order[i], order[j]]
        # All errors of the flux are in that of the fraction, below.
        rows[bright, 10:13] = 0
    of_flux = found[:, n : 2 * n]
    mixed[bright, 0], mixed[bright, 1] = found[:, 4], 2 * found[:, 2 * n]
    mixed[bright, 3] = np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", of_flux, covariance, of_flux), 0))


def _join(
    spectra: dict[int, SourceSpectra], used: np.ndarray, inflation: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Numbers of the spectra of all objects, where those of each begin, and the spectra of all bands in one."""
    slot_of = np.full(used.shape, -1, np.int64)
    arrays: dict[str, list[np.ndarray]] = {one.name: [] for one in fields(SourceSpectra)}
    count = n_cross = n_power = 0
    for band, one in spectra.items():
        number = np.full(len(used), -1, np.int64)
        number[one.members] = count + np.arange(len(one.members))
        slot_of = np.where(used == band, number[:, None], slot_of)
        for name in arrays:
            arrays[name].append(getattr(one, name))
        arrays["cross_at"][-1] = one.cross_at + n_cross
        arrays["power_at"][-1] = one.power_at + n_power
        arrays["variance"][-1] = one.variance * inflation[band] ** 2
        count, n_cross, n_power = count + len(one.members), n_cross + one.cross.size, n_power + one.power.size
    whole = {name: np.concatenate(values) if values else np.zeros(0) for name, values in arrays.items()}
    known = slot_of >= 0
    if count:
        known &= np.isfinite(np.where(known, whole["variance"][slot_of], np.nan))
    first = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int64)
    names = ("cross", "cross_at", "power", "power_at", "side", "reach", "variance")
    kinds = (np.float32, np.int64, np.float32, np.int64, np.int64, np.int64, float)
    joined = tuple(whole[name].astype(kind, copy=False) for name, kind in zip(names, kinds, strict=True))
    return slot_of[known], first, joined


def _parameters(covariance: np.ndarray, *, smallest: float = 0.3) -> np.ndarray:
    """Parameters of `dmu4.measurement.profile_fits.covariance_of` from covariances [N, 3], at least a small circle."""
    xx, yy, xy = np.asarray(covariance, float).T
    mean = 0.5 * (xx + yy)
    safe = np.where(mean > 0, mean, 1)
    e = np.where(mean > 0, np.stack([0.5 * (xx - yy), xy]) / safe, 0)
    e *= np.minimum(1, 0.9 * MAX_ELLIPTICITY / np.maximum(np.hypot(*e), 1e-12))
    size = np.maximum(mean * np.sqrt(1 - (e**2).sum(axis=0)), smallest)
    return np.column_stack([np.log(size), *e])


def _covariances(fits: np.ndarray) -> np.ndarray:
    """Covariances [N, 3] of the results of `dmu4.measurement.profile_fits.fit_profiles`; zero without a fit."""
    size, e1, e2 = fits[:, :3].T
    scale = np.exp(size) / np.sqrt(1 - e1**2 - e2**2)
    return np.nan_to_num(np.column_stack([scale * (1 + e1), scale * (1 - e1), scale * e2]))


def _compose(discs: np.ndarray, bulges: np.ndarray, mixed: np.ndarray) -> Structure:
    """The structure of the mixtures; errors are those of the profile with most of the light."""
    n = len(discs)
    fraction, gain, of_point, of_fraction = mixed.T
    known = np.isfinite(fraction)
    main = np.where((fraction > 0.5)[:, None], bulges, discs)
    theta, of_flux = main[:, :3], main[:, 10:13]
    spread = np.zeros((n, 3, 3))
    spread[:, [0, 1, 2], [0, 1, 2]] = main[:, 4:7]
    for entry, (i, j) in zip((7, 8, 9), ((0, 1), (0, 2), (1, 2)), strict=True):
        spread[:, i, j] = spread[:, j, i] = main[:, entry]
    disc, bulge = _covariances(discs), _covariances(bulges)
    e1, e2 = (np.where(known, theta[:, k], np.nan) for k in (1, 2))
    e = np.hypot(e1, e2)
    ratio = np.sqrt((1 - e) / (1 + e))
    area_radius = _half_light(np.exp(0.5 * discs[:, 0]), np.exp(0.5 * bulges[:, 0]), fraction)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.stack([e1, e2], axis=1) / e[:, None]
        across = np.stack([-e2, e1], axis=1) / e[:, None]
        e_error, t_error = (np.sqrt(np.einsum("ni,nij,nj->n", v, spread[:, 1:, 1:], v)) for v in (along, across))
        # sqrt(a / b) of the logarithm of a times the root of the axis ratio: a = r / sqrt(q).
        ratio_error = ratio * e_error / (1 - e**2)
        radius = area_radius / np.sqrt(ratio)
        radius_error = radius * np.hypot(0.5 * np.sqrt(spread[:, 0, 0]), 0.5 * ratio_error / ratio)
        angle_error = np.minimum(0.5 * t_error / e, np.pi / np.sqrt(12))
    return Structure(
        disc=disc,
        bulge=np.where((fraction > 0)[:, None], bulge, 0),
        bulge_fraction=np.where(known, fraction, 0),
        flux_error=np.hypot(np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", of_flux, spread, of_flux), 0)), of_fraction),
        radius=radius,
        radius_error=radius_error,
        axis_ratio=ratio,
        axis_ratio_error=ratio_error,
        angle=0.5 * np.arctan2(e2, e1),
        angle_error=angle_error,
        chi2_over_point=gain - of_point,
        rejected=np.zeros(n, bool),
    )


def _half_light(disc: np.ndarray, bulge: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Circularized radius with half of the light of mixtures of discs and bulges of these half-light radii."""
    low, high = np.zeros(len(disc)), 4 * np.fmax(disc, bulge)
    for _ in range(40):
        middle = 0.5 * (low + high)
        inside = np.zeros(len(disc))
        for radius, weights, variances, share in (
            (disc, DISC_WEIGHTS, DISC_VARIANCES, 1 - fraction),
            (bulge, BULGE_FRACTION, BULGE_VARIANCE, fraction),
        ):
            argument = 0.5 * np.square(middle / radius)[:, None] / variances
            inside += share * np.sum(weights * -np.expm1(-argument), axis=1)
        less = inside < 0.5
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return 0.5 * (low + high)
