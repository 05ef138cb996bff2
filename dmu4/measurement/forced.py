"""Forced photometry: simultaneous fit of the fluxes of all sources of a band, with the cost of blending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from scipy.spatial import cKDTree

from dmu4.measurement.profiles import Profiles
from dmu4.measurement.stamps import StampSet

MAX_NEIGHBOURS = 24
"""Largest number of neighbours included in the error of a source: those with the largest overlap."""


@dataclass(frozen=True)
class ForcedFluxes:
    """Fluxes of N sources in one band.

    Attributes
    ----------
    flux, error
        Fluxes and errors in the unit of the image; NaN if no pixel of the source has data. Errors are marginalised over
        the fluxes of the neighbours, for uncorrelated noise.
    covered
        Fraction of the light of each model on good pixels.
    isolated_error
        Error of each flux without neighbours.
    power, signal
        Sums over good pixels of the square of each model, and of the model times the image.
    """

    flux: np.ndarray
    error: np.ndarray
    covered: np.ndarray
    isolated_error: np.ndarray
    power: np.ndarray
    signal: np.ndarray


class StampSums(NamedTuple):
    """Sums over the pixels of each of N stamps M.

    Attributes
    ----------
    power
        Sum of M^2 over good pixels [N].
    signal
        Sum of M times the image over good pixels [N].
    noise
        Sum of M^2 times the variance over good pixels [N].
    seen
        Sum of M over good pixels [N].
    whole
        Sum of M over all pixels [N].
    """

    power: np.ndarray
    signal: np.ndarray
    noise: np.ndarray
    seen: np.ndarray
    whole: np.ndarray


SUM_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
"""Relaxed rules of floating-point arithmetic for loops that sum pixels, so that they are vectorized."""


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _overlap(i, j, pixels, offset, size, x0, y0, good):
    """Sum over good pixels of the product of two stamps."""
    ny, nx = good.shape
    x_from, x_to = max(x0[i], x0[j], 0), min(x0[i] + size[i], x0[j] + size[j], nx)
    y_from, y_to = max(y0[i], y0[j], 0), min(y0[i] + size[i], y0[j] + size[j], ny)
    total = 0.0
    for y in range(y_from, y_to):
        at_i = offset[i] + (y - y0[i]) * size[i] - x0[i]
        at_j = offset[j] + (y - y0[j]) * size[j] - x0[j]
        row_i, row_j = pixels[at_i + x_from : at_i + x_to], pixels[at_j + x_from : at_j + x_to]
        known = good[y, x_from:x_to]
        for k in range(len(known)):
            total += float(row_i[k]) * row_j[k] if known[k] else 0.0
    return total


@numba.njit(nogil=True, cache=True)
def _overlaps(first, second, pixels, offset, size, x0, y0, good):
    values = np.empty(len(first))
    for pair in range(len(first)):
        values[pair] = _overlap(first[pair], second[pair], pixels, offset, size, x0, y0, good)
    return values


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _project(pixels, offset, size, x0, y0, image, variance, good):
    """The sums of `StampSums`, in the order of its fields [stamp, 5]."""
    ny, nx = good.shape
    sums = np.zeros((len(size), 5))
    for i in range(len(size)):
        whole, power, signal, noise, seen = 0.0, 0.0, 0.0, 0.0, 0.0
        for value in pixels[offset[i] : offset[i] + size[i] * size[i]]:
            whole += value
        x_from, x_to = max(x0[i], 0), min(x0[i] + size[i], nx)
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            at = offset[i] + (y - y0[i]) * size[i] - x0[i]
            stamp, known = pixels[at + x_from : at + x_to], good[y, x_from:x_to]
            data, spread = image[y, x_from:x_to], variance[y, x_from:x_to]
            for k in range(len(known)):
                value = float(stamp[k]) if known[k] else 0.0
                power += value * value
                signal += value * data[k]
                noise += value * value * spread[k]
                seen += value
        sums[i, 0], sums[i, 1], sums[i, 2], sums[i, 3], sums[i, 4] = power, signal, noise, seen, whole
    return sums


@numba.njit(nogil=True, cache=True)
def add_stamps(pixels, offset, size, x0, y0, flux, image):
    """Add each stamp times its flux to an image [y, x], in place; parts outside the image are ignored."""
    ny, nx = image.shape
    for i in range(len(size)):
        if flux[i] == 0.0:
            continue
        x_from, x_to, factor = max(x0[i], 0), min(x0[i] + size[i], nx), np.float32(flux[i])
        for y in range(max(y0[i], 0), min(y0[i] + size[i], ny)):
            at = offset[i] + (y - y0[i]) * size[i] - x0[i]
            stamp, target = pixels[at + x_from : at + x_to], image[y, x_from:x_to]
            for k in range(len(target)):
                target[k] += factor * stamp[k]


@numba.njit(nogil=True, cache=True)
def _conjugate_gradients(diagonal, start, other, value, right, tolerance, max_iterations):
    """Solve the symmetric system with the given rows (off-diagonal entries), preconditioned by its diagonal."""
    n = len(diagonal)
    solution = right / diagonal
    residual = np.empty(n)
    product = np.empty(n)
    for i in range(n):
        total = diagonal[i] * solution[i]
        for k in range(start[i], start[i + 1]):
            total += value[k] * solution[other[k]]
        residual[i] = right[i] - total
    scaled = residual / diagonal
    direction = scaled.copy()
    power = np.dot(residual, scaled)
    goal = tolerance**2 * np.dot(right, right / diagonal)
    for _ in range(max_iterations):
        if power <= goal:
            break
        for i in range(n):
            total = diagonal[i] * direction[i]
            for k in range(start[i], start[i + 1]):
                total += value[k] * direction[other[k]]
            product[i] = total
        step = power / np.dot(direction, product)
        solution += step * direction
        residual -= step * product
        scaled = residual / diagonal
        new_power = np.dot(residual, scaled)
        direction = scaled + (new_power / power) * direction
        power = new_power
    return solution


@numba.njit(nogil=True, cache=True)
def _marginal(diagonal, start, other, value, limit):
    """Diagonal of the inverse of the normal matrix, from each source and the neighbours of largest overlap."""
    inverse = np.empty(len(diagonal))
    position = np.full(len(diagonal), -1, np.int64)
    for i in range(len(diagonal)):
        n_row = start[i + 1] - start[i]
        strength = np.empty(n_row)
        for k in range(n_row):
            j = other[start[i] + k]
            strength[k] = value[start[i] + k] ** 2 / (diagonal[i] * diagonal[j])
        chosen = np.argsort(-strength)[:limit]
        count = 1
        for k in chosen:
            if strength[k] > 1e-6:
                count += 1
        members = np.empty(count, np.int64)
        members[0] = i
        for k in range(count - 1):
            members[k + 1] = other[start[i] + chosen[k]]
        for k in range(count):
            position[members[k]] = k
        # A hair more than one on the diagonal: two sources at one place get a large error, not a failure.
        matrix = np.eye(count) * (1 + 1e-6)
        for k in range(count):
            for entry in range(start[members[k]], start[members[k] + 1]):
                column = position[other[entry]]
                if column >= 0:
                    matrix[k, column] = value[entry] / np.sqrt(diagonal[members[k]] * diagonal[other[entry]])
        for k in range(count):
            position[members[k]] = -1
        unit = np.zeros(count)
        unit[0] = 1.0
        inverse[i] = np.linalg.solve(matrix, unit)[0] / diagonal[i]
    return inverse


def find_overlaps(stamps: StampSet | Profiles) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all pairs of sources whose stamps share pixels; the same for every band.

    The first of a pair is the smaller number; pairs are sorted by the first and then by the second.
    """
    if len(stamps) < 2:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    corners = np.column_stack(stamps.corners()).astype(float) + 0.5 * stamps.size[:, None]
    small = stamps.size <= np.median(stamps.size)
    # Large stamps are few: each is searched with its own radius, so that all others can use a smaller one.
    tree = cKDTree(corners)
    near = [tree.query_pairs(float(stamps.size[small].max()), p=np.inf, output_type="ndarray").astype(np.int64)]
    if not small.all():
        wide = np.flatnonzero(~small)
        found = tree.query_ball_point(corners[wide], stamps.size[wide].astype(float), p=np.inf)
        around = np.column_stack([np.repeat(wide, [len(one) for one in found]), np.concatenate(found)])
        near.append(np.sort(around[around[:, 0] != around[:, 1]], axis=1).astype(np.int64))
    first, second = np.divmod(np.unique(np.concatenate(near) @ [len(stamps), 1]), len(stamps))
    return still_overlapping(stamps, (first.astype(np.int32), second.astype(np.int32)))


