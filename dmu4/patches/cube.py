"""The bands of a patch as a cube of arrays [y, x, band], on which detection and measurement operate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np

from dmu4.coadds.psf_zones import PsfZones
from dmu4.patches.band_psf import BandPsf

FLAG_BIT = MappingProxyType({"SAT": np.uint8(1), "INEXACT_PSF": np.uint8(2)})
"""Bits of the mask planes that are looked up at objects, in one byte a pixel; others than those of a mask on disk."""


@dataclass(frozen=True)
class CalibrationErrors:
    """Errors that the objects of a band share.

    Attributes
    ----------
    scale
        Relative error of all fluxes due to the zero points of the inputs relative to each other.
    zero_point
        Error in mag of the zero point that the inputs have in common; NaN if it is unknown.
    position
        Error in arcsec along one axis of positions, from those of the reference stars; NaN if it is unknown.
    """

    scale: float = 0.0
    zero_point: float = np.nan
    position: float = np.nan


@dataclass(frozen=True)
class BandPlanes:
    """One band of a patch.

    Attributes
    ----------
    image
        Pixels [y, x] in nJy; NaN allowed where there is no data.
    variance
        Variance [y, x] in nJy^2.
    mask
        Mask bits [y, x] of `obs_vista.masks.BIT`.
    psf
        PSF stamps [cell y, cell x, y, x] of odd size, each of sum 1; NaN for cells without data.
    noise
        Noise realization [y, x] with the covariance of the noise, in nJy; None if there is none.
    input_count
        Number of images in each pixel [y, x].
    psf_light
        Fraction of a star's light that falls on a PSF stamp: one number, or one per cell [cell y, cell x].
    zones
        PSFs of the parts of cells that have other inputs; None where the PSF of the cell is all that is known.
    calibration
        Errors that all objects share.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    psf: np.ndarray
    noise: np.ndarray | None
    input_count: np.ndarray
    psf_light: float | np.ndarray = 1.0
    zones: PsfZones | None = None
    calibration: CalibrationErrors = CalibrationErrors()


@dataclass(frozen=True)
class PatchImages:
    """The images of all bands of a patch on their common pixels; pixels that are not good are zero, never NaN.

    Attributes
    ----------
    bands
        Labels of the bands, from blue to red.
    x0, y0
        Tract pixel of the first pixel of the arrays.
    pixel_scale
        Size of a pixel in arcsec.
    image, variance
        Cubes [y, x, band] in nJy and nJy^2. In memory they are [band, y, x], so that each band is contiguous.
    good
        Whether a pixel has data [y, x, band].
    """

    bands: tuple[str, ...]
    x0: int
    y0: int
    pixel_scale: float
    image: np.ndarray
    variance: np.ndarray
    good: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape[:2]

    def plane(self, name: str, band: int) -> np.ndarray:
        """One band of one of the cubes as a contiguous array [y, x]."""
        return np.ascontiguousarray(getattr(self, name)[..., band])


@dataclass(frozen=True)
class PatchCube(PatchImages):
    """All data of a patch needed for detection and measurement.

    Attributes
    ----------
    noise
        Noise realization [y, x, band] in nJy; None if only the data are kept.
    flags
        Mask planes that are looked up at objects [y, x, band], as the bits of `FLAG_BIT`.
    input_count
        Number of images in each pixel [y, x, band]; in one byte unless it is larger than 255.
    psfs
        PSFs of each band on the cells, and their zones, of its own coadd, normalised so that fluxes fitted with them
        are total fluxes: the sum of a stamp is the fraction of the light on it. Zero for bands without any PSF.
    has_noise
        Whether each band [band] has a noise realization; if not, its ``noise`` is zero.
    calibration
        Errors that all objects share in each band.
    """

    noise: np.ndarray | None
    flags: np.ndarray
    input_count: np.ndarray
    psfs: tuple[BandPsf, ...]
    has_noise: np.ndarray
    calibration: tuple[CalibrationErrors, ...]

    @cached_property
    def psf_size(self) -> int:
        """Side in pixels of the largest PSF stamps of bands with data: a band without any changes nothing in others."""
        sides = [psf.stamps.shape[-1] for psf in self.psfs]
        seen = [side for band, side in enumerate(sides) if self.good[..., band].any()]
        return max(seen or sides)

    def of_bands(self, numbers: Sequence[int] | slice) -> PatchCube:
        """Some of the bands by number; with a slice, the cube shares the memory of this one."""
        kept = np.arange(len(self.bands))[numbers].tolist()
        planes = {p: getattr(self, p)[..., numbers] for p in ("image", "variance", "good", "flags", "input_count")}
        return replace(
            self,
            bands=tuple(self.bands[k] for k in kept),
            psfs=tuple(self.psfs[k] for k in kept),
            has_noise=self.has_noise[kept],
            calibration=tuple(self.calibration[k] for k in kept),
            noise=None if self.noise is None else self.noise[..., numbers],
            **planes,
        )

    def read(self, number: int) -> PatchCube:
        """One band, as a cube that shares the memory of this one."""
        return self.of_bands(slice(number, number + 1))

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read`, as it is."""
        return one


class PatchData(Protocol):
    """A patch whose bands are read, or taken from a cube, one after another."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Labels of the bands, from blue to red."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def x0(self) -> int:
        """Tract pixel of the first column."""

    @property
    def y0(self) -> int:
        """Tract pixel of the first row."""

    @property
    def pixel_scale(self) -> float:
        """Size of a pixel in arcsec."""

    def read(self, number: int) -> PatchCube:
        """One band, as a cube. A Butler is used by the thread that made it: this is not called from another."""

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read` as it is to be used. This may be called from any thread."""


def psf_sigma(psf: np.ndarray) -> float:
    """Gaussian width in pixels of a PSF stamp, from its noise-equivalent area 1 / sum(P^2) = 4 pi sigma^2."""
    power = float(np.sum(np.square(psf, dtype=np.float64)))
    return float(np.sqrt(1 / (4 * np.pi * power))) if power > 0 else np.nan


def mean_psf(cube: PatchCube, band: int) -> np.ndarray:
    """The PSF stamp of a band, averaged over the cells."""
    return cube.psfs[band].of_cells.mean(axis=0)
