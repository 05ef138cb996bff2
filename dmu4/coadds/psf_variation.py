"""How the PSF of a coadd varies over a patch, for a coadd that is published with one PSF stamp: measured on its stars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft

from dmu0.robust_statistics import robust_scatter
from dmu4.coadds.psf_from_stars import Stars, measured_stars

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


def templates(stamp: np.ndarray) -> np.ndarray:
    """Derivatives [5, y, x] of a PSF: by x and y, and by the three linear maps that change its size and shape.

    A PSF P(r) that is enlarged by the factor 1 + s has the derivative -(2 P + x P_x + y P_y) by s; for stretching along
    x and shrinking along y it is -(x P_x - y P_y), and for the same at 45 degrees -(x P_y + y P_x). Each has a sum of 0
    apart from what is outside the stamp.
    """
    size = stamp.shape[0]
    transform = fft.fft2(stamp)
    frequency = 2j * np.pi * fft.fftfreq(size)
    along_x, along_y = (fft.ifft2(transform * f).real for f in (frequency[None, :], frequency[:, None]))
    y, x = np.indices(stamp.shape) - size // 2
    larger = -(2 * stamp + x * along_x + y * along_y)
    return np.stack([along_x, along_y, larger, -(x * along_x - y * along_y), -(x * along_y + y * along_x)])


def star_changes(stamps: np.ndarray, psf: np.ndarray, *, radius: float) -> np.ndarray:
    """Relative size and ellipticities [star, 3] of stars with respect to a PSF, from a linear fit with flux and centre.

    Parameters
    ----------
    stamps
        Stars [star, y, x], centred.
    psf
        PSF stamp [y, x] of the same odd size.
    radius
        Radius in pixels of the pixels that are fitted.
    """
    y, x = np.indices(psf.shape) - psf.shape[0] // 2
    inside = np.hypot(x, y) < radius
    matrix = np.stack([psf[inside], *(one[inside] for one in templates(psf)), np.ones(inside.sum())], axis=1)
    fitted = np.linalg.lstsq(matrix, stamps[:, inside].T, rcond=None)[0]
    return (fitted[3:6] / fitted[0]).T


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
        changes = star_changes(stars.stamps, psf, radius=2 * fwhm)
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
    stamps = psf + np.tensordot(changes, templates(psf)[2:], axes=1)
    return stamps / stamps.sum(axis=(-2, -1), keepdims=True)


def _terms(scaled: np.ndarray, degree: int) -> np.ndarray:
    """Powers x^i y^j with i + j <= degree of scaled positions [position, term]."""
    x, y = scaled.T
    return np.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=1)


def _fit(
    changes: np.ndarray, stars: Stars, centre: tuple[float, float], half: float
) -> tuple[int | None, np.ndarray]:
    """Degree and coefficients [term, 3] of the best polynomials; None if stars are best described without a change."""
    weights = 1 / (1 / stars.weights + STAR_ACCURACY**2)
    used = np.abs(changes).max(axis=1) < LARGEST
    best, chosen, scaled = np.inf, (None, np.zeros((0, 3))), (stars.positions - centre) / half
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
