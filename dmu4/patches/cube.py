"""All bands of a patch as one cube of arrays, bands last: what detection and measurement work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from lsst.daf.butler import DeferredDatasetHandle
from lsst.images import SkyProjection
from lsst.images.cells import CellCoadd

from obs_vista.bands import BAND_ORDER
from obs_vista.masks import BIT, from_mask


@dataclass(frozen=True)
class BandPlanes:
    """One band of a patch.

    Parameters
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
        One realization [y, x] of the noise with its covariance, in nJy; None where none was made.
    input_count
        Number of images in each pixel [y, x].
    psf_light
        Fraction of a star's light that falls on a PSF stamp.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    psf: np.ndarray
    noise: np.ndarray | None
    input_count: np.ndarray
    psf_light: float = 1.0


@dataclass(frozen=True)
class PatchCube:
    """All bands of a patch on their common pixels, clean: what is not good is zero, nothing is NaN.

    Parameters
    ----------
    bands
        Labels, from blue to red.
    x0, y0
        Tract pixel of the first pixel of the arrays.
    pixel_scale
        arcsec.
    image, variance, noise
        [y, x, band] in nJy, nJy^2, nJy.
    good
        [y, x, band]: the pixel has data.
    mask
        [y, x, band]: bits of `obs_vista.masks.BIT`.
    input_count
        [y, x, band].
    psf
        [band, cell y, cell x, y, x]: stamps of one odd size, so normalised that fluxes fitted with them are total
        fluxes: the sum is the fraction of the light on a stamp. Zero where a band has no PSF at all.
    has_noise
        [band]: `noise` is a realization of the noise; if not it is zero.
    """

    bands: tuple[str, ...]
    x0: int
    y0: int
    pixel_scale: float
    image: np.ndarray
    variance: np.ndarray
    noise: np.ndarray
    good: np.ndarray
    mask: np.ndarray
    input_count: np.ndarray
    psf: np.ndarray
    has_noise: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape[:2]

    def plane(self, name: str, band: int) -> np.ndarray:
        """One band of one of the cubes as a contiguous array [y, x]."""
        return np.ascontiguousarray(getattr(self, name)[..., band])

    def cell_of(self, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Number of the PSF cell (cell y x number of columns + cell x) at array positions."""
        (ny, nx), (rows, columns) = self.shape, self.psf.shape[1:3]
        j = np.clip(np.floor((np.asarray(x) + 0.5) * columns / nx).astype(np.int64), 0, columns - 1)
        i = np.clip(np.floor((np.asarray(y) + 0.5) * rows / ny).astype(np.int64), 0, rows - 1)
        return i * columns + j


def psf_sigma(psf: np.ndarray) -> float:
    """Gaussian width in pixels of a PSF stamp, from its noise-equivalent area 1 / sum(P^2) = 4 pi sigma^2."""
    power = float(np.sum(np.square(psf, dtype=np.float64)))
    return float(np.sqrt(1 / (4 * np.pi * power))) if power > 0 else np.nan


def mean_psf(cube: PatchCube, band: int) -> np.ndarray:
    """The PSF stamp of a band, averaged over the cells."""
    return cube.psf[band].mean(axis=(0, 1))


def flat_psf(cube: PatchCube, band: int) -> np.ndarray:
    """PSF stamps [cell, y, x] of a band."""
    return cube.psf[band].reshape(-1, *cube.psf.shape[3:])


def make_cube(planes: Mapping[str, BandPlanes], *, x0: int, y0: int, pixel_scale: float) -> PatchCube:
    """Put the bands of a patch together.

    A pixel is good if its value and variance are finite, its variance is positive and it is not NO_DATA; nothing
    else of it is ever looked at.

    Parameters
    ----------
    planes
        Band -> its arrays; all of one shape. A band may be without any good pixel.
    x0, y0
        Tract pixel of the first pixel.
    pixel_scale
        arcsec.

    Raises
    ------
    ValueError
        If there is no band, or the shapes differ.
    """
    bands = tuple(band for band in BAND_ORDER if band in planes)
    if not bands:
        raise ValueError(f"None of the bands {sorted(planes)} is known; choose from {', '.join(BAND_ORDER)}.")
    shape = planes[bands[0]].image.shape
    for band in bands:
        if planes[band].image.shape != shape:
            raise ValueError(f"Band {band} has {planes[band].image.shape} pixels, {bands[0]} has {shape}.")
    cubes = {
        name: np.zeros((*shape, len(bands)), dtype)
        for name, dtype in (
            ("image", "f4"),
            ("variance", "f4"),
            ("noise", "f4"),
            ("good", "?"),
            ("mask", "u2"),
            ("input_count", "i2"),
        )
    }
    for number, band in enumerate(bands):
        one = planes[band]
        good = np.isfinite(one.image) & np.isfinite(one.variance) & (one.variance > 0)
        good &= (one.mask & BIT["NO_DATA"]) == 0
        cubes["good"][..., number] = good
        cubes["mask"][..., number] = one.mask
        cubes["input_count"][..., number] = np.where(good, one.input_count, 0)
        cubes["image"][..., number] = np.where(good, one.image, 0)
        cubes["variance"][..., number] = np.where(good, one.variance, 0)
        if one.noise is not None:
            cubes["noise"][..., number] = np.where(good & np.isfinite(one.noise), one.noise, 0)
    has_noise = np.array([planes[band].noise is not None for band in bands])
    psf = _stack_psfs([planes[band].psf for band in bands], [planes[band].psf_light for band in bands])
    return PatchCube(bands=bands, x0=x0, y0=y0, pixel_scale=pixel_scale, psf=psf, has_noise=has_noise, **cubes)


def _stack_psfs(psfs: Sequence[np.ndarray], light: Sequence[float]) -> np.ndarray:
    """Stamps of all bands in one size; a cell without a PSF takes that of the nearest cell that has one."""
    size = max(max(psf.shape[2:]) for psf in psfs)
    rows, columns = max(psf.shape[0] for psf in psfs), max(psf.shape[1] for psf in psfs)
    stacked = np.zeros((len(psfs), rows, columns, size, size), np.float32)
    i, j = np.indices((rows, columns))
    for number, psf in enumerate(psfs):
        have = np.isfinite(psf).all(axis=(2, 3)) & (np.nansum(psf, axis=(2, 3)) > 0)
        if not have.any():
            continue
        filled = np.zeros((*have.shape, size, size), np.float32)
        below_y, below_x = (size - psf.shape[2]) // 2, (size - psf.shape[3]) // 2
        filled[..., below_y : below_y + psf.shape[2], below_x : below_x + psf.shape[3]] = np.nan_to_num(psf)
        have_i, have_j = np.nonzero(have)
        # The cells of two bands may differ in number: each output cell looks for the nearest one by its centre.
        di = (i[..., None] + 0.5) / rows - (have_i + 0.5) / have.shape[0]
        dj = (j[..., None] + 0.5) / columns - (have_j + 0.5) / have.shape[1]
        nearest = np.argmin(di**2 + dj**2, axis=-1)
        chosen = filled[have_i[nearest], have_j[nearest]]
        stacked[number] = chosen * (light[number] / chosen.sum(axis=(2, 3), keepdims=True))
    return stacked


def planes_of_coadd(coadd: CellCoadd, *, input_count: np.ndarray | None = None) -> BandPlanes:
    """The arrays of a coadd.

    Parameters
    ----------
    coadd
        A coadd in nJy.
    input_count
        Number of images in each pixel, if a map of them exists; otherwise it is taken from the coadd's provenance,
        and is 1 where there is none.

    Raises
    ------
    ValueError
        If the unit of the coadd cannot be turned into nJy.
    """
    try:
        scale = (1 * coadd.unit).to_value(u.nJy)
    except u.UnitConversionError as error:
        raise ValueError(f"The {coadd.band} coadd of tract {coadd.tract} is in {coadd.unit}, not in nJy.") from error
    start, stop = coadd.bounds.subgrid_start, coadd.bounds.subgrid_stop
    size = coadd.psf.kernel_bbox.shape
    psf = np.full((stop.i - start.i, stop.j - start.j, *size), np.nan, np.float32)
    for cell in coadd.bounds.cell_indices():
        if coadd.bounds.contains_cell(cell):
            psf[cell.i - start.i, cell.j - start.j] = coadd.psf[cell].array
    noise = coadd.noise_realizations[0].array * scale if coadd.noise_realizations else None
    return BandPlanes(
        image=coadd.image.array * scale,
        variance=coadd.variance.array * scale**2,
        mask=from_mask(coadd.mask),
        psf=psf,
        noise=noise,
        input_count=_count_inputs(coadd) if input_count is None else input_count,
        psf_light=1 / float(coadd.metadata.get("psf_correction", 1.0)),
    )


def _count_inputs(coadd: CellCoadd) -> np.ndarray:
    """Number of images in the cell of each pixel [y, x], from the provenance; 1 everywhere if there is none."""
    count = np.ones(coadd.bbox.shape, np.int16)
    try:
        contributions = coadd.provenance.contributions
    except AttributeError:
        return count
    count[:] = 0
    for cell in coadd.bounds.cell_indices():
        box = coadd.grid.bbox_of(cell).intersection(coadd.bbox)
        inside = (contributions["cell_i"] == cell.i) & (contributions["cell_j"] == cell.j)
        count[box.slice_within(coadd.bbox)] = np.count_nonzero(inside)
    return count


def pixel_scale_of(coadd: CellCoadd) -> float:
    """Size of a pixel in arcsec at the centre of a coadd."""
    x, y = (coadd.bbox.x.start + coadd.bbox.x.stop) / 2, (coadd.bbox.y.start + coadd.bbox.y.stop) / 2
    sky = coadd.sky_projection.pixel_to_sky(x=np.array([x, x + 1]), y=np.array([y, y]))
    return float(sky[0].separation(sky[1]).arcsec)


def load_cube(
    coadds: Iterable[DeferredDatasetHandle], counts: Iterable[DeferredDatasetHandle] = ()
) -> tuple[PatchCube, SkyProjection]:
    """Read the coadds of a patch, one band after another.

    Parameters
    ----------
    coadds
        Coadds of any number of bands.
    counts
        Maps of the number of images in each pixel, for some of the bands.

    Returns
    -------
    cube, projection
        All bands, and the projection of their pixels.
    """
    count_of = {handle.dataId["band"]: handle for handle in counts}
    planes, boxes, projection, scale = {}, {}, None, 0.0
    for handle in coadds:
        band, coadd = handle.dataId["band"], handle.get()
        count = count_of[band].get().array if band in count_of else None
        planes[band] = planes_of_coadd(coadd, input_count=count)
        boxes[band], projection, scale = coadd.bbox, coadd.sky_projection, pixel_scale_of(coadd)
    box = next(iter(boxes.values()))
    odd = [band for band, other in boxes.items() if other != box]
    if odd:
        raise ValueError(f"The {odd[0]} coadd covers {boxes[odd[0]]}, the others {box}: a patch has one box.")
    return make_cube(planes, x0=box.x.start, y0=box.y.start, pixel_scale=scale), projection
