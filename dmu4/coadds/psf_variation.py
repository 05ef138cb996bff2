"""The variation over a patch of the PSF of a coadd that is published with one stamp, measured on its stars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft

from dmu0.robust_statistics import robust_scatter
from dmu4.coadds.star_stamps import Stars, measured_stars

DEGREES = (0, 1, 2)
"""Degrees of the polynomials in x and y that are tried."""

STARS_PER_TERM = 3
"""Smallest number of stars per term of a polynomial."""

STAR_ACCURACY = 0.004
"""Accuracy of the size and ellipticity of a bright star, relative; it limits the weight of the brightest."""

LARGEST = 0.15
"""Largest change of size or ellipticity, beyond which a star is not used and a PSF is not changed."""


class Variation(NamedTuple):
    """Changes of a PSF over an image: polynomials of size and ellipticities.

    Attributes
    ----------
    degree
        Degree of the polynomials; None: nothing changes.
    coefficients
        Coefficients [term, 3] for the relative size and the two ellipticities, see `templates`.
    centre, half
        Pixel (x, y) where the scaled coordinates are 0, and the distance in pixels at which they are 1.
    stars
        Number of stars.
    """

    degree: int | None
    coefficients: np.ndarray
    centre: tuple[float, float]
    half: float
    stars: int

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Relative change of size and the two ellipticities [position, 3] at pixels (x, y) [position, 2]."""
        if self.degree is None:
            return np.zeros((len(positions), 3))
        scaled = (np.asarray(positions) - self.centre) / self.half
        return np.clip(_terms(scaled, self.degree) @ self.coefficients, -LARGEST, LARGEST)


def describe(variation: Variation) -> str:
    """What was found, for metadata and logs."""
    if variation.degree is None:
        return f"the same everywhere, by {variation.stars} stars"
    kind = ("the same everywhere, but not that of the stamp", "linear", "quadratic")[variation.degree]
    return f"{kind}, by {variation.stars} stars"


def cell_psfs(psf: np.ndarray, variation: Variation, shape: tuple[int, int], *, cell: int) -> np.ndarray:
    """The PSFs of the cells of an image at their centres.

    Parameters
    ----------
    psf
        PSF stamp [y, x] whose variation was measured.
    variation
        Its variation.
    shape
        Rows and columns of cells.
    cell
        Side of a cell in pixels.

    Returns
    -------
    stamps
        PSF stamps [cell row, cell column, y, x] of sum 1.
    """
    row, column = np.indices(shape)
    centres = np.stack([column.ravel(), row.ravel()], axis=1) * cell + 0.5 * (cell - 1)
    return vary(psf, variation.at(centres)).reshape(*shape, *psf.shape)


