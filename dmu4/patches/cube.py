"""All bands of a patch as one cube of arrays [y, x, band], on which detection and measurement operate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dmu4.coadds.psf_zones import PsfZones
from dmu4.patches.band_psf import BandPsf, band_psf
from obs_vista.bands import BAND_ORDER, in_band_order
from obs_vista.masks import BIT


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
        Fraction of a star's light that falls on a PSF stamp.
    zones
        PSFs of the parts of cells that have other inputs; None where the PSF of the cell is all that is known.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    psf: np.ndarray
    noise: np.ndarray | None
    input_count: np.ndarray
    psf_light: float = 1.0
    zones: PsfZones | None = None


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
        Cubes [y, x, band] in nJy and nJy^2.
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
        Noise realization [y, x, band] in nJy.
    mask
        Mask bits of `obs_vista.masks.BIT` [y, x, band], as unsigned 16-bit integers.
    input_count
        Number of images in each pixel [y, x, band].
    psf
        PSF stamps [band, cell y, cell x, y, x] of one odd size, normalised so that fluxes fitted with them are total
        fluxes: the sum is the fraction of the light on a stamp. Zero for bands without any PSF.
    has_noise
        Whether each band [band] has a noise realization; if not, its ``noise`` is zero.
    zones
        Band -> its PSFs, on the cells of its own coadd and on their zones, for the bands that have zones.
    """

    noise: np.ndarray
    mask: np.ndarray
    input_count: np.ndarray
    psf: np.ndarray
    has_noise: np.ndarray
    zones: Mapping[str, BandPsf] = field(default_factory=dict)

    def psf_of(self, band: int) -> BandPsf:
        """The PSFs of a band, by its number."""
        return self.zones.get(self.bands[band]) or band_psf(self.psf[band], None, self.shape)


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
        If there is no band, a band is unknown, the shapes differ, or a mask has bits that `PatchCube` cannot hold.
    """
    bands = in_order(planes)
    filling = CubeFilling(bands, planes[bands[0]].image.shape)
    for band in bands:
        filling.put(band, planes[band])
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


class CubeFilling:
    """The arrays of a patch while they are filled band by band, so that no band is in memory twice."""

    def __init__(self, bands: tuple[str, ...], shape: tuple[int, int]) -> None:
        whole = (*shape, len(bands))
        self.bands = bands
        self.image, self.variance, self.noise = (np.zeros(whole, np.float32) for _ in range(3))
        self.good, self.mask, self.input_count = np.zeros(whole, bool), np.zeros(whole, "u2"), np.zeros(whole, "i2")
        self.psfs: dict[str, np.ndarray] = {}
        self.light: dict[str, float] = {}
        self.zones: dict[str, PsfZones] = {}
        self.has_noise = np.zeros(len(bands), bool)

    def put(self, band: str, planes: BandPlanes) -> None:
        """Copy the good pixels of a band into the cube."""
        number, shape = self.bands.index(band), self.image.shape[:2]
        if planes.image.shape != shape:
            raise ValueError(f"Band {band} has {planes.image.shape} pixels, {self.bands[0]} has {shape}.")
        good = good_pixels(planes.image, planes.variance, planes.mask)
        self.good[..., number] = good
        self.mask[..., number] = _short(planes.mask, band)
        self.input_count[..., number] = np.where(good, planes.input_count, 0)
        self.image[..., number] = np.where(good, planes.image, 0)
        self.variance[..., number] = np.where(good, planes.variance, 0)
        if planes.noise is not None:
            self.has_noise[number] = True
            self.noise[..., number] = np.where(good & np.isfinite(planes.noise), planes.noise, 0)
        self.psfs[band], self.light[band] = planes.psf, planes.psf_light
        if planes.zones is not None:
            self.zones[band] = planes.zones

    def _zoned(self, band: str, size: int) -> BandPsf:
        """PSFs of a band with zones, on the cells of its own coadd: other bands may have more or fewer."""
        cells = _stack_psfs([self.psfs[band]], [self.light[band]], size)[0]
        zones = replace(self.zones[band], stamps=of_size(self.zones[band].stamps, size, self.light[band]))
        return band_psf(cells, zones, self.image.shape[:2])

    def cube(self, *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
        """The patch, after all bands have been copied."""
        names = ("bands", "image", "variance", "noise", "good", "mask", "input_count", "has_noise")
        stamps = [*self.psfs.values(), *(zones.stamps for zones in self.zones.values() if len(zones.stamps))]
        size = max(max(psf.shape[-2:]) for psf in stamps)
        psf = _stack_psfs([self.psfs[band] for band in self.bands], [self.light[band] for band in self.bands], size)
        zones = {band: self._zoned(band, size) for band in self.zones}
        place = {"x0": x0, "y0": y0, "pixel_scale": pixel_scale}
        return PatchCube(psf=psf, zones=zones, **place, **{name: getattr(self, name) for name in names})


def good_pixels(image: np.ndarray, variance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether each pixel [y, x] has data: value and variance finite, the variance positive, and not NO_DATA."""
    return np.isfinite(image) & np.isfinite(variance) & (variance > 0) & ((mask & BIT["NO_DATA"]) == 0)


def _short(mask: np.ndarray, band: str) -> np.ndarray:
    """A mask as 16-bit integers, after checking that it fits."""
    used = int(np.bitwise_or.reduce(mask, axis=None)) if mask.size else 0
    if not 0 <= used < 1 << 16:
        raise ValueError(f"The mask of band {band} has bits {used:#x}: those of a patch must be below 0x10000.")
    return mask.astype(np.uint16)


def _stack_psfs(psfs: Sequence[np.ndarray], light: Sequence[float], size: int) -> np.ndarray:
    """Stamps of all bands in one size; a cell without a PSF takes that of the nearest cell that has one."""
    rows, columns = max(psf.shape[0] for psf in psfs), max(psf.shape[1] for psf in psfs)
    stacked = np.zeros((len(psfs), rows, columns, size, size), np.float32)
    i, j = np.indices((rows, columns))
    for number, psf in enumerate(psfs):
        have = np.isfinite(psf).all(axis=(2, 3)) & (np.nansum(psf, axis=(2, 3)) > 0)
        if not have.any():
            continue
        have_i, have_j = np.nonzero(have)
        # The number of cells may differ between bands: each output cell uses the one with the nearest centre.
        di = (i[..., None] + 0.5) / rows - (have_i + 0.5) / have.shape[0]
        dj = (j[..., None] + 0.5) / columns - (have_j + 0.5) / have.shape[1]
        nearest = np.argmin(di**2 + dj**2, axis=-1)
        stacked[number] = of_size(psf[have_i[nearest], have_j[nearest]], size, light[number])
    return stacked


def of_size(psf: np.ndarray, size: int, light: float) -> np.ndarray:
    """PSF stamps [..., y, x] with a border of zeros, [..., size, size], each of the sum ``light``."""
    below_y, below_x = (size - psf.shape[-2]) // 2, (size - psf.shape[-1]) // 2
    stamps = np.zeros((*psf.shape[:-2], size, size), np.float32)
    stamps[..., below_y : below_y + psf.shape[-2], below_x : below_x + psf.shape[-1]] = psf
    return stamps * (light / stamps.sum(axis=(-2, -1), keepdims=True))
