"""Synthetic sources in the images of a patch, each through the PSF of its pixels in every band."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.table import Table
from scipy import fft

from dmu4.patches.cube import PatchCube, PatchData

_RADIUS_TO_SCALE = 1 / 1.67835
"""Scale length of an exponential disc over its half-light radius."""


class InjectedPatch:
    """A patch with synthetic sources, which are added to a band as it is prepared; all else is as it was.

    Parameters
    ----------
    patch
        The patch.
    sources
        Sources of `dmu5.injection.sources.draw_sources`.
    limit
        Bytes of images with sources to keep, for bands that are used again: those of as many bands as fit.
    """

    def __init__(self, patch: PatchData, sources: Table, *, limit: float = 0) -> None:
        self._patch, self._sources = patch, sources
        self._kept = patch.bands[: int(limit / (4 * patch.shape[0] * patch.shape[1]))]
        self._images: dict[str, np.ndarray] = {}
        self.bands, self.shape, self.pixel_scale = patch.bands, patch.shape, patch.pixel_scale
        self.x0, self.y0 = patch.x0, patch.y0

    def read(self, number: int) -> PatchCube:
        """One band without the sources."""
        return self._patch.read(number)

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read` with the sources."""
        (band,), plain = one.bands, self._patch.prepare(one)
        if band in self._images:
            return replace(plain, image=self._images[band])
        added = add_sources(plain, self._sources)
        if band in self._kept:
            self._images[band] = added.image
        return added


def add_sources(one: PatchCube, sources: Table) -> PatchCube:
    """Add sources to the image of one band, on its good pixels; sources without flux in it are left out.

    The photon noise of the sources is not added: near the limit the noise is that of the sky.

    Parameters
    ----------
    one
        One band of a patch; it is not modified.
    sources
        x, y (tract px), extended, radius (arcsec), axis_ratio, angle (rad) and ``flux_<band>`` (nJy).
    """
    (band,) = one.bands
    flux = np.asarray(sources[f"flux_{band}"], float)
    x, y = np.asarray(sources["x"], float) - one.x0, np.asarray(sources["y"], float) - one.y0
    radius, ratio, angle = (np.asarray(sources[name], float) for name in ("radius", "axis_ratio", "angle"))
    disc = np.asarray(sources["extended"], bool) & (radius > 0)
    psf = one.psfs[0]
    which = psf.at(x=x, y=y)
    image = one.image[..., 0].copy()
    for k in np.flatnonzero(flux > 0):
        shape = (radius[k] / one.pixel_scale, ratio[k], angle[k]) if disc[k] else None
        ix, iy = int(np.rint(x[k])), int(np.rint(y[k]))
        drawn = draw(psf.stamps[which[k]], dx=x[k] - ix, dy=y[k] - iy, shape=shape)
        half = drawn.shape[0] // 2
        _add_stamp(image, flux[k] * drawn, ix - half, iy - half)
    return replace(one, image=np.where(one.good[..., 0], image, one.image[..., 0])[..., None])


def draw(psf: np.ndarray, *, dx: float, dy: float, shape: tuple[float, float, float] | None = None) -> np.ndarray:
    """A source of unit flux at a fraction of a pixel from the centre of a stamp: the PSF, or a disc convolved with it.

    Shift and convolution are products in Fourier space. The transform of an exponential disc of scale length h is
    (1 + k^2 h^2)^(-3/2).

    Parameters
    ----------
    psf
        Stamp [y, x] of odd size; its sum is the fraction of the light on it.
    dx, dy
        Offset of the source from the central pixel, px.
    shape
        Half-light radius of the major and minor axes' geometric mean (px), axis ratio, angle of the major axis from the
        x axis (rad); None for a point source.

    Returns
    -------
    numpy.ndarray
        Stamp [y, x] of odd size, larger than the PSF by the extent of the disc.
    """
    border = 4 if shape is None else int(np.ceil(6 * shape[0] / np.sqrt(shape[1]))) + 4
    wide = np.pad(np.nan_to_num(np.asarray(psf, float)), border)
    # The grid is enlarged to a size whose transform is fast; the pixels added are cut off again.
    side = fft.next_fast_len(len(wide), real=True)
    ky, kx = (2 * np.pi * fft.fftfreq(side))[:, None], (2 * np.pi * fft.rfftfreq(side))[None, :]
    transform = fft.rfft2(wide, (side, side)) * np.exp(-1j * ky * dy) * np.exp(-1j * kx * dx)
    if shape is not None:
        radius, ratio, angle = shape
        along, across = kx * np.cos(angle) + ky * np.sin(angle), ky * np.cos(angle) - kx * np.sin(angle)
        scale = radius * _RADIUS_TO_SCALE
        squared = scale**2 * (along**2 / ratio + across**2 * ratio)
        transform *= (1 + squared) ** -1.5
    return fft.irfft2(transform, (side, side), overwrite_x=True)[: len(wide), : len(wide)]


def _add_stamp(image: np.ndarray, stamp: np.ndarray, left: int, low: int) -> None:
    """Add the part of a stamp that falls on an image [y, x] to it."""
    ny, nx = image.shape
    size = stamp.shape[0]
    y, x = slice(max(low, 0), min(low + size, ny)), slice(max(left, 0), min(left + size, nx))
    if y.start < y.stop and x.start < x.stop:
        image[y, x] += stamp[y.start - low : y.stop - low, x.start - left : x.stop - left]