def templates(stamp: np.ndarray, *, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """A PSF at a sub-pixel position, and its derivatives [6, y, x]: by the position, and by changes of size and shape.

    A PSF P(r) that is enlarged by the factor 1 + s has the derivative -(2 P + x P_x + y P_y) by s; for stretching along
    x and shrinking along y it is -(x P_x - y P_y), and for the same at 45 degrees -(x P_y + y P_x). Shifts and
    derivatives are made in Fourier space: an interpolated star would be narrower or wider by 0.3%.

    Parameters
    ----------
    stamp
        PSF stamp [y, x] of odd size.
    dx, dy
        Distance of the centre from the middle pixel.
    """
    size = stamp.shape[0]
    along = 2j * np.pi * fft.fftfreq(size)
    transform = fft.fft2(stamp) * np.exp(-along[None, :] * dx - along[:, None] * dy)
    point, of_x, of_y = (fft.ifft2(transform * f).real for f in (1.0, along[None, :], along[:, None]))
    y, x = np.indices(stamp.shape) - size // 2
    x, y = x - dx, y - dy
    larger = -(2 * point + x * of_x + y * of_y)
    return np.stack([point, -of_x, -of_y, larger, -(x * of_x - y * of_y), -(x * of_y + y * of_x)])


def star_changes(image: np.ndarray, positions: np.ndarray, psf: np.ndarray, *, radius: float) -> np.ndarray:
    """Relative size and ellipticities [star, 3] of stars with respect to a PSF, fitted with flux, centre and sky.

    Parameters
    ----------
    image
        Pixels [y, x].
    positions
        Pixels (x, y) of the stars [star, 2], at least half a stamp from the edges.
    psf
        PSF stamp [y, x] of odd size.
    radius
        Radius in pixels of the pixels that are fitted.
    """
    half = psf.shape[0] // 2
    y, x = np.indices(psf.shape) - half
    inside = np.hypot(x, y) < radius
    changes = np.full((len(positions), 3), np.nan)
    for star, (at_x, at_y) in enumerate(positions):
        for _ in range(2):
            i, j = round(at_x), round(at_y)
            pixels = image[j - half : j + half + 1, i - half : i + half + 1][inside].astype(float)
            matrix = np.stack(
                [*(one[inside] for one in templates(psf, dx=at_x - i, dy=at_y - j)), np.ones(len(pixels))]
            )
            fitted = np.linalg.lstsq(matrix.T, pixels, rcond=None)[0]
            if not fitted[0] > 0 or np.abs(fitted[1:3]).max() > fitted[0]:
                break
            at_x, at_y = at_x + fitted[1] / fitted[0], at_y + fitted[2] / fitted[0]
            changes[star] = fitted[3:6] / fitted[0]
    return changes


def measure_variation(
    psf: np.ndarray, image: np.ndarray, variance: np.ndarray, mask: np.ndarray, *, fwhm: float, max_stars: int
) -> Variation:
    """Measure the variation of a PSF over an image on its stars.

    The size and the ellipticities of the stars are fitted by polynomials in x and y. The degree is that which predicts
    stars best that are not used in the fit; if the PSF as it is predicts them best, nothing is changed.

    Parameters
    ----------
    psf
        PSF stamp [y, x] of odd size and sum 1.
    image, variance, mask
        Pixels [y, x], their variance and mask bits.
    fwhm
        Seeing in pixels.
    max_stars
        Largest number of stars; the brightest are used.
    """
    _, stars = measured_stars(image, variance, mask, fwhm=fwhm, size=psf.shape[0], max_stars=max_stars)
    centre = (0.5 * (image.shape[1] - 1), 0.5 * (image.shape[0] - 1))
    half = 0.5 * max(image.shape)
    degree, coefficients = None, np.zeros((0, 3))
    if len(stars.stamps):
        changes = star_changes(image, stars.positions, psf, radius=2 * fwhm)
        degree, coefficients = _fit(changes, stars, centre, half)
    return Variation(degree, coefficients, centre, half, len(stars.stamps))


def vary(psf: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """A PSF with other sizes and ellipticities.

    Parameters
    ----------
    psf
        PSF stamp [y, x] of sum 1.
    changes
        Relative change of size and the two ellipticities [..., 3].

    Returns
    -------
    stamps
        Stamps [..., y, x] of sum 1.
    """
    stamps = psf + np.tensordot(changes, templates(psf)[3:], axes=1)
    return stamps / stamps.sum(axis=(-2, -1), keepdims=True)


def _terms(scaled: np.ndarray, degree: int) -> np.ndarray:
    """Powers x^i y^j with i + j <= degree of scaled positions [position, term]."""
    x, y = scaled.T
    return np.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=1)


def _fit(changes: np.ndarray, stars: Stars, centre: tuple[float, float], half: float) -> tuple[int | None, np.ndarray]:
    """Degree and coefficients [term, 3] of the best polynomials; None if stars are best described without a change."""
    weights = 1 / (1 / stars.weights + STAR_ACCURACY**2)
    used = np.isfinite(changes).all(axis=1) & (np.abs(np.nan_to_num(changes)).max(axis=1) < LARGEST)
    changes = np.nan_to_num(changes)
    best, scaled = np.inf, (stars.positions - centre) / half
    chosen: tuple[int | None, np.ndarray] = (None, np.zeros((0, 3)))
    for degree in (None, *DEGREES):
        terms = np.zeros((len(changes), 0)) if degree is None else _terms(scaled, degree)
        if np.count_nonzero(used) < max(STARS_PER_TERM * terms.shape[1], 1):
            break
        fitted, error = _left_out(terms, changes, weights, used)
        if error < best:
            best, chosen = error, (degree, fitted)
    return chosen


def _left_out(
    terms: np.ndarray, changes: np.ndarray, weights: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, float]:
    """A weighted linear fit, and how far stars are from fits without them: the median of the squares, which outliers
    do not change, summed over size and ellipticities."""
    kept = used.copy()
    for _ in range(3):
        root = np.sqrt(weights[kept])[:, None]
        fitted = np.linalg.lstsq(root * terms[kept], root * changes[kept], rcond=None)[0]
        off = np.sqrt(weights)[:, None] * (changes - terms @ fitted)
        scatter = np.maximum(robust_scatter(off[used], about=0.0, axis=0), 1e-12)
        kept = used & (np.abs(off) < 4 * scatter).all(axis=1)
    root = np.sqrt(weights[kept])[:, None]
    inverse = np.linalg.pinv((root * terms[kept]).T @ (root * terms[kept]))
    leverage = weights * np.einsum("ni,ij,nj->n", terms, inverse, terms)
    alone = off / np.where(kept, 1 - np.minimum(leverage, 0.99), 1.0)[:, None]
    return fitted, float(np.sum(robust_scatter(alone[used], about=0.0, axis=0) ** 2))