def still_overlapping(
    stamps: StampSet | Profiles, pairs: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of `find_overlaps` for larger stamps that share pixels."""
    first, second = pairs
    reach, touching = 0.5 * (stamps.size[first] + stamps.size[second]), np.ones(len(first), bool)
    for corner in stamps.corners():
        middle = corner + 0.5 * stamps.size
        touching &= np.abs(middle[first] - middle[second]) < reach
    return first[touching], second[touching]


@numba.njit(nogil=True, cache=True)
def _rows(n, first, second, values):
    """A symmetric matrix, from its off-diagonal half, as rows: start of each row, columns, values.

    The columns of a row increase if the pairs are in the order of `find_overlaps`.
    """
    start = np.zeros(n + 1, np.int64)
    for k in range(len(first)):
        start[first[k] + 1] += 1
        start[second[k] + 1] += 1
    start = np.cumsum(start)
    free, other, value = start[:-1].copy(), np.empty(2 * len(first), np.int32), np.empty(2 * len(first))
    for k in range(len(first)):
        for row, column in ((first[k], second[k]), (second[k], first[k])):
            other[free[row]], value[free[row]] = column, values[k]
            free[row] += 1
    return start, other, value


def fit_fluxes(
    stamps: StampSet,
    *,
    image: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    min_covered: float | np.ndarray = 0.1,
) -> ForcedFluxes:
    """Simultaneous least-squares fit of the fluxes of all sources of a band.

    All good pixels have the same weight: with weights from a variance that includes the photon noise of the sources,
    an inaccurate PSF would make fluxes depend on brightness. The sparse linear system is solved with conjugate
    gradients; errors follow from the variance under each model and the inverse of the part of the matrix for a source
    and its neighbours.

    Parameters
    ----------
    stamps
        Models of unit flux.
    image, variance, good
        Image, variance, and whether a pixel has data [y, x].
    pairs
        Overlapping sources from `find_overlaps`, which are the same for all bands; None: they are computed here.
    min_covered
        Smallest fraction of the light on good pixels, of each source or of all; sources with less are not fitted and
        have no flux.
    """
    sums = project(stamps, image=image, variance=variance, good=good)
    covered = np.divide(sums.seen, sums.whole, out=np.zeros(len(stamps)), where=sums.whole > 0)
    used = (covered >= min_covered) & (sums.power > 0) & (sums.noise > 0)
    first, second = find_overlaps(stamps) if pairs is None else pairs
    both = used[first] & used[second]
    first, second = first[both], second[both]
    overlap = _overlaps(
        first, second, stamps.pixels, stamps.offset, stamps.size, stamps.x0, stamps.y0, np.ascontiguousarray(good)
    )
    start, other, value = _rows(len(stamps), first, second, overlap)
    diagonal = np.where(used, sums.power, 1.0)
    flux = _conjugate_gradients(diagonal, start, other, value, np.where(used, sums.signal, 0.0), 1e-7, 200)
    inverse = _marginal(diagonal, start, other, value, MAX_NEIGHBOURS)
    noise = np.where(used, sums.noise / diagonal, np.nan)
    return ForcedFluxes(
        flux=np.where(used, flux, np.nan),
        error=np.sqrt(noise * np.maximum(inverse, 0)),
        covered=covered,
        isolated_error=np.sqrt(noise / diagonal),
        power=sums.power,
        signal=sums.signal,
    )


def subtract_models(image: np.ndarray, good: np.ndarray, stamps: StampSet, flux: np.ndarray) -> np.ndarray:
    """The image minus all models; zero where not good. Sources without a flux are not subtracted.

    Parameters
    ----------
    image, good
        Image, and whether a pixel has data [y, x].
    stamps
        Models of unit flux.
    flux
        Flux of each source; may be NaN.
    """
    model = np.zeros(image.shape, np.float32)
    known = np.where(np.isfinite(flux), flux, 0.0)
    add_stamps(stamps.pixels, stamps.offset, stamps.size, stamps.x0, stamps.y0, known, model)
    # In place: a full patch has ten bands of this size.
    np.subtract(image, model, out=model)
    model[~good] = 0
    return model


def project(stamps: StampSet, *, image: np.ndarray, variance: np.ndarray, good: np.ndarray) -> StampSums:
    """Project an image on stamps, which are weights or models of sources.

    Parameters
    ----------
    stamps
        The stamps.
    image, variance, good
        Image, variance, and whether a pixel has data [y, x].
    """
    corners = (stamps.offset, stamps.size, stamps.x0, stamps.y0)
    return StampSums(*_project(stamps.pixels, *corners, image, variance, good).T)
