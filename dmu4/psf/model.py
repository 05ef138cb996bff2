"""The PSF model of a detector: a profile, a grid of nodes that varies with position, and the stored Piff object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import galsim
import numpy as np
import piff
from lsst.images import Box
from lsst.images.psfs import PiffWrapper

from dmu4.psf.kernels import draw, interpolant_table, local_grid
from dmu4.psf.star_fits import PsfNodes

WING_KNOTS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5)
"""Radii, in FWHM, at which the wings of stars are compared with the Moffat profile."""

NODES_PER_FWHM = 5.0
"""Number of grid nodes per FWHM: with fewer, the interpolant changes the size of stars."""


@dataclass(frozen=True)
class Moffat:
    """An elliptical Moffat profile: ``(1 + r^2 / alpha^2)^-beta``.

    Attributes
    ----------
    fwhm
        FWHM of the geometric mean axis in pixels.
    beta
        Slope of the wings.
    e1, e2
        Reduced shear of the ellipse.
    wings
        Correction factors of the profile at the radii `WING_KNOTS`, measured on stars; empty for none.
    """

    fwhm: float
    beta: float = 3.0
    e1: float = 0.0
    e2: float = 0.0
    wings: tuple[float, ...] = ()

    def radius2(self, *, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Square of the elliptical radius in pixels^2."""
        r2 = ((1 - self.e1) ** 2 + self.e2**2) * dx**2 + ((1 + self.e1) ** 2 + self.e2**2) * dy**2
        return (r2 - 4 * self.e2 * dx * dy) / (1 - self.e1**2 - self.e2**2)

    def at(self, *, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Values of the profile; without correction factors their sum over an infinite plane of pixels is 1."""
        alpha2 = self.fwhm**2 / (4 * (2 ** (1 / self.beta) - 1))
        r2 = self.radius2(dx=dx, dy=dy)
        profile = (self.beta - 1) / (np.pi * alpha2) * (1 + r2 / alpha2) ** -self.beta
        if self.wings:
            profile = profile * np.interp(np.sqrt(np.maximum(r2, 0)) / self.fwhm, WING_KNOTS, self.wings)
        return profile


@dataclass(frozen=True)
class GridPsf:
    """A PSF as a grid of nodes that vary with position.

    Attributes
    ----------
    coefficients
        Polynomial coefficients of each node [n, n, term]; n is odd, and the nodes sum to 1 at every position.
    centre, half
        Centre (x, y) of the detector and half its extent in pixels: the variables of the polynomial run from -1 to 1.
    order
        Order of the polynomial.
    moffat
        Profile of the wings.
    scale
        Distance between nodes in pixels.
    """

    coefficients: np.ndarray
    centre: tuple[float, float]
    half: tuple[float, float]
    order: int
    moffat: Moffat
    scale: float = 1.0

    @property
    def size(self) -> int:
        """Number of nodes along each side."""
        return self.coefficients.shape[0]

    @property
    def nodes(self) -> PsfNodes:
        """The grid in the form used by the kernels."""
        return PsfNodes(self.coefficients, float(self.scale), interpolant_table())

    def basis(self, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Polynomial terms [position, term] in Piff's order: the power of y varies fastest."""
        u = (np.atleast_1d(x) - self.centre[0]) / self.half[0]
        v = (np.atleast_1d(y) - self.centre[1]) / self.half[1]
        return terms_of(u, v, self.order)

    @cached_property
    def pixel_sum(self) -> float:
        """Sum of the pixels of a star of unit flux at the detector's centre, averaged over positions in a pixel."""
        x, y = self.centre
        shifts = (0.125, 0.375, 0.625, 0.875)
        sums = [self.star(x=x + dx, y=y + dy, radius=self.stamp_size // 2).sum() for dx in shifts for dy in shifts]
        return float(np.mean(sums))

    @property
    def stamp_size(self) -> int:
        """Side in pixels (odd) of a stamp that contains the whole grid."""
        return 2 * int(self.scale * (self.size // 2)) + 1

    @property
    def wing(self) -> float:
        """Fraction of the light of the Moffat profile that lies outside the grid."""
        half = self.scale * (self.size // 2)
        axis = np.arange(-3 * half, 3 * half + 0.5)
        profile = self.moffat.at(dx=axis, dy=axis[:, None])
        inside = (np.abs(axis) <= half) & (np.abs(axis[:, None]) <= half)
        return float(profile[~inside].sum() / profile.sum())

    def star(self, *, x: float, y: float, radius: int) -> np.ndarray:
        """Pixels of a star of unit flux at (x, y), on a stamp around the nearest pixel."""
        shape = (2 * radius + 1, 2 * radius + 1)
        return self.draw(x=x, y=y, left=round(x) - radius, bottom=round(y) - radius, shape=shape)

    def draw(self, *, x: float, y: float, left: int, bottom: int, shape: tuple[int, int]) -> np.ndarray:
        """Pixels [y, x] of a star of unit flux at (x, y), on a stamp whose first pixel is (left, bottom)."""
        grid = local_grid(self.coefficients, self.basis(x=x, y=y)[0])
        return draw(grid, self.scale, x, y, int(left), int(bottom), shape, interpolant_table())


def node_spacing(fwhm: float) -> float:
    """Distance between nodes in pixels: a fixed fraction of the FWHM, so that all PSFs have the same sampling."""
    return fwhm / NODES_PER_FWHM


def moffat_grid(moffat: Moffat, shape: tuple[int, int]) -> GridPsf:
    """A constant PSF, on a grid wide enough to contain all but some thousandths of the light."""
    scale = node_spacing(moffat.fwhm)
    half = int(np.ceil(min(30, max(10, 5 * moffat.fwhm)) / scale))
    offset = scale * np.arange(-half, half + 1.0)
    dx, dy = np.meshgrid(offset, offset)
    grid = moffat.at(dx=dx, dy=dy)
    ny, nx = shape
    return GridPsf(
        coefficients=(grid / grid.sum())[:, :, None],
        centre=((nx - 1) / 2, (ny - 1) / 2),
        half=(nx / 2, ny / 2),
        order=0,
        moffat=moffat,
        scale=scale,
    )


def to_piff(psf: GridPsf, *, x: np.ndarray, y: np.ndarray, reserved: np.ndarray, bbox: Box) -> PiffWrapper:
    """The PSF as an LSST image component that contains a Piff object.

    Parameters
    ----------
    psf
        The fitted grid.
    x, y, reserved
        Positions of the stars, and whether they were reserved; stored with the PSF.
    bbox
        Region in which the PSF may be evaluated.
    """
    model = piff.PixelGrid(scale=psf.scale, size=psf.size, interp="galsim.Quintic()")
    interp = piff.BasisPolynomial(order=psf.order)
    interp.q = _raw_polynomial(psf).reshape(psf.size**2, -1)
    result = piff.SimplePSF(model, interp)
    result.wcs = {0: galsim.PixelScale(1.0)}
    result.pointing = None
    result.stars = [
        PsfStar(galsim.PositionD(float(xs), float(ys)), is_reserve=bool(held))
        for xs, ys, held in zip(x, y, reserved, strict=True)
    ]
    return PiffWrapper(result, bbox, psf.stamp_size)


@dataclass(frozen=True)
class PsfStar:
    """The stored record of a star: its position, and whether it was used.

    Attributes
    ----------
    image_pos
        Position in pixels.
    is_reserve
        Whether the star was reserved for the check.
    is_flagged
        Whether Piff rejected the star; rejected stars are not stored here.
    """

    image_pos: galsim.PositionD
    is_reserve: bool
    is_flagged: bool = False


def terms_of(u: np.ndarray, v: np.ndarray, order: int) -> np.ndarray:
    """Products of powers of u and v up to a total order, [position, term]."""
    return np.stack([u**i * v**j for i in range(order + 1) for j in range(order + 1 - i)], axis=1)


def _raw_polynomial(psf: GridPsf) -> np.ndarray:
    """Coefficients of the powers of pixel positions, which is what Piff interpolates in."""
    if psf.order == 0:
        return psf.coefficients
    points = np.linspace(-1, 1, psf.order + 2)
    u, v = (grid.ravel() for grid in np.meshgrid(points, points))
    x, y = psf.centre[0] + u * psf.half[0], psf.centre[1] + v * psf.half[1]
    scale = max(*psf.centre, *psf.half)
    powers = [i + j for i in range(psf.order + 1) for j in range(psf.order + 1 - i)]
    raw = terms_of(x / scale, y / scale, psf.order)
    change = np.linalg.lstsq(raw, terms_of(u, v, psf.order), rcond=None)[0]
    return psf.coefficients @ change.T / scale ** np.array(powers)
