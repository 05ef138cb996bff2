"""Synthetic sources in the images of a patch, each through the PSF of its pixels in every band."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.table import Table

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
    """

    def __init__(self, patch: PatchData, sources: Table) -> None:
        self._patch, self._sources = patch, sources
        self.bands, self.shape, self.pixel_scale = patch.bands, patch.shape, patch.pixel_scale
        self.x0, self.y0 = patch.x0, patch.y0

    def read(self, number: int) -> PatchCube:
        """One band without the sources."""
        return self._patch.read(number)

    def prepare(self, one: PatchCube) -> PatchCube:
        """A band from `read` with the sources."""
        return add_sources(self._patch.prepare(one), self._sources)


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
    psf = one.psf_of(0)
    which = psf.at(x=x, y=y)
    image = one.image[..., 0].copy()
    for k in np.flatnonzero(flux > 0):
        shape = None
        if sources["extended"][k] and sources["radius"][k] > 0:
            radius, ratio, angle = (float(sources[name][k]) for name in ("radius", "axis_ratio", "angle"))
            shape = (radius / one.pixel_scale, ratio, angle)
        ix, iy = int(np.rint(x[k])), int(np.rint(y[k]))
        stamp = flux[k] * draw(psf.stamps[which[k]], dx=x[k] - ix, dy=y[k] - iy, shape=shape)
        half = stamp.shape[0] // 2
        _add_stamp(image, stamp, ix - half, iy - half)
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
    ky, kx = (2 * np.pi * np.fft.fftfreq(wide.shape[0]))[:, None], 2 * np.pi * np.fft.rfftfreq(wide.shape[1])[None, :]
    transform = np.fft.rfft2(wide) * np.exp(-1j * (kx * dx + ky * dy))
    if shape is not None:
        radius, ratio, angle = shape
        along, across = kx * np.cos(angle) + ky * np.sin(angle), ky * np.cos(angle) - kx * np.sin(angle)
        scale = radius * _RADIUS_TO_SCALE
        squared = scale**2 * (along**2 / ratio + across**2 * ratio)
        transform *= (1 + squared) ** -1.5
    return np.fft.irfft2(transform, s=wide.shape)


def _add_stamp(image: np.ndarray, stamp: np.ndarray, left: int, low: int) -> None:
    """Add the part of a stamp that falls on an image [y, x] to it."""
    ny, nx = image.shape
    size = stamp.shape[0]
    y, x = slice(max(low, 0), min(low + size, ny)), slice(max(left, 0), min(left + size, nx))
    if y.start < y.stop and x.start < x.stop:
        image[y, x] += stamp[y.start - low : y.stop - low, x.start - left : x.stop - left]
