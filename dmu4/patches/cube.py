"""The bands of a patch as a cube of arrays [y, x, band], on which detection and measurement operate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from types import MappingProxyType
from typing import Protocol, TypeVar

import numpy as np

from dmu4.coadds.psf_zones import PsfZones
from dmu4.patches.band_psf import BandPsf, band_psf
from dmu4.patches.cell_stamps import fill_cells, of_size, on_cells, padded
from obs_vista.bands import BAND_ORDER, in_band_order
from obs_vista.masks import BIT

Found = TypeVar("Found")
MASK_BIT = MappingProxyType({"SAT": np.uint8(1), "INEXACT_PSF": np.uint8(2)})
"""Bits of the planes of a mask that are kept in memory, in one byte a pixel."""


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
    scale_error
        Relative error of all fluxes due to the zero points of the inputs.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    psf: np.ndarray
    noise: np.ndarray | None
    input_count: np.ndarray
    psf_light: float | np.ndarray = 1.0
    zones: PsfZones | None = None
    scale_error: float = 0.0


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
    mask
        Planes that are looked up at objects [y, x, band], as the bits of `MASK_BIT`.
    input_count
        Number of images in each pixel [y, x, band]; in one byte unless it is larger than 255.
    psf
        PSF stamps [band, cell y, cell x, y, x] of one odd size, normalised so that fluxes fitted with them are total
        fluxes: the sum is the fraction of the light on a stamp. Zero for bands without any PSF.
    has_noise
        Whether each band [band] has a noise realization; if not, its ``noise`` is zero.
    zones
        Band -> its PSFs, on the cells of its own coadd and on their zones, for the bands that have zones.
    scale_error
        Band -> relative error of all fluxes due to the zero points of the inputs.
    """

    noise: np.ndarray | None
    mask: np.ndarray
    input_count: np.ndarray
    psf: np.ndarray
    has_noise: np.ndarray
    zones: Mapping[str, BandPsf] = field(default_factory=dict)
    scale_error: Mapping[str, float] = field(default_factory=dict)

    def psf_of(self, band: int) -> BandPsf:
        """The PSFs of a band, by its number."""
        return self.zones.get(self.bands[band]) or band_psf(self.psf[band], None, self.shape)

    def read(self, number: int) -> PatchCube:
        """One band, as a cube that shares the memory of this one."""
        one, name = slice(number, number + 1), self.bands[number]
        planes = {p: getattr(self, p)[..., one] for p in ("image", "variance", "good", "mask", "input_count")}
        return replace(
            self,
            bands=(name,),
            psf=self.psf[one],
            has_noise=self.has_noise[one],
            noise=None if self.noise is None else self.noise[..., one],
            zones={name: self.zones[name]} if name in self.zones else {},
            **planes,
        )

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
    return cube.psf[band].mean(axis=(0, 1))


