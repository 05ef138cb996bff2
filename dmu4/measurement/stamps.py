"""Stamps of sources: the PSF of their cell at their sub-pixel position, alone or convolved with a galaxy profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np
from scipy import fft

from dmu4.measurement.profiles import BULGE_TABLE, DISC_TABLE, Profiles, look_up, phase_argument

BATCH = 512
"""Number of stamps transformed at once, so that the work space fits in the cache."""

KEPT = 6_000_000
"""Largest number of pixels of the stamps of all cells whose transforms are kept (some 25 MB)."""

PART = 4096
"""Number of sources whose further stamps are in memory at once, besides the models of all."""


@dataclass(frozen=True)
class StampSet:
    """Square stamps of N sources, of different sizes, in one array.

    Attributes
    ----------
    pixels
        Pixels of all stamps, flat.
    offset
        Index in ``pixels`` of the first pixel of each stamp.
    size
        Side of each stamp.
    x0, y0
        Array position of the first pixel of each stamp; stamps may extend beyond the array.
    """

    pixels: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    x0: np.ndarray
    y0: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Array pixel (x, y) of each stamp's first pixel."""
        return self.x0, self.y0

    def subset(self, members: np.ndarray) -> StampSet:
        """The stamps of some of the sources, selected by number, in the same memory."""
        return StampSet(self.pixels, *(one[members] for one in (self.offset, self.size, self.x0, self.y0)))

    def __getitem__(self, number: int) -> np.ndarray:
        """One stamp [y, x], as a view."""
        start, side = self.offset[number], self.size[number]
        return self.pixels[start : start + side * side].reshape(side, side)


@numba.njit(nogil=True, cache=True)
def _phases(shift: float, side: int) -> np.ndarray:
    """exp(-2 pi i k shift) for the frequencies of one axis; real at the Nyquist frequency, as in a real image."""
    half = side // 2
    phases = np.empty(side, np.complex64)
    for number in range(side):
        k = (number if number < half else number - side) / side
        phase = -2 * np.pi * k * shift
        phases[number] = np.complex64(np.cos(phase) + 1j * np.sin(phase)) if number != half else np.cos(phase)
    return phases


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _transforms(dx, dy, disc, bulge, fraction, cell, kernels, out):
    """Transforms [n, side, ...] of shifted profiles times the kernel of their cell, centred on pixel ``side / 2``."""
    side = out.shape[1]
    half = side // 2
    for n in range(len(dx)):
        along_x, along_y = _phases(dx[n] + half, side), _phases(dy[n] + half, side)
        for row in range(side):
            kernel, target, phase = kernels[cell[n], row], out[n, row], along_y[row]
            for column in range(half + 1):
                target[column] = kernel[column] * (phase * along_x[column])
        is_disc = fraction[n] < 1 and disc[n].any()
        if fraction[n] == 0 and not is_disc:
            continue
        for row in range(side):
            ky, target = (row if row < half else row - side) / side, out[n, row]
            for column in range(half + 1):
                kx, total = column / side, np.float32(1 - fraction[n])
                if is_disc:
                    total *= look_up(DISC_TABLE, phase_argument(disc[n], kx, ky))
                if fraction[n] > 0:
                    total += np.float32(fraction[n]) * look_up(BULGE_TABLE, phase_argument(bulge[n], kx, ky))
                target[column] *= total


def kernel_transforms(kernels: np.ndarray, side: int) -> np.ndarray:
    """Fourier transforms of centred kernels [..., y, x] of odd size, on a stamp of another size.

    A kernel larger than the stamp is truncated.
    """
    cut, half = _middle(kernels, side)
    along_x = fft.rfft(_about_first(cut, half, side, axis=-1), axis=-1)
    return fft.fft(_about_first(along_x, half, side, axis=-2), axis=-2, overwrite_x=True)


