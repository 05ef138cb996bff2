"""The PSF of the synthetic sky: its size and shape vary over the field and between images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmu0.sample.render import render


@dataclass(frozen=True)
class FieldPsf:
    """A PSF that varies smoothly over a field; the pixel response is included.

    Attributes
    ----------
    fwhm
        FWHM at the centre of the field in px.
    growth
        Relative increase of the FWHM per squared distance from the centre, and its gradients in u and v.
    ellipticity
        Ellipticity (e1, e2) at the centre, e = (a^2 - b^2) / (a^2 + b^2), along and at 45 deg to the x axis.
    astigmatism
        Gradients of (e1, e2) in u and v: de1/du, de1/dv, de2/du, de2/dv.
    """

    fwhm: float
    growth: tuple[float, float, float]
    ellipticity: tuple[float, float]
    astigmatism: tuple[float, float, float, float]

    def size(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """FWHM in px at field positions u and v, which run from -1 to 1."""
        bowl, du, dv = self.growth
        return self.fwhm * (1 + bowl * (u**2 + v**2) + du * u + dv * v)

    def shape(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ellipticities (e1, e2) at field positions u and v."""
        (e1, e2), (e1u, e1v, e2u, e2v) = self.ellipticity, self.astigmatism
        return e1 + e1u * u + e1v * v, e2 + e2u * u + e2v * v

    def covariance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Covariances (xx, xy, yy) in px^2 of a Gaussian whose sigma is the FWHM; one row per position."""
        e1, e2 = self.shape(u, v)
        area = self.size(u, v) ** 2 / np.sqrt(1 - e1**2 - e2**2)
        return np.stack([area * (1 + e1), area * e2, area * (1 - e1)], axis=-1)

    def stamp(self, u: float, v: float, *, size: int) -> np.ndarray:
        """The PSF [y, x] at a field position, centred in a square of odd size, with unit sum."""
        image = np.zeros((size, size))
        centre = np.full(1, (size - 1) / 2)
        nothing = np.zeros((1, 3))
        psf = self.covariance(np.full(1, u), np.full(1, v))
        render(image, centre, centre, np.ones(1), np.full(1, -1.0), nothing, nothing, psf, 1e-12)
        return image / image.sum()


def random_psf(rng: np.random.Generator, *, fwhm: float, variation: float) -> FieldPsf:
    """A PSF of given FWHM with random shape and variation over the field.

    Parameters
    ----------
    rng
        Random number generator.
    fwhm
        FWHM at the centre of the field in px.
    variation
        Typical ellipticity and relative change of size from the centre to the edge of the field.
    """
    draw = rng.normal(0, variation, 8)
    return FieldPsf(
        fwhm=fwhm,
        growth=(abs(draw[0]) / 2, draw[1] / 2, draw[2] / 2),
        ellipticity=(draw[3] / 2, draw[4] / 2),
        astigmatism=(draw[5] / 2, draw[6] / 2, draw[6] / 2, draw[7] / 2),
    )
