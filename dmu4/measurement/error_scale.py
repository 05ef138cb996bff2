"""Error inflation: the factors by which correlated noise increases the errors of each type of flux."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from dmu0.robust_statistics import clipped_moments
from dmu4.measurement.apertures import circles, sum_apertures
from dmu4.measurement.forced import project
from dmu4.measurement.gaap import sum_gaap
from dmu4.measurement.profiles import make_profiles
from dmu4.measurement.stamps import Kernels, render

MIN_SAMPLES = 50
"""Smallest number of empty sample positions; with fewer, errors are not scaled."""

WHOLE = 0.98
"""Smallest fraction with data of the largest circle around a sample position."""


@dataclass(frozen=True)
class ErrorInflation:
    """Ratio of the true scatter to the error from uncorrelated pixels, in one band.

    Attributes
    ----------
    psf
        Ratio for point-source fluxes.
    gaap
        Ratios for GAaP fluxes [aperture].
    radius
        Radii of circular apertures in pixels, increasing [circle].
    circle
        Ratios in circular apertures of these radii [circle].
    samples
        Number of empty positions behind the ratios; 0: not measured, all are one.
    shift
        The ratio for positions of point sources, that is for the gradients of the PSF.
    """

    psf: float
    gaap: np.ndarray
    radius: np.ndarray
    circle: np.ndarray
    samples: int
    shift: float = 1.0

    def of_area(self, area: np.ndarray) -> np.ndarray:
        """The ratio for apertures of any shape: that of the circle of the same area in pixels^2."""
        return np.interp(np.sqrt(np.asarray(area) / np.pi), self.radius, self.circle)


def empty_positions(
    good: np.ndarray, occupied: np.ndarray | None, *, margin: int, count: int, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Random sample positions (x, y) on the good pixels of an image.

    Parameters
    ----------
    good
        Pixels with data [y, x].
    occupied
        Pixels of sources to be avoided [y, x]; None: the image has no sources.
    margin
        Smallest distance from the edge of the image in pixels.
    count
        Number of positions to try; those on bad or occupied pixels are dropped.
    seed
        Seed of the random positions, which are the same for the same image.
    """
    ny, nx = good.shape
    if min(ny, nx) <= 2 * margin:
        return np.zeros(0), np.zeros(0)
    rng = np.random.default_rng(seed)
    x, y = rng.integers(margin, nx - margin, count), rng.integers(margin, ny - margin, count)
    free = good[y, x] if occupied is None else good[y, x] & ~occupied[y, x]
    return x[free].astype(float), y[free].astype(float)


def measure_inflation(
    noise: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    occupied: np.ndarray | None,
    psf: np.ndarray,
    cell_of: Callable[..., np.ndarray],
    radii: np.ndarray,
    gaap_sigma: np.ndarray,
    count: int = 600,
) -> ErrorInflation:
    """Measure error inflation by measuring pure noise in the same way as sources.

    Parameters
    ----------
    noise
        Noise realization, or the image if there is none [y, x].
    variance, good
        Variance, and whether a pixel has data [y, x].
    occupied
        Pixels of sources [y, x], if ``noise`` is the image.
    psf
        PSF stamps [cell, y, x] of the band.
    cell_of
        Function of ``x=, y=`` that gives the cells of positions.
    radii
        Radii of circular apertures in pixels, increasing.
    gaap_sigma
        Sigmas of the GAaP apertures in pixels.
    count
        Number of positions to try.
    """
    radii = np.asarray(radii, float)
    unknown = ErrorInflation(
        psf=1.0, gaap=np.ones(len(gaap_sigma)), radius=radii, circle=np.ones(len(radii)), samples=0
    )
    if not good.any() or not psf.any():
        return unknown
    margin = int(np.ceil(max(radii[-1], psf.shape[-1] / 2))) + 2
    x, y = empty_positions(good, occupied, margin=margin, count=count)
    x, y, pulls = _circle_pulls(noise, variance, good, x=x, y=y, radii=radii)
    if len(x) < MIN_SAMPLES:
        return unknown
    cell, planes = cell_of(x=x, y=y), {"image": noise, "variance": variance, "good": good}
    points = make_profiles(x=x, y=y, covariance=None, psf_size=psf.shape[-1])
    kernels = Kernels(psf)
    in_psf = project(render(points, kernels, cell), **planes)
    gradients = [project(render(points, one, cell), **planes) for one in kernels.gradients()]
    in_gaap = [
        sum_gaap(noise, variance, good, x=x, y=y, psf=psf, cell=cell, sigma=sigma) for sigma in np.asarray(gaap_sigma)
    ]
    return ErrorInflation(
        psf=_scatter(in_psf.signal / np.sqrt(in_psf.noise)),
        gaap=np.array([_scatter(one.flux / one.error) for one in in_gaap]),
        radius=radii,
        circle=np.array([_scatter(of_radius) for of_radius in pulls.T]),
        samples=len(x),
        shift=_scatter(np.concatenate([one.signal / np.sqrt(one.noise) for one in gradients])),
    )


