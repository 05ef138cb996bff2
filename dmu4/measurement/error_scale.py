"""By how much correlated noise makes errors larger than the variance map says, for each kind of flux."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dmu0.robust_statistics import clipped_moments
from dmu4.measurement.apertures import circles, sum_apertures
from dmu4.measurement.forced import project
from dmu4.measurement.gaap import gaap_weights
from dmu4.measurement.stamps import make_profiles, psf_transforms, render

MIN_PLACES = 50
"""With fewer empty places than this nothing can be measured, and the factors are one."""


@dataclass(frozen=True)
class NoiseFactors:
    """True scatter over the error from uncorrelated pixels, in one band.

    Parameters
    ----------
    psf, gaap
        For these fluxes.
    radius, circle
        Radii in pixels, and the factor in circles of each.
    places
        Number of empty places behind the figures; 0: not measured, all are one.
    """

    psf: float
    gaap: float
    radius: np.ndarray
    circle: np.ndarray
    places: int

    def of_area(self, area: np.ndarray) -> np.ndarray:
        """The factor for apertures of any shape, through the circle of the same area in pixels^2."""
        return np.interp(np.sqrt(np.asarray(area) / np.pi), self.radius, self.circle)


def empty_places(
    good: np.ndarray, occupied: np.ndarray | None, *, margin: int, count: int, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (x, y) spread evenly over the good part of an image.

    Parameters
    ----------
    good
        Pixels with data [y, x].
    occupied
        Pixels of sources to stay away from [y, x]; None: the image has no sources.
    margin
        Distance from the edge of the image in pixels.
    count
        How many to try; those on bad or occupied pixels are dropped.
    seed
        Of the offsets that keep the places off a regular grid.
    """
    ny, nx = good.shape
    if min(ny, nx) <= 2 * margin:
        return np.zeros(0), np.zeros(0)
    rng = np.random.default_rng(seed)
    x, y = rng.integers(margin, nx - margin, count), rng.integers(margin, ny - margin, count)
    free = good[y, x] if occupied is None else good[y, x] & ~occupied[y, x]
    return x[free].astype(float), y[free].astype(float)


def measure_factors(
    noise: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    occupied: np.ndarray | None,
    psf: np.ndarray,
    cell_of,
    radii: np.ndarray,
    gaap_sigma: float,
    count: int = 600,
) -> NoiseFactors:
    """Measure nothing but noise in the very ways in which sources are measured.

    Parameters
    ----------
    noise
        A realization of the noise, or the image less all models where none exists [y, x].
    variance, good
        Arrays [y, x].
    occupied
        Pixels of sources, if ``noise`` is the image.
    psf
        PSF stamps [cell, y, x] of the band.
    cell_of
        Function of ``x=, y=`` that gives the cells of positions.
    radii
        Radii of circles in pixels.
    gaap_sigma
        Aperture of GAaP in pixels.
    count
        Places to try.
    """
    radii = np.asarray(radii, float)
    unknown = NoiseFactors(psf=1.0, gaap=1.0, radius=radii, circle=np.ones(len(radii)), places=0)
    if not good.any() or not psf.any():
        return unknown
    margin = int(np.ceil(max(radii[-1], psf.shape[-1] / 2))) + 2
    x, y = empty_places(good, occupied, margin=margin, count=count)
    conics = circles(radii, length=len(x))
    sums = sum_apertures(noise[..., None], variance[..., None], good[..., None], x=x, y=y, conics=conics)
    whole = sums.filled[:, -1, 0] > 0.98 if len(x) else np.zeros(0, bool)
    if np.count_nonzero(whole) < MIN_PLACES:
        return unknown
    x, y = x[whole], y[whole]
    pulls = sums.flux[whole, :, 0] / np.sqrt(sums.variance[whole, :, 0])
    cell = cell_of(x=x, y=y)
    points = make_profiles(x=x, y=y, covariance=None, psf_size=psf.shape[-1])
    planes = {"residual": noise, "variance": variance, "good": good}
    point_sums = project(render(points, psf_transforms(psf, points.size), cell), **planes)
    weights, _ = gaap_weights(x=x, y=y, psf=psf, cell=cell, sigma=gaap_sigma)
    weight_sums = project(weights, **planes)
    return NoiseFactors(
        psf=_scatter(point_sums[:, 1] / np.sqrt(point_sums[:, 2])),
        gaap=_scatter(weight_sums[:, 1] / np.sqrt(weight_sums[:, 2])),
        radius=radii,
        circle=np.array([_scatter(pulls[:, k]) for k in range(len(radii))]),
        places=len(x),
    )


def scale_to_empty(
    factors: Sequence[NoiseFactors],
    residual: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    clear: float,
    gaap_sigma: float,
    bright: np.ndarray | None = None,
    count: int = 6000,
) -> list[NoiseFactors]:
    """Change the factors until empty apertures between the objects scatter by what they predict.

    A realization of the noise has what resampling does to pixels, but not what is left of the sky on larger scales,
    nor the sources too faint to be detected. Both are in the image less the models of all objects. Point-source
    fluxes are left as they are: the fit looks at scales on which the realization is right.

    Parameters
    ----------
    factors
        Of each band, from its noise realization.
    residual, variance, good
        Cubes [y, x, band]: the image less all models, its variance, and the pixels with data.
    x, y
        Array positions of the objects.
    clear
        Distance in pixels to keep from them.
    gaap_sigma
        Aperture of GAaP in pixels: its fluxes are noisy like a circle of twice that radius.
    bright
        Objects whose wings no model follows [object, band]; places keep three times ``clear`` from them.
    count
        Places to try.

    Returns
    -------
    list
        The factors; unchanged in a band with fewer than `MIN_PLACES` empty places.
    """
    radii = factors[0].radius
    at_x, at_y = empty_places(good.any(axis=-1), None, margin=int(radii[-1]) + 1, count=count, seed=2)
    if len(at_x):
        distance, _ = cKDTree(np.column_stack([x, y])).query(np.column_stack([at_x, at_y]))
        at_x, at_y = at_x[distance > clear], at_y[distance > clear]
    conics = circles(radii, length=len(at_x))
    sums = sum_apertures(residual, variance, good, x=at_x, y=at_y, conics=conics)
    scaled = []
    for band, one in enumerate(factors):
        whole = sums.filled[:, -1, band] > 0.98
        if bright is not None and bright[:, band].any():
            far = cKDTree(np.column_stack([x, y])[bright[:, band]]).query(np.column_stack([at_x, at_y]))[0]
            whole &= far > 3 * clear
        if np.count_nonzero(whole) < MIN_PLACES:
            scaled.append(one)
            continue
        pulls = sums.flux[whole, :, band] / (one.circle * np.sqrt(sums.variance[whole, :, band]))
        excess = np.array([clipped_moments(pulls[:, k])[1] for k in range(len(radii))])
        of_gaap = float(np.interp(2 * gaap_sigma, radii, excess))
        scaled.append(
            NoiseFactors(
                psf=one.psf,
                gaap=one.gaap * of_gaap,
                radius=radii,
                circle=one.circle * excess,
                places=one.places,
            )
        )
    return scaled


def _scatter(pulls: np.ndarray) -> float:
    """Scatter about zero level: that of the places within 4 sigma, so that a source missed does not count."""
    level, scatter = clipped_moments(pulls)
    kept = pulls[np.abs(pulls - level) < 4 * max(scatter, 1e-12)]
    return float(np.std(kept))
