"""The PSF of an image that is published without one, fitted to its stars as the PSF of a detector is (`dmu4.psf`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from lsst.images import Box, Image

from dmu0.robust_statistics import SIGMA_TO_FWHM
from dmu4.coadds.star_stamps import find_stars
from dmu4.psf.fit import FEWEST, fit_psf
from dmu4.psf.kernels import draw, interpolant_table, local_grid
from dmu4.psf.model import GridPsf, Moffat, moffat_grid
from dmu4.psf.profile import PixelErrors
from dmu4.psf.stars import Sources
from obs_vista.masks import BIT, bits

RESERVE = 0.05
"""Fraction of the stars that is not used in the fit: nothing is decided by them, unlike for detectors."""

FAINTEST_LIGHT = 0.25
"""Light of other sources, in sigma of a pixel, from which on a pixel is left out of the fit: with 0.1 a third of a
crowded field is lost, without any limit the wings of its stars are a fifth too faint."""

ALPHA_PER_FWHM = 0.5 / np.sqrt(2 ** (1 / 3) - 1)
"""Scale radius of a Moffat profile with beta = 3 in units of its FWHM."""


@dataclass(frozen=True)
class FittedPsf:
    """The PSF of an image: for `dmu4.coadds.psf.psf_nodes`, the PSF of an input of a coadd.

    Attributes
    ----------
    psf
        The model on the array of the image.
    n_stars
        Number of stars; 0 for a profile that has only the size of the sources.
    start
        Pixel (x, y) of the image in the first element of the array.
    within
        First and last position (x, y) of the stars in the array: beyond, the PSF is that of the nearest place within.
    """

    psf: GridPsf
    n_stars: int
    start: tuple[int, int]
    within: tuple[np.ndarray, np.ndarray]

    @property
    def light(self) -> float:
        """Fraction of a star's light that falls on a stamp."""
        return 1 - self.psf.wing

    @property
    def kernel_bbox(self) -> Box:
        """Box of a stamp centred on (0, 0)."""
        reach = self.psf.stamp_size // 2
        return Box.factory[-reach : reach + 1, -reach : reach + 1]

    def compute_stellar_image(self, *, x: float, y: float) -> Image:
        """A star of flux 1 at the pixel (x, y) of the image, on a stamp around the nearest pixel."""
        reach = self.psf.stamp_size // 2
        at = np.array([x, y], float) - self.start
        left, bottom = (np.floor(at + 0.5) - reach).astype(int)
        near_x, near_y = np.clip(at, *self.within)
        grid = local_grid(self.psf.coefficients, self.psf.basis(x=near_x, y=near_y)[0])
        shape = (2 * reach + 1, 2 * reach + 1)
        star = draw(
            grid, self.psf.scale, float(at[0]), float(at[1]), int(left), int(bottom), shape, interpolant_table()
        )
        first = (int(bottom) + self.start[1], int(left) + self.start[0])
        return Image(star, bbox=Box.from_shape(shape, start=first))


def psf_from_stars(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    start: tuple[int, int] = (0, 0),
    fwhm: float = 4.0,
    max_stars: int = 400,
) -> FittedPsf:
    """Fit the PSF of an image to its stars.

    Stars that stand alone are fitted with a Moffat profile, corrected for what their wings and cores have beside it
    (`dmu4.psf.fit`); the local sky of each is that beyond seven times the seeing. Pixels with light of any other source
    are left out, for in a deep image there is one near every star.

    Parameters
    ----------
    image, variance, mask
        Pixels [y, x], their variance and mask bits.
    start
        Pixel (x, y) of the image in the first element of the arrays.
    fwhm
        Initial estimate of the seeing in pixels.
    max_stars
        Largest number of stars; the brightest are used.

    Returns
    -------
    FittedPsf
        With fewer than `dmu4.psf.fit.FEWEST` stars, or stars that are none, a Moffat profile (beta = 3) of the most
        common size of the sources, or of the initial estimate.
    """
    missing = (mask & BIT["NO_DATA"]) != 0
    pixels = np.where(missing | ~np.isfinite(image), 0, image).astype(np.float32)
    sigma = np.sqrt(np.where(np.isfinite(variance), variance, 1e30)).astype(np.float32)
    fwhm, sources, chosen = find_stars(image, sigma, mask, fwhm=fwhm, max_stars=max_stars)
    whole = (np.zeros(2), np.array(image.shape[::-1]) - 1.0)
    if sources is None or chosen.sum() < FEWEST:
        return FittedPsf(moffat_grid(Moffat(fwhm), image.shape), 0, start, whole)
    unfit = ((mask & bits("NO_DATA", "BAD", "SAT", "CR")) != 0) | ~np.isfinite(image) | ~np.isfinite(variance)
    sky = np.where(unfit | light_of(sources, ~chosen, sigma, fwhm=fwhm), np.inf, variance)
    x, y = sources.x[chosen], sources.y[chosen]
    fit = fit_psf(
        pixels,
        PixelErrors(sky, 0.0),
        x=x,
        y=y,
        signal_to_noise=sources.signal_to_noise[chosen],
        fwhm=fwhm,
        reserve=RESERVE,
    )
    if fit.state == "header":
        return FittedPsf(fit.psf, 0, start, whole)
    used = fit.used if fit.used.any() else np.ones(len(x), bool)
    places = np.stack([x[used], y[used]])
    return FittedPsf(fit.psf, int(chosen.sum()), start, (places.min(axis=1), places.max(axis=1)))