def _circle_pulls(
    noise: np.ndarray, variance: np.ndarray, good: np.ndarray, *, x: np.ndarray, y: np.ndarray, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positions whose circles are filled, and the ratios of sums to errors there [position, circle]."""
    conics = circles(radii, length=len(x))
    sums = sum_apertures(noise[..., None], variance[..., None], good[..., None], x=x, y=y, conics=conics)
    whole = sums.filled[:, -1, 0] > WHOLE
    return x[whole], y[whole], sums.flux[whole, :, 0] / np.sqrt(sums.variance[whole, :, 0])


def scale_to_empty(
    inflations: Sequence[ErrorInflation],
    residual: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    clear: float,
    gaap_sigma: Sequence[np.ndarray],
    common: np.ndarray | None = None,
    bright: np.ndarray | None = None,
    count: int = 6000,
) -> list[ErrorInflation]:
    """Scale the error inflation so that it predicts the scatter of empty apertures between the objects.

    A noise realization includes the correlation due to resampling, but not the residual sky on larger scales, nor
    sources too faint to be detected. Both are present in the image minus the models of all objects. The inflation of
    point-source fluxes is not changed: on the scales of the fit the realization is correct.

    Parameters
    ----------
    inflations
        Error inflation of each band, from its noise realization.
    residual, variance, good
        Cubes [y, x, band]: the image minus all models, its variance, and the pixels with data.
    x, y
        Array positions of the objects.
    clear
        Smallest distance of the samples from objects in pixels.
    gaap_sigma
        Sigmas of the GAaP apertures of each band in pixels; their noise is similar to that of circles of twice this
        radius.
    common
        Pixels [y, x] among which the samples of all bands are chosen; None: those with data in any.
    bright
        Objects with wings beyond their models [object, band]; the smallest distance from them is three times ``clear``.
    count
        Number of positions to try.

    Returns
    -------
    list
        Error inflation of each band; unchanged in a band with fewer than `MIN_SAMPLES` sample positions.
    """
    radii, objects = inflations[0].radius, np.column_stack([x, y])
    common = good.any(axis=-1) if common is None else common
    at_x, at_y = empty_positions(common, None, margin=int(radii[-1]) + 1, count=count, seed=2)
    samples = np.column_stack([at_x, at_y])
    samples = samples[_distance(samples, objects) > clear]
    conics = circles(radii, length=len(samples))
    sums = sum_apertures(residual, variance, good, x=samples[:, 0], y=samples[:, 1], conics=conics)
    scaled = []
    for band, one in enumerate(inflations):
        whole = sums.filled[:, -1, band] > WHOLE
        if bright is not None:
            whole &= _distance(samples, objects[bright[:, band]]) > 3 * clear
        pulls = sums.flux[whole, :, band] / (one.circle * np.sqrt(sums.variance[whole, :, band]))
        scaled.append(_scaled(one, pulls, gaap_radius=2 * np.asarray(gaap_sigma[band])))
    return scaled


def _distance(samples: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Distance of each sample from the nearest object in pixels; infinite without objects."""
    if not len(objects) or not len(samples):
        return np.full(len(samples), np.inf)
    return cKDTree(objects).query(samples)[0]


def _scaled(one: ErrorInflation, pulls: np.ndarray, *, gaap_radius: np.ndarray) -> ErrorInflation:
    """The inflation multiplied by the scatter of the pulls [position, circle]."""
    if len(pulls) < MIN_SAMPLES:
        return one
    excess = np.array([clipped_moments(of_radius)[1] for of_radius in pulls.T])
    of_gaap = np.interp(gaap_radius, one.radius, excess)
    return replace(one, gaap=one.gaap * of_gaap, circle=one.circle * excess)


def _scatter(pulls: np.ndarray) -> float:
    """Standard deviation of the pulls within 4 sigma of the centre, which excludes undetected sources."""
    level, scatter = clipped_moments(pulls)
    kept = pulls[np.abs(pulls - level) < 4 * max(scatter, 1e-12)]
    return float(np.std(kept))
