"""Sources in Fourier space: what fits of galaxy profiles need of one band, at low frequencies only.

The transform of a galaxy seen through a PSF is F P(k) T(k C k), with the total flux F, the transform P of the PSF and
that of its profile. With equal weights for all pixels, sums over pixels of products of such models with each other and
with the image D are sums over frequencies (Parseval) of ``|P|^2 T^2`` and of ``Re(D P*) T``. Both factors before T
are the same whatever the profile: they are computed once per source and band.

Zero frequency is left out: a constant is fitted along with every profile. Between objects the sky is right, but around
an object lies what the models of its brighter neighbours leave, which a profile would otherwise grow to include.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy import fft

from dmu4.measurement.band_fit import BandFit
from dmu4.measurement.forced import SUM_IN_ANY_ORDER
from dmu4.measurement.profiles import Profiles
from dmu4.measurement.stamps import BATCH

NEGLIGIBLE = 1e-4
"""Frequencies beyond which the power of the PSF is below this fraction of that at zero are left out."""


@dataclass(frozen=True)
class SourceSpectra:
    """Spectra of M sources in one band; rows are the frequencies -K to K along y, columns 0 to K along x.

    Attributes
    ----------
    members
        Numbers of the sources [M].
    side
        Sides of their stamps in pixels [M].
    reach
        Highest frequency K of each, in cycles per stamp [M].
    cross, cross_at
        ``Re(D P*)`` of all sources about their centres, flat, and where each begins [M]; 0 at zero frequency.
    power, power_at
        ``|P|^2`` of the PSFs in use, flat, and where that of each source begins [M]; 0 at zero frequency.
    variance
        Variance of a pixel, averaged over the model of each source [M].
    """

    members: np.ndarray
    side: np.ndarray
    reach: np.ndarray
    cross: np.ndarray
    cross_at: np.ndarray
    power: np.ndarray
    power_at: np.ndarray
    variance: np.ndarray


@numba.njit(nogil=True, cache=True, fastmath=SUM_IN_ANY_ORDER)
def _cut_out(
    pixels: np.ndarray,
    offset: np.ndarray,
    size: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    flux: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    members: np.ndarray,
    corner_x: np.ndarray,
    corner_y: np.ndarray,
    stamps: np.ndarray,
    noise: np.ndarray,
) -> None:
    """Stamps [n, y, x] of the residual image plus the own model of each source, and their mean variance [n]."""
    ny, nx = residual.shape
    side = stamps.shape[1]
    for n, i in enumerate(members):
        stamps[n] = 0
        x_from, x_to = max(corner_x[n], 0), min(corner_x[n] + side, nx)
        for y in range(max(corner_y[n], 0), min(corner_y[n] + side, ny)):
            row = stamps[n, y - corner_y[n]]
            for x in range(x_from, x_to):
                row[x - corner_x[n]] = residual[y, x]
        weight, spread = 0.0, 0.0
        for row in range(size[i]):
            y = y0[i] + row
            for column in range(size[i]):
                x, value = x0[i] + column, pixels[offset[i] + row * size[i] + column]
                to_y, to_x = y - corner_y[n], x - corner_x[n]
                if 0 <= to_y < side and 0 <= to_x < side:
                    stamps[n, to_y, to_x] += flux[i] * value
                if 0 <= y < ny and 0 <= x < nx and good[y, x]:
                    weight += value * value
                    spread += value * value * variance[y, x]
        noise[n] = spread / weight if weight > 0 else np.nan


def psf_reach(psf: np.ndarray) -> float:
    """Frequency in cycles per pixel, at most 1/2, beyond which the PSFs [cell, y, x] have `NEGLIGIBLE` power."""
    power = np.abs(fft.rfft2(psf.mean(axis=0), (64, 64))) ** 2
    ky, kx = np.abs(fft.fftfreq(64))[:, None], fft.rfftfreq(64)[None, :]
    matters = power > NEGLIGIBLE * power[0, 0]
    return float(min(max((np.maximum(ky, kx) * matters).max(), 1 / 16), 0.5 - 1 / 64))


def _low(transforms: np.ndarray, reach: int) -> np.ndarray:
    """The frequencies from -reach to reach along y, 0 to reach along x, of transforms [n, ky, kx]."""
    return np.concatenate([transforms[:, -reach:, : reach + 1], transforms[:, : reach + 1, : reach + 1]], axis=1)


def source_spectra(profiles: Profiles, fit: BandFit, members: np.ndarray, side: np.ndarray) -> SourceSpectra:
    """Spectra of some sources of a band, with the models of their neighbours subtracted.

    Pixels without data have the value of the source's own model.

    Parameters
    ----------
    profiles
        Positions of all sources.
    fit
        Models of all sources of the band, and the residual image.
    members
        Numbers of the sources.
    side
        Even sides of the stamps of these sources in pixels.
    """
    members, side = np.asarray(members, np.int64), np.asarray(side, np.int64)
    limit = psf_reach(fit.psf[np.unique(fit.cell[members])]) if len(members) else 0.0
    reach = np.ceil(limit * side).astype(np.int64)
    area = (2 * reach + 1) * (reach + 1)
    cross_at = np.concatenate([[0], np.cumsum(area)[:-1]]) if len(members) else np.zeros(0, np.int64)
    cross, variance = np.empty(area.sum(), np.float32), np.empty(len(members))
    power, power_at, start = [np.zeros(0, np.float32)], np.zeros(len(members), np.int64), 0
    for one_side in np.unique(side):
        mine = np.flatnonzero(side == one_side)
        cells, index = np.unique(fit.cell[members[mine]], return_inverse=True)
        k = int(reach[mine[0]])
        low = _low(fit.kernels.of(int(one_side), cells), k)
        low[:, k, 0] = 0
        power.append(np.square(np.abs(low)).astype(np.float32).ravel())
        power_at[mine] = start + index * area[mine[0]]
        start += power[-1].size
        for first in range(0, len(mine), BATCH):
            some = slice(first, first + BATCH)
            found, variance[mine[some]] = _cross(profiles, fit, members[mine[some]], low[index[some]], int(one_side), k)
            cross[(cross_at[mine[some]][:, None] + np.arange(area[mine[0]])).ravel()] = found.ravel()
    return SourceSpectra(members, side, reach, cross, cross_at, np.concatenate(power), power_at, variance)


def _cross(
    profiles: Profiles, fit: BandFit, members: np.ndarray, psf: np.ndarray, side: int, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Re(D P*) [n, ky, kx] of sources with stamps of one side, given the transforms P of their PSFs; and variances."""
    models = fit.models
    x, y = profiles.x[members], profiles.y[members]
    corner_x, corner_y = (np.rint(one).astype(np.int64) - side // 2 for one in (x, y))
    stamps, noise = np.empty((len(members), side, side), np.float32), np.empty(len(members))
    of_models = (models.pixels, models.offset, models.size, models.x0, models.y0, fit.flux)
    planes = (fit.residual, fit.variance, fit.usable)
    _cut_out(*of_models, *planes, members, corner_x, corner_y, stamps, noise)
    along_y = np.exp(2j * np.pi * np.arange(-reach, reach + 1) * (y - corner_y)[:, None] / side).astype(np.complex64)
    along_x = np.exp(2j * np.pi * np.arange(reach + 1) * (x - corner_x)[:, None] / side).astype(np.complex64)
    spectrum = _low(fft.rfft2(stamps), reach) * np.conj(psf)
    spectrum *= along_y[:, :, None]
    spectrum *= along_x[:, None, :]
    return spectrum.real, noise