def low_transforms(kernels: np.ndarray, side: int, reach: int) -> np.ndarray:
    """The frequencies -reach to reach - 1 along y and 0 to reach along x of `kernel_transforms`, from zero upwards.

    Far below the highest frequency of a large stamp, the sums over the pixels of a kernel are faster than a transform
    of the whole stamp.
    """
    cut, half = _middle(kernels, side)
    pixel = np.arange(-half, half + 1)
    rows = np.concatenate([np.arange(reach), np.arange(-reach, 0)])
    along_x = np.exp(-2j * np.pi * pixel[:, None] * np.arange(reach + 1) / side).astype(np.complex64)
    along_y = np.exp(-2j * np.pi * rows[:, None] * pixel / side).astype(np.complex64)
    return along_y @ (cut.astype(np.complex64) @ along_x)


def _middle(kernels: np.ndarray, side: int) -> tuple[np.ndarray, int]:
    """The part [..., y, x] of centred kernels that fits on a stamp, and its half size."""
    half, middle = min(kernels.shape[-1] // 2, side // 2 - 1), kernels.shape[-1] // 2
    inside = slice(middle - half, middle + half + 1)
    return kernels[..., inside, inside], half


def _about_first(values: np.ndarray, half: int, side: int, *, axis: int) -> np.ndarray:
    """Values of the positions -half to half along an axis, at these positions modulo ``side``; zero elsewhere."""
    shape = list(values.shape)
    shape[axis] = side
    placed = np.zeros(shape, values.dtype)
    # Views, so that nothing is copied twice.
    target, source = np.moveaxis(placed, axis, 0), np.moveaxis(values, axis, 0)
    target[: half + 1], target[side - half :] = source[half:], source[:half]
    return placed


def frequency_squared(side: int) -> np.ndarray:
    """kx^2 + ky^2 in cycles^2 per pixel^2, in the layout of `kernel_transforms`."""
    return np.square(np.fft.fftfreq(side))[:, None] + np.square(np.fft.rfftfreq(side))[None, :]


class Convolving(Protocol):
    """Kernels with which sources are convolved."""

    def of(self, side: int, cells: np.ndarray) -> np.ndarray:
        """Fourier transforms [cell, ...] for some cells, in the layout of `kernel_transforms`."""


class Kernels:
    """The PSFs with which sources are convolved, as Fourier transforms that are computed when a cell is first in use.

    Parameters
    ----------
    psf
        PSF stamps [cell, y, x].
    """

    def __init__(self, psf: np.ndarray) -> None:
        self._psf = psf
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def of(self, side: int, cells: np.ndarray) -> np.ndarray:
        """Transforms [cell, ...] of the PSFs of some cells, for stamps of this side."""
        if len(self._psf) * side**2 > KEPT:
            return kernel_transforms(self._psf[cells], side)
        if side not in self._known:
            whole = np.empty((len(self._psf), side, side // 2 + 1), np.complex64)
            self._known[side] = (np.zeros(len(self._psf), bool), whole)
        known, transforms = self._known[side]
        new = np.unique(cells[~known[cells]])
        if len(new):
            transforms[new], known[new] = kernel_transforms(self._psf[new], side), True
        return transforms[cells]

    def gradients(self) -> tuple[Product, Product]:
        """The gradients of the PSFs along x and along y, per pixel."""
        return (
            Product(self, lambda side: (2j * np.pi * fft.rfftfreq(side))[None, :].astype(np.complex64)),
            Product(self, lambda side: (2j * np.pi * fft.fftfreq(side))[:, None].astype(np.complex64)),
        )

    def curvature(self, sigma: float) -> Product:
        """The change of the PSFs per squared width of a source in units of ``sigma`` pixels."""
        return Product(self, lambda side: (-2 * np.pi**2 * sigma**2 * frequency_squared(side)).astype(np.float32))


@dataclass(frozen=True)
class Product:
    """Kernels times a function of frequency.

    Attributes
    ----------
    kernels
        The kernels.
    factor
        Function of the side of a stamp, whose result is multiplied with the transforms.
    """

    kernels: Kernels
    factor: Callable[[int], np.ndarray]

    def of(self, side: int, cells: np.ndarray) -> np.ndarray:
        """Transforms [cell, ...] of the products for some cells, for stamps of this side."""
        return self.kernels.of(side, cells) * self.factor(side)


class TransformedKernels:
    """Kernels whose transforms are known for stamps of one size.

    Parameters
    ----------
    transforms
        Transforms [cell, ...] in the layout of `kernel_transforms`.
    """

    def __init__(self, transforms: np.ndarray) -> None:
        self._transforms = transforms

    def of(self, side: int, cells: np.ndarray) -> np.ndarray:
        """Transforms [cell, ...] of some cells.

        Raises
        ------
        ValueError
            If they are known for stamps of another side.
        """
        if self._transforms.shape[1] != side:
            raise ValueError(f"Kernels for stamps of {self._transforms.shape[1]} pixels do not fit stamps of {side}.")
        return self._transforms[cells]


def stamp_batches(profiles: Profiles, kernels: Convolving, cell: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Render sources in batches of a few hundred.

    Parameters
    ----------
    profiles
        Profiles of the sources.
    kernels
        Kernels with which the sources are convolved.
    cell
        Cell of each source.

    Yields
    ------
    numbers, stamps
        Numbers of the sources, which have the same stamp size, and their stamps [n, y, x].
    """
    offset_x, offset_y = profiles.x - np.rint(profiles.x), profiles.y - np.rint(profiles.y)
    for side in np.unique(profiles.size):
        members = np.flatnonzero(profiles.size == side)
        for start in range(0, len(members), BATCH):
            batch = members[start : start + BATCH]
            spectrum = np.empty((len(batch), side, side // 2 + 1), np.complex64)
            shape = (profiles.covariance[batch], profiles.bulge[batch], profiles.bulge_fraction[batch])
            cells, index = np.unique(cell[batch], return_inverse=True)
            _transforms(offset_x[batch], offset_y[batch], *shape, index, kernels.of(int(side), cells), spectrum)
            yield batch, fft.irfft2(spectrum, (side, side))


def parts(n: int) -> Iterator[np.ndarray]:
    """Numbers 0 to n - 1 in parts of `PART`."""
    return (np.arange(start, min(start + PART, n)) for start in range(0, n, PART))


def render(profiles: Profiles, kernels: Convolving, cell: np.ndarray) -> StampSet:
    """Stamps of all sources in one band, convolved with the kernel of their cell; of unit flux if the kernel is.

    Parameters
    ----------
    profiles
        Profiles of the sources.
    kernels
        Kernels, for example PSFs.
    cell
        Cell of each source.
    """
    # In the order of the batches, so that each is written at once.
    order, area = np.argsort(profiles.size, kind="stable"), profiles.size.astype(np.int64) ** 2
    offset = np.zeros(len(profiles), np.int64)
    offset[order[1:]] = np.cumsum(area[order])[:-1]
    pixels = np.empty(area.sum(), np.float32)
    for numbers, stamps in stamp_batches(profiles, kernels, cell):
        start = offset[numbers[0]]
        pixels[start : start + stamps.size] = stamps.ravel()
    x0, y0 = profiles.corners()
    return StampSet(pixels=pixels, offset=offset, size=profiles.size.astype(np.int64), x0=x0, y0=y0)


@numba.njit(nogil=True, cache=True)
def own_light(pixels, offset, size, x0, y0, flux, residual, i, window):
    """A stamp [y, x] of one source, the residual image plus its own model, and the array pixel (x, y) of its first.

    The stamp has at least ``window`` pixels a side, which are even; beyond its model, it is the residual image.
    """
    ny, nx = residual.shape
    side = max(size[i], window)
    border = (side - size[i]) // 2
    stamp, first_x, first_y = np.zeros((side, side)), x0[i] - border, y0[i] - border
    for y in range(max(first_y, 0), min(first_y + side, ny)):
        for x in range(max(first_x, 0), min(first_x + side, nx)):
            stamp[y - first_y, x - first_x] = residual[y, x]
    for row in range(size[i]):
        for column in range(size[i]):
            stamp[border + row, border + column] += flux[i] * pixels[offset[i] + row * size[i] + column]
    return stamp, first_x, first_y