def make_cube(planes: Mapping[str, BandPlanes], *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
    """Combine the bands of a patch into a cube.

    A pixel is good if its value and variance are finite, its variance is positive and it is not NO_DATA.

    Parameters
    ----------
    planes
        Arrays of each band, all of the same shape. A band may have no good pixel.
    x0, y0
        Tract pixel of the first pixel.
    pixel_scale
        Size of a pixel in arcsec.

    Raises
    ------
    ValueError
        If there is no band, a band is unknown, or the shapes differ.
    """
    bands = in_order(planes)
    filling = CubeFilling(bands, planes[bands[0]].image.shape, noise=True)
    for band in bands:
        filling.put(one_band(band, planes[band], x0=x0, y0=y0, pixel_scale=pixel_scale))
    return filling.cube(x0=x0, y0=y0, pixel_scale=pixel_scale)


def in_order(bands: Iterable[str]) -> tuple[str, ...]:
    """Bands sorted from blue to red."""
    try:
        ordered = in_band_order(bands)
    except KeyError as error:
        raise ValueError(f"A coadd has an unknown band: {error.args[0]}") from error
    if not ordered:
        raise ValueError(f"A patch has no coadd of any band; bands are {', '.join(BAND_ORDER)}.")
    return ordered


def one_band(band: str, planes: BandPlanes, *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
    """The cube of one band; parameters and errors are those of `make_cube`."""
    shape = planes.image.shape
    for name in ("variance", "mask", "input_count"):
        if getattr(planes, name).shape != shape:
            raise ValueError(f"Band {band} has {shape} pixels, its {name} {getattr(planes, name).shape}.")
    good = good_pixels(planes.image, planes.variance, planes.mask)
    noise = np.zeros((), np.float32) if planes.noise is None else planes.noise
    size = max(planes.psf.shape[-2:])
    if planes.zones is not None and len(planes.zones.stamps):
        size = max(size, *planes.zones.stamps.shape[-2:])
    psf = fill_cells(planes.psf, planes.psf_light, size)
    zones = {}
    if planes.zones is not None:
        stamps = np.zeros((0, size, size), np.float32)
        if len(planes.zones.stamps):
            stamps = of_size(planes.zones.stamps, size, float(np.mean(planes.psf_light)))
        zones[band] = band_psf(psf, replace(planes.zones, stamps=stamps), good.shape)
    return PatchCube(
        bands=(band,),
        x0=x0,
        y0=y0,
        pixel_scale=pixel_scale,
        image=np.where(good, planes.image, 0).astype(np.float32, copy=False)[..., None],
        variance=np.where(good, planes.variance, 0).astype(np.float32, copy=False)[..., None],
        noise=np.where(good & np.isfinite(noise), noise, 0).astype(np.float32, copy=False)[..., None],
        good=good[..., None],
        mask=_looked_up(planes.mask)[..., None],
        input_count=np.where(good, planes.input_count, 0).astype(np.int16, copy=False)[..., None],
        psf=psf[None],
        has_noise=np.array([planes.noise is not None]),
        zones=zones,
        scale_error={band: planes.scale_error},
    )


class CubeFilling:
    """The arrays of a patch while they are filled band by band, so that no more than one band is in memory twice.

    Parameters
    ----------
    bands
        Labels of the bands, in order.
    shape
        Rows and columns.
    noise
        Whether the noise realizations are kept.
    """

    def __init__(self, bands: tuple[str, ...], shape: tuple[int, int], *, noise: bool) -> None:
        dtypes = {"image": "f4", "variance": "f4", "good": "?", "mask": "u1", "input_count": "u1"}
        dtypes |= {"noise": "f4"} if noise else {}
        self.bands = bands
        self._planes = {name: np.zeros((len(bands), *shape), dtype) for name, dtype in dtypes.items()}
        self._psfs: dict[str, np.ndarray] = {}
        self._zones: dict[str, BandPsf] = {}
        self._scale_error: dict[str, float] = {}
        self._has_noise, self._lock = np.zeros(len(bands), bool), Lock()

    def put(self, one: PatchCube) -> None:
        """Copy the only band of a cube. Bands may come from several threads.

        Raises
        ------
        ValueError
            If it has another shape than the bands before it.
        """
        band = one.bands[0]
        number, shape = self.bands.index(band), self._planes["image"].shape[1:]
        if one.shape != shape:
            raise ValueError(f"Band {band} has {one.shape} pixels, {self.bands[0]} has {shape}.")
        with self._lock:  # a band with many images changes the array into which others are copied
            if one.input_count.max(initial=0) > np.iinfo(self._planes["input_count"].dtype).max:
                self._planes["input_count"] = self._planes["input_count"].astype(np.int16)
            for name, planes in self._planes.items():
                planes[number] = getattr(one, name)[..., 0]
        self._has_noise[number] = one.has_noise[0] and "noise" in self._planes
        self._psfs[band] = one.psf[0]
        self._zones |= one.zones
        self._scale_error |= one.scale_error

    def cube(self, *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
        """The patch, after all bands have been copied."""
        size = max(psf.shape[-1] for psf in self._psfs.values())
        rows, columns = (max(psf.shape[axis] for psf in self._psfs.values()) for axis in (0, 1))
        psf = np.stack([on_cells(padded(self._psfs[band], size), rows, columns) for band in self.bands])
        zones = {band: replace(zones, stamps=padded(zones.stamps, size)) for band, zones in self._zones.items()}
        planes = {name: np.moveaxis(planes, 0, -1) for name, planes in self._planes.items()}
        return PatchCube(
            bands=self.bands,
            x0=x0,
            y0=y0,
            pixel_scale=pixel_scale,
            psf=psf,
            zones=zones,
            scale_error=self._scale_error,
            has_noise=self._has_noise,
            noise=planes.pop("noise", None),
            **planes,
        )


def map_bands(patch: PatchData, function: Callable[[int, PatchCube], Found], *, threads: int) -> list[Found]:
    """Call a function for each band; bands are read by this thread, and prepared and used by others.

    Parameters
    ----------
    patch
        The patch.
    function
        Function of the number of a band and its cube.
    threads
        Number of threads, and of bands in memory at once besides that which is being read.

    Returns
    -------
    list
        Results in the order of the bands.
    """
    found, running = [], deque()
    with ThreadPoolExecutor(threads) as pool:
        for number in range(len(patch.bands)):
            if len(running) == threads:
                found.append(running.popleft().result())
            running.append(pool.submit(lambda n, one: function(n, patch.prepare(one)), number, patch.read(number)))
        found.extend(one.result() for one in running)
    return found


def gather(
    patch: PatchData, *, noise: bool, each: Callable[[PatchCube], Found], threads: int = 1
) -> tuple[PatchCube, list[Found]]:
    """Take all bands of a patch into one cube.

    Parameters
    ----------
    patch
        The patch.
    noise
        Whether the noise realizations are kept.
    each
        Function of the cube of each band, with its noise, which is called before the band is copied.
    threads
        Number of bands taken in parallel.

    Returns
    -------
    cube, found
        The cube, and the results of ``each`` in the order of the bands.
    """
    filling = CubeFilling(patch.bands, patch.shape, noise=noise)

    def one(_: int, data: PatchCube) -> Found:
        found = each(data)
        filling.put(data)
        return found

    found = map_bands(patch, one, threads=threads)
    cube = filling.cube(x0=patch.x0, y0=patch.y0, pixel_scale=patch.pixel_scale)
    return cube, found


def good_pixels(image: np.ndarray, variance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether each pixel [y, x] has data: value and variance finite, the variance positive, and not NO_DATA."""
    return np.isfinite(image) & np.isfinite(variance) & (variance > 0) & ((mask & BIT["NO_DATA"]) == 0)


def _looked_up(mask: np.ndarray) -> np.ndarray:
    """The planes of a mask that are looked up at objects, as the bits of `MASK_BIT`."""
    return np.bitwise_or.reduce([bit * ((mask & BIT[name]) != 0) for name, bit in MASK_BIT.items()])