def cell_stamps(psf: FittedPsf, cells: tuple[int, int], *, cell: int) -> np.ndarray:
    """Stamps of sum 1 of the cells of an image [cell row, cell column, y, x], each for the pixel at its centre."""
    reach = psf.psf.stamp_size // 2
    stamps = np.empty((*cells, 2 * reach + 1, 2 * reach + 1))
    for row, column in np.ndindex(*cells):
        x, y = ((index * cell + cell // 2) + first for index, first in zip((column, row), psf.start, strict=True))
        star = psf.compute_stellar_image(x=x, y=y).array
        stamps[row, column] = star / star.sum()
    return stamps


def of_the_best(psfs: list[FittedPsf], starts: list[tuple[int, int]]) -> list[FittedPsf]:
    """PSFs of the tiles of a mosaic, where tiles without stars have that of the tile with most of them."""
    best = max(psfs, key=lambda one: one.n_stars)
    return [
        one if one.n_stars or not best.n_stars else replace(best, start=first)
        for one, first in zip(psfs, starts, strict=True)
    ]


def in_words(n_stars: int) -> str:
    """Where the PSF is from, for the metadata of a coadd."""
    return f"{n_stars} stars" if n_stars else "the size of the sources, because there are too few stars"


def light_of(sources: Sources, which: np.ndarray, sigma: np.ndarray, *, fwhm: float) -> np.ndarray:
    """Whether some sources are brighter than `FAINTEST_LIGHT` on each pixel [y, x].

    Each is given a Moffat profile (beta = 3) of its flux and width, out to at most 12 times the seeing.

    Parameters
    ----------
    sources, which
        Sources, and which of them (boolean).
    sigma
        Error of each pixel of empty sky [y, x].
    fwhm
        Seeing in pixels.
    """
    lit = np.zeros(sigma.shape, bool)
    width = np.fmax(fwhm, SIGMA_TO_FWHM * np.sqrt(sources.moments.size / 2))  # NaN where a source has no moments
    peak = np.maximum(sources.peak, sources.flux * 2 / (np.pi * (ALPHA_PER_FWHM * width) ** 2))
    noise = sigma[_index(sources.y, sigma.shape[0]), _index(sources.x, sigma.shape[1])]
    brightness = np.maximum(peak / (FAINTEST_LIGHT * noise), 1)
    reach = ALPHA_PER_FWHM * width * np.sqrt(brightness ** (1 / 3) - 1)
    for x, y, radius in zip(
        sources.x[which], sources.y[which], np.clip(reach[which], 1.5 * fwhm, 12 * fwhm), strict=True
    ):
        bottom, left = max(0, int(y - radius)), max(0, int(x - radius))
        part = lit[bottom : int(y + radius) + 2, left : int(x + radius) + 2]
        rows, columns = np.ogrid[bottom : bottom + part.shape[0], left : left + part.shape[1]]
        part |= (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return lit


def _index(position: np.ndarray, length: int) -> np.ndarray:
    return np.clip(np.rint(position).astype(int), 0, length - 1)
